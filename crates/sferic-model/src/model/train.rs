//! The forward pass of training (spec §6).

use burn::tensor::{Bool, Int, Tensor, activation};

use super::{Model, Options};
use crate::attention::TrainAttention;

/// Index scores outside the support: far below any real score, and finite.
const OUTSIDE: f32 = -1.0e30;
/// Keeps `ln p` finite where `p` underflows; the term itself is zero there.
const TINY: f32 = 1.0e-30;

/// What the indexer does during a training pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexerTraining {
    /// It is not run; attention is dense.
    Off,
    /// Dense attention; the indexer learns the whole attention distribution (stage 1, spec §6.1).
    DenseWarmup,
    /// Attention over the selected tokens; the indexer learns the distribution on them (stage 2, spec §6.2).
    Sparse,
}

/// The result of a training pass.
#[derive(Clone, Debug)]
pub struct TrainForward {
    /// `[B, T, D]`, after the final norm.
    pub hidden: Tensor<3>,
    /// The indexer's KL divergence, the mean over rows and over layers with an indexer; `[1]`.
    pub indexer_kl: Option<Tensor<1>>,
}

impl Model {
    /// Runs a batch of whole sequences from position 0.
    ///
    /// Gradients of `hidden` reach everything but the indexers, and gradients of `indexer_kl` reach the indexers alone:
    /// the indexer's inputs and its target are detached.
    ///
    /// # Shapes
    /// - token_ids: `[B, T]`
    pub fn forward_train(&self, token_ids: Tensor<2, Int>, indexer: IndexerTraining) -> TrainForward {
        let mut h = self.embed(token_ids);
        let step = self.step(&h, 0, h.dims()[1], &Options::default());
        let (sparse, with_indexer) = (indexer == IndexerTraining::Sparse, indexer != IndexerTraining::Off);
        let mut losses = Vec::new();
        for layer in &self.layers {
            let (next, trained) = layer.forward_train(h, &step, sparse, with_indexer);
            h = next;
            losses.extend(indexer_kl(trained));
        }
        let n_layers = losses.len();
        let indexer_kl = losses.into_iter().reduce(Tensor::add).map(|sum| sum.div_scalar(n_layers as f64));
        TrainForward { hidden: self.norm.forward(h), indexer_kl }
    }
}

/// Returns `mean_t KL(p_t || softmax(I_t))` on the support, with the head-averaged attention as the target (spec §6.3).
fn indexer_kl(trained: TrainAttention) -> Option<Tensor<1>> {
    let scores = trained.scores?;
    let [n_batch, n_tokens, n_context] = scores.dims();
    let target: Tensor<3> = trained.probabilities.detach().mean_dim(1).reshape([n_batch, n_tokens, n_context]);
    let outside: Tensor<3, Bool> = trained.mask.bool_not().expand([n_batch, n_tokens, n_context]);
    let log_pi = activation::log_softmax(scores.mask_fill(outside, OUTSIDE), 2);
    let log_p = target.clone().clamp_min(TINY).log();
    let kl = target.mul(log_p.sub(log_pi)).sum_dim(2); // [B, T, 1]
    Some(kl.mean())
}
