//! Rounding to q8, q4 and FP8.
//!
//! Rounding what was rounded changes nothing: each group that is exactly a grid of codes gets the codes and the scale of the finest such
//! grid, and what the search finds goes through the same test. Files with stored codes can therefore be widened and rounded again.

use super::{WeightFormat, e4m3_bits, e4m3_value};
use crate::kernel::{f16_bits, f16_value};

/// Values that share a scale.
const GROUP: usize = WeightFormat::GROUP;
/// The largest f16 number.
const MOST_F16: f32 = 65504.0;
/// Bits of the smallest normal f16 number.
const NORMAL_F16: u16 = 0x0400;
/// The scale of a group that holds something that is no number: every value of it becomes NaN, which nobody overlooks.
const NAN_F16: u16 = 0x7E00;
/// Smallest, step and number of the divisors of the largest value that the search for a scale tries, beside the other end of the range.
const DIVISORS: (f32, f32, u8) = (6.0, 0.125, 17);

/// A group of codes and the bits of their scale.
struct Group {
    codes: [i8; GROUP],
    scale: u16,
}

impl Group {
    /// Rounds to the nearest multiples of a scale, within the range of the codes.
    fn nearest(values: &[f32], scale: u16, lowest: f32, highest: f32) -> Self {
        let (mut codes, by) = ([0; GROUP], f16_value(scale));
        if by != 0.0 {
            codes.iter_mut().zip(values).for_each(|(code, v)| *code = (v / by).round_ties_even().clamp(lowest, highest) as i8);
        }
        Self { codes, scale }
    }

    /// Whether the codes say exactly these values.
    fn is_exact(&self, values: &[f32]) -> bool {
        let scale = f16_value(self.scale);
        self.codes.iter().zip(values).all(|(&code, v)| f32::from(code) * scale == *v)
    }

    fn values(&self) -> [f32; GROUP] {
        let scale = f16_value(self.scale);
        self.codes.map(|code| f32::from(code) * scale)
    }
}

/// Rounds to q8: codes and scales as they are stored.
pub(super) fn q8(values: &[f32]) -> (Vec<u8>, Vec<u8>) {
    grouped(values, q8_group, |codes, data| data.extend(codes.iter().map(|&code| code as u8)))
}

/// Rounds to q4: codes and scales as they are stored.
pub(super) fn q4(values: &[f32]) -> (Vec<u8>, Vec<u8>) {
    grouped(values, q4_group, |codes, data| {
        data.extend(codes.chunks_exact(2).map(|pair| (pair[0] + 8) as u8 | ((pair[1] + 8) as u8) << 4));
    })
}

fn grouped(values: &[f32], round: fn(&[f32], f32) -> Group, pack: fn(&[i8], &mut Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    let (mut data, mut scales) = (Vec::with_capacity(values.len()), Vec::with_capacity(values.len() / GROUP * 2));
    for values in values.chunks_exact(GROUP) {
        let extreme = values.iter().fold(0.0_f32, |extreme, &v| if v.abs() > extreme.abs() { v } else { extreme });
        let group = if values.iter().all(|v| v.is_finite()) {
            round(values, extreme)
        } else {
            Group { codes: [0; GROUP], scale: NAN_F16 }
        };
        pack(&group.codes, &mut data);
        scales.extend(group.scale.to_le_bytes());
    }
    (data, scales)
}

/// The f16 number nearest to a scale, saturated.
fn scale_bits(scale: f32) -> u16 {
    f16_bits(scale.clamp(-MOST_F16, MOST_F16))
}

/// q8: the largest magnitude becomes ±127.
fn q8_group(values: &[f32], extreme: f32) -> Group {
    let nearest = |scale| Group::nearest(values, scale, -127.0, 127.0);
    let plain = scale_bits(extreme.abs() / 127.0);
    // Only where scales are subnormal numbers, and so coarse, the largest code can be another one than 127.
    if plain >= NORMAL_F16 {
        return nearest(plain);
    }
    let exact = |values: &[f32], extreme: f32| {
        let grids = (1..=127_u8).rev().map(|most| scale_bits(extreme.abs() / f32::from(most)));
        grids.map(|scale| Group::nearest(values, scale, -127.0, 127.0)).find(|group| group.is_exact(values))
    };
    exact(values, extreme).unwrap_or_else(|| {
        // One step up, nothing is cut off.
        let found = least_error(values, [plain, plain + 1].into_iter(), -127.0, 127.0);
        let rounded = nearest(found).values();
        let extreme = rounded.iter().fold(0.0_f32, |extreme, v| extreme.max(v.abs()));
        exact(&rounded, extreme).unwrap_or_else(|| nearest(found))
    })
}

/// q4: the scale with the least squared error; the largest magnitude may lie at either end of −8 to 7.
fn q4_group(values: &[f32], extreme: f32) -> Group {
    if let Some(group) = exact_q4(values, extreme) {
        return group;
    }
    let (first, step, n) = DIVISORS;
    let scales = (0..n).flat_map(|nth| {
        let divisor = first + step * f32::from(nth);
        [extreme / divisor, -extreme / (divisor + 1.0)]
    });
    let found = Group::nearest(values, least_error(values, scales.map(scale_bits), -8.0, 7.0), -8.0, 7.0);
    let rounded = found.values();
    let extreme = rounded.iter().fold(0.0_f32, |extreme, &v| if v.abs() > extreme.abs() { v } else { extreme });
    exact_q4(&rounded, extreme).unwrap_or(found)
}

/// The finest grid on which all values lie, if there is one.
fn exact_q4(values: &[f32], extreme: f32) -> Option<Group> {
    // −8 has no counterpart: there the sign of the scale is given. Elsewhere it is free, and plus.
    let grids = [-extreme / 8.0].into_iter().chain((1..=7_u8).rev().map(|most| extreme.abs() / f32::from(most)));
    // Most values are no multiple at all: one look saves the rounding of the others.
    let first = values.first().copied().unwrap_or(0.0);
    let fits = |scale: f32| scale == 0.0 || (first / scale).round_ties_even() * scale == first;
    grids
        .map(scale_bits)
        .filter(|&scale| fits(f16_value(scale)))
        .map(|scale| Group::nearest(values, scale, -8.0, 7.0))
        .find(|group| group.is_exact(values))
}

/// The scale with the least squared error; the first among equals.
fn least_error(values: &[f32], scales: impl Iterator<Item = u16>, lowest: f32, highest: f32) -> u16 {
    // Adding and subtracting it rounds to whole numbers, in instructions that every processor has for several values at once.
    const ROUND: f32 = (3 << 22) as f32;
    let mut best = (f32::INFINITY, 0);
    for bits in scales {
        let scale = f16_value(bits);
        if scale == 0.0 {
            continue;
        }
        let inverse = 1.0 / scale;
        let mut sums = [0.0_f32; 8];
        for part in values.chunks_exact(sums.len()) {
            for (sum, v) in sums.iter_mut().zip(part) {
                let code = (v * inverse).clamp(lowest, highest) + ROUND - ROUND;
                let error = code * scale - v;
                *sum += error * error;
            }
        }
        let error = sums.iter().sum();
        if error < best.0 {
            best = (error, bits);
        }
    }
    best.1
}

/// Where FP8 takes the scale of a block from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fp8Scale {
    /// A power of two, as DeepSeek-V3.2 stores them.
    PowerOfTwo,
    /// A power of two, or the one that makes the largest magnitude 448: whichever errs less.
    Best,
}

/// Rounds to FP8: codes and scales as they are stored.
pub(super) fn fp8(values: &[f32], o: usize, i: usize, kind: Fp8Scale) -> (Vec<u8>, Vec<u8>) {
    let side = WeightFormat::BLOCK;
    let mut data = vec![0; values.len()];
    let mut scales = Vec::new();
    for row in (0..o).step_by(side) {
        for column in (0..i).step_by(side) {
            let width = side.min(i - column);
            let rows = || (row..o.min(row + side)).map(|row| row * i + column);
            let block = || rows().flat_map(|at| &values[at..at + width]);
            let scale = fp8_scale(block, kind);
            for at in rows() {
                let codes = data[at..at + width].iter_mut().zip(&values[at..at + width]);
                codes.for_each(|(code, v)| *code = e4m3_bits(v / scale));
            }
            scales.extend(scale.to_le_bytes());
        }
    }
    (data, scales)
}

fn fp8_scale<'a, I: Iterator<Item = &'a f32>>(block: impl Fn() -> I, kind: Fp8Scale) -> f32 {
    let largest = block().fold(0.0_f32, |most, v| most.max(v.abs()));
    if largest == 0.0 {
        return 1.0;
    }
    let power = power_of_two(largest);
    let full = largest / 448.0;
    if kind == Fp8Scale::PowerOfTwo {
        return power;
    }
    let error = |scale: f32| -> f64 { block().map(|v| f64::from(e4m3_value(e4m3_bits(v / scale)) * scale - v).powi(2)).sum() };
    // Among equals the power of two: weights that were stored with one come back with the same codes.
    if error(full) < error(power) { full } else { power }
}

/// The smallest power of two that reaches `largest` with a code up to 448, after rounding.
fn power_of_two(largest: f32) -> f32 {
    let quotient = (largest.min(f32::MAX) / 448.0).max(f32::MIN_POSITIVE).to_bits();
    let exponent = (quotient >> 23) + u32::from(quotient & 0x7F_FFFF != 0);
    let scale = f32::from_bits(exponent << 23);
    // A value just above 224 rounds down to it, which is 448 of half the scale.
    let half = scale / 2.0;
    if half.is_normal() && e4m3_value(e4m3_bits(largest / scale)) <= 224.0 { half } else { scale }
}

#[cfg(test)]
mod tests {
    use super::super::{WeightFormat, Weights};
    use crate::kernel::random::Random;

    const FORMATS: [WeightFormat; 3] = [WeightFormat::Fp8, WeightFormat::Q8, WeightFormat::Q4];

    fn mean_square(weights: &Weights, values: &[f32]) -> f64 {
        let square = |(found, v): (&f32, &f32)| f64::from(found - v).powi(2);
        weights.dequantize().iter().zip(values).map(square).sum::<f64>() / values.len() as f64
    }

    /// Bell-shaped values, as weights are, of any size down to where f16 scales are subnormal numbers and vanish.
    fn matrices() -> Vec<Vec<f32>> {
        let mut random = Random::new(11);
        let mut matrices = Vec::new();
        for exponent in [-30, -26, -24, -22, -20, -18, -16, -12, -6, 0, 5, 15] {
            for _ in 0..8 {
                let bell = |random: &mut Random| (0..4).map(|_| random.signed()).sum::<f32>();
                matrices.push((0..130 * 160).map(|_| bell(&mut random) * 2.0_f32.powi(exponent)).collect());
            }
        }
        // Few different values: grids that several scales hit.
        let coarse = |_| (0..130 * 160).map(|_| random.below(5) as f32 - 2.0).collect();
        matrices.extend((0..8).map(coarse));
        matrices
    }

    #[test]
    fn rounding_again_changes_nothing() {
        for (matrix_idx, values) in matrices().iter().enumerate() {
            for format in FORMATS {
                let once = format.quantize(values, 130, 160);
                let again = format.quantize(&once.dequantize(), 130, 160);
                assert!(once == again, "{format:?}, matrix {matrix_idx}");
            }
            let stored = WeightFormat::quantize_fp8_by_powers_of_two(values, 130, 160);
            assert!(WeightFormat::Fp8.quantize(&stored.dequantize(), 130, 160) == stored, "matrix {matrix_idx}");
        }
    }

    /// All 4-bit codes with a scale of either sign come back, also where a smaller code is the largest.
    #[test]
    fn a_grid_is_found_whatever_its_codes_are() {
        let mut random = Random::new(3);
        for most in 1..=8 {
            for scale in [0.37_f32, -0.0123, 2.0_f32.powi(-20), 900.0] {
                let scale = super::f16_value(super::f16_bits(scale));
                let values: Vec<f32> = (0..32).map(|_| (random.below(2 * most) as f32 - most as f32) * scale).collect();
                assert_eq!(WeightFormat::Q4.quantize(&values, 1, 32).dequantize(), values, "{most} {scale}");
            }
        }
    }

    /// Against one scale that only makes the largest value fit, on bell-shaped values.
    #[test]
    fn the_search_takes_a_quarter_off_the_error_of_plain_rounding() {
        let mut random = Random::new(5);
        let values: Vec<f32> = (0..64 * 256).map(|_| (0..4).map(|_| random.signed()).sum::<f32>()).collect();
        let plain: f64 = values
            .chunks(32)
            .map(|group| {
                let scale = group.iter().fold(0.0_f32, |most, v| most.max(v.abs())) / 7.0;
                group.iter().map(|v| f64::from((v / scale).round_ties_even() * scale - v).powi(2)).sum::<f64>()
            })
            .sum::<f64>()
            / values.len() as f64;
        let found = mean_square(&WeightFormat::Q4.quantize(&values, 64, 256), &values);
        assert!(found < 0.75 * plain, "{found} of {plain}");
    }

    #[test]
    fn negated_values_err_as_much() {
        let values = Random::new(9).vector(64 * 32, 1.0);
        let negated: Vec<f32> = values.iter().map(|v| -v).collect();
        for format in FORMATS {
            let (found, expected) = (format.quantize(&negated, 64, 32), format.quantize(&values, 64, 32));
            assert_eq!(mean_square(&found, &negated), mean_square(&expected, &values), "{format:?}");
        }
    }

    #[test]
    fn what_is_no_number_spoils_its_group_alone() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut values = vec![0.5; 64];
            values[3] = bad;
            for format in [WeightFormat::Q8, WeightFormat::Q4] {
                let found = format.quantize(&values, 1, 64).dequantize();
                assert!(found[..32].iter().all(|v| v.is_nan()) && found[32..].iter().all(|v| v.is_finite()), "{format:?} {bad}");
            }
        }
        let zeros = vec![0.0; 32];
        for format in FORMATS {
            assert_eq!(format.quantize(&zeros, 1, 32).dequantize(), zeros, "{format:?}");
        }
    }
}
