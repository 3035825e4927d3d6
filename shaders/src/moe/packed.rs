//! Packed hidden values on the host, for cases: what [`Hidden::Packed`](super::Hidden::Packed) says, value by value.

use crate::kernel::WeightFormat;

/// Codes of a group reach to this.
const LARGEST: f32 = 32512.0;

/// Where the code of value `k` of a token's `n` stands: the words of its two bytes, and the bit where they begin.
///
/// A word of weights has values `2b` and `2b + 1` in byte `b`; so the words of codes are the high bytes of the four even values, those of the odd
/// ones, and their low bytes.
fn place(token: usize, k: usize, n: usize) -> ([usize; 2], usize) {
    let groups = n / WeightFormat::GROUP;
    let (group, in_group) = (k / WeightFormat::GROUP, k % WeightFormat::GROUP);
    let (plane, in_eight) = (in_group / 8, in_group % 8);
    let vector = 4 * ((5 * token + plane) * groups + group);
    let word = vector + in_eight % 2;
    ([word, word + 2], 8 * (in_eight / 2))
}

/// The word of the scale of a group; what products start from is behind it.
fn scale_place(token: usize, group: usize, n: usize) -> usize {
    4 * ((5 * token + 4) * (n / WeightFormat::GROUP) + group)
}

/// Packs `[T, n]` values; returns the words, and the values that they stand for.
pub(super) fn packed(values: &[f32], n: usize) -> (Vec<u32>, Vec<f32>) {
    let mut words = vec![0; values.len() / 32 * 20];
    let mut rounded = Vec::with_capacity(values.len());
    for (number, group) in values.chunks_exact(WeightFormat::GROUP).enumerate() {
        let (token, first) = (number * WeightFormat::GROUP / n, number * WeightFormat::GROUP % n);
        let scale = group.iter().fold(0.0_f32, |most, v| most.max(v.abs())) / LARGEST;
        let mut total = 0;
        for (k, value) in group.iter().enumerate() {
            let code = if scale > 0.0 { (value / scale).round() as i32 } else { 0 };
            let ([high, low], bit) = place(token, first + k, n);
            words[high] |= u32::from(((code + 128) >> 8) as u8) << bit;
            words[low] |= u32::from(code as u8) << bit;
            rounded.push(code as f32 * scale);
            total += code;
        }
        let at = scale_place(token, first / WeightFormat::GROUP, n);
        words[at] = scale.to_bits();
        words[at + 1] = (-8 * total) as u32;
    }
    (words, rounded)
}

/// The values that words of `tokens` times `n` values stand for; the error names a group whose start is not that of its codes.
pub(super) fn unpacked(words: &[u32], tokens: u32, n: u32) -> Result<Vec<f32>, String> {
    let (tokens, n) = (tokens as usize, n as usize);
    let mut values = Vec::with_capacity(tokens * n);
    for token in 0..tokens {
        for group in 0..n / WeightFormat::GROUP {
            let at = scale_place(token, group, n);
            let mut total = 0;
            for k in 0..WeightFormat::GROUP {
                let ([high, low], bit) = place(token, group * WeightFormat::GROUP + k, n);
                let byte = |word: usize| i32::from((words[word] >> bit) as u8 as i8);
                let code = 256 * byte(high) + byte(low);
                values.push(code as f32 * f32::from_bits(words[at]));
                total += code;
            }
            if words[at + 1] as i32 != -8 * total {
                return Err(format!(
                    "group {group} of token {token} starts from {}, expected {}",
                    words[at + 1] as i32,
                    -8 * total
                ));
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::{packed, unpacked};

    #[test]
    fn packed_values_come_back() {
        let values: Vec<f32> = (0..128).map(|k| (k as f32 * 0.7).sin() * if k < 96 { 3.0 } else { 0.0 }).collect();
        let (words, rounded) = packed(&values, 64);
        assert_eq!(unpacked(&words, 2, 64), Ok(rounded.clone()));
        assert!(values.iter().zip(&rounded).all(|(a, b)| (a - b).abs() <= 0.51 * 3.0 / 32512.0));
        let mut damaged = words;
        damaged[0] ^= 1;
        assert!(unpacked(&damaged, 2, 64).is_err());
    }
}
