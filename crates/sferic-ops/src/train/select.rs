//! Selection on the device: scores of some rows at a time, the best of them, and their bits.

use std::sync::Arc;

use burn::tensor::{DType, Int, Tensor};
use sferic_shaders::indexer::index_scores::{self, IndexScores, KeyFormat};
use sferic_shaders::indexer::top_k::{self, TopK};
use sferic_shaders::kernel::{Capabilities, KernelError};
use sferic_shaders::train::selection_bits::{self, SelectionBits};

use super::{Visible, attention::padded};
use crate::kernels::{Array, Cache, Kernel, capabilities};

/// Keys of a page, as the kernel of scores reads them.
const PAGE: usize = 64;
/// Widths of index heads are padded to a multiple of this.
const WIDTH: usize = 32;
/// Scores that are kept at a time; 64 MiB of them.
const MAX_SCORES: usize = 1 << 24;

/// Returns the `k` best tokens at or before each token by `I[t, s] = Σ_j w[t, j] · max(0, q[t, j] · keys[s])`, or nothing where the stock form is to
/// be taken.
///
/// With cooperative matrices queries and keys are rounded to f16 on their way into products.
///
/// # Shapes
/// - q: `[B, T, Hi, Di]` f32
/// - keys: `[B, T, Di]` f32
/// - weights: `[B, T, Hi]` f32
pub fn select(q: &Tensor<4>, keys: &Tensor<3>, weights: &Tensor<3>, k: usize) -> Option<Visible> {
    let device = capabilities(&q.device())?;
    // Zeros behind queries and keys change no score.
    let (q, keys) = (padded(q.clone().detach(), 3, WIDTH), padded(keys.clone().detach(), 2, WIDTH));
    let [n_batch, n_tokens, n_heads, dim] = q.dims();
    let passes = Passes::of([n_batch, n_tokens, n_heads, dim, k], &device)?;
    let keys = padded(keys, 1, PAGE);
    let pages = keys.dims()[1] / PAGE;
    let keys = Array::from_float(if passes.keys == DType::F16 { keys.cast(DType::F16) } else { keys })?;
    let (q, weights) = (Array::from_float(q)?, Array::from_float(weights.clone())?);
    let plain = q.clone().into_tensor::<4>().device();
    let whole_numbers = |range| Array::from_int(Tensor::<1, Int>::arange(range, &plain));
    let words = n_tokens.div_ceil(32);
    let bits = q.empty_like([n_batch, n_tokens, words], DType::I32);
    let scores = q.empty_like([passes.most_rows, pages * PAGE], DType::F32);
    let selected = q.empty_like([passes.most_rows, k], DType::I32);
    for part in &passes.parts {
        let first_page = (part.batch_idx * pages) as i64;
        let block_table = whole_numbers(first_page..first_page + pages as i64)?;
        let positions = whole_numbers(part.first as i64..part.end as i64)?;
        part.scores.run(&[&q, &weights, &keys, &block_table, &positions, &scores]);
        part.top_k.run(&[&scores, &positions, &selected]);
        part.bits.run(&[&selected, &bits]);
    }
    Some(Visible::Selected(bits.into_int_tensor()))
}

/// The launches of some rows of a sequence.
#[derive(Debug)]
struct Part {
    batch_idx: usize,
    first: usize,
    end: usize,
    scores: Kernel,
    top_k: Kernel,
    bits: Kernel,
}

/// The launches of all rows.
#[derive(Debug)]
struct Passes {
    keys: DType,
    most_rows: usize,
    parts: Vec<Part>,
}

impl Passes {
    fn of(sizes: [usize; 5], device: &Capabilities) -> Option<Arc<Self>> {
        static PASSES: Cache<([usize; 5], String), Passes> = Cache::new();
        PASSES.get((sizes, device.features.to_string()), |_| Self::new(sizes, device)).ok()
    }

    fn new([n_batch, n_tokens, n_heads, dim, k]: [usize; 5], device: &Capabilities) -> Result<Self, KernelError> {
        let stride = n_tokens.next_multiple_of(PAGE);
        let most_rows = (MAX_SCORES / stride).clamp(1, n_tokens);
        let format = if device.features.coopmat { KeyFormat::F16 } else { KeyFormat::F32 };
        let spec = IndexScores::best(n_heads as u32, dim as u32, format, most_rows as u32, device);
        let mut parts = Vec::new();
        for batch_idx in 0..n_batch {
            for first in (0..n_tokens).step_by(most_rows) {
                let end = n_tokens.min(first + most_rows);
                let (row, rows) = (batch_idx * n_tokens + first, (end - first) as u32);
                let scores = index_scores::Params {
                    t: rows,
                    s: n_tokens as u32,
                    q_stride: (n_heads * dim) as u32,
                    q_offset: (row * n_heads * dim) as u32,
                    w_stride: n_heads as u32,
                    w_offset: (row * n_heads) as u32,
                    scores_stride: stride as u32,
                    table_stride: 0,
                };
                let best = top_k::Params { rows, k: k as u32, stride: stride as u32 };
                let bits =
                    selection_bits::Params { rows, k: k as u32, words: n_tokens.div_ceil(32) as u32, first_row: row as u32 };
                parts.push(Part {
                    batch_idx,
                    first,
                    end,
                    scores: Kernel::new(spec.launch(scores, device)?),
                    top_k: Kernel::new(TopK::best(device).launch(best, device)?),
                    bits: Kernel::new(SelectionBits.launch(bits, device)?),
                });
            }
        }
        Ok(Self { keys: if format == KeyFormat::F16 { DType::F16 } else { DType::F32 }, most_rows, parts })
    }
}
