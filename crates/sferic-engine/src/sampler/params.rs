//! What a caller may ask of the sampler.

use crate::EngineError;
use std::collections::BTreeMap;

/// How tokens are drawn and when a reply ends.
///
/// The default draws from the model's own distribution: temperature 1 and every other field off.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 takes the most likely token. Range 0 to 100.
    pub temperature: f32,
    /// Keeps the `top_k` most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the smallest set of most likely tokens whose mass reaches `top_p`. Range above 0 to 1; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least `min_p` times as likely as the most likely one. Range 0 to 1; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens in the prompt or the reply. Range above 0 to 100; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of every token that is in the reply already. Range −100 to 100; 0 is off.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit once for each time it is in the reply already. Range −100 to 100; 0 is off.
    pub frequency_penalty: f32,
    /// Added to the logits of single tokens. Range −∞ (never) to below +∞.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Seed of the draws; `None` takes one from the clock and reports it in [`Stats`](crate::Stats).
    pub seed: Option<u64>,
    /// Most tokens to generate, at least 1; `None` is bounded by the context alone.
    pub max_tokens: Option<usize>,
    /// Strings that end the reply, not empty. They are not part of the reply's text.
    pub stop: Vec<String>,
    /// Goes on after an end token.
    pub ignore_eos: bool,
    /// Number of most likely tokens to report at each step, at most [`SamplingParams::MAX_TOP_LOGPROBS`].
    pub top_logprobs: usize,
    /// Reports for each token what it was drawn from.
    pub record_draws: bool,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: None,
            max_tokens: None,
            stop: Vec::new(),
            ignore_eos: false,
            top_logprobs: 0,
            record_draws: false,
        }
    }
}

impl SamplingParams {
    /// Bound of `top_logprobs`: the largest number that a hosted interface in wide use allows.
    pub const MAX_TOP_LOGPROBS: usize = 20;

    /// Returns parameters that take the most likely token at every step.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Whether tokens are left out before a draw; at temperature 0 all but one are.
    pub(crate) fn is_filtered(&self) -> bool {
        self.temperature == 0.0 || self.top_k > 0 || self.top_p < 1.0 || self.min_p > 0.0
    }

    /// Whether tokens are drawn from the model's own distribution.
    pub(crate) fn is_plain(&self) -> bool {
        let has_penalty = self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0;
        self.temperature == 1.0 && !self.is_filtered() && !has_penalty && self.logit_bias.is_empty()
    }

    /// Checks every field against its range and `vocab_size`.
    ///
    /// # Errors
    /// [`EngineError::InvalidSampling`], which names the first field out of range, the range and what was found.
    pub fn validate(&self, vocab_size: usize) -> Result<(), EngineError> {
        // A comparison with NaN is false, so NaN is refused by every range.
        require("temperature", "0 to 100", self.temperature, (0.0..=100.0).contains(&self.temperature))?;
        require("top_p", "above 0 to 1", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0)?;
        require("min_p", "0 to 1", self.min_p, (0.0..=1.0).contains(&self.min_p))?;
        let repetition = self.repetition_penalty;
        require("repetition_penalty", "above 0 to 100", repetition, repetition > 0.0 && repetition <= 100.0)?;
        require("presence_penalty", "-100 to 100", self.presence_penalty, self.presence_penalty.abs() <= 100.0)?;
        require("frequency_penalty", "-100 to 100", self.frequency_penalty, self.frequency_penalty.abs() <= 100.0)?;
        for (&token_id, &bias) in &self.logit_bias {
            let range = || format!("token ids below {vocab_size}");
            if token_id as usize >= vocab_size {
                return Err(invalid("logit_bias", range(), format!("token id {token_id}")));
            }
            let found = || format!("{bias} for token id {token_id}");
            if bias.is_nan() || bias == f32::INFINITY {
                return Err(invalid("logit_bias", "numbers below infinity".into(), found()));
            }
        }
        if self.max_tokens == Some(0) {
            return Err(invalid("max_tokens", "1 or more, or none".into(), "0".into()));
        }
        if let Some(position) = self.stop.iter().position(String::is_empty) {
            return Err(invalid(
                "stop",
                "strings of one character or more".into(),
                format!("an empty string at position {position}"),
            ));
        }
        let most = Self::MAX_TOP_LOGPROBS.min(vocab_size);
        require("top_logprobs", &format!("0 to {most}"), self.top_logprobs, self.top_logprobs <= most)
    }
}

fn require(field: &'static str, allowed: &str, found: impl ToString, holds: bool) -> Result<(), EngineError> {
    if holds { Ok(()) } else { Err(invalid(field, allowed.into(), found.to_string())) }
}

fn invalid(field: &'static str, allowed: String, found: String) -> EngineError {
    EngineError::InvalidSampling { field, allowed, found }
}
