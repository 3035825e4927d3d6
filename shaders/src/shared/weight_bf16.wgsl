// Weights in bf16, the upper half of an f32: eight values in a vector of words, no scales.

const WEIGHT_VALUES: u32 = 8u;

// Values 4q … 4q + 3 of a vector.
fn weight4(words: vec4<u32>, q: u32) -> vec4<f32> {
    let pair = select(words.xy, words.zw, q == 1u);
    return bitcast<vec4<f32>>(vec4<u32>(pair.x << 16u, pair.x & 0xFFFF0000u, pair.y << 16u, pair.y & 0xFFFF0000u));
}

fn weight_scale(matrix: u32, row: u32, column: u32, rows: u32, columns: u32) -> f32 {
    return 1.0;
}
