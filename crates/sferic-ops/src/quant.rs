//! The Hadamard transform and FP8 quantisation of the index path and the latent cache (spec §§2.6, 3.4, 3.5), simulated in float tensors.

use burn::tensor::{DType, Tensor, TensorData};

/// Largest finite e4m3 value.
const E4M3_MAX: f64 = 448.0;
/// Floor of a block's largest magnitude, so that an all-zero block has a finite scale (spec §3.5).
const AMAX_FLOOR: f64 = 1e-4;

/// Returns `x · H_n · n^(−1/2)` over the last dimension, with Sylvester's (natural) order.
///
/// The transform is orthogonal and its own inverse, so it cancels in a dot product of two transformed vectors.
/// `n` must be a power of two; `Config` checks `index_head_dim` when it is read.
///
/// # Shapes
/// - x, returned: `[B, T, H, n]`
///
/// # Source
/// Spec §3.4.
pub fn hadamard(x: Tensor<4>) -> Tensor<4> {
    let [n_batch, n_tokens, n_heads, n] = x.dims();
    debug_assert!(n.is_power_of_two());
    let n_vectors = n_batch * n_tokens * n_heads;
    let mut y = x;
    let mut stride = 1;
    while stride < n {
        let pairs: Tensor<4> = y.reshape([n_vectors, n / (2 * stride), 2, stride]);
        let a = pairs.clone().narrow(2, 0, 1);
        let b = pairs.narrow(2, 1, 1);
        y = Tensor::cat(vec![a.clone().add(b.clone()), a.sub(b)], 2);
        stride *= 2;
    }
    y.reshape([n_batch, n_tokens, n_heads, n]).mul_scalar((n as f64).powf(-0.5))
}

/// Rounds every element to the nearest e4m3 value, ties to even, saturating at ±448 (spec §3.5).
///
/// # Shapes
/// - x, returned: any, the same.
pub fn round_e4m3<const N: usize>(x: Tensor<N>) -> Tensor<N> {
    map_values(x, |v| {
        let v = v.clamp(-E4M3_MAX, E4M3_MAX);
        // The grid spacing: 3 mantissa bits below the exponent, and 2^-9 in the subnormal range.
        let exponent = if v == 0.0 { -6 } else { exponent_of(v).max(-6) };
        let step = (exponent as f64 - 3.0).exp2();
        (v / step).round_ties_even() * step
    })
}

/// Rounds every element to the nearest BF16 value, ties to even; values are those of normal BF16 numbers, or zero.
///
/// # Shapes
/// - x, returned: any, the same.
pub fn round_bf16<const N: usize>(x: Tensor<N>) -> Tensor<N> {
    map_values(x, |v| {
        // 7 mantissa bits below the exponent.
        let step = if v == 0.0 { 1.0 } else { (exponent_of(v) as f64 - 7.0).exp2() };
        (v / step).round_ties_even() * step
    })
}

/// Quantises to e4m3 with a power-of-two scale per `block` values and back: `act_quant` followed by its inverse.
///
/// The last block of a row may be short.
///
/// # Shapes
/// - x, returned: `[B, T, H, n]`
///
/// # Source
/// Spec §3.5 (`ue8m0`): `scale = 2^ceil(log2(max(amax, 1e-4) / 448))`.
pub fn act_quant(x: Tensor<4>, block: usize) -> Tensor<4> {
    let n = x.dims()[3];
    let pieces = (0..n)
        .step_by(block)
        .map(|start| {
            let piece = x.clone().narrow(3, start, block.min(n - start));
            let amax = piece.clone().abs().max_dim(3);
            let scale = map_values(amax, ue8m0_scale);
            round_e4m3(piece.div(scale.clone())).mul(scale)
        })
        .collect();
    Tensor::cat(pieces, 3)
}

/// Returns the power-of-two scale of a block whose largest magnitude is `amax`.
pub fn ue8m0_scale(amax: f64) -> f64 {
    let ratio = amax.max(AMAX_FLOOR) / E4M3_MAX;
    let floor = (exponent_of(ratio) as f64).exp2();
    if ratio > floor { floor * 2.0 } else { floor }
}

/// Returns `floor(log2 |v|)` exactly, from the bits of a normal `v`.
fn exponent_of(v: f64) -> i64 {
    ((v.to_bits() >> 52) & 0x7ff) as i64 - 1023
}

/// Applies `f` to every element on the host.
///
/// The simulation of an 8-bit format needs bit-exact rounding, which GPU shading languages do not promise for their logarithms.
fn map_values<const N: usize>(x: Tensor<N>, f: impl Fn(f64) -> f64) -> Tensor<N> {
    let (device, dtype, shape) = (x.device(), x.dtype(), x.shape());
    let values: Vec<f64> = x.detach().into_data().convert_dtype(DType::F64).iter::<f64>().map(f).collect();
    Tensor::from_data(TensorData::new(values, shape).convert_dtype(dtype), (&device, dtype))
}
