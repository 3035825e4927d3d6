//! DeepSeek's FP8: the e4m3 number format, power-of-two scales, and weights with one scale per block.
//!
//! e4m3 has 1 sign, 4 exponent and 3 mantissa bits, bias 7, largest value 448, smallest normal 2^-6, smallest subnormal 2^-9, no
//! infinity; 0x7F and 0xFF are NaN. Source: spec/dsa.md §3.5; DeepSeek-V3's `act_quant`.

/// The largest finite e4m3 value.
pub const E4M3_MAX: f32 = 448.0;

/// Elements that share one scale in [`act_quant`] as DeepSeek uses it, and the side of a weight block.
pub const BLOCK: usize = 128;

/// The value of each e4m3 code.
pub const E4M3: [f32; 256] = {
    let mut table = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = decode(code as u8);
        code += 1;
    }
    table
};

/// Decodes one code by shifting its fields into an f32.
const fn decode(code: u8) -> f32 {
    let sign = (code as u32 >> 7) << 31;
    let exponent = (code as u32 >> 3) & 0xF;
    let mantissa = code as u32 & 0x7;
    if exponent == 0xF && mantissa == 0x7 {
        return f32::from_bits(sign | f32::NAN.to_bits());
    }
    if exponent == 0 {
        // Subnormal: a multiple of 2^-9, with the sign kept for -0.
        return f32::from_bits(sign | (mantissa as f32 / 512.0).to_bits());
    }
    f32::from_bits(sign | ((exponent + 127 - 7) << 23) | (mantissa << 20))
}

/// Returns the value of an e4m3 code.
#[must_use]
pub fn f32_from_e4m3(code: u8) -> f32 {
    E4M3[usize::from(code)]
}

/// Returns the e4m3 code nearest to `value`, ties to the even mantissa; values beyond ±448 saturate, NaN stays NaN.
#[must_use]
pub fn e4m3_from_f32(value: f32) -> u8 {
    let bits = value.to_bits();
    let sign = ((bits >> 31) as u8) << 7;
    let magnitude = value.abs();
    if magnitude.is_nan() {
        return sign | 0x7F;
    }
    // Below 2^-6 the codes are the multiples of 2^-9; the eighth is the first normal code, as it should be.
    if magnitude < 1.0 / 64.0 {
        return sign | (magnitude * 512.0).round_ties_even() as u8;
    }
    if magnitude >= E4M3_MAX {
        return sign | 0x7E;
    }
    // Round the 23-bit mantissa to 3 bits, to even; a carry moves into the exponent, which is right.
    let absolute = magnitude.to_bits();
    let rounded = (absolute + 0x7_FFFF + ((absolute >> 20) & 1)) >> 20;
    sign | (rounded - ((127 - 7) << 3)) as u8
}

/// Returns the power-of-two scale (UE8M0) for a block with the largest magnitude `amax`: `2^ceil(log2(max(amax, 1e-4) / 448))`.
///
/// The scale is the multiplier: `value ≈ scale * e4m3`. Computed on the bits, as the reference does, so that no logarithm rounds.
#[must_use]
pub fn ue8m0_scale(amax: f32) -> f32 {
    // An infinity in the block must not make the scale infinite and every other value NaN.
    let bits = (amax.clamp(1e-4, f32::MAX) * (1.0 / E4M3_MAX)).to_bits();
    let round_up = u32::from(bits & 0x7F_FFFF != 0);
    f32::from_bits(((bits >> 23) + round_up) << 23)
}

/// Quantises contiguous blocks of `block` values, the last one may be shorter; returns the codes and one scale per block.
///
/// For values of shape `[.., N]` with N a multiple of `block` these are blocks along the last dimension. A `block` of 0 counts as 1.
/// Source: spec/dsa.md §3.5 (ue8m0).
#[must_use]
pub fn act_quant(values: &[f32], block: usize) -> (Vec<u8>, Vec<f32>) {
    let mut codes = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(values.len().div_ceil(block.max(1)));
    for chunk in values.chunks(block.max(1)) {
        let scale = ue8m0_scale(amax(chunk));
        codes.extend(chunk.iter().map(|value| e4m3_from_f32(value / scale)));
        scales.push(scale);
    }
    (codes, scales)
}

/// A matrix in e4m3 with one scale per block.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockMatrix {
    /// `codes: [R, C]` e4m3, row-major.
    pub codes: Vec<u8>,
    /// `scales: [ceil(R/br), ceil(C/bc)]` f32, the `weight_scale_inv` of a checkpoint: multipliers, in spite of that name.
    pub scales: Vec<f32>,
    /// Shape of `scales`.
    pub scale_shape: [usize; 2],
}

/// Quantises a row-major matrix with one power-of-two scale per block; blocks at the edges may be smaller.
///
/// **Shapes**: `values: [R, C] f32` with `[R, C] = shape`. Values that the shape does not cover are left out.
#[must_use]
pub fn quantize_blocks(values: &[f32], shape: [usize; 2], block: [usize; 2]) -> BlockMatrix {
    let [n_rows, n_cols] = shape;
    let [block_rows, block_cols] = block.map(|side| side.max(1));
    let scale_shape = [n_rows.div_ceil(block_rows), n_cols.div_ceil(block_cols)];
    let mut codes = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(scale_shape[0].saturating_mul(scale_shape[1]));
    if n_cols > 0 {
        let used = values.len().min(n_rows.saturating_mul(n_cols));
        for stripe in values.get(..used).unwrap_or_default().chunks(block_rows.saturating_mul(n_cols)) {
            let mut largest = vec![0.0f32; scale_shape[1]];
            for row in stripe.chunks(n_cols) {
                for (largest, chunk) in largest.iter_mut().zip(row.chunks(block_cols)) {
                    *largest = largest.max(amax(chunk));
                }
            }
            let stripe_scales: Vec<f32> = largest.into_iter().map(ue8m0_scale).collect();
            for row in stripe.chunks(n_cols) {
                for (scale, chunk) in stripe_scales.iter().zip(row.chunks(block_cols)) {
                    codes.extend(chunk.iter().map(|value| e4m3_from_f32(value / scale)));
                }
            }
            scales.extend(stripe_scales);
        }
    }
    BlockMatrix { codes, scales, scale_shape }
}

/// Returns the largest magnitude; NaN is passed over.
fn amax(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// Returns the shape of the scales of a tensor `[.., R, C]`: `[.., ceil(R/br), ceil(C/bc)]`. `None` for fewer than two dimensions.
pub(crate) fn scale_shape(shape: &[usize], block: [usize; 2]) -> Option<Vec<usize>> {
    let (matrices, [n_rows, n_cols]) = shape.split_last_chunk::<2>()?;
    let mut scales = matrices.to_vec();
    scales.extend([n_rows.div_ceil(block[0]), n_cols.div_ceil(block[1])]);
    Some(scales)
}

/// Appends the values of e4m3 matrices `[.., R, C]` to `out`: `out[o, i] = e4m3(codes[o, i]) * scales[o / br, i / bc]`.
///
/// `stripe_done` is called with the appended values and the bytes they came from, after each row of blocks.
pub(crate) fn dequantize_blocks(
    codes: &[u8],
    scales: &[f32],
    [n_rows, n_cols]: [usize; 2],
    block: [usize; 2],
    out: &mut Vec<f32>,
    mut stripe_done: impl FnMut(&[f32], usize),
) {
    if n_rows == 0 || n_cols == 0 {
        return;
    }
    // Rows of blocks never span two matrices: each matrix begins a new one.
    let mut stripe_scales = scales.chunks(n_cols.div_ceil(block[1]));
    for matrix in codes.chunks(n_rows * n_cols) {
        for stripe in matrix.chunks(block[0].saturating_mul(n_cols)) {
            let scales = stripe_scales.next().unwrap_or_default();
            let begin = out.len();
            for row in stripe.chunks(n_cols) {
                for (scale, chunk) in scales.iter().zip(row.chunks(block[1])) {
                    out.extend(chunk.iter().map(|&code| f32_from_e4m3(code) * scale));
                }
            }
            stripe_done(out.get(begin..).unwrap_or_default(), stripe.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_decodes_by_the_definition() {
        for code in 0..=255u8 {
            let (exponent, mantissa) = (i32::from(code >> 3 & 0xF), f64::from(code & 7));
            let magnitude = match exponent {
                0 => mantissa / 8.0 * 2f64.powi(-6),
                _ => (1.0 + mantissa / 8.0) * 2f64.powi(exponent - 7),
            };
            let value = f32_from_e4m3(code);
            if code & 0x7F == 0x7F {
                assert!(value.is_nan(), "{code:#x}");
            } else {
                assert_eq!(f64::from(value.abs()), magnitude, "{code:#x}");
                assert_eq!(value.is_sign_negative(), code >= 0x80, "{code:#x}");
            }
        }
        assert_eq!(f32_from_e4m3(0x7E), E4M3_MAX);
    }

    #[test]
    fn every_code_encodes_to_itself() {
        for code in 0..=255u8 {
            let encoded = e4m3_from_f32(f32_from_e4m3(code));
            assert_eq!(encoded, code, "{code:#x}");
        }
    }

    /// Between each two neighbours: nearest below and above the midpoint, and the even mantissa at it.
    #[test]
    fn rounding_is_to_nearest_and_ties_go_to_even() {
        for low in 0..0x7Eu8 {
            let high = low + 1;
            let middle = (f32_from_e4m3(low) + f32_from_e4m3(high)) / 2.0;
            let even = if low % 2 == 0 { low } else { high };
            assert_eq!(e4m3_from_f32(middle), even, "tie of {low:#x}");
            assert_eq!(e4m3_from_f32(-middle), even | 0x80, "negative tie of {low:#x}");
            assert_eq!(e4m3_from_f32(middle.next_down()), low);
            assert_eq!(e4m3_from_f32(middle.next_up()), high);
        }
    }

    /// spec/dsa.md §11.1, "e4m3 RNE".
    #[test]
    fn spec_goldens_of_rounding() {
        let two = 2f32;
        let cases = [
            (0.3, 0.3125),
            (1.0625, 1.0),
            (1.1875, 1.25),
            (17.0, 16.0),
            (19.0, 20.0),
            (432.0, 448.0),
            (440.0, 448.0),
            (two.powi(-10), 0.0),
            (3.0 * two.powi(-10), two.powi(-8)),
            (0.001, two.powi(-9)),
        ];
        for (value, expected) in cases {
            assert_eq!(f32_from_e4m3(e4m3_from_f32(value)), expected, "{value}");
        }
        assert_eq!(f32_from_e4m3(e4m3_from_f32(f32::INFINITY)), E4M3_MAX);
        assert_eq!(e4m3_from_f32(-0.0), 0x80);
        assert!(f32_from_e4m3(e4m3_from_f32(f32::NAN)).is_nan());
    }

    /// spec/dsa.md §3.5, goldens for ue8m0.
    #[test]
    fn spec_goldens_of_scales() {
        let two = 2f32;
        let cases = [(1.0, -8), (448.0, 0), (449.0, 1), (1e-4, -22), (0.0, -22), (3.5, -7), (0.02, -14)];
        for (amax, exponent) in cases {
            assert_eq!(ue8m0_scale(amax), two.powi(exponent), "{amax}");
        }
        for exponent in -20..100 {
            assert_eq!(ue8m0_scale(448.0 * two.powi(exponent)), two.powi(exponent).max(two.powi(-22)), "448 * 2^{exponent}");
        }
        assert!(ue8m0_scale(f32::INFINITY).is_finite());
    }

    /// spec/dsa.md §11.1, act_quant.
    #[test]
    fn spec_golden_of_act_quant() {
        let (codes, scales) = act_quant(&[0.1, -0.25, 3.5, -1.7, 0.003], BLOCK);
        let values: Vec<f32> = codes.into_iter().map(f32_from_e4m3).collect();
        assert_eq!(scales, [1.0 / 128.0]);
        assert_eq!(values, [13.0, -32.0, 448.0, -224.0, 0.375]);
    }

    #[test]
    fn act_quant_starts_a_scale_at_each_block() {
        let (codes, scales) = act_quant(&[1.0, 2.0, 448.0, 1.0, 0.5], 2);
        assert_eq!(scales, [1.0 / 128.0, 1.0, 1.0 / 512.0]);
        assert_eq!(codes.len(), 5);
        assert_eq!(f32_from_e4m3(codes[4]) * scales[2], 0.5);
    }

    #[test]
    fn ragged_blocks_keep_to_their_scale() {
        // [3, 5] with 2×2 blocks: scales [2, 3]. Each block gets its own magnitude.
        let shape = [3, 5];
        let values: Vec<f32> = (0..15).map(|i| 2f32.powi((i / 5 / 2 * 3 + i % 5 / 2) * 4)).collect();
        let matrix = quantize_blocks(&values, shape, [2, 2]);
        assert_eq!(matrix.scale_shape, [2, 3]);
        let expected: Vec<f32> = (0..6).map(|block_idx| 2f32.powi(block_idx * 4 - 8)).collect();
        assert_eq!(matrix.scales, expected);
        let mut decoded = Vec::new();
        let mut stripes = Vec::new();
        dequantize_blocks(&matrix.codes, &matrix.scales, shape, [2, 2], &mut decoded, |values, n_bytes| {
            stripes.push((values.len(), n_bytes));
        });
        assert_eq!(decoded, values);
        assert_eq!(stripes, [(10, 10), (5, 5)]);
    }
}
