//! What single tokens attend to, beside what the indexer thinks of it.

use burn::tensor::{Bool, Int, Tensor, TensorData, activation};
use sferic_ops::indexer::index_scores;

use super::{Attention, Queries, Step};
use crate::cache::Rows;

/// The score of a token that is not seen: far below any real one, and finite.
const UNSEEN: f32 = -1.0e30;
/// Scores of all heads that are held at a time; 64 MiB of them.
const MAX_SCORES: usize = 1 << 24;

/// What some tokens of a text attend to in one layer, and the scores that its indexer gives.
#[derive(Clone, Debug)]
pub struct Observation {
    /// `p[t, s] = 1/H Σ_h softmax_s(score_h[t, s])`, dense attention of all heads together; `[R, S]`, zero after a token's own position.
    pub attention: Tensor<2>,
    /// `I[t, s]`, `[R, S]`; what stands after a token's own position means nothing. Absent in layers without an indexer.
    pub scores: Option<Tensor<2>>,
}

impl Attention {
    /// Observes the tokens at `positions` of a whole text.
    ///
    /// A few tokens are computed at a time, so that nothing of the size `S × S` is made.
    ///
    /// # Shapes
    /// - x: `[1, S, D]`, after `input_layernorm`
    /// - positions: `[R]`, below `S`
    pub(crate) fn observe(&self, x: Tensor<3>, positions: &[usize], step: &Step) -> Observation {
        let n_context = x.dims()[1];
        let queries = self.queries(x.clone(), &step.rotation);
        let rows = self.latent_rows(x.clone(), step); // [1, S, C+Dr]
        let index = self.indexer.as_ref().zip(queries.qr.clone()).map(|(indexer, qr)| {
            let q = indexer.queries(qr, &step.index_rotation, &step.options);
            (q, indexer.keys(x.clone(), &step.index_rotation, &step.options), indexer.weights(x))
        });
        let at_once = (MAX_SCORES / (self.dims.n_heads * n_context)).max(1);
        let (mut attention, mut scores) = (Vec::new(), Vec::new());
        for block in positions.chunks(at_once) {
            let at: Vec<i32> = block.iter().map(|&position| position as i32).collect();
            let at = Tensor::<1, Int>::from_data(TensorData::new(at, [block.len()]), &rows.device());
            let picked = Queries {
                nope: queries.nope.clone().select(1, at.clone()),
                rope: queries.rope.clone().select(1, at.clone()),
                qr: None,
            };
            attention.push(self.attended(picked, rows.clone(), block));
            if let Some((q, keys, weights)) = index.clone() {
                let found = index_scores(q.select(1, at.clone()), keys, weights.select(1, at));
                scores.push(found.reshape([block.len(), n_context]));
            }
        }
        Observation { attention: Tensor::cat(attention, 0), scores: index.map(|_| Tensor::cat(scores, 0)) }
    }

    /// The index scores of what tokens have selected that are cached already; nothing in a layer without an indexer of its own.
    ///
    /// # Shapes
    /// - x: `[1, T, D]`, after `input_layernorm`
    /// - indices: `[1, T, K]`
    /// - returns: `[1, T, K]`
    pub(crate) fn selected_scores(&self, x: Tensor<3>, step: &Step, index: &Rows, indices: &Tensor<3, Int>) -> Option<Tensor<3>> {
        let n_tokens = x.dims()[1];
        let n_context = step.start + n_tokens;
        let (indexer, qr) = self.indexer.as_ref().zip(self.query_rows(x.clone()).1)?;
        let keys = index.upto(n_context)?;
        let q = indexer.queries(qr, &step.index_rotation, &step.options);
        let weights = indexer.weights(x);
        let at_once = (MAX_SCORES / (q.dims()[2] * n_context)).max(1);
        let blocks = (0..n_tokens).step_by(at_once).map(|first| {
            let n = at_once.min(n_tokens - first);
            let (q, weights) = (q.clone().narrow(1, first, n), weights.clone().narrow(1, first, n));
            let indices = indices.clone().narrow(1, first, n).clamp_min(0);
            index_scores(q, keys.clone(), weights).gather(2, indices)
        });
        Some(Tensor::cat(blocks.collect(), 1))
    }

    /// Attention of all heads together, in the absorbed form.
    ///
    /// # Shapes
    /// - rows: `[1, S, C + Dr]`
    /// - returns: `[R, S]`
    fn attended(&self, queries: Queries, rows: Tensor<3>, positions: &[usize]) -> Tensor<2> {
        let (n_heads, n_rows, n_context) = (self.dims.n_heads, positions.len(), rows.dims()[1]);
        let unseen: Vec<bool> = positions.iter().flat_map(|&position| (0..n_context).map(move |s| s > position)).collect();
        let unseen: Tensor<3, Bool> = Tensor::from_data(TensorData::new(unseen, [n_rows, 1, n_context]), &rows.device());
        let q = self.absorb_queries(queries); // [1, R, H, C+Dr]
        let width = q.dims()[3];
        let scores = q.reshape([1, n_rows * n_heads, width]).matmul(rows.swap_dims(1, 2)).mul_scalar(self.dims.scale);
        let scores = scores.reshape([n_rows, n_heads, n_context]).mask_fill(unseen.expand([n_rows, n_heads, n_context]), UNSEEN);
        activation::softmax(scores, 2).mean_dim(1).reshape([n_rows, n_context])
    }
}
