//! Tiny models with seeded weights.

use std::convert::Infallible;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use serde_json::{Value, json};
use sferic_model::{Cache, Config, Model, Options, Probe, TensorSource, TensorSpec};

use crate::tolerance::values;

/// Returns the `config.json` of a two-layer DSA model: one dense and one MoE layer, 4 of any number of tokens selected.
pub fn tiny_json() -> Value {
    json!({
        "model_type": "deepseek_v32", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "q_lora_rank": 12, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6,
        "index_n_heads": 4, "index_head_dim": 8, "index_topk": 4, "max_position_embeddings": 256, "first_k_dense_replace": 1,
        "n_routed_experts": 8, "n_shared_experts": 1, "moe_intermediate_size": 12, "num_experts_per_tok": 2, "n_group": 4, "topk_group": 2,
        "norm_topk_prob": true, "routed_scaling_factor": 2.5, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "bos_token_id": 0,
        "eos_token_id": 1
    })
}

/// Reads [`tiny_json`] with some keys set to other values.
pub fn tiny_config(changes: &[(&str, Value)]) -> Config {
    let mut json = tiny_json();
    for (key, value) in changes {
        json[*key] = value.clone();
    }
    Config::from_json(&json).expect("the test's configuration is valid")
}

/// Weights that depend on the seed, the tensor's name and the element alone.
#[derive(Clone, Copy, Debug)]
pub struct Seeded {
    /// Another seed is another model.
    pub seed: u64,
    /// `F32` or `F64`.
    pub dtype: DType,
}

impl TensorSource for Seeded {
    type Error = Infallible;

    fn tensor(&mut self, spec: &TensorSpec) -> Result<TensorData, Infallible> {
        let mut state = spec.name.bytes().fold(self.seed, |state, byte| mix(state ^ u64::from(byte)));
        // Scores of both signs and of order 1 in every layer, norms around 1, biases that are seen.
        let (centre, spread) = match spec.shape.as_slice() {
            [_] if spec.name.ends_with("bias") => (0.0, 0.3),
            [_] => (1.0, 0.3),
            _ if spec.name.contains("embed_tokens") => (0.0, 1.0),
            [.., d_in] => (0.0, 2.0 / (*d_in as f64).sqrt()),
            [] => (0.0, 0.0),
        };
        let n_values = spec.shape.iter().product();
        let draw = |_| {
            state = mix(state);
            centre + spread * (2.0 * unit(state) - 1.0)
        };
        let values: Vec<f64> = (0..n_values).map(draw).collect();
        Ok(TensorData::new(values, spec.shape.clone()).convert_dtype(self.dtype))
    }
}

impl Seeded {
    /// Loads a model with these weights.
    pub fn model(mut self, config: &Config, device: &Device) -> Model {
        match Model::load(config, &mut self, device) {
            Ok(model) => model,
            Err(never) => match never {},
        }
    }
}

/// Returns `n` token ids below `vocab_size`.
pub fn token_ids(seed: u64, n: usize, vocab_size: usize) -> Vec<u32> {
    (0..n as u64).map(|i| (mix(seed ^ mix(i)) % vocab_size as u64) as u32).collect()
}

/// Returns `n` numbers of the interval `[-size, size)`.
pub fn numbers(seed: u64, n: usize, size: f64) -> Vec<f64> {
    (0..n as u64).map(|i| size * (2.0 * unit(mix(seed ^ mix(i))) - 1.0)).collect()
}

/// Everything that a run shows.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Logits of all tokens, `[T, V]`.
    pub logits: Vec<f64>,
    /// Output of each layer, `[T, D]`.
    pub hidden: Vec<Vec<f64>>,
    /// Selected tokens of each layer, query by query, ascending and without the unfilled slots.
    pub selected: Vec<Vec<Vec<i64>>>,
}

impl Probe for Run {
    fn hidden(&mut self, layer_idx: usize, hidden: &Tensor<3>) {
        self.hidden.resize(self.hidden.len().max(layer_idx + 1), Vec::new());
        self.hidden[layer_idx].extend(values(hidden.clone()));
    }

    fn selection(&mut self, layer_idx: usize, indices: &Tensor<3, Int>) {
        self.selected.resize(self.selected.len().max(layer_idx + 1), Vec::new());
        let width = indices.dims()[2].max(1);
        let slots: Vec<i64> = indices.clone().into_data().iter::<i64>().collect();
        let rows = slots.chunks(width).map(|row| row.iter().copied().filter(|slot| *slot >= 0).collect());
        self.selected[layer_idx].extend(rows);
    }
}

/// Runs `token_ids` after what `cache` holds: first chunks of the given lengths, then single tokens for the rest.
pub fn run_from(model: &Model, cache: &mut Cache, token_ids: &[u32], chunks: &[usize], options: &Options) -> Run {
    let mut run = Run::default();
    let mut rest = token_ids;
    for length in chunks {
        let (chunk, after) = rest.split_at((*length).min(rest.len()));
        rest = after;
        if !chunk.is_empty() {
            let hidden = model.prefill(chunk, cache, options, &mut run);
            run.logits.extend(values(model.logits(hidden)));
        }
    }
    for token_id in rest {
        let hidden = model.decode(*token_id, cache, options, &mut run);
        run.logits.extend(values(model.logits(hidden)));
    }
    run
}

/// Runs `token_ids` in a new cache as [`run_from`] does.
pub fn run(model: &Model, token_ids: &[u32], chunks: &[usize], options: &Options) -> Run {
    run_from(model, &mut model.new_cache(token_ids.len()), token_ids, chunks, options)
}

/// The mixing function of SplitMix64 (Steele et al. 2014, <https://doi.org/10.1145/2660193.2660195>).
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns a number of `[0, 1)` from the upper bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * 2f64.powi(-53)
}
