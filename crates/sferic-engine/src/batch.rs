//! Replies to many prompts, computed together where our kernels run the model.

use crate::Engine;
use crate::error::EngineError;
use crate::event::{Event, StopReason};
use crate::runtime::Runtime;
use crate::sampler::{Sampler, SamplingParams};
use crate::session::{Output, check_prompt};
use sferic_lightning::{BatchDraw, Order};
use std::collections::HashMap;

/// A reply of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchReply {
    /// Its tokens, an end token included.
    pub token_ids: Vec<u32>,
    /// Natural logarithm of the model's probability of each, before penalties, bias and temperature.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub reason: StopReason,
}

/// A reply in the making.
struct Pending<'a> {
    prompt: &'a [u32],
    output: Option<Output>,
    reply: BatchReply,
}

impl Engine {
    /// Most replies that are computed at a time.
    pub const BATCH_ROWS: usize = 64;

    /// Computes a reply to each of `prompts`, all with `params` and each with its own of `seeds`; `params.seed` is not used.
    ///
    /// A reply has the tokens that a [`Session`](crate::Session) draws with the same seed, up to the rounding of sums where two tokens are all
    /// but equally likely. On the kernels' path up to [`Engine::BATCH_ROWS`] replies are computed at a time, and neighbours with the same prompt
    /// share its computation; on the reference path, and with `params.top_logprobs`, they are computed one by one.
    ///
    /// # Errors
    /// Those of [`Session::generate`](crate::Session::generate) and [`Generation::next`](crate::Generation::next), and
    /// [`EngineError::InvalidSampling`] where there are not as many seeds as prompts.
    pub async fn generate_batch(
        &self,
        prompts: &[Vec<u32>],
        params: &SamplingParams,
        seeds: &[u64],
    ) -> Result<Vec<BatchReply>, EngineError> {
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
            return self.generate_together(prompts, params, seeds).await;
        }
        let mut replies = Vec::with_capacity(prompts.len());
        for (prompt, &seed) in prompts.iter().zip(seeds) {
            replies.push(self.generate_alone(prompt, params, seed).await?);
        }
        Ok(replies)
    }

    /// One reply by a session of its own.
    async fn generate_alone(&self, prompt: &[u32], params: &SamplingParams, seed: u64) -> Result<BatchReply, EngineError> {
        let mut session = self.session();
        let mut generation = session.generate(prompt, SamplingParams { seed: Some(seed), ..params.clone() })?;
        let mut reply = BatchReply { token_ids: Vec::new(), logprobs: Vec::new(), reason: StopReason::Cancelled };
        while let Some(event) = generation.next().await {
            match event? {
                Event::Token(token) => {
                    reply.token_ids.push(token.token_id);
                    reply.logprobs.push(token.logprob);
                }
                Event::Stop(stop) => reply.reason = stop.reason,
                Event::Prefill { .. } | Event::Text(_) => {}
            }
        }
        Ok(reply)
    }

    async fn generate_together(
        &self,
        prompts: &[Vec<u32>],
        params: &SamplingParams,
        seeds: &[u64],
    ) -> Result<Vec<BatchReply>, EngineError> {
        let (vocab_size, context) = (self.config().vocab_size, self.plan().context);
        let drawing = |prompt: &[u32], seed| {
            let params = SamplingParams { seed: Some(seed), ..params.clone() };
            Ok::<_, EngineError>(
                Sampler::new(params, vocab_size, prompt, seed)?.without(self.unused_tokens()).drawing(vocab_size),
            )
        };
        let Some((first, &seed)) = prompts.first().zip(seeds.first()) else { return Ok(Vec::new()) };
        let mut batch = self.runtime().batch(prompts.len().min(Self::BATCH_ROWS), drawing(first, seed)?)?;
        let (mut pending, mut places) = (Vec::with_capacity(prompts.len()), HashMap::new());
        for (place, (prompt, &seed)) in prompts.iter().zip(seeds).enumerate() {
            let counts = drawing(prompt, seed)?.adjustments.map_or_else(Vec::new, |(counts, _)| counts);
            let most = params.max_tokens.unwrap_or(context);
            places.insert(Runtime::push(&mut batch, Order { prompt: prompt.clone(), most, seed, counts })?, place);
            let output = if params.stop.is_empty() { None } else { Some(Output::new(self, params)?) };
            let reply = BatchReply { token_ids: Vec::new(), logprobs: Vec::new(), reason: StopReason::ContextFull };
            pending.push(Pending { prompt, output, reply });
        }
        while !batch.is_empty() {
            for draw in Runtime::step(&mut batch).await? {
                let Some((place, pending)) = places.get(&draw.id).and_then(|&at| Some((at, pending.get_mut(at)?))) else {
                    continue;
                };
                if draw.has_bad_logits {
                    batch.end(draw.id);
                    // By itself it says what is wrong with its logits.
                    pending.reply = self.generate_alone(pending.prompt, params, seeds[place]).await?;
                } else if self.has_ended(pending, draw, params)? {
                    batch.end(draw.id);
                }
            }
        }
        Ok(pending.into_iter().map(|pending| pending.reply).collect())
    }

    /// Takes a token and says whether the reply ends with it.
    fn has_ended(&self, pending: &mut Pending<'_>, draw: BatchDraw, params: &SamplingParams) -> Result<bool, EngineError> {
        let Pending { output, reply, .. } = pending;
        reply.token_ids.push(draw.token);
        reply.logprobs.push(draw.logprob);
        let is_end = self.end_tokens().contains(&draw.token);
        if is_end && !params.ignore_eos {
            reply.reason = StopReason::Eos;
            return Ok(true);
        }
        if let Some(output) = output.as_mut().filter(|_| !is_end)
            && let (_, Some(stop_string)) = output.push(draw.token)?
        {
            reply.reason = StopReason::StopString(stop_string);
            return Ok(true);
        }
        if params.max_tokens.is_some_and(|most| reply.token_ids.len() >= most) {
            reply.reason = StopReason::MaxTokens;
        }
        Ok(draw.is_last)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::testing::{engine, prompt};
    use pollster::block_on;

    #[test]
    fn one_by_one_it_is_what_sessions_draw() {
        let engine = engine();
        let params = SamplingParams { max_tokens: Some(6), ignore_eos: true, ..SamplingParams::default() };
        let prompts = [prompt(9), prompt(20), prompt(9)];
        let replies = block_on(engine.generate_batch(&prompts, &params, &[1, 2, 3])).unwrap();
        for ((prompt, reply), seed) in prompts.iter().zip(&replies).zip([1, 2, 3]) {
            let mut session = engine.session();
            let mut generation = session.generate(prompt, SamplingParams { seed: Some(seed), ..params.clone() }).unwrap();
            while block_on(generation.next()).is_some() {}
            drop(generation);
            assert_eq!(session.tokens()[prompt.len()..], reply.token_ids);
            assert_eq!((reply.logprobs.len(), &reply.reason), (6, &StopReason::MaxTokens));
        }
        assert_ne!(replies[0].token_ids, replies[2].token_ids, "seeds differ");
    }

    #[test]
    fn what_a_batch_refuses() {
        let engine = engine();
        let batch = |prompts: &[Vec<u32>], params: &SamplingParams, seeds: &[u64]| {
            block_on(engine.generate_batch(prompts, params, seeds)).unwrap_err()
        };
        let params = SamplingParams::default();
        let error = batch(&[prompt(3)], &params, &[]);
        assert!(matches!(error, EngineError::InvalidSampling { field: "seeds", .. }), "{error}");
        assert!(matches!(batch(&[prompt(3), Vec::new()], &params, &[1, 2]), EngineError::EmptyPrompt));
        let hot = SamplingParams { temperature: 101.0, ..params };
        assert!(matches!(batch(&[], &hot, &[]), EngineError::InvalidSampling { field: "temperature", .. }));
    }
}
