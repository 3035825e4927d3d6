//! Vectors of f32 in the widest registers that the processor has, and what the loops of this folder make of them.

use macerator::{Scalar, Simd, VSelect, Vector, vload_unaligned, vstore_unaligned};

/// A register of f32.
pub type Lanes<S> = Vector<S, f32>;

/// The first values of a slice, as many as a register has. The slice is not shorter.
#[inline(always)]
#[expect(unsafe_code, reason = "macerator loads from pointers alone; the length is checked in front of it")]
pub fn load<S: Simd>(values: &[f32]) -> Lanes<S> {
    let values = &values[..S::lanes32()];
    // SAFETY: the slice has as many values as the register.
    unsafe { vload_unaligned(values.as_ptr()) }
}

/// Writes a register over the first values of a slice, which is not shorter.
#[inline(always)]
#[expect(unsafe_code, reason = "macerator stores to pointers alone; the length is checked in front of it")]
pub fn store<S: Simd>(values: &mut [f32], lanes: Lanes<S>) {
    let values = &mut values[..S::lanes32()];
    // SAFETY: the slice has as many values as the register.
    unsafe { vstore_unaligned(values.as_mut_ptr(), lanes) }
}

/// A register of one value.
#[inline(always)]
pub fn splat<S: Simd>(value: f32) -> Lanes<S> {
    value.splat()
}

/// The larger of a value and a bound; NaN stays NaN.
#[inline(always)]
pub fn at_least<S: Simd>(value: Lanes<S>, bound: Lanes<S>) -> Lanes<S> {
    f32::vselect(value.lt(bound), bound, value)
}

/// `e^x` to 2 units in the last place, for `x <= 0`. Below −87 it is `e^(−87)`, which is 10⁻³⁸; NaN stays NaN.
///
/// `x = n · ln 2 + r` with `|r| <= ln 2 / 2`; a polynomial gives `e^r`, and `n` goes into the exponent's bits.
#[inline(always)]
pub fn exp<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    /// Added to a small number it rounds it to an integer, which is left in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    /// `ln 2` in two parts, the first of which has few bits, so that its product with `n` is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// Taylor's coefficients from `r⁷` down to `r²`.
    const COEFFICIENTS: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];
    let x = at_least(x, splat(-87.0));
    let rounded = x.mul_add(splat(std::f32::consts::LOG2_E), splat(ROUNDER));
    let n = rounded - splat(ROUNDER);
    let r = n.mul_add(splat(-LN_2[0]), x);
    let r = n.mul_add(splat(-LN_2[1]), r);
    let mut series: Lanes<S> = splat(COEFFICIENTS[0]);
    for c in &COEFFICIENTS[1..] {
        series = series.mul_add(r, splat(*c));
    }
    let e = (series * r).mul_add(r, r) + splat(1.0);
    let n: Vector<S, i32> = S::typed(*rounded);
    let e: Vector<S, i32> = S::typed(*e);
    let scaled = e + (n << 23);
    S::typed(*scaled)
}
