//! Linear layers and the gated activation, with weights in the checkpoint's `[out, in]` layout.

use burn::tensor::{Tensor, activation};

#[cfg(not(target_family = "wasm"))]
use crate::train;

/// Returns `y = x · Wᵀ`.
///
/// # Shapes
/// - x: `[B, T, in]`
/// - weight: `[out, in]`
/// - returns: `[B, T, out]`
///
/// # Cost
/// `2 · B · T · in · out` FLOPs.
pub fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    #[cfg(not(target_family = "wasm"))]
    if let Some(y) = train::linear(&x, &weight) {
        return y;
    }
    let [n_batch, n_tokens, d_in] = x.dims();
    let [d_out, _] = weight.dims();
    if n_batch == 1 {
        let y = x.reshape([n_tokens, d_in]).matmul(weight.transpose());
        return y.reshape([1, n_tokens, d_out]);
    }
    // A batch stays a batch: the weight's gradient is then one product per sequence and a sum, which fills a GPU,
    // where a single product over all rows has too few output tiles.
    x.matmul(weight.transpose().unsqueeze())
}

/// Returns `silu(gate) * up`, the SwiGLU activation of every feed-forward block (spec §4.3).
///
/// # Shapes
/// - gate, up, returned: the same shape.
pub fn silu_mul<const N: usize>(gate: Tensor<N>, up: Tensor<N>) -> Tensor<N> {
    #[cfg(not(target_family = "wasm"))]
    if let Some(h) = train::silu_mul(&gate, &up) {
        return h;
    }
    activation::silu(gate).mul(up)
}
