//! The forward pass of training (spec §6).

use std::collections::BTreeMap;

use burn::module::{Module, ParamId};
use burn::tensor::{Int, Tensor};
use sferic_ops::train;

use super::{Model, Options};
use crate::attention::{Step, TrainAttention};
use crate::layer::{DecoderLayer, LayerOutput};

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

/// A batch of whole sequences to train on.
#[derive(Clone, Debug)]
pub struct TrainInput {
    /// `[B, T]`
    pub token_ids: Tensor<2, Int>,
    /// `[B, T]`: for each token the row index of the first token of its document, which never falls along a row; attention stays within a document.
    /// Absent where a row is one document.
    ///
    /// Selections are made within rows, not documents: with documents attention is dense in every mode, which is the same where none is longer than
    /// the selection.
    pub documents: Option<Tensor<2, Int>>,
    /// `[B]`: tokens of each row that are not padding; all when absent. Padding, at the ends of rows, is no query of the indexer's loss.
    pub lengths: Option<Vec<usize>>,
    /// Experts of the mixture layers, by layer, `[B · T, A]`: those that sampling chose, which stay the token's whatever the router has learnt
    /// since (Keep Routing, spec §7.3 (3)). Rows that begin with a negative number, and layers that are missing, choose by themselves.
    pub experts: BTreeMap<usize, Tensor<2, Int>>,
}

impl From<Tensor<2, Int>> for TrainInput {
    fn from(token_ids: Tensor<2, Int>) -> Self {
        Self { token_ids, documents: None, lengths: None, experts: BTreeMap::new() }
    }
}

/// What every layer of one training pass shares.
pub(crate) struct TrainStep {
    pub step: Step,
    /// As in [`TrainInput::documents`].
    pub documents: Option<Tensor<2, Int>>,
    /// As in [`TrainInput::lengths`]; absent where nothing is padding.
    pub lengths: Option<Vec<usize>>,
    pub sparse: bool,
    pub with_indexer: bool,
}

/// The result of a training pass.
#[derive(Clone, Debug)]
pub struct TrainForward {
    /// `[B, T, D]`, after the final norm.
    pub hidden: Tensor<3>,
    /// The indexer's KL divergence, the mean over tokens that are not padding and over layers with an indexer; `[1]`.
    pub indexer_kl: Option<Tensor<1>>,
    /// Experts of the mixture layers, by layer, `[B · T, A]`.
    pub experts: BTreeMap<usize, Tensor<2, Int>>,
}

impl Model {
    /// Runs a batch of whole sequences from position 0.
    ///
    /// Gradients of `hidden` reach everything but the indexers, and gradients of `indexer_kl` reach the indexers alone:
    /// the indexer's inputs and its target are detached.
    pub fn forward_train(&self, input: impl Into<TrainInput>, indexer: IndexerTraining) -> TrainForward {
        let TrainInput { token_ids, documents, lengths, experts: mut kept } = input.into();
        let n_tokens = token_ids.dims()[1];
        let mut h = self.embed(token_ids);
        let pass = TrainStep {
            step: self.step(&h, 0, n_tokens, &Options::default()),
            sparse: indexer == IndexerTraining::Sparse && documents.is_none(),
            with_indexer: indexer != IndexerTraining::Off,
            documents,
            lengths: lengths.filter(|lengths| lengths.iter().any(|&length| length < n_tokens)),
        };
        let (mut losses, mut experts) = (Vec::new(), BTreeMap::new());
        for (layer_idx, layer) in self.layers.iter().enumerate() {
            let trained = layer.forward_train(h, &pass, kept.remove(&layer_idx));
            h = trained.output.0;
            experts.extend(trained.output.1.map(|chosen| (layer_idx, chosen)));
            losses.extend(trained.indexer_kl);
        }
        let n_layers = losses.len();
        let indexer_kl = losses.into_iter().reduce(Tensor::add).map(|sum| sum.div_scalar(n_layers as f64));
        TrainForward { hidden: self.norm.forward(h), indexer_kl, experts }
    }

    /// Returns the model with gradients for its indexers alone (spec §6.1: everything else is frozen).
    ///
    /// What takes no gradient is not kept for the backward pass.
    #[must_use]
    pub fn with_frozen_trunk(self) -> Self {
        self.set_require_grad(false).with_indexers(true)
    }

    /// Returns the model without gradients for its indexers, for training on the language-model loss alone.
    #[must_use]
    pub fn with_frozen_indexers(self) -> Self {
        self.with_indexers(false)
    }

    fn with_indexers(mut self, trainable: bool) -> Self {
        for layer in &mut self.layers {
            layer.self_attn.indexer = layer.self_attn.indexer.take().map(|indexer| indexer.set_require_grad(trainable));
        }
        self
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

/// What a layer's training pass returns.
struct LayerTraining {
    output: LayerOutput,
    indexer_kl: Option<Tensor<1>>,
}

impl DecoderLayer {
    /// Runs a batch of whole sequences for training, in a mixture on the experts in `kept`, where there are some.
    fn forward_train(&self, h: Tensor<3>, pass: &TrainStep, kept: Option<Tensor<2, Int>>) -> LayerTraining {
        let x = self.input_layernorm.forward(h.clone());
        let TrainAttention { output, indexer_kl } = self.self_attn.forward_train(x, pass);
        LayerTraining { output: self.feed_forward(self.residual(h, output), kept), indexer_kl }
    }
}
