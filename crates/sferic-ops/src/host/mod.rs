//! The two steps of sparse attention that grow with the context, fused, for tensors in the host's memory.
//!
//! In stock operations the scores of every head and the gathered rows of every token are tensors of their own: tens of megabytes that are
//! written and read again for each chunk of a prompt. Here a few tokens at a time stay in the caches of the processor, and threads share the
//! tokens. Sums are formed in another order than in the stock form, which is the oracle.
//!
//! Each operation returns nothing where it does not fit: f32 on the CPU device without autodiff, a batch of one.

mod attention;
mod scores;
mod simd;

use std::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::backend::{BackendTensor, DispatchTensorKind, Flex};
use burn::tensor::{DType, Tensor, TensorData};
use rayon::prelude::*;

use crate::select::{Finder, Selection};

/// Tokens whose scores one thread holds at a time.
const TILE: usize = 8;

/// The values of a tensor, row-major. They share its memory, unless that had gaps.
struct Values {
    tensor: FloatTensor<Flex>,
    range: Range<usize>,
}

impl Values {
    fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        if tensor.dtype() != DType::F32 {
            return None;
        }
        let DispatchTensorKind::Flex(BackendTensor::Float(tensor)) = tensor.clone().into_dispatch().kind else {
            return None;
        };
        let tensor = if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() };
        let start = tensor.layout().start_offset();
        let range = start..start + tensor.layout().num_elements();
        Some(Self { tensor, range })
    }

    fn get(&self) -> &[f32] {
        self.tensor.storage::<f32>().get(self.range.clone()).unwrap_or_default()
    }
}

/// Selects for each query the `k` tokens with the best index scores, or nothing where the stock form is to be taken.
///
/// # Shapes
/// - q: `[1, T, Hi, Di]`, the first token at position `start`
/// - keys: `[1, S, Di]` with `S >= start + T`
/// - weights: `[1, T, Hi]`
/// - returns: `[1, T, min(k, S)]`
///
/// # Cost
/// Scores take `TILE · S` floats for each thread, and the keys are copied once.
pub(crate) fn select(q: &Tensor<4>, keys: &Tensor<3>, weights: &Tensor<3>, start: usize, k: usize) -> Option<Selection> {
    let [n_batch, n_tokens, n_heads, dim] = q.dims();
    let [_, n_context, _] = keys.dims();
    let width = k.min(n_context);
    // To arrange the keys costs as much as a few tokens do.
    if n_batch != 1 || n_tokens < TILE || n_heads * dim * width == 0 {
        return None;
    }
    let device = q.device();
    let (q, keys, weights) = (Values::of(q)?, Values::of(keys)?, Values::of(weights)?);
    let panels = scores::Panels::new(keys.get(), dim);
    let (q, weights) = (q.get(), weights.get());
    let mut selected = vec![-1; n_tokens * width];
    let tiles =
        selected.par_chunks_mut(TILE * width).zip(q.par_chunks(TILE * n_heads * dim)).zip(weights.par_chunks(TILE * n_heads));
    tiles.enumerate().for_each_init(
        || (Vec::new(), Finder::<f32>::default()),
        |(scores, finder), (tile_idx, ((selected, q), weights))| {
            let first = start + tile_idx * TILE;
            let n_tokens = selected.len() / width;
            let stride = panels.padded((first + n_tokens).min(n_context));
            scores.resize(n_tokens * stride, 0.0);
            scores::score(q, weights, n_heads, &panels, scores);
            for (i, (row, slots)) in scores.chunks_exact(stride).zip(selected.chunks_exact_mut(width)).enumerate() {
                finder.find(&row[..(first + i + 1).min(n_context)], slots);
            }
        },
    );
    Some(Selection { indices: Tensor::from_data(TensorData::new(selected, [1, n_tokens, width]), &device) })
}

/// Attends to the selected rows in the absorbed form, or nothing where the stock form is to be taken.
///
/// # Shapes
/// - as in [`crate::attention::sparse_mqa`], with `B = 1`; every row of the selection holds a token
pub(crate) fn sparse_mqa(
    q: &Tensor<4>,
    rows: &Tensor<3>,
    selection: &Selection,
    d_latent: usize,
    scale: f64,
) -> Option<Tensor<4>> {
    let [n_batch, n_tokens, n_heads, width] = q.dims();
    let [_, _, n_selected] = selection.indices.dims();
    if n_batch != 1 || n_tokens * n_heads * d_latent * n_selected == 0 {
        return None;
    }
    let device = q.device();
    let (q, rows) = (Values::of(q)?, Values::of(rows)?);
    let indices = selection.indices.clone().into_data().convert::<i32>();
    let indices = indices.as_slice::<i32>().ok()?;
    let mut u = vec![0.0; n_tokens * n_heads * d_latent];
    let block = attention::Block { rows: rows.get(), width, d_latent, n_heads, scale: scale as f32 };
    let tokens =
        u.par_chunks_mut(n_heads * d_latent).zip(q.get().par_chunks(n_heads * width)).zip(indices.par_chunks(n_selected));
    tokens.for_each_init(attention::Scratch::default, |scratch, ((u, q), selected)| block.attend(q, selected, scratch, u));
    Some(Tensor::from_data(TensorData::new(u, [1, n_tokens, n_heads, d_latent]), &device))
}

#[cfg(test)]
mod tests;
