//! One decoder layer (spec §4.1).

use burn::{
    module::Module,
    tensor::{Int, Tensor},
};
use sferic_ops::select::Selection;

use crate::{
    attention::{Attention, Step},
    cache::LayerCache,
    config::Config,
    feed_forward::FeedForward,
    load::{Loader, TensorSource},
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

/// Hidden states, `[B, T, D]`, and the experts of a mixture, `[B · T, A]`.
pub(crate) type LayerOutput = (Tensor<3>, Option<Tensor<2, Int>>);

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
    /// - h: `[B, T, D]`
    pub(crate) fn prefill(
        &self,
        h: Tensor<3>,
        step: &Step,
        cache: &mut LayerCache,
        selection: &mut Option<Selection>,
    ) -> LayerOutput {
        let attended = self.self_attn.prefill(self.input_layernorm.forward(h.clone()), step, cache, selection);
        self.feed_forward(self.residual(h, attended), None)
    }

    /// Runs one new token.
    ///
    /// # Shapes
    /// - h: `[B, 1, D]`
    pub(crate) fn decode(
        &self,
        h: Tensor<3>,
        step: &Step,
        cache: &mut LayerCache,
        selection: &mut Option<Selection>,
    ) -> LayerOutput {
        let attended = self.self_attn.decode(self.input_layernorm.forward(h.clone()), step, cache, selection);
        self.feed_forward(self.residual(h, attended), None)
    }

    pub(crate) fn feed_forward(&self, h: Tensor<3>, kept: Option<Tensor<2, Int>>) -> LayerOutput {
        let (y, experts) = self.mlp.forward(self.post_attention_layernorm.forward(h.clone()), kept);
        (self.residual(h, y), experts)
    }

    pub(crate) fn residual(&self, h: Tensor<3>, branch: Tensor<3>) -> Tensor<3> {
        if self.residual_scale == 1.0 { h.add(branch) } else { h.add(branch.mul_scalar(self.residual_scale)) }
    }
}
