//! Conversions between stored bytes and numbers. Files are little-endian and need no alignment.

use half::{bf16, f16};

use crate::Dtype;

/// Stored bytes that are converted at a time, so that counting and progress see values that are still in the processor's cache.
const CHUNK_BYTES: usize = 1 << 18;

/// Returns the little-endian bytes of values in `F32`, `BF16` or `F16` (round to nearest, ties to even); `None` for other types.
#[must_use]
pub fn bytes_from_f32(values: &[f32], dtype: Dtype) -> Option<Vec<u8>> {
    match dtype {
        Dtype::F32 => Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Dtype::Bf16 => Some(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()),
        Dtype::F16 => Some(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()),
        _ => None,
    }
}

/// Returns the little-endian bytes of `I64` values.
#[must_use]
pub fn bytes_from_i64(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Returns the little-endian bytes of `I32` values.
#[must_use]
pub fn bytes_from_i32(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Appends the values of `F32`, `BF16` or `F16` bytes to `out`; returns `false`, and appends nothing, for other types.
///
/// `chunk_done` is called with the values of each piece and the bytes they came from.
pub(crate) fn append_f32(bytes: &[u8], dtype: Dtype, out: &mut Vec<f32>, chunk_done: impl FnMut(&[f32], usize)) -> bool {
    match dtype {
        Dtype::F32 => append(bytes, f32::from_le_bytes, out, chunk_done),
        Dtype::Bf16 => append(bytes, |b| bf16::from_le_bytes(b).to_f32(), out, chunk_done),
        Dtype::F16 => append(bytes, |b| f16::from_le_bytes(b).to_f32(), out, chunk_done),
        _ => return false,
    }
    true
}

/// Appends one value per N bytes, piece by piece.
fn append<const N: usize>(
    bytes: &[u8],
    value: impl Fn([u8; N]) -> f32,
    out: &mut Vec<f32>,
    mut chunk_done: impl FnMut(&[f32], usize),
) {
    for chunk in bytes.chunks(CHUNK_BYTES) {
        let begin = out.len();
        out.extend(elements(chunk, &value));
        chunk_done(out.get(begin..).unwrap_or_default(), chunk.len());
    }
}

/// Iterates over the values of N bytes each.
pub(crate) fn elements<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> impl Iterator<Item = T> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.iter().map(move |element| value(*element))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn round_trip(values: &[f32], dtype: Dtype) -> Vec<f32> {
        let mut out = Vec::new();
        assert!(append_f32(&bytes_from_f32(values, dtype).unwrap(), dtype, &mut out, |_, _| ()));
        out
    }

    /// 1 + 2^-8 lies between the BF16 neighbours 1 and 1 + 2^-7; 1 + 3 * 2^-8 between 1 + 2^-7 and 1 + 2^-6. Even is below and above.
    #[test]
    fn bf16_rounds_ties_to_even() {
        let ulp = 2f32.powi(-7);
        assert_eq!(round_trip(&[1.0 + ulp / 2.0, 1.0 + 1.5 * ulp], Dtype::Bf16), [1.0, 1.0 + 2.0 * ulp]);
    }

    #[test]
    fn f16_rounds_ties_to_even_and_overflows_to_infinity() {
        let ulp = 2f32.powi(-10);
        let values = [1.0 + ulp / 2.0, 1.0 + 1.5 * ulp, 65520.0, 2f32.powi(-24)];
        assert_eq!(round_trip(&values, Dtype::F16), [1.0, 1.0 + 2.0 * ulp, f32::INFINITY, 2f32.powi(-24)]);
    }

    #[test]
    fn pieces_cover_a_long_tensor_once() {
        let values: Vec<f32> = (0..200_000).map(|i| i as f32).collect();
        let bytes = bytes_from_f32(&values, Dtype::F32).unwrap();
        let (mut out, mut n_bytes, mut n_values, mut n_pieces) = (Vec::new(), 0, 0, 0);
        append_f32(&bytes, Dtype::F32, &mut out, |values, bytes| {
            n_values += values.len();
            n_bytes += bytes;
            n_pieces += 1;
        });
        assert_eq!(out, values);
        assert_eq!((n_values, n_bytes), (values.len(), bytes.len()));
        assert!(n_pieces > 1);
    }

    #[test]
    fn other_types_are_refused() {
        assert!(bytes_from_f32(&[1.0], Dtype::I32).is_none());
        let mut out = Vec::new();
        assert!(!append_f32(&[0; 8], Dtype::F64, &mut out, |_, _| ()));
        assert!(out.is_empty());
    }
}
