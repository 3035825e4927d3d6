//! Attention of training, on kernels where they fit.

use burn::tensor::{Bool, Int, Tensor};
use sferic_ops::{
    attention::mha,
    indexer::{index_scores, indexer_kl},
    select::{Selection, causal_mask},
    train,
};

use super::{Attention, Dims};
use crate::model::TrainStep;

/// The result of a training pass through one block.
pub(crate) struct TrainAttention {
    /// `[B, T, D]`
    pub output: Tensor<3>,
    /// The loss of a block's indexer, the mean over tokens that are not padding (spec §6.3); `[1]`
    pub indexer_kl: Option<Tensor<1>>,
}

/// What the indexer makes of detached inputs.
#[derive(Clone)]
struct Index {
    /// `[B, T, Hi, Di]`
    q: Tensor<4>,
    /// `[B, T, Di]`
    k: Tensor<3>,
    /// `[B, T, Hi]`
    weights: Tensor<3>,
}

impl Attention {
    /// Runs a whole batch of sequences from position 0 in the expanded form.
    ///
    /// The indexer sees detached inputs: it learns from its own loss alone (spec §6.2).
    pub(crate) fn forward_train(&self, x: Tensor<3>, pass: &TrainStep) -> TrainAttention {
        let step = &pass.step;
        let (q, qr) = self.query_rows(x.clone());
        let a = self.kv_a_proj_with_mqa.forward(x.clone()); // [B, T, C+Dr]
        let indexer = self.indexer.as_ref().filter(|_| pass.with_indexer).zip(qr.clone());
        let index = indexer.map(|(indexer, qr)| {
            let (x, rotation, options) = (x.detach(), &step.index_rotation, &step.options);
            Index {
                q: indexer.queries(qr.detach(), rotation, options),
                k: indexer.keys(x.clone(), rotation, options),
                weights: indexer.weights(x),
            }
        });
        let (u, indexer_kl) = match self.streamed(&q, &a, pass, index.as_ref()) {
            Some(found) => found,
            None => {
                let queries = self.rotated(q, qr, &step.rotation);
                let (q, k, v) = self.heads(queries, self.cached_rows(a, step));
                self.whole(q, k, v, index, pass)
            }
        };
        TrainAttention { output: self.o_proj.forward(self.concatenated(u)), indexer_kl }
    }

    /// Attention of training and the indexer's loss on kernels, or nothing where the stock form is to be taken.
    ///
    /// # Shapes
    /// - q: `[B, T, H · (Dn + Dr)]`, before the rotation
    /// - a: `[B, T, C + Dr]`, before the norm and the rotation
    fn streamed(
        &self,
        q: &Tensor<3>,
        a: &Tensor<3>,
        pass: &TrainStep,
        index: Option<&Index>,
    ) -> Option<(Tensor<4>, Option<Tensor<1>>)> {
        let Dims { n_heads, d_nope, d_rope, d_value, d_latent, scale, rope_layout } = self.dims;
        if !train::fits(&q.device()) {
            return None;
        }
        let visible = match (index, &self.indexer, &pass.documents) {
            (_, _, Some(documents)) => train::Visible::Documents(documents.clone()),
            (Some(index), Some(indexer), None) if pass.sparse && q.dims()[1] > indexer.index_topk => {
                train::select(&index.q, &index.k, &index.weights, indexer.index_topk)?
            }
            _ => train::Visible::Causal,
        };
        let latent = self.kv_a_layernorm.forward(a.clone().narrow(2, 0, d_latent)); // c^{KV}
        let kv = self.kv_b_proj.forward(latent);
        let rows = train::Rows { q: q.clone(), kv, key: a.clone().narrow(2, d_latent, d_rope) };
        let block = train::Block { n_heads, d_nope, d_value, scale, layout: rope_layout };
        let attended = train::latent_attention(&rows, &pass.step.rotation, &block, &visible)?;
        let indexer_kl = match index.cloned() {
            Some(Index { q, k, weights }) => Some(attended.indexer_kl(q, k, weights, pass.lengths.as_deref())?),
            None => None,
        };
        Some((attended.output, indexer_kl))
    }

    /// Attention of training and the indexer's loss in stock operations, with scores and probabilities of all pairs of tokens.
    fn whole(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        index: Option<Index>,
        pass: &TrainStep,
    ) -> (Tensor<4>, Option<Tensor<1>>) {
        let n_tokens = q.dims()[1];
        let scores = index.map(|Index { q, k, weights }| index_scores(q, k, weights));
        let mask = match (&scores, &self.indexer) {
            (Some(scores), Some(indexer)) if pass.sparse && n_tokens > indexer.index_topk => {
                Selection::top_k(scores.clone(), 0, indexer.index_topk).to_mask(n_tokens)
            }
            _ => {
                let causal: Tensor<3, Bool> = causal_mask(n_tokens, n_tokens, 0, &q.device()).unsqueeze_dim(0);
                match &pass.documents {
                    Some(documents) => causal.bool_and(same_document(documents)),
                    None => causal,
                }
            }
        };
        let (u, probabilities) = mha(q, k, v, mask.clone(), self.dims.scale);
        (u, scores.map(|scores| indexer_kl(scores, probabilities, mask, pass.lengths.as_deref())))
    }
}

/// `[B, T, T]`: whether token `s` is not before the document of token `t`.
fn same_document(documents: &Tensor<2, Int>) -> Tensor<3, Bool> {
    let n_tokens = documents.dims()[1];
    let tokens = Tensor::<1, Int>::arange(0..n_tokens as i64, &documents.device()).reshape([1, 1, n_tokens]);
    documents.clone().unsqueeze_dim::<3>(2).lower_equal(tokens)
}
