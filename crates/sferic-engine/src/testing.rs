//! A tiny model with random weights and a tokenizer of single bytes, made in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::{DeviceChoice, Engine, EngineError, EngineOptions, ModelParts, uniform};
use serde_json::{Value, json};
use sferic_model::Config;
use sferic_weights::{Dtype, TensorMeta, bytes_from_f32, serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Ids below 256 are bytes.
pub(crate) const BOS: u32 = 256;
pub(crate) const EOS: u32 = 257;
/// The last three rows of the head stand for no token.
pub(crate) const VOCAB_SIZE: u32 = 261;

pub(crate) fn config_json() -> Value {
    json!({
        "model_type": "deepseek_v32", "vocab_size": VOCAB_SIZE, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": 12, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8, "v_head_dim": 8, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 8,
        "max_position_embeddings": 256, "first_k_dense_replace": 1, "n_routed_experts": 4, "n_shared_experts": 1,
        "moe_intermediate_size": 16, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "norm_topk_prob": true,
        "routed_scaling_factor": 1.0, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "hidden_act": "silu",
        "attention_bias": false, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null, "tie_word_embeddings": false,
        "bos_token_id": BOS, "eos_token_id": EOS, "moe_layer_freq": 1
    })
}

pub(crate) fn config() -> Config {
    Config::from_json(&config_json()).unwrap()
}

/// The same without an indexer.
pub(crate) fn dense_config_json() -> Value {
    let mut json = config_json();
    json["model_type"] = "deepseek_v3".into();
    json.as_object_mut().unwrap().retain(|key, _| !key.starts_with("index_"));
    json
}

pub(crate) fn dense_config() -> Config {
    Config::from_json(&dense_config_json()).unwrap()
}

/// A tensor of a test model by name; `edit` may change it.
pub(crate) fn weights(config: &Config, mut edit: impl FnMut(&str, &mut Vec<f32>)) -> Vec<u8> {
    let tensors = config.tensors().into_iter().enumerate().map(|(tensor_idx, spec)| {
        let n_values: usize = spec.shape.iter().product();
        let scale = if spec.shape.len() == 1 { 0.1 } else { 2.0 / (spec.shape[spec.shape.len() - 1] as f32).sqrt() };
        let centre = if spec.name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        let mut values: Vec<f32> =
            (0..n_values).map(|n| centre + scale * (2.0 * uniform(tensor_idx as u64, n as u64) - 1.0) as f32).collect();
        edit(&spec.name, &mut values);
        (TensorMeta::new(spec.name, Dtype::F32, spec.shape), Cow::<[u8]>::Owned(bytes_from_f32(&values, Dtype::F32).unwrap()))
    });
    serialize(tensors.collect::<Vec<_>>(), &BTreeMap::new()).unwrap()
}

/// A tokenizer in which every byte is a token.
pub(crate) fn tokenizer_json() -> Vec<u8> {
    let mut n_other = 0;
    let char_of = |byte: u8| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => {
            n_other += 1;
            char::from_u32(0xff + n_other).unwrap()
        }
    };
    let vocab: serde_json::Map<String, Value> =
        (0..=255u8).map(char_of).enumerate().map(|(token_id, c)| (c.to_string(), token_id.into())).collect();
    let special = |id: u32, content: &str| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    serde_json::to_vec(&json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(BOS, "<bos>"), special(EOS, "<eos>")],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []
        }
    }))
    .unwrap()
}

/// A template whose turns are `role:content|`.
pub(crate) const TEMPLATE: &str = "{% for message in messages %}{{ message.role }}:{{ message.content }}|{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

pub(crate) fn options() -> EngineOptions {
    EngineOptions { device: DeviceChoice::Cpu, ..EngineOptions::default() }
}

/// Loads a test model whose configuration and weights may be changed.
pub(crate) fn try_engine(
    config_json: &Value,
    weights: Vec<u8>,
    has_tokenizer: bool,
    options: EngineOptions,
) -> Result<Engine, EngineError> {
    let tokenizer = tokenizer_json();
    let parts = ModelParts {
        config_json: &config_json.to_string(),
        weights: weights.into(),
        tokenizer_json: has_tokenizer.then_some(tokenizer.as_slice()),
        tokenizer_config_json: None,
        chat_template_jinja: Some(TEMPLATE),
        generation_config_json: None,
    };
    pollster::block_on(Engine::from_parts(parts, options))
}

pub(crate) fn engine_with(options: EngineOptions) -> Engine {
    try_engine(&config_json(), weights(&config(), |_, _| ()), true, options).unwrap()
}

pub(crate) fn engine() -> Engine {
    engine_with(options())
}

/// A prompt of `n_tokens` bytes that do not repeat soon.
pub(crate) fn prompt(n_tokens: usize) -> Vec<u32> {
    (0..n_tokens).map(|position| (uniform(77, position as u64) * 256.0) as u32).collect()
}
