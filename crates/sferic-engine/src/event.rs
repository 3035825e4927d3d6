//! What a generation reports while it runs.

use crate::sampler::{DrawnFrom, TokenLogprob};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One step of a generation, in the order in which they happen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A chunk of the prompt has been computed.
    Prefill {
        /// Tokens computed so far, reused ones not counted.
        done: usize,
        /// Tokens to compute, reused ones not counted.
        total: usize,
    },
    /// A token has been drawn. End tokens are reported as well.
    Token(TokenEvent),
    /// Text that can be shown: whole characters that are not, and cannot become, part of a stop string.
    Text(String),
    /// The generation has ended; nothing follows.
    Stop(Stop),
}

/// A drawn token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenEvent {
    /// The token.
    pub token_id: u32,
    /// The token alone as text, special tokens included; characters that continue in the next token are shown as U+FFFD. Empty
    /// without a tokenizer.
    pub piece: String,
    /// Natural logarithm of the model's probability of the token, before penalties, bias and temperature.
    pub logprob: f32,
    /// The most likely tokens, as many as were asked for.
    pub top_logprobs: Vec<TokenLogprob>,
    /// What the token was drawn from, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drawn_from: Option<DrawnFrom>,
}

/// How and why a generation ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stop {
    /// Why.
    pub reason: StopReason,
    /// What it took.
    pub stats: Stats,
}

/// Why a generation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model drew an end token.
    Eos,
    /// The text reached this stop string.
    StopString(String),
    /// `max_tokens` tokens were drawn.
    MaxTokens,
    /// The [`CancelToken`] was used.
    Cancelled,
    /// The context has no room for another token.
    ContextFull,
}

impl StopReason {
    /// Returns `eos`, `stop_string`, `max_tokens`, `cancelled` or `context_full`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Eos => "eos",
            Self::StopString(_) => "stop_string",
            Self::MaxTokens => "max_tokens",
            Self::Cancelled => "cancelled",
            Self::ContextFull => "context_full",
        }
    }
}

/// Counts and times of a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were in the cache already.
    pub reused_tokens: usize,
    /// Tokens of the prompt that were computed.
    pub prefilled_tokens: usize,
    /// Tokens drawn, an end token included.
    pub generated_tokens: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// From the first call of `next` to the first token.
    pub time_to_first_token_secs: Option<f64>,
    /// From the first call of `next` until the prompt was computed.
    pub prefill_secs: f64,
    /// From the first token to the last.
    pub decode_secs: f64,
}

impl Stats {
    /// Returns computed tokens of the prompt per second.
    pub fn prefill_tokens_per_sec(&self) -> Option<f64> {
        rate(self.prefilled_tokens, self.prefill_secs)
    }

    /// Returns drawn tokens per second, the first one left out: it comes from the prompt.
    pub fn decode_tokens_per_sec(&self) -> Option<f64> {
        rate(self.generated_tokens.saturating_sub(1), self.decode_secs)
    }
}

fn rate(count: usize, secs: f64) -> Option<f64> {
    (count > 0 && secs > 0.0).then(|| count as f64 / secs)
}

/// Ends a generation from elsewhere, a signal handler or a button for example. Clones share one state.
///
/// It takes effect before the next step, that is after one prefill chunk or one token at most.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the generation to end.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
