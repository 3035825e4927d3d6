//! The forward pass of training (spec §6).

use burn::module::ParamId;
use burn::tensor::{Int, Tensor};
use sferic_ops::train;

use super::{Model, Options};

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
            let (next, indexer_kl) = layer.forward_train(h, &step, sparse, with_indexer);
            h = next;
            losses.extend(indexer_kl);
        }
        let n_layers = losses.len();
        let indexer_kl = losses.into_iter().reduce(Tensor::add).map(|sum| sum.div_scalar(n_layers as f64));
        TrainForward { hidden: self.norm.forward(h), indexer_kl }
    }

    /// Returns the summed cross-entropy of some rows with the gradients of `scale` times it, and the parameter that the head's belongs to; nothing
    /// where kernels are not to be used or do not fit.
    ///
    /// # Shapes
    /// - hidden: `[R, D]`, after the final norm
    /// - targets: `[R]`
    pub fn head_gradients(
        &self,
        hidden: &Tensor<2>,
        targets: &Tensor<1, Int>,
        scale: f64,
    ) -> Option<(train::HeadGradients, ParamId)> {
        let weight = match &self.lm_head {
            Some(head) if head.bias.is_some() => return None,
            Some(head) => &head.weight,
            None => &self.embed_tokens.weight,
        };
        if self.config.logits_scale() != 1.0 {
            return None;
        }
        Some((train::head_gradients(hidden, &weight.val(), targets, scale)?, weight.id))
    }
}
