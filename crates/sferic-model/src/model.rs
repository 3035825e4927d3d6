//! The whole model: embedding, layers, final norm, head.

mod observe;
#[cfg(not(target_family = "wasm"))]
mod train;

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Int, Tensor, TensorData},
};
use sferic_ops::{linear::linear, rope, rope::Rotation, select::Selection};

use crate::{
    attention::Step,
    cache::Cache,
    config::{Config, TensorSpec},
    layer::{DecoderLayer, LayerOutput},
    load::{Loader, TensorSource},
    modules::{Embedding, Linear, RmsNorm},
};

#[cfg(not(target_family = "wasm"))]
pub(crate) use train::TrainStep;
#[cfg(not(target_family = "wasm"))]
pub use train::{IndexerTraining, TrainForward, TrainInput};

/// Whether the indexer's selection limits attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttentionMode {
    /// Attend to the selected tokens.
    #[default]
    Sparse,
    /// Attend to every past token, for comparison; index keys are cached all the same.
    Dense,
}

/// Which of two equal forms computes attention (spec §2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttentionForm {
    /// Gathered rows when tokens are left out; else expanded in prefill, absorbed in decode.
    #[default]
    Auto,
    /// Prefill expands keys and values per head and masks.
    Mha,
    /// Prefill uses the absorbed form.
    Mqa,
}

/// The number format of cached values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheFormat {
    /// The model's own precision.
    #[default]
    F32,
    /// Rounded to e4m3 with power-of-two scales per 128 values, the rotated part of cache rows to BF16, as DeepSeek serves the model (spec §§2.6,
    /// 3.5).
    Fp8,
}

/// Switches of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Sparse or dense attention.
    pub attention: AttentionMode,
    /// Expanded or absorbed form.
    pub form: AttentionForm,
    /// Whether index queries and keys pass the Hadamard transform (spec §3.4).
    pub hadamard: bool,
    /// Format of index queries and keys.
    pub index_format: CacheFormat,
    /// Format of the latent part of cache rows.
    pub latent_format: CacheFormat,
}

/// Sees intermediate values of a run.
pub trait Probe {
    /// Receives a layer's output `[1, T, D]`.
    fn hidden(&mut self, _layer_idx: usize, _hidden: &Tensor<3>) {}

    /// Receives a layer's selection `[1, T, K]`: ascending token indices, `−1` in unfilled slots.
    fn selection(&mut self, _layer_idx: usize, _indices: &Tensor<3, Int>) {}

    /// Whether [`scores`](Probe::scores) is to be called: they are computed for it alone.
    fn wants_scores(&self) -> bool {
        false
    }

    /// Receives the index scores of a layer's selection `[1, T, K]`, in its order; what stands in unfilled slots means nothing.
    fn scores(&mut self, _layer_idx: usize, _scores: &Tensor<3>) {}

    /// Receives the routed experts of a mixture layer `[T, A]`, ascending.
    fn experts(&mut self, _layer_idx: usize, _experts: &Tensor<2, Int>) {}
}

/// A probe that looks at nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProbe;

impl Probe for NoProbe {}

/// A causal language model on multi-head latent attention.
#[derive(Module, Debug)]
pub struct Model {
    /// Token embeddings.
    pub embed_tokens: Embedding,
    /// Decoder layers.
    pub layers: Vec<DecoderLayer>,
    /// Final norm.
    pub norm: RmsNorm,
    /// Output head `[vocab, D]`; absent where it is the embedding table.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    config: Config,
}

impl Model {
    /// Builds the model on a device from named tensors, asked for one at a time in the order of [`Config::tensors`].
    ///
    /// # Errors
    /// The source's, for the first tensor that it cannot deliver.
    pub fn load<S: TensorSource>(config: &Config, source: &mut S, device: &Device) -> Result<Self, S::Error> {
        let mut loader = Loader { source, device };
        let table = [config.vocab_size, config.hidden_size];
        let embed_tokens = Embedding { weight: loader.param("model.embed_tokens.weight".into(), table)? };
        let layers = (0..config.num_hidden_layers)
            .map(|layer_idx| DecoderLayer::load(config, layer_idx, &mut loader))
            .collect::<Result<_, _>>()?;
        let norm = loader.rms_norm("model.norm", config.hidden_size, config.rms_norm_eps)?;
        let lm_head = match config.tie_word_embeddings {
            true => None,
            false => Some(loader.linear("lm_head", config.vocab_size, config.hidden_size, false)?),
        };
        Ok(Self { embed_tokens, layers, norm, lm_head, config: config.clone() })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the device that holds the weights.
    pub fn device(&self) -> Device {
        self.norm.weight.val().device()
    }

    /// Makes an empty cache that may grow to `capacity` tokens.
    pub fn new_cache(&self, capacity: usize) -> Cache {
        Cache::new(self.layers.len(), capacity)
    }

    /// Runs a chunk of new tokens after those in the cache, and appends them to it.
    ///
    /// The caller has checked that every id is below `vocab_size` and that the cache has room.
    ///
    /// # Shapes
    /// - returns: `[1, T, D]`, after the final norm
    pub fn prefill(&self, token_ids: &[u32], cache: &mut Cache, options: &Options, probe: &mut dyn Probe) -> Tensor<3> {
        self.run(token_ids, cache, options, probe, DecoderLayer::prefill)
    }

    /// Runs one new token after those in the cache, and appends it.
    ///
    /// # Shapes
    /// - returns: `[1, 1, D]`, after the final norm
    pub fn decode(&self, token_id: u32, cache: &mut Cache, options: &Options, probe: &mut dyn Probe) -> Tensor<3> {
        self.run(&[token_id], cache, options, probe, DecoderLayer::decode)
    }

    /// Returns the logits of hidden states.
    ///
    /// # Shapes
    /// - hidden: `[B, T, D]`, after the final norm
    /// - returns: `[B, T, vocab]`
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let scale = self.config.logits_scale();
        let hidden = if scale == 1.0 { hidden } else { hidden.mul_scalar(scale) };
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => linear(hidden, self.embed_tokens.weight.val()),
        }
    }

    /// Returns every parameter with its checkpoint name, in no particular order.
    ///
    /// Reads the device; parameters come back in their own precision.
    pub fn named_tensors(&self) -> Vec<(TensorSpec, TensorData)> {
        let mut names = Names::default();
        self.visit(&mut names);
        names.tensors
    }

    fn run(
        &self,
        token_ids: &[u32],
        cache: &mut Cache,
        options: &Options,
        probe: &mut dyn Probe,
        layer_forward: LayerForward,
    ) -> Tensor<3> {
        let device = self.device();
        let ids: Vec<i32> = token_ids.iter().map(|id| *id as i32).collect();
        let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [1, token_ids.len()]), &device);
        let mut h = self.embed(ids);
        let step = self.step(&h, cache.len(), cache.capacity(), options);
        let mut selection = None;
        let mut scores = None;
        for (layer_idx, (layer, layer_cache)) in self.layers.iter().zip(&mut cache.layers).enumerate() {
            let before = probe.wants_scores().then(|| h.clone());
            let (next, experts) = layer_forward(layer, h, &step, layer_cache, &mut selection);
            h = next;
            probe.hidden(layer_idx, &h);
            if let Some(experts) = &experts {
                probe.experts(layer_idx, experts);
            }
            if let Some(selection) = &selection {
                probe.selection(layer_idx, &selection.indices);
                if let Some(h) = before {
                    let x = layer.input_layernorm.forward(h);
                    let found = layer.self_attn.selected_scores(x, &step, &layer_cache.index, &selection.indices);
                    // A layer that shares a selection shares its scores.
                    scores = found.or(scores);
                }
                if let Some(scores) = &scores {
                    probe.scores(layer_idx, scores);
                }
            }
        }
        cache.advance(token_ids.len());
        self.norm.forward(h)
    }

    fn embed(&self, token_ids: Tensor<2, Int>) -> Tensor<3> {
        let h = self.embed_tokens.forward(token_ids);
        if self.config.scale_emb == 1.0 { h } else { h.mul_scalar(self.config.scale_emb) }
    }

    /// Prepares what all layers share when the new tokens `h` stand at `start`.
    fn step(&self, h: &Tensor<3>, start: usize, capacity: usize, options: &Options) -> Step {
        let rope = &self.config.rope;
        let rotation = |yarn: Option<&rope::Yarn>| {
            let inv_freq = rope::inv_freq(rope.rope_theta, self.config.qk_rope_head_dim, yarn);
            Rotation::new(&inv_freq, start, h.dims()[1], rope.attention_factor, &h.device(), h.dtype())
        };
        let main = rotation(rope.yarn.as_ref());
        let index_rotation = match &self.config.indexer {
            Some(indexer) if indexer.yarn != rope.yarn => rotation(indexer.yarn.as_ref()),
            _ => main.clone(),
        };
        Step { start, capacity, rotation: main, index_rotation, options: *options }
    }
}

/// [`DecoderLayer::prefill`] or [`DecoderLayer::decode`].
type LayerForward = fn(&DecoderLayer, Tensor<3>, &Step, &mut crate::cache::LayerCache, &mut Option<Selection>) -> LayerOutput;

/// Collects parameters under their checkpoint names.
#[derive(Default)]
struct Names {
    path: Vec<String>,
    tensors: Vec<(TensorSpec, TensorData)>,
}

impl ModuleVisitor for Names {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<N>>) {
        // Variants of `FeedForward` are capitalised and are no part of the checkpoint's names.
        let is_field = |part: &&String| !part.starts_with(char::is_uppercase);
        let name = self.path.iter().filter(is_field).cloned().collect::<Vec<_>>().join(".");
        let name = if name.starts_with("lm_head") { name } else { format!("model.{name}") };
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        self.tensors.push((TensorSpec { name, shape }, tensor.into_data()));
    }
}
