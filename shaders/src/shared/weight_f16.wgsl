// Weights in f16: eight values in a vector of words, no scales.

const WEIGHT_VALUES: u32 = 8u;

// Values 4q … 4q + 3 of a vector.
fn weight4(words: vec4<u32>, q: u32) -> vec4<f32> {
    let pair = select(words.xy, words.zw, q == 1u);
    return vec4<f32>(unpack2x16float(pair.x), unpack2x16float(pair.y));
}

fn weight_scale(matrix: u32, row: u32, column: u32, rows: u32, columns: u32) -> f32 {
    return 1.0;
}
