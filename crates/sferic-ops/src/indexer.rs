//! Scores of the lightning indexer (spec §3.1).

use burn::tensor::{Tensor, activation};

/// Returns `I[t, s] = Σ_h w[t, h] · max(0, q[t, h] · k[s])`.
///
/// The constants `Hi^(−1/2) · Di^(−1/2)` belong to `weights`.
///
/// # Shapes
/// - q: `[B, T, Hi, Di]`
/// - k: `[B, S, Di]`
/// - weights: `[B, T, Hi]`
/// - returns: `[B, T, S]`
///
/// # Cost
/// `2 · B · T · S · Hi · (Di + 1)` FLOPs; the per-head scores take `B · T · Hi · S` floats.
///
/// # Source
/// DeepSeek-V3.2-Exp report, eq. 1; spec §3.1.
pub fn index_scores(q: Tensor<4>, k: Tensor<3>, weights: Tensor<3>) -> Tensor<3> {
    let [n_batch, n_tokens, n_heads, dim] = q.dims();
    let n_context = k.dims()[1];
    let per_head = q.reshape([n_batch, n_tokens * n_heads, dim]).matmul(k.swap_dims(1, 2)); // [B, T·Hi, S]
    let relu = activation::relu(per_head).reshape([n_batch, n_tokens, n_heads, n_context]);
    relu.mul(weights.unsqueeze_dim(3)) // [B, T, Hi, S]
        .sum_dim(2)
        .reshape([n_batch, n_tokens, n_context])
}
