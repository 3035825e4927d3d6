//! Prompts in, replies out, each token with what it was drawn from.

use std::collections::BTreeMap;

use sferic_engine::{BatchReply, Engine, Matrix, SamplingParams, StopReason};

use super::config::GrpoConfig;
use crate::TrainError;

/// A reply that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// All that comes before it.
    pub prompt: Vec<u32>,
    /// Seed of its draws.
    pub seed: u64,
}

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits; above 0.
    pub temperature: f64,
    /// Mass of the likeliest tokens that are drawn from.
    pub top_p: f64,
    /// Number of the likeliest tokens that are drawn from; 0 is all.
    pub top_k: usize,
    /// Most tokens of a reply.
    pub max_tokens: usize,
    /// Records what every token was drawn from, which learning from the replies needs. Without it the device draws under every sampling.
    pub record_draws: bool,
    /// Records the experts that every token went to.
    pub record_experts: bool,
}

/// A reply, token by token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// The tokens, an end token included.
    pub tokens: Vec<u32>,
    /// Natural logarithm of each token's probability in the distribution that it was drawn from; empty where that is not recorded.
    pub logprobs: Vec<f32>,
    /// For each token those that could have been drawn, ascending, or none where all could; empty where that is not recorded.
    pub kept: Vec<Vec<u32>>,
    /// Whether the model ended it; else it was cut off.
    pub ended: bool,
    /// Where they were asked for, the experts of each mixture layer for every token of prompt and reply but the last, `[T − 1, A]`.
    pub experts: Experts,
}

/// Experts by mixture layer, a row for each token; empty for a model without mixtures.
pub type Experts = BTreeMap<usize, Matrix<i32>>;

/// Draws replies. One that draws many at once takes the place of [`EngineRoller`].
pub trait Roller {
    /// Returns a reply to each request, in their order. Requests with one prompt stand together.
    ///
    /// # Errors
    /// [`TrainError::Engine`] when a prompt does not fit or the device fails.
    fn roll(&mut self, requests: &[Request], sampling: &Sampling) -> Result<Vec<Reply>, TrainError>;

    /// Requests that one call should have at least where there are so many, since the last replies of a call are computed by few rows; 1 where
    /// replies are drawn one after the other.
    fn wants(&self) -> usize {
        1
    }
}

/// Replies of a call for each that is computed at a time.
const BATCHES: usize = 2;

/// Draws replies with an engine: on the kernels many at a time, else one after the other, where what a prompt shares with the one before is not
/// computed again.
#[derive(Debug)]
pub struct EngineRoller(pub Engine);

impl Roller for EngineRoller {
    fn roll(&mut self, requests: &[Request], sampling: &Sampling) -> Result<Vec<Reply>, TrainError> {
        let Self(engine) = self;
        let prompts: Vec<Vec<u32>> = requests.iter().map(|request| request.prompt.clone()).collect();
        let seeds: Vec<u64> = requests.iter().map(|request| request.seed).collect();
        let params = sampling.params();
        let replies = if sampling.record_experts && engine.config().moe.is_some() {
            pollster::block_on(engine.generate_batch_with_experts(&prompts, &params, &seeds))?
        } else {
            pollster::block_on(engine.generate_batch(&prompts, &params, &seeds))?
        };
        Ok(replies.into_iter().map(Reply::from).collect())
    }

    fn wants(&self) -> usize {
        let Self(engine) = self;
        if engine.runs_on_kernels() { BATCHES * Engine::BATCH_ROWS } else { 1 }
    }
}

impl From<BatchReply> for Reply {
    fn from(reply: BatchReply) -> Self {
        let (logprobs, kept) = reply.drawn_from.into_iter().map(|from| (from.logprob, from.kept)).unzip();
        let ended = reply.reason == StopReason::Eos;
        Self { tokens: reply.token_ids, logprobs, kept, ended, experts: reply.experts }
    }
}

impl Sampling {
    fn params(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature as f32,
            top_p: self.top_p as f32,
            top_k: self.top_k,
            max_tokens: Some(self.max_tokens),
            record_draws: self.record_draws,
            ..SamplingParams::default()
        }
    }
}

impl GrpoConfig {
    /// Returns how the run draws.
    pub fn sampling(&self) -> Sampling {
        // Where the host draws anyway, one more read for each step tells how many tokens go to other experts in training.
        let is_drawn_by_host = self.temperature != 1.0 || self.top_p < 1.0 || self.top_k > 0;
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            max_tokens: self.max_tokens,
            record_draws: true,
            record_experts: self.keep_routing || is_drawn_by_host,
        }
    }
}
