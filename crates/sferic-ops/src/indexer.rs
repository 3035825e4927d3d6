//! Scores of the lightning indexer (spec §3.1), and the loss that it learns from (spec §6.3).

use burn::tensor::{Bool, Device, Tensor, TensorData, activation};

use crate::{host, select::Selection};

/// Index scores outside the support: far below any real score, and finite.
const OUTSIDE: f32 = -1.0e30;
/// Keeps `ln p` finite where `p` underflows; the term itself is zero there.
const TINY: f32 = 1.0e-30;

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

/// Selects for each query the `k` tokens with the best index scores: [`Selection::top_k`] of [`index_scores`].
///
/// # Shapes
/// - q: `[B, T, Hi, Di]`, the first token at position `start`
/// - keys: `[B, S, Di]` with `S >= start + T`
/// - weights: `[B, T, Hi]`
/// - returns: `[B, T, min(k, S)]`
pub fn index_select(q: Tensor<4>, keys: Tensor<3>, weights: Tensor<3>, start: usize, k: usize) -> Selection {
    match host::select(&q, &keys, &weights, start, k) {
        Some(selection) => selection,
        None => Selection::top_k(index_scores(q, keys, weights), start, k),
    }
}

/// Returns `mean_t KL(p_t || softmax(I_t))` on the support, with the head-averaged attention, which is a constant, as the target.
///
/// `lengths` says how many tokens of each row are not padding, all where it is absent; the mean is over these.
///
/// # Shapes
/// - scores: `[B, T, S]`
/// - probabilities: `[B, H, T, S]`
/// - mask: `[B, T, S]` or `[1, T, S]`, true on the support
/// - lengths: `[B]`
/// - returns: `[1]`
pub fn indexer_kl(scores: Tensor<3>, probabilities: Tensor<4>, mask: Tensor<3, Bool>, lengths: Option<&[usize]>) -> Tensor<1> {
    let [n_batch, n_tokens, n_context] = scores.dims();
    let target: Tensor<3> = probabilities.detach().mean_dim(1).reshape([n_batch, n_tokens, n_context]);
    let outside: Tensor<3, Bool> = mask.bool_not().expand([n_batch, n_tokens, n_context]);
    let log_pi = activation::log_softmax(scores.mask_fill(outside, OUTSIDE), 2);
    let log_p = target.clone().clamp_min(TINY).log();
    let kl = target.mul(log_p.sub(log_pi)).sum_dim(2).reshape([n_batch, n_tokens]);
    match lengths {
        None => kl.mean(),
        Some(lengths) => {
            let padding = padding(lengths, [n_batch, n_tokens], &kl.device());
            kl.mask_fill(padding, 0.0).sum().div_scalar(n_queries(lengths) as f64)
        }
    }
}

/// `[B, T]`: whether a token is padding.
pub(crate) fn padding(lengths: &[usize], [n_batch, n_tokens]: [usize; 2], device: &Device) -> Tensor<2, Bool> {
    let length = |row: usize| lengths.get(row).copied().unwrap_or(n_tokens);
    let values = (0..n_batch).flat_map(|row| (0..n_tokens).map(move |token| token >= length(row)));
    Tensor::from_data(TensorData::new(values.collect::<Vec<bool>>(), [n_batch, n_tokens]), device)
}

/// The tokens that are not padding; one where there are none, so that a mean over them is zero.
pub(crate) fn n_queries(lengths: &[usize]) -> usize {
    lengths.iter().sum::<usize>().max(1)
}
