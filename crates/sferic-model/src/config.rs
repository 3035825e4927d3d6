//! The model configuration: `config.json` of every supported family, normalised.

mod read;
mod tensors;
mod write;

use sferic_ops::{
    moe::Routing,
    rope::{RopeLayout, Yarn},
};

pub use tensors::TensorSpec;

/// The model families that share this definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelType {
    /// DeepSeek-V3.2-Exp and V3.2: sparse attention.
    DeepseekV32,
    /// DeepSeek-V3, V3.1 and R1: dense MLA.
    DeepseekV3,
    /// DeepSeek-V2 and V2-Lite: dense MLA, softmax routing.
    DeepseekV2,
    /// GLM-5: sparse attention, selections shared between layers.
    GlmMoeDsa,
    /// GLM-4.7-Flash: dense MLA.
    Glm4MoeLite,
    /// Youtu-LLM: dense MLA and dense feed-forward blocks.
    Youtu,
    /// MiniCPM3: dense MLA with scaled embeddings, residuals and head.
    Minicpm3,
}

impl ModelType {
    /// Every family with its name in `config.json`.
    pub const ALL: [(&'static str, ModelType); 7] = [
        ("deepseek_v32", ModelType::DeepseekV32),
        ("deepseek_v3", ModelType::DeepseekV3),
        ("deepseek_v2", ModelType::DeepseekV2),
        ("glm_moe_dsa", ModelType::GlmMoeDsa),
        ("glm4_moe_lite", ModelType::Glm4MoeLite),
        ("youtu", ModelType::Youtu),
        ("minicpm3", ModelType::Minicpm3),
    ];

    /// Returns the family's `model_type` in `config.json`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, t)| *t == self).map_or("unknown", |(name, _)| name)
    }
}

/// Where a layer's selection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexerType {
    /// The layer runs its own indexer.
    Full,
    /// The layer reuses the selection of the last `Full` layer before it (GLM-5).
    Shared,
}

/// Rotary embedding settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the geometric frequencies.
    pub rope_theta: f64,
    /// Context extension, if any.
    pub yarn: Option<Yarn>,
    /// Factor on cosines and sines; 1 for every DeepSeek model.
    pub attention_factor: f64,
    /// `mscale`, kept for writing `config.json` again.
    pub mscale: Option<f64>,
    /// `mscale_all_dim`: its correction sits in the softmax scale (spec §2.3).
    pub mscale_all_dim: Option<f64>,
}

/// The lightning indexer's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexerConfig {
    /// Number of indexer heads, `Hi`.
    pub index_n_heads: usize,
    /// Width of an indexer head, `Di`.
    pub index_head_dim: usize,
    /// Tokens selected per query, `K`.
    pub index_topk: usize,
    /// Per layer: own indexer or shared selection.
    pub indexer_types: Vec<IndexerType>,
    /// Pair layout of the indexer's rotary embedding (spec §3.3).
    pub rope_layout: RopeLayout,
    /// Context extension of the indexer's frequencies: the model's own.
    pub yarn: Option<Yarn>,
    /// Epsilon of `k_norm`: 1e-6, not a key of `config.json` (spec §2.1).
    pub k_norm_eps: f64,
}

/// The experts' settings.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeConfig {
    /// Routed experts, `E`.
    pub n_routed_experts: usize,
    /// Shared experts, always on; they form one block of `n_shared_experts` times the width.
    pub n_shared_experts: usize,
    /// Width of one expert, `I`.
    pub moe_intermediate_size: usize,
    /// How experts are chosen.
    pub routing: Routing,
    /// Whether the router carries `e_score_correction_bias`.
    pub has_correction_bias: bool,
}

/// A model's configuration; fields are the keys of `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family.
    pub model_type: ModelType,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Model width, `D`.
    pub hidden_size: usize,
    /// Width of a dense feed-forward block.
    pub intermediate_size: usize,
    /// Decoder layers, MTP layers not counted.
    pub num_hidden_layers: usize,
    /// Attention heads, `H`.
    pub num_attention_heads: usize,
    /// Rank of the query projection; absent in DeepSeek-V2-Lite.
    pub q_lora_rank: Option<usize>,
    /// Rank of the latent, `C`.
    pub kv_lora_rank: usize,
    /// Head width without rotation, `Dn`.
    pub qk_nope_head_dim: usize,
    /// Rotated head width, `Dr`.
    pub qk_rope_head_dim: usize,
    /// Value head width, `Dv`.
    pub v_head_dim: usize,
    /// Context length in tokens.
    pub max_position_embeddings: usize,
    /// Epsilon of the layer and final norms.
    pub rms_norm_eps: f64,
    /// Epsilon of `q_a_layernorm` and `kv_a_layernorm`: 1e-6 in every family, whatever `rms_norm_eps` says; not a key of `config.json`.
    pub latent_norm_eps: f64,
    /// Whether the attention projections carry biases.
    pub attention_bias: bool,
    /// Whether the head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Rotary embedding.
    pub rope: Rope,
    /// Pair layout of the main attention's rotary embedding.
    pub rope_layout: RopeLayout,
    /// Per layer: whether its feed-forward block is a mixture of experts.
    pub moe_layers: Vec<bool>,
    /// The experts, if any layer has them.
    pub moe: Option<MoeConfig>,
    /// The indexer; absent in dense families.
    pub indexer: Option<IndexerConfig>,
    /// Factor on embeddings (MiniCPM3), else 1.
    pub scale_emb: f64,
    /// Residual depth scale (MiniCPM3); the branch factor is `scale_depth / sqrt(num_hidden_layers)`.
    pub scale_depth: Option<f64>,
    /// Base width of the head's scale (MiniCPM3); logits are computed from `h · dim_model_base / hidden_size`.
    pub dim_model_base: Option<usize>,
    /// Standard deviation of freshly initialised matrices.
    pub initializer_range: f64,
    /// Beginning-of-sequence token.
    pub bos_token_id: Option<u32>,
    /// End-of-sequence tokens.
    pub eos_token_id: Vec<u32>,
}

impl Config {
    /// Returns the width of a query or key head, `Dn + Dr`.
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// Returns the width of a latent cache row, `C + Dr`.
    pub fn latent_width(&self) -> usize {
        self.kv_lora_rank + self.qk_rope_head_dim
    }

    /// Returns the softmax scale `σ = (Dn + Dr)^(−1/2) · m²` (spec §2.3).
    ///
    /// `m = 0.1 · mscale_all_dim · ln(factor) + 1` with YaRN and `mscale_all_dim`, else 1.
    pub fn softmax_scale(&self) -> f64 {
        let m = match (&self.rope.yarn, self.rope.mscale_all_dim) {
            (Some(yarn), Some(mscale)) if mscale != 0.0 => yarn_mscale(yarn.factor, mscale),
            _ => 1.0,
        };
        (self.qk_head_dim() as f64).powf(-0.5) * m * m
    }

    /// Returns the factor on each residual branch.
    pub fn residual_scale(&self) -> f64 {
        self.scale_depth.map_or(1.0, |depth| depth / (self.num_hidden_layers as f64).sqrt())
    }

    /// Returns the factor on hidden states before the head.
    pub fn logits_scale(&self) -> f64 {
        self.dim_model_base.map_or(1.0, |base| base as f64 / self.hidden_size as f64)
    }

    /// Returns whether layer `layer_idx` runs its own indexer.
    pub fn has_indexer(&self, layer_idx: usize) -> bool {
        self.indexer.as_ref().is_some_and(|indexer| indexer.indexer_types.get(layer_idx) == Some(&IndexerType::Full))
    }

    /// Returns whether layer `layer_idx` has experts.
    pub fn is_moe(&self, layer_idx: usize) -> bool {
        self.moe.is_some() && self.moe_layers.get(layer_idx).copied().unwrap_or(false)
    }

    /// Returns the bytes that one token takes in the caches of all layers, in f32.
    pub fn cache_bytes_per_token(&self) -> usize {
        let index_width = self.indexer.as_ref().map_or(0, |indexer| indexer.index_head_dim);
        (0..self.num_hidden_layers)
            .map(|layer_idx| self.latent_width() + if self.has_indexer(layer_idx) { index_width } else { 0 })
            .sum::<usize>()
            * size_of::<f32>()
    }

    /// Returns the number of parameters, a tied head counted once.
    pub fn n_parameters(&self) -> u64 {
        self.tensors().iter().map(|spec| spec.shape.iter().map(|d| *d as u64).product::<u64>()).sum()
    }
}

/// Returns YaRN's attention correction `0.1 · mscale · ln(factor) + 1`.
pub fn yarn_mscale(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

/// Why a `config.json` was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Occurs when the document is not a JSON object.
    #[error("config.json: expected a JSON object, found {found}; point at the folder of a Hugging Face checkpoint")]
    NotAnObject {
        /// What stands there instead.
        found: &'static str,
    },
    /// Occurs when `model_type` names a family that is not supported.
    #[error("config.json: model_type {found:?} is not supported; supported are {supported}")]
    UnknownModelType {
        /// The name found.
        found: String,
        /// The names supported.
        supported: String,
    },
    /// Occurs when a required key is absent.
    #[error("config.json: key {key:?} is missing; a {model_type} model needs it")]
    MissingKey {
        /// The key.
        key: String,
        /// The family.
        model_type: &'static str,
    },
    /// Occurs when a value has the wrong type or lies outside its range.
    #[error("config.json: key {key:?}: expected {expected}, found {found}")]
    WrongValue {
        /// The key.
        key: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Occurs when values are fine alone and contradict one another.
    #[error("config.json: {what}; check that the file belongs to this checkpoint")]
    Inconsistent {
        /// The contradiction.
        what: String,
    },
}
