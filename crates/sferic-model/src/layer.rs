//! One decoder layer (spec §4.1).

use burn::{module::Module, tensor::Tensor};
use sferic_ops::select::Selection;

use crate::{
    attention::{Attention, Step, TrainAttention},
    cache::LayerCache,
    config::Config,
    feed_forward::FeedForward,
    load::{Loader, TensorSource},
    model::TrainStep,
    modules::RmsNorm,
};

/// `h += attention(norm(h)); h += feed_forward(norm(h))`.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Attention.
    pub self_attn: Attention,
    /// Feed-forward block.
    pub mlp: FeedForward,
    /// Norm before attention.
    pub input_layernorm: RmsNorm,
    /// Norm before the feed-forward block.
    pub post_attention_layernorm: RmsNorm,
    /// Factor on both branches; 1 except in MiniCPM3.
    #[module(skip)]
    pub residual_scale: f64,
}

impl DecoderLayer {
    pub(crate) fn load<S: TensorSource>(config: &Config, layer_idx: usize, loader: &mut Loader<S>) -> Result<Self, S::Error> {
        let prefix = format!("model.layers.{layer_idx}");
        let norm = |loader: &mut Loader<S>, name: &str| {
            loader.rms_norm(&format!("{prefix}.{name}"), config.hidden_size, config.rms_norm_eps)
        };
        Ok(Self {
            input_layernorm: norm(loader, "input_layernorm")?,
            self_attn: Attention::load(config, layer_idx, loader, &format!("{prefix}.self_attn"))?,
            post_attention_layernorm: norm(loader, "post_attention_layernorm")?,
            mlp: FeedForward::load(config, layer_idx, loader, &format!("{prefix}.mlp"))?,
            residual_scale: config.residual_scale(),
        })
    }

    /// Runs a chunk of new tokens.
    ///
    /// # Shapes
    /// - h, returned: `[B, T, D]`
    pub(crate) fn prefill(
        &self,
        h: Tensor<3>,
        step: &Step,
        cache: &mut LayerCache,
        selection: &mut Option<Selection>,
    ) -> Tensor<3> {
        let attended = self.self_attn.prefill(self.input_layernorm.forward(h.clone()), step, cache, selection);
        self.feed_forward(self.residual(h, attended))
    }

    /// Runs one new token.
    ///
    /// # Shapes
    /// - h, returned: `[B, 1, D]`
    pub(crate) fn decode(
        &self,
        h: Tensor<3>,
        step: &Step,
        cache: &mut LayerCache,
        selection: &mut Option<Selection>,
    ) -> Tensor<3> {
        let attended = self.self_attn.decode(self.input_layernorm.forward(h.clone()), step, cache, selection);
        self.feed_forward(self.residual(h, attended))
    }

    /// Runs a batch of whole sequences for training; returns the new hidden states and the indexer's loss.
    pub(crate) fn forward_train(&self, h: Tensor<3>, pass: &TrainStep) -> (Tensor<3>, Option<Tensor<1>>) {
        let x = self.input_layernorm.forward(h.clone());
        let TrainAttention { output, indexer_kl } = self.self_attn.forward_train(x, pass);
        (self.feed_forward(self.residual(h, output)), indexer_kl)
    }

    fn feed_forward(&self, h: Tensor<3>) -> Tensor<3> {
        let y = self.mlp.forward(self.post_attention_layernorm.forward(h.clone()));
        self.residual(h, y)
    }

    fn residual(&self, h: Tensor<3>, branch: Tensor<3>) -> Tensor<3> {
        if self.residual_scale == 1.0 { h.add(branch) } else { h.add(branch.mul_scalar(self.residual_scale)) }
    }
}
