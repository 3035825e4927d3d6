//! A reply in the making.

use super::Session;
use super::output::Output;
use crate::EngineError;
use crate::clock::Clock;
use crate::event::{CancelToken, Event, Stats, Stop, StopReason, TokenEvent};
use crate::runtime::{Feed, Wanted};
use crate::sampler::{Sampled, Sampler, SamplingParams};
use sferic_lightning::{Draw, Drawing, Draws};
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
    /// What the next token comes from, where that has been computed. Kept here and not on the stack of `next`, so that a dropped future loses
    /// nothing.
    pending: Option<Pending>,
    /// Draws on the device, where that is possible.
    draws: Option<Box<Draws>>,
    events: VecDeque<Event>,
    has_ended: bool,
    stats: Stats,
    clock: Option<Clock>,
}

/// What a token comes from.
enum Pending {
    /// Logits of the last computed token, `[V]`.
    Logits(Vec<f32>),
    /// A draw of the device.
    Draw(Draw),
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
            draws: None,
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

    /// Computes the next chunk of the prompt; the last one leaves what is drawn from in `pending`.
    async fn prefill_chunk(&mut self) -> Result<(), EngineError> {
        let engine = self.session.engine.clone();
        let (start, n_tokens) = (self.session.cached.len(), self.session.tokens.len());
        let end = n_tokens.min(start + engine.runtime().chunk(engine.plan().prefill_chunk));
        if end == n_tokens && !self.sampler.needs_logits() {
            let experts = self.session.experts.is_some();
            let drawing = || Drawing { experts, ..self.sampler.drawing(engine.config().vocab_size) };
            self.draws = engine.runtime().draws(drawing).await?.map(Box::new);
        }
        if end == n_tokens && self.draws.is_some() {
            self.draw_on_device().await?;
        } else {
            let wanted = if end == n_tokens { Wanted::Last } else { Wanted::Nothing };
            let logits = self.compute(end, Feed::Prefill, wanted).await?;
            self.pending = (end == n_tokens).then_some(Pending::Logits(logits));
        }
        self.stats.prefilled_tokens += end - start;
        let (done, total) = (self.stats.prefilled_tokens, self.stats.prompt_tokens - self.stats.reused_tokens);
        self.events.push_back(Event::Prefill { done, total });
        Ok(())
    }

    /// Computes the tokens that are not cached up to `end` and returns the logits that are wanted.
    async fn compute(&mut self, end: usize, feed: Feed, wanted: Wanted) -> Result<Vec<f32>, EngineError> {
        Ok(self.session.compute(end, feed, wanted).await?.logits)
    }

    /// Has the device compute what is not cached and draw the next token, which becomes pending. Logits that nothing can be drawn from are read, for
    /// the host to say what is wrong with them.
    async fn draw_on_device(&mut self) -> Result<(), EngineError> {
        let Some(draws) = &mut self.draws else { return Ok(()) };
        self.session.settle();
        let Session { engine, cached, tokens, experts } = &mut *self.session;
        let more = self.max_tokens.is_none_or(|most| self.stats.generated_tokens + 1 < most);
        let go_on = more && tokens.len() < engine.plan().context && !self.cancel.is_cancelled();
        let (draw, chosen) = cached.draw(draws, tokens, go_on).await?;
        if let Some(experts) = experts {
            experts.extend(cached.len(), chosen);
        }
        if !draw.has_bad_logits {
            self.pending = Some(Pending::Draw(draw));
            return Ok(());
        }
        self.draws = None;
        let n_tokens = self.session.tokens.len();
        self.session.cached.truncate(n_tokens - 1);
        self.pending = Some(Pending::Logits(self.compute(n_tokens, Feed::Prefill, Wanted::Last).await?));
        Ok(())
    }

    /// Computes the last token, unless what comes of it is pending, and takes the next one.
    async fn draw(&mut self) -> Result<(), EngineError> {
        if self.pending.is_none() && self.draws.is_some() {
            self.draw_on_device().await?;
        } else if self.pending.is_none() {
            // One token, unless a dropped future has left the last one drawn and not computed.
            let logits = self.compute(self.session.tokens.len(), Feed::Decode, Wanted::Last).await?;
            self.pending = Some(Pending::Logits(logits));
        }
        let sampled = match &self.pending {
            None => return Ok(()),
            Some(Pending::Logits(logits)) => self.sampler.sample(logits)?,
            Some(Pending::Draw(Draw { token, logprob, .. })) => {
                self.sampler.took(*token);
                let drawn_from = self.sampler.drawn_on_device(*token, *logprob);
                Sampled { token_id: *token, logprob: *logprob, top_logprobs: Vec::new(), drawn_from }
            }
        };
        self.pending = None;
        self.accept(sampled)
    }

    /// Takes a drawn token into the conversation and decides whether it is the last.
    fn accept(&mut self, sampled: Sampled) -> Result<(), EngineError> {
        let Sampled { token_id, logprob, top_logprobs, drawn_from } = sampled;
        self.session.tokens.push(token_id);
        self.stats.generated_tokens += 1;
        let now_secs = self.clock.map_or(0.0, |clock| clock.secs());
        if self.stats.generated_tokens == 1 {
            self.stats.prefill_secs = now_secs;
            self.stats.time_to_first_token_secs = Some(now_secs);
        }
        self.stats.decode_secs = now_secs - self.stats.prefill_secs;
        let piece = self.output.piece(token_id);
        self.events.push_back(Event::Token(TokenEvent { token_id, piece, logprob, top_logprobs, drawn_from }));
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
