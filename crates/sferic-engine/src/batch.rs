//! Replies to many prompts, computed together where our kernels run the model.

mod together;

use crate::Engine;
use crate::error::EngineError;
use crate::event::{Event, StopReason};
use crate::sampler::{DrawnFrom, SamplingParams};
use crate::session::{Session, check_prompt};
use crate::trace::Matrix;
use std::collections::BTreeMap;

/// A reply of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchReply {
    /// Its tokens, an end token included.
    pub token_ids: Vec<u32>,
    /// Natural logarithm of the model's probability of each, before penalties, bias and temperature.
    pub logprobs: Vec<f32>,
    /// What each was drawn from, with [`SamplingParams::record_draws`]; else empty.
    pub drawn_from: Vec<DrawnFrom>,
    /// With [`Engine::generate_batch_with_experts`] the routed experts of each mixture layer for every token of prompt and reply but the last,
    /// `[T − 1, A]` ascending; else empty.
    pub experts: BTreeMap<usize, Matrix<i32>>,
    /// Why it ended.
    pub reason: StopReason,
}

/// What is asked of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) prompts: &'a [Vec<u32>],
    pub(crate) params: &'a SamplingParams,
    /// One for each prompt.
    pub(crate) seeds: &'a [u64],
    /// Whether experts are recorded.
    pub(crate) experts: bool,
    /// Whether stop strings see special tokens.
    pub(crate) shows_special: bool,
}

impl Engine {
    /// Most replies that are computed at a time; fewer where the memory has no room for their caches, and for large vocabularies.
    pub const BATCH_ROWS: usize = 256;

    /// Computes a reply to each of `prompts`, all with `params` and each with its own of `seeds`; `params.seed` is not used.
    ///
    /// A reply has the tokens that a [`Session`] draws with the same seed, up to the rounding of sums where two tokens are all but equally likely.
    /// On the kernels' path up to [`Engine::BATCH_ROWS`] replies are computed at a time, prompts share steps, and neighbours with the same prompt
    /// share its computation; on the reference path, and with `params.top_logprobs`, they are computed one by one.
    ///
    /// The device draws the tokens. With `params.record_draws` the host does where a temperature, a filter, a penalty or a bias changes what they are
    /// drawn from: it reads a row of logits for each token, and the device waits for it between steps.
    ///
    /// # Errors
    /// Those of [`Session::generate`] and [`Generation::next`](crate::Generation::next), and [`EngineError::InvalidSampling`] where there are not as
    /// many seeds as prompts.
    pub async fn generate_batch(
        &self,
        prompts: &[Vec<u32>],
        params: &SamplingParams,
        seeds: &[u64],
    ) -> Result<Vec<BatchReply>, EngineError> {
        self.replies(Asked { prompts, params, seeds, experts: false, shows_special: false }).await
    }

    /// As [`generate_batch`](Self::generate_batch), and records the experts as [`Session::record_experts`] does. Nothing that is cached already is
    /// taken over.
    ///
    /// # Errors
    /// Those of [`generate_batch`](Self::generate_batch).
    pub async fn generate_batch_with_experts(
        &self,
        prompts: &[Vec<u32>],
        params: &SamplingParams,
        seeds: &[u64],
    ) -> Result<Vec<BatchReply>, EngineError> {
        self.replies(Asked { prompts, params, seeds, experts: true, shows_special: false }).await
    }

    pub(crate) async fn replies(&self, asked: Asked<'_>) -> Result<Vec<BatchReply>, EngineError> {
        let Asked { prompts, params, seeds, .. } = asked;
        if prompts.len() != seeds.len() {
            let (allowed, found) = (format!("{}, one for each prompt", prompts.len()), seeds.len().to_string());
            return Err(EngineError::InvalidSampling { field: "seeds", allowed, found });
        }
        let config = self.config();
        params.validate(config.vocab_size)?;
        for prompt in prompts {
            check_prompt(prompt, config.vocab_size, self.plan().context, config.max_position_embeddings)?;
        }
        if params.top_logprobs == 0 && self.runtime().has_batches() {
            return self.generate_together(asked).await;
        }
        // What a prompt shares with the one before is not computed again.
        let mut session = self.session();
        let mut replies = Vec::with_capacity(prompts.len());
        for place in 0..prompts.len() {
            replies.push(generate_alone(&mut session, asked, place).await?);
        }
        Ok(replies)
    }
}

impl BatchReply {
    /// A reply of no tokens yet. Where nothing else ends it, the context does.
    fn begin() -> Self {
        Self {
            token_ids: Vec::new(),
            logprobs: Vec::new(),
            drawn_from: Vec::new(),
            experts: BTreeMap::new(),
            reason: StopReason::ContextFull,
        }
    }

    fn push(&mut self, token_id: u32, logprob: f32, drawn_from: Option<DrawnFrom>) {
        self.token_ids.push(token_id);
        self.logprobs.push(logprob);
        self.drawn_from.extend(drawn_from);
    }
}

/// The reply at `place` by a session.
async fn generate_alone(session: &mut Session, asked: Asked<'_>, place: usize) -> Result<BatchReply, EngineError> {
    let mut reply = BatchReply::begin();
    let (Some(prompt), Some(&seed)) = (asked.prompts.get(place), asked.seeds.get(place)) else { return Ok(reply) };
    if asked.experts && session.experts().is_none() {
        session.record_experts();
    }
    let mut generation = session.generate(prompt, SamplingParams { seed: Some(seed), ..asked.params.clone() })?;
    if asked.shows_special {
        generation.show_special_tokens();
    }
    while let Some(event) = generation.next().await {
        match event? {
            Event::Token(token) => reply.push(token.token_id, token.logprob, token.drawn_from),
            Event::Stop(stop) => reply.reason = stop.reason,
            Event::Prefill { .. } | Event::Text(_) => {}
        }
    }
    drop(generation);
    reply.experts = session.experts().cloned().unwrap_or_default();
    Ok(reply)
}

#[cfg(test)]
mod tests;
