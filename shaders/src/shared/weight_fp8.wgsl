// Weights in e4m3fn: sixteen values in a vector of words, f32 scales for blocks of 128 by 128. Needs SCALES, the binding of the scales.
// The codes 0x7F and 0xFF, which are NaN, are not told apart: a checkpoint has none.

const WEIGHT_VALUES: u32 = 16u;

@group(0) @binding(SCALES) var<storage, read> scales: array<u32>; // (Z, ceil(O/128), ceil(I/128)) f32

// Values 4q … 4q + 3 of a vector. Sign, exponent and mantissa at the places of an f16 are the value over 256, exactly.
fn weight4(words: vec4<u32>, q: u32) -> vec4<f32> {
    let word = words[q];
    let even = ((word << 8u) & 0x80008000u) | ((word << 7u) & 0x3F803F80u);
    let odd = (word & 0x80008000u) | ((word >> 1u) & 0x3F803F80u);
    let a = unpack2x16float(even);
    let b = unpack2x16float(odd);
    return vec4<f32>(a.x, b.x, a.y, b.y);
}

// The scale of the vectors that hold column `column` of row `row`, with the 256 that `weight4` leaves out.
fn weight_scale(matrix: u32, row: u32, column: u32, rows: u32, columns: u32) -> f32 {
    let stripe = matrix * ((rows + 127u) / 128u) + row / 128u;
    return 256.0 * bitcast<f32>(scales[stripe * ((columns + 127u) / 128u) + column / 128u]);
}
