//! Multi-head latent attention: the expanded (MHA) and the absorbed (MQA) forms, dense and over selected rows (spec §2.4).

use burn::tensor::{Bool, Int, Tensor, activation};

use crate::{MASKED, host, select::Selection};

/// Attention in the expanded form, where every head has its own keys and values.
///
/// `o_h = softmax(scale · q_h · k_hᵀ) · v_h` over the tokens that `mask` allows.
///
/// # Shapes
/// - q, k: `[B, T, H, Dn + Dr]`, `[B, S, H, Dn + Dr]`
/// - v: `[B, S, H, Dv]`
/// - mask: `[B, T, S]` or `[1, T, S]`, true where attention is allowed; every row allows at least one token
/// - returns: the output `[B, T, H, Dv]` and the probabilities `[B, H, T, S]`
///
/// # Cost
/// `2 · B · T · S · H · (Dn + Dr + Dv)` FLOPs.
pub fn mha(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Tensor<3, Bool>, scale: f64) -> (Tensor<4>, Tensor<4>) {
    let [_, _, n_heads, _] = q.dims();
    let scores = q.swap_dims(1, 2).matmul(k.permute([0, 2, 3, 1])).mul_scalar(scale); // [B, H, T, S]
    let [n_batch, _, n_tokens, n_context] = scores.dims();
    let hidden: Tensor<4, Bool> = mask.bool_not().unsqueeze_dim::<4>(1).expand([n_batch, n_heads, n_tokens, n_context]);
    let probabilities = activation::softmax(scores.mask_fill(hidden, MASKED), 3);
    let output = probabilities.clone().matmul(v.swap_dims(1, 2)).swap_dims(1, 2); // [B, T, H, Dv]
    (output, probabilities)
}

/// Attention in the absorbed form over the selected rows, where all heads read the same latent rows.
///
/// `u_h = softmax(scale · q_h · rows[S_t]ᵀ) · rows[S_t][.., 0..C]` for the tokens `S_t` of the selection.
/// A row is `[c | kr]`, so keys and values are the same memory (spec §5.6).
///
/// # Shapes
/// - q: `[B, T, H, C + Dr]`
/// - rows: `[B, S, C + Dr]`
/// - selection: `[B, T, K]`
/// - returns: `[B, T, H, C]`
///
/// # Cost
/// `2 · B · T · K · H · (2C + Dr)` FLOPs; the gathered rows take `B · T · K · (C + Dr)` floats, and none on the CPU.
pub fn sparse_mqa(q: Tensor<4>, rows: Tensor<3>, selection: &Selection, d_latent: usize, scale: f64) -> Tensor<4> {
    if let Some(u) = host::sparse_mqa(&q, &rows, selection, d_latent, scale) {
        return u;
    }
    let [n_batch, n_tokens, n_heads, width] = q.dims();
    let [_, _, n_selected] = selection.indices.dims();
    let gathered = gather_rows(rows, selection) // [B·T, K, C+Dr]
        .reshape([n_batch * n_tokens, n_selected, width]);
    let hidden: Tensor<3, Bool> = selection.valid().bool_not().reshape([n_batch * n_tokens, 1, n_selected]).expand([
        n_batch * n_tokens,
        n_heads,
        n_selected,
    ]);
    let scores = q.reshape([n_batch * n_tokens, n_heads, width]).matmul(gathered.clone().swap_dims(1, 2)).mul_scalar(scale); // [B·T, H, K]
    let probabilities = activation::softmax(scores.mask_fill(hidden, MASKED), 2);
    probabilities.matmul(gathered.narrow(2, 0, d_latent)).reshape([n_batch, n_tokens, n_heads, d_latent])
}

/// Attention in the absorbed form over every token that `mask` allows.
///
/// # Shapes
/// - q: `[B, T, H, C + Dr]`
/// - rows: `[B, S, C + Dr]`
/// - mask: `[B, T, S]` or `[1, T, S]`, true where attention is allowed
/// - returns: `[B, T, H, C]`
pub fn dense_mqa(q: Tensor<4>, rows: Tensor<3>, mask: Tensor<3, Bool>, d_latent: usize, scale: f64) -> Tensor<4> {
    let [n_batch, n_tokens, n_heads, width] = q.dims();
    let n_context = rows.dims()[1];
    let scores = q
        .reshape([n_batch, n_tokens * n_heads, width])
        .matmul(rows.clone().swap_dims(1, 2))
        .mul_scalar(scale)
        .reshape([n_batch, n_tokens, n_heads, n_context]);
    let hidden: Tensor<4, Bool> = mask.bool_not().unsqueeze_dim::<4>(2).expand([n_batch, n_tokens, n_heads, n_context]);
    let probabilities = activation::softmax(scores.mask_fill(hidden, MASKED), 3);
    probabilities
        .reshape([n_batch, n_tokens * n_heads, n_context])
        .matmul(rows.narrow(2, 0, d_latent))
        .reshape([n_batch, n_tokens, n_heads, d_latent])
}

/// Gathers the selected rows; unfilled slots read row 0 and must be masked by the caller.
///
/// # Shapes
/// - rows: `[B, S, W]`
/// - returns: `[B · T · K, W]`
fn gather_rows(rows: Tensor<3>, selection: &Selection) -> Tensor<2> {
    let [n_batch, n_context, width] = rows.dims();
    let [_, n_tokens, n_selected] = selection.indices.dims();
    let device = rows.device();
    let batch_offset = Tensor::<1, Int>::arange(0..n_batch as i64, &device).mul_scalar(n_context as i64).reshape([n_batch, 1, 1]);
    let flat = selection.indices.clone().clamp_min(0).add(batch_offset).reshape([n_batch * n_tokens * n_selected]);
    rows.reshape([n_batch * n_context, width]).select(0, flat)
}
