//! Prompts in, replies out, each token with what it was drawn from.

use std::collections::BTreeMap;

use sferic_engine::{BatchReply, Engine, EngineError, Event, Matrix, SamplingParams, Session, StopReason};

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
    /// Records the experts that every token went to.
    pub record_experts: bool,
}

/// A reply, token by token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// The tokens, an end token included.
    pub tokens: Vec<u32>,
    /// Natural logarithm of each token's probability in the distribution that it was drawn from.
    pub logprobs: Vec<f32>,
    /// For each token those that could have been drawn, ascending; empty where all could.
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
}

/// Draws replies with an engine: many at a time where they come from the model's own distribution and no experts are recorded, else one after the
/// other. What a prompt shares with the one before is not computed again.
#[derive(Debug)]
pub struct EngineRoller(pub Engine);

impl Roller for EngineRoller {
    fn roll(&mut self, requests: &[Request], sampling: &Sampling) -> Result<Vec<Reply>, TrainError> {
        let records = sampling.record_experts && self.0.config().moe.is_some();
        if sampling.is_plain() && !records {
            return self.batch(requests, sampling);
        }
        let mut session = self.0.session();
        if records {
            session.record_experts();
        }
        requests.iter().map(|request| Ok(pollster::block_on(reply(&mut session, request, sampling))?)).collect()
    }
}

impl EngineRoller {
    /// The batch reports the model's own log-probabilities, which are those of the draws where nothing is cut or tempered.
    fn batch(&self, requests: &[Request], sampling: &Sampling) -> Result<Vec<Reply>, TrainError> {
        let prompts: Vec<Vec<u32>> = requests.iter().map(|request| request.prompt.clone()).collect();
        let seeds: Vec<u64> = requests.iter().map(|request| request.seed).collect();
        let params = SamplingParams {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            max_tokens: Some(sampling.max_tokens),
            ..SamplingParams::default()
        };
        let replies = pollster::block_on(self.0.generate_batch(&prompts, &params, &seeds))?;
        let reply = |reply: BatchReply| Reply {
            ended: reply.reason == StopReason::Eos,
            kept: vec![Vec::new(); reply.token_ids.len()],
            logprobs: reply.logprobs,
            tokens: reply.token_ids,
            ..Reply::default()
        };
        Ok(replies.into_iter().map(reply).collect())
    }
}

impl Sampling {
    /// Whether tokens are drawn from the model's own distribution.
    fn is_plain(&self) -> bool {
        self.temperature == 1.0 && self.top_p == 1.0 && self.top_k == 0
    }
}

impl GrpoConfig {
    /// Returns how the run draws.
    pub fn sampling(&self) -> Sampling {
        let sampling = Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            max_tokens: self.max_tokens,
            record_experts: self.keep_routing,
        };
        // Where tokens are drawn one by one anyway, one more read for each tells how many go to other experts in training.
        Sampling { record_experts: self.keep_routing || !sampling.is_plain(), ..sampling }
    }
}

async fn reply(session: &mut Session, request: &Request, sampling: &Sampling) -> Result<Reply, EngineError> {
    let params = SamplingParams {
        temperature: sampling.temperature as f32,
        top_p: sampling.top_p as f32,
        top_k: sampling.top_k,
        seed: Some(request.seed),
        max_tokens: Some(sampling.max_tokens),
        record_draws: true,
        ..SamplingParams::default()
    };
    let mut generation = session.generate(&request.prompt, params)?;
    let mut reply = Reply::default();
    while let Some(event) = generation.next().await {
        match event? {
            Event::Token(token) => {
                let (logprob, kept) = token.drawn_from.map_or((token.logprob, Vec::new()), |from| (from.logprob, from.kept));
                reply.tokens.push(token.token_id);
                reply.logprobs.push(logprob);
                reply.kept.push(kept);
            }
            Event::Stop(stop) => reply.ended = stop.reason == StopReason::Eos,
            _ => {}
        }
    }
    drop(generation);
    reply.experts = session.experts().cloned().unwrap_or_default();
    Ok(reply)
}
