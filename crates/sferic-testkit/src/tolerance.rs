//! How far a result may be from the truth, derived from number format and length of the sums, and the comparison.

use burn::tensor::{DType, Tensor};

/// The largest difference allowed: `abs + rel · |expected|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tol {
    /// Absolute part.
    pub abs: f64,
    /// Part relative to the expected value.
    pub rel: f64,
}

/// Roundings besides the terms of a sum: the operands' own, the division, the scale.
const EXTRA_ROUNDINGS: usize = 4;

impl Tol {
    /// What one call of `exp` may lose, in roundings: WGSL grants `3 + 2·|x|` units in the last place, and arguments stay below 16.
    pub const EXP: usize = 35;

    /// The worst case of a sum of `n_terms` rounded products in any order: `(n_terms + 4) · u · Σ|terms|`, with `Σ|terms| = 1`.
    ///
    /// `u` is half the distance from 1 to the next number. For longer chains of operations `n_terms` is the sum over its links.
    pub fn for_reduction(dtype: DType, n_terms: usize) -> Self {
        let unit = match dtype {
            DType::F64 => f64::EPSILON / 2.0,
            DType::F32 => f64::from(f32::EPSILON) / 2.0,
            DType::BF16 => 2f64.powi(-9),
            other => panic!("no rounding is known for {other:?}"),
        };
        let bound = (n_terms + EXTRA_ROUNDINGS) as f64 * unit;
        Self { abs: bound, rel: bound }
    }

    /// Sets the largest `Σ|terms|` that occurs, from the sizes of the inputs.
    pub fn with_magnitude(self, magnitude: f64) -> Self {
        Self { abs: self.rel * magnitude, ..self }
    }
}

/// The worst element of a comparison that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Index in the flat list; the list's length where the lengths differ.
    pub index: usize,
    /// The value at that index.
    pub expected: f64,
    /// The value at that index.
    pub found: f64,
    /// The difference allowed there.
    pub allowed: f64,
}

/// Compares two lists; NaN and infinities have to stand at the same places.
///
/// # Errors
/// The element that exceeds its tolerance by the largest factor.
pub fn compare(found: &[f64], expected: &[f64], tol: Tol) -> Result<(), Mismatch> {
    if found.len() != expected.len() {
        let (found, expected) = (found.len() as f64, expected.len() as f64);
        return Err(Mismatch { index: expected as usize, expected, found, allowed: 0.0 });
    }
    let mut worst: Option<(f64, Mismatch)> = None;
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let allowed = tol.abs + tol.rel * expected.abs();
        let excess = if expected.is_finite() && found.is_finite() {
            (found - expected).abs() / allowed
        } else if found == expected || (found.is_nan() && expected.is_nan()) {
            0.0
        } else {
            f64::INFINITY
        };
        if excess > 1.0 && worst.as_ref().is_none_or(|(most, _)| excess > *most) {
            worst = Some((excess, Mismatch { index, expected, found, allowed }));
        }
    }
    worst.map_or(Ok(()), |(_, mismatch)| Err(mismatch))
}

/// Asserts that [`compare`] passes; `what` opens the message.
///
/// # Panics
/// With the worst element otherwise.
#[track_caller]
pub fn assert_agree(what: &str, found: &[f64], expected: &[f64], tol: Tol) {
    if let Err(Mismatch { index, expected, found, allowed }) = compare(found, expected, tol) {
        panic!(
            "{what}: element {index}: expected {expected}, found {found}, a difference of {:e}; allowed {allowed:e}",
            (found - expected).abs()
        );
    }
}

/// Reads a tensor of any float type as f64.
pub fn values<const N: usize>(tensor: Tensor<N>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOL: Tol = Tol { abs: 0.1, rel: 0.01 };

    #[test]
    fn the_worst_element_is_named() {
        let mismatch = compare(&[1.0, 2.3, 100.5, 4.9], &[1.0, 2.0, 100.0, 4.0], TOL).unwrap_err();
        assert_eq!((mismatch.index, mismatch.expected, mismatch.found), (3, 4.0, 4.9));
        assert_eq!(compare(&[1.05, 100.9], &[1.0, 100.0], TOL), Ok(()));
    }

    #[test]
    fn special_values_keep_their_places() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert_eq!(compare(&[nan, inf, -inf], &[nan, inf, -inf], TOL), Ok(()));
        for (found, expected) in [(nan, 1.0), (1.0, nan), (inf, 1.0), (1.0, inf), (inf, -inf), (nan, inf)] {
            assert!(compare(&[found], &[expected], TOL).is_err(), "{found} for {expected}");
        }
    }

    #[test]
    fn lengths_have_to_agree() {
        assert!(compare(&[1.0], &[1.0, 2.0], TOL).is_err());
    }

    #[test]
    fn longer_sums_and_coarser_numbers_are_allowed_more() {
        let bound = |dtype, n_terms| Tol::for_reduction(dtype, n_terms).with_magnitude(3.0).abs;
        assert!(bound(DType::F64, 100) < bound(DType::F32, 100));
        assert!(bound(DType::F32, 100) < bound(DType::F32, 101));
        assert_eq!(bound(DType::F32, 124), 3.0 * 128.0 * 2f64.powi(-24));
    }
}
