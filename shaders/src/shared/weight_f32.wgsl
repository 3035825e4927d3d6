// Weights in f32: four values in a vector of words, no scales.

const WEIGHT_VALUES: u32 = 4u;

// Values 4q … 4q + 3 of a vector.
fn weight4(words: vec4<u32>, q: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(words);
}

fn weight_scale(matrix: u32, row: u32, column: u32, rows: u32, columns: u32) -> f32 {
    return 1.0;
}
