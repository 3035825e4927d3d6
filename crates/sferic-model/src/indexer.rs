//! The lightning indexer (spec §3; report eq. 1).

use burn::{module::Module, tensor::Tensor};
use sferic_ops::{
    indexer::{index_scores, index_select},
    quant,
    rope::{RopeLayout, Rotation},
    select::Selection,
};

use crate::{
    attention::Step,
    config::{Config, IndexerConfig},
    load::{Loader, TensorSource},
    model::{CacheFormat, Options},
    modules::{LayerNorm, Linear},
};

/// Width of an FP8 quantisation block of index queries and keys (spec §3.5).
const INDEX_BLOCK: usize = 128;

/// Scores every past token for every query: `I[t, s] = Σ_h w[t, h] · ReLU(q[t, h] · k[s])`.
#[derive(Module, Debug)]
pub struct Indexer {
    /// `W^{QI}`: `[Hi · Di, q_lora_rank]`, rows head-major, the first `Dr` of a head rotated.
    pub wq_b: Linear,
    /// `W^{KI}`: `[Di, D]`
    pub wk: Linear,
    /// LayerNorm of the key.
    pub k_norm: LayerNorm,
    /// `W^w`: `[Hi, D]`
    pub weights_proj: Linear,
    /// Number of heads, `Hi`.
    #[module(skip)]
    pub index_n_heads: usize,
    /// Head width, `Di`.
    #[module(skip)]
    pub index_head_dim: usize,
    /// Rotated width, `Dr`.
    #[module(skip)]
    pub qk_rope_head_dim: usize,
    /// Selected tokens, `K`.
    #[module(skip)]
    pub index_topk: usize,
    /// Pair layout of the rotation.
    #[module(skip)]
    pub rope_layout: RopeLayout,
}

impl Indexer {
    pub(crate) fn load<S: TensorSource>(
        config: &Config,
        indexer: &IndexerConfig,
        rank: usize,
        loader: &mut Loader<S>,
        prefix: &str,
    ) -> Result<Self, S::Error> {
        let (n_heads, dim) = (indexer.index_n_heads, indexer.index_head_dim);
        Ok(Self {
            wq_b: loader.linear(&format!("{prefix}.wq_b"), n_heads * dim, rank, false)?,
            wk: loader.linear(&format!("{prefix}.wk"), dim, config.hidden_size, false)?,
            k_norm: loader.layer_norm(&format!("{prefix}.k_norm"), dim, indexer.k_norm_eps)?,
            weights_proj: loader.linear(&format!("{prefix}.weights_proj"), n_heads, config.hidden_size, false)?,
            index_n_heads: n_heads,
            index_head_dim: dim,
            qk_rope_head_dim: config.qk_rope_head_dim,
            index_topk: indexer.index_topk,
            rope_layout: indexer.rope_layout,
        })
    }

    /// Returns the index keys `k^I` of new tokens, as they are cached.
    ///
    /// # Shapes
    /// - x: `[B, T, D]`, after `input_layernorm`
    /// - returns: `[B, T, Di]`
    pub fn keys(&self, x: Tensor<3>, rotation: &Rotation, options: &Options) -> Tensor<3> {
        let [n_batch, n_tokens, _] = x.dims();
        let k = self.k_norm.forward(self.wk.forward(x)); // [B, T, Di]
        let k = k.reshape([n_batch, n_tokens, 1, self.index_head_dim]);
        self.encode(k, rotation, options).reshape([n_batch, n_tokens, self.index_head_dim])
    }

    /// Returns the scores `I[t, s]` of every cached token, future ones included.
    ///
    /// # Shapes
    /// - x: `[B, T, D]`, after `input_layernorm`
    /// - qr: `[B, T, q_lora_rank]`, the normalised query latent shared with the main attention
    /// - keys: `[B, S, Di]`
    /// - returns: `[B, T, S]`
    pub fn scores(&self, x: Tensor<3>, qr: Tensor<3>, keys: Tensor<3>, rotation: &Rotation, options: &Options) -> Tensor<3> {
        index_scores(self.queries(qr, rotation, options), keys, self.weights(x))
    }

    /// Selects the `index_topk` tokens with the best scores for each query; the first query stands at the step's start.
    ///
    /// # Shapes
    /// - x, qr, keys: as in [`Indexer::scores`]
    /// - returns: `[B, T, K]`
    pub(crate) fn select(&self, x: Tensor<3>, qr: Tensor<3>, keys: Tensor<3>, step: &Step) -> Selection {
        let q = self.queries(qr, &step.index_rotation, &step.options);
        index_select(q, keys, self.weights(x), step.start, self.index_topk)
    }

    /// Returns the index queries `q^I`.
    ///
    /// # Shapes
    /// - qr: `[B, T, q_lora_rank]`
    /// - returns: `[B, T, Hi, Di]`
    pub fn queries(&self, qr: Tensor<3>, rotation: &Rotation, options: &Options) -> Tensor<4> {
        let [n_batch, n_tokens, _] = qr.dims();
        let q = self.wq_b.forward(qr); // [B, T, Hi·Di]
        self.encode(q.reshape([n_batch, n_tokens, self.index_n_heads, self.index_head_dim]), rotation, options)
    }

    /// Returns the weights of the index queries with their constants.
    ///
    /// # Shapes
    /// - x: `[B, T, D]`, after `input_layernorm`
    /// - returns: `[B, T, Hi]`
    pub fn weights(&self, x: Tensor<3>) -> Tensor<3> {
        // Both constants are kept although they do not change the order: they set the temperature of the KL softmax (spec §3.2).
        let scale = ((self.index_n_heads * self.index_head_dim) as f64).powf(-0.5);
        self.weights_proj.forward(x).mul_scalar(scale)
    }

    /// Rotates the first `Dr` components, then applies the optional Hadamard transform and FP8 rounding.
    fn encode(&self, v: Tensor<4>, rotation: &Rotation, options: &Options) -> Tensor<4> {
        let d_rope = self.qk_rope_head_dim;
        let rotated = rotation.apply(v.clone().narrow(3, 0, d_rope), self.rope_layout);
        let mut v = if d_rope < self.index_head_dim {
            Tensor::cat(vec![rotated, v.narrow(3, d_rope, self.index_head_dim - d_rope)], 3)
        } else {
            rotated
        };
        if options.hadamard && self.index_head_dim.is_power_of_two() {
            v = quant::hadamard(v);
        }
        match options.index_format {
            CacheFormat::F32 => v,
            CacheFormat::Fp8 => quant::act_quant(v, INDEX_BLOCK),
        }
    }
}
