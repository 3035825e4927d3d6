//! Normalisation layers (spec §2.1).

use burn::tensor::Tensor;

#[cfg(not(target_family = "wasm"))]
use crate::train;

/// Returns `y = g · x / sqrt(mean(x²) + eps)` over the last dimension.
///
/// # Shapes
/// - x: `[B, T, D]`
/// - weight: `[D]`
/// - returns: `[B, T, D]`
///
/// # Source
/// Spec §2.1: the whole computation in one precision, the weight applied before any rounding.
pub fn rms_norm(x: Tensor<3>, weight: Tensor<1>, eps: f64) -> Tensor<3> {
    #[cfg(not(target_family = "wasm"))]
    if let Some(y) = train::rms_norm(&x, &weight, eps) {
        return y;
    }
    let mean_square = x.clone().square().mean_dim(2);
    x.div(mean_square.add_scalar(eps).sqrt()).mul(weight.unsqueeze())
}

/// Returns `y = g · (x − mean) / sqrt(var + eps) + b` over the last dimension, with the biased variance.
///
/// # Shapes
/// - x: `[B, T, D]`
/// - weight, bias: `[D]`
/// - returns: `[B, T, D]`
///
/// # Source
/// Spec §2.1: the indexer's `k_norm`, and nothing else, is a LayerNorm; its eps is 1e-6.
pub fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    let centred = x.clone().sub(x.mean_dim(2));
    let variance = centred.clone().square().mean_dim(2);
    centred.div(variance.add_scalar(eps).sqrt()).mul(weight.unsqueeze()).add(bias.unsqueeze())
}
