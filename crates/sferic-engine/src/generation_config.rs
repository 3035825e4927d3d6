//! `generation_config.json`: what a model's makers recommend for sampling.

use crate::sampler::SamplingParams;
use serde_json::Value;
use std::collections::BTreeSet;

/// What was read from a `generation_config.json`.
#[derive(Debug, Default)]
pub(crate) struct GenerationConfig {
    pub(crate) sampling: SamplingParams,
    pub(crate) end_tokens: BTreeSet<u32>,
    pub(crate) warnings: Vec<String>,
}

impl GenerationConfig {
    /// Reads what is known here; keys of other programs are none of our business. A value out of range is left out with a warning.
    pub(crate) fn from_json(value: &Value, vocab_size: usize) -> Self {
        let mut config = Self::default();
        config.read("temperature", value, vocab_size, |params, number| params.temperature = number as f32);
        config.read("top_p", value, vocab_size, |params, number| params.top_p = number as f32);
        config.read("top_k", value, vocab_size, |params, number| params.top_k = number.max(0.0) as usize);
        config.read("min_p", value, vocab_size, |params, number| params.min_p = number as f32);
        config.read("repetition_penalty", value, vocab_size, |params, number| params.repetition_penalty = number as f32);
        if value.get("do_sample").and_then(Value::as_bool) == Some(false) {
            config.sampling.temperature = 0.0;
        }
        let ids = match value.get("eos_token_id") {
            Some(Value::Array(ids)) => ids.as_slice(),
            Some(id @ Value::Number(_)) => std::slice::from_ref(id),
            _ => &[],
        };
        for id in ids {
            match id.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|&id| (id as usize) < vocab_size) {
                Some(id) => {
                    config.end_tokens.insert(id);
                }
                None => config.warnings.push(format!(
                    "generation_config.json: eos_token_id {id} is not a token of the vocabulary of {vocab_size}; it is ignored"
                )),
            }
        }
        config
    }

    fn read(&mut self, key: &str, value: &Value, vocab_size: usize, set: impl Fn(&mut SamplingParams, f64)) {
        let Some(found) = value.get(key).filter(|found| !found.is_null()) else { return };
        let mut changed = self.sampling.clone();
        let refusal = match found.as_f64() {
            Some(number) => {
                set(&mut changed, number);
                changed.validate(vocab_size).err().map(|error| error.to_string())
            }
            None => Some(format!("expected a number, found {found}")),
        };
        match refusal {
            None => self.sampling = changed,
            Some(refusal) => self.warnings.push(format!("generation_config.json: {key} is ignored: {refusal}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn recommended_values_are_taken() {
        let json =
            json!({"temperature": 0.6, "top_p": 0.95, "top_k": 20, "do_sample": true, "eos_token_id": [1, 7], "use_cache": true});
        let config = GenerationConfig::from_json(&json, 100);
        let expected = SamplingParams { temperature: 0.6, top_p: 0.95, top_k: 20, ..SamplingParams::default() };
        assert_eq!(config.sampling, expected);
        assert_eq!(config.end_tokens, BTreeSet::from([1, 7]));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }

    #[test]
    fn one_end_token_and_greedy_decoding() {
        let config = GenerationConfig::from_json(&json!({"do_sample": false, "temperature": 0.6, "eos_token_id": 3}), 100);
        assert_eq!(config.sampling, SamplingParams::greedy());
        assert_eq!(config.end_tokens, BTreeSet::from([3]));
    }

    #[test]
    fn nonsense_is_left_out_and_named() {
        let json = json!({"temperature": -1.0, "top_p": "high", "eos_token_id": [100, -1, 5]});
        let config = GenerationConfig::from_json(&json, 100);
        assert_eq!(config.sampling, SamplingParams::default());
        assert_eq!(config.end_tokens, BTreeSet::from([5]));
        assert_eq!(config.warnings.len(), 4, "{:?}", config.warnings);
        assert!(config.warnings[0].contains("temperature") && config.warnings[0].contains("-1"), "{:?}", config.warnings);
    }
}
