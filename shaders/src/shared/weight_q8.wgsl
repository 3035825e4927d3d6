// Weights as signed bytes: sixteen values in a vector of words, f16 scales for groups of 32. Needs SCALES, the binding of the scales.

const WEIGHT_VALUES: u32 = 16u;

@group(0) @binding(SCALES) var<storage, read> scales: array<u32>; // (Z, O, I/32) f16, two in a word

// Values 4q … 4q + 3 of a vector. A byte as the last bits of 2^23 is exact, and cheaper than a conversion.
fn weight4(words: vec4<u32>, q: u32) -> vec4<f32> {
    let word = words[q] ^ 0x80808080u;
    let bytes = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xFFu);
    return bitcast<vec4<f32>>(bytes | vec4<u32>(0x4B000000u)) - vec4<f32>(8388736.0);
}

// The scale of the group that holds column `column` of row `row`.
fn weight_scale(matrix: u32, row: u32, column: u32, rows: u32, columns: u32) -> f32 {
    let group = (matrix * rows + row) * (columns / 32u) + column / 32u;
    return unpack2x16float(scales[group >> 1u] >> (16u * (group & 1u))).x;
}
