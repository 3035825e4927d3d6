//! A reply in the making.

use super::Session;
use super::output::Output;
use crate::EngineError;
use crate::clock::Clock;
use crate::event::{CancelToken, Event, Stats, Stop, StopReason, TokenEvent};
use crate::runtime::{Attention, Feed, Wanted};
use crate::sampler::{Sampled, Sampler, SamplingParams};
use std::collections::VecDeque;

/// A reply in the making: call [`next`](Self::next) until it returns `None`.
///
/// It may be dropped at any point, even between the polls of `next`. The session then has the prompt and the tokens drawn so far.
pub struct Generation<'s> {
    session: &'s mut Session,
    sampler: Sampler,
    output: Output,
    ignore_eos: bool,
    max_tokens: Option<usize>,
    cancel: CancelToken,
    /// Logits of the last computed token, `[V]`, until a token has been drawn from them. Kept here and not on the stack of
    /// `next`, so that a dropped future loses nothing.
    pending: Option<Vec<f32>>,
    events: VecDeque<Event>,
    has_ended: bool,
    stats: Stats,
    clock: Option<Clock>,
}

impl<'s> Generation<'s> {
    pub(super) fn new(
        session: &'s mut Session,
        sampler: Sampler,
        output: Output,
        params: SamplingParams,
        n_reused: usize,
    ) -> Self {
        let prompt_tokens = session.tokens.len();
        let stats = Stats { prompt_tokens, reused_tokens: n_reused, seed: sampler.seed(), ..Stats::default() };
        Self {
            session,
            sampler,
            output,
            ignore_eos: params.ignore_eos,
            max_tokens: params.max_tokens,
            cancel: CancelToken::default(),
            pending: None,
            events: VecDeque::new(),
            has_ended: false,
            stats,
            clock: None,
        }
    }

    /// Returns the next event, or `None` after [`Event::Stop`] or an error.
    ///
    /// Each call computes one prefill chunk or one token at most.
    ///
    /// # Errors
    /// [`EngineError::Device`] when the device fails and [`EngineError::BadLogits`] when the model's output cannot be sampled from. The
    /// generation ends then, and the session stays usable.
    pub async fn next(&mut self) -> Option<Result<Event, EngineError>> {
        while self.events.is_empty() && !self.has_ended {
            if let Err(error) = self.step().await {
                self.has_ended = true;
                self.events.clear();
                if matches!(error, EngineError::Device { .. }) {
                    self.session.forget_cache();
                }
                return Some(Err(error));
            }
        }
        self.events.pop_front().map(Ok)
    }

    /// Returns the handle that ends this generation from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Returns counts and times so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Shows special tokens in the text as well: a conversation's markup may be made of them. The end token never shows.
    pub(crate) fn show_special_tokens(&mut self) {
        self.output.show_special_tokens();
    }

    async fn step(&mut self) -> Result<(), EngineError> {
        self.clock.get_or_insert_with(Clock::start);
        if self.cancel.is_cancelled() {
            self.stop(StopReason::Cancelled);
            return Ok(());
        }
        if self.pending.is_none() && self.stats.generated_tokens == 0 { self.prefill_chunk().await } else { self.draw().await }
    }

    /// Computes the next chunk of the prompt; the last one leaves its logits in `pending`.
    async fn prefill_chunk(&mut self) -> Result<(), EngineError> {
        let Session { engine, cached, tokens } = &mut *self.session;
        let start = cached.len();
        let end = tokens.len().min(start + engine.runtime().chunk(engine.plan().prefill_chunk));
        let wanted = if end == tokens.len() { Wanted::Last } else { Wanted::Nothing };
        let computed = engine.runtime().compute(cached, &tokens[start..end], Feed::Prefill, wanted, &Attention::Selected).await?;
        self.stats.prefilled_tokens += end - start;
        let (done, total) = (self.stats.prefilled_tokens, self.stats.prompt_tokens - self.stats.reused_tokens);
        if end == tokens.len() {
            self.pending = Some(computed.logits);
        }
        self.events.push_back(Event::Prefill { done, total });
        Ok(())
    }

    /// Computes the last token, unless its logits are pending, and draws the next one.
    async fn draw(&mut self) -> Result<(), EngineError> {
        if self.pending.is_none() {
            let Session { engine, cached, tokens } = &mut *self.session;
            // One token, unless a dropped future has left the last one drawn and not computed.
            let computed = engine
                .runtime()
                .compute(cached, &tokens[cached.len()..], Feed::Decode, Wanted::Last, &Attention::Selected)
                .await?;
            self.pending = Some(computed.logits);
        }
        let Some(logits) = &self.pending else { return Ok(()) };
        let sampled = self.sampler.sample(logits)?;
        self.pending = None;
        self.accept(sampled)
    }

    /// Takes a drawn token into the conversation and decides whether it is the last.
    fn accept(&mut self, sampled: Sampled) -> Result<(), EngineError> {
        let Sampled { token_id, logprob, top_logprobs } = sampled;
        self.session.tokens.push(token_id);
        self.stats.generated_tokens += 1;
        let now_secs = self.clock.map_or(0.0, |clock| clock.secs());
        if self.stats.generated_tokens == 1 {
            self.stats.prefill_secs = now_secs;
            self.stats.time_to_first_token_secs = Some(now_secs);
        }
        self.stats.decode_secs = now_secs - self.stats.prefill_secs;
        let piece = self.output.piece(token_id);
        self.events.push_back(Event::Token(TokenEvent { token_id, piece, logprob, top_logprobs }));
        let is_end = self.session.engine.end_tokens().contains(&token_id);
        if is_end && !self.ignore_eos {
            self.stop(StopReason::Eos);
            return Ok(());
        }
        let (text, matched) = if is_end { Default::default() } else { self.output.push(token_id)? };
        self.push_text(text);
        if let Some(stop_string) = matched {
            self.end(StopReason::StopString(stop_string));
        } else if self.max_tokens.is_some_and(|max_tokens| self.stats.generated_tokens >= max_tokens) {
            self.stop(StopReason::MaxTokens);
        } else if self.session.tokens.len() > self.session.engine.plan().context {
            // The last token need not be computed, so a prompt of n tokens leaves room for `context - n + 1`.
            self.stop(StopReason::ContextFull);
        }
        Ok(())
    }

    /// Ends with the text that was held back in case it became a stop string.
    fn stop(&mut self, reason: StopReason) {
        let text = self.output.finish();
        self.push_text(text);
        self.end(reason);
    }

    fn end(&mut self, reason: StopReason) {
        self.events.push_back(Event::Stop(Stop { reason, stats: self.stats }));
        self.has_ended = true;
    }

    fn push_text(&mut self, text: String) {
        if !text.is_empty() {
            self.events.push_back(Event::Text(text));
        }
    }
}
