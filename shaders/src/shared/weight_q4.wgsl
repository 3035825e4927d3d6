// Weights as nibbles less 8: 32 values in a vector of words, f16 scales for groups of 32. Needs SCALES, the binding of the scales.

const WEIGHT_VALUES: u32 = 32u;

@group(0) @binding(SCALES) var<storage, read> scales: array<u32>; // (Z, O, I/32) f16, two in a word

// Values 4q … 4q + 3 of a vector. A nibble as the first mantissa bits of 16 is exact, and cheaper than a conversion.
fn weight4(words: vec4<u32>, q: u32) -> vec4<f32> {
    let half = words[q >> 1u] >> (16u * (q & 1u));
    let nibbles = vec4<u32>(half << 19u, half << 15u, half << 11u, half << 7u) & vec4<u32>(0x00780000u);
    return bitcast<vec4<f32>>(nibbles | vec4<u32>(0x41800000u)) - vec4<f32>(24.0);
}

// The scale of the group that holds column `column` of row `row`.
fn weight_scale(matrix: u32, row: u32, column: u32, rows: u32, columns: u32) -> f32 {
    let group = (matrix * rows + row) * (columns / 32u) + column / 32u;
    return unpack2x16float(scales[group >> 1u] >> (16u * (group & 1u))).x;
}
