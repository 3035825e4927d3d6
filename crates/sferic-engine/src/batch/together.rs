//! Batches on the kernels, drawn on the device or by the host.

use super::{Asked, BatchReply, generate_alone};
use crate::Engine;
use crate::error::EngineError;
use crate::event::StopReason;
use crate::plan::MemoryPlan;
use crate::runtime::{ExpertRows, Runtime};
use crate::sampler::{Sampled, Sampler, SamplingParams};
use crate::session::Output;
use sferic_lightning::{BatchDraw, Drawing, Order, StepLogits};
use std::collections::HashMap;

/// Words of the logits of a step: 64 rows of the largest vocabulary, within the smallest binding that adapters have to offer.
const MOST_LOGITS: usize = 1 << 24;

/// A reply in the making.
struct Pending {
    /// `None` without stop strings.
    output: Option<Output>,
    sampler: Sampler,
    reply: BatchReply,
}

/// A draw of the host for the reply `id`, from the `n`-th row of a step's logits.
struct HostDraw<'a> {
    id: usize,
    n: usize,
    pending: &'a mut Pending,
    drawn: Option<Result<Sampled, EngineError>>,
}

impl Engine {
    pub(super) async fn generate_together(&self, asked: Asked<'_>) -> Result<Vec<BatchReply>, EngineError> {
        let Asked { prompts, params, seeds, .. } = asked;
        let mut pending = Vec::with_capacity(prompts.len());
        for (prompt, &seed) in prompts.iter().zip(seeds) {
            let params = SamplingParams { seed: Some(seed), ..params.clone() };
            let mut output = if params.stop.is_empty() { None } else { Some(Output::new(self, &params)?) };
            if let Some(output) = output.as_mut().filter(|_| asked.shows_special) {
                output.show_special_tokens();
            }
            let sampler = Sampler::new(params, self.config().vocab_size, prompt, seed)?.without(self.unused_tokens());
            pending.push(Pending { output, sampler, reply: BatchReply::begin() });
        }
        match pending.first().map(|pending| pending.sampler.needs_logits()) {
            None => {}
            Some(false) => self.draw_on_device(asked, &mut pending).await?,
            Some(true) => self.draw_on_host(asked, &mut pending).await?,
        }
        Ok(pending.into_iter().map(|pending| pending.reply).collect())
    }

    async fn draw_on_device(&self, asked: Asked<'_>, pending: &mut [Pending]) -> Result<(), EngineError> {
        let Asked { prompts, params, seeds, experts, .. } = asked;
        let drawing = |pending: &Pending| Drawing { experts, ..pending.sampler.drawing(self.config().vocab_size) };
        let Some(first) = pending.first().map(drawing) else { return Ok(()) };
        let mut batch = self.runtime().batch(rows(self.plan(), self.config().vocab_size, asked), first)?;
        let mut places = HashMap::new();
        for (place, ((prompt, &seed), pending)) in prompts.iter().zip(seeds).zip(&*pending).enumerate() {
            let counts = drawing(pending).adjustments.map_or_else(Vec::new, |(counts, _)| counts);
            let most = params.max_tokens.unwrap_or(self.plan().context);
            places.insert(Runtime::push(&mut batch, Order { prompt: prompt.clone(), most, seed, counts })?, place);
        }
        while !batch.is_empty() {
            for draw in Runtime::step(&mut batch).await? {
                let BatchDraw { id, token, logprob, has_bad_logits, is_last, experts } = draw;
                let Some((place, pending)) = places.get(&id).and_then(|&at| Some((at, pending.get_mut(at)?))) else { continue };
                if has_bad_logits {
                    batch.end(id);
                    // By itself it says what is wrong with its logits.
                    pending.reply = generate_alone(&mut self.session(), asked, place).await?;
                    continue;
                }
                let drawn_from = pending.sampler.drawn_on_device(token, logprob);
                let sampled = Sampled { token_id: token, logprob, top_logprobs: Vec::new(), drawn_from };
                if self.has_ended(pending, sampled, self.runtime().expert_rows(experts), params)? || is_last {
                    batch.end(id);
                }
            }
        }
        Ok(())
    }

    async fn draw_on_host(&self, asked: Asked<'_>, pending: &mut [Pending]) -> Result<(), EngineError> {
        let Asked { prompts, params, experts, .. } = asked;
        let mut batch = self.runtime().logits_batch(rows(self.plan(), self.config().vocab_size, asked), experts)?;
        let mut places = HashMap::new();
        for (place, prompt) in prompts.iter().enumerate() {
            let most = params.max_tokens.unwrap_or(self.plan().context);
            places.insert(Runtime::push_undrawn(&mut batch, prompt.clone(), most)?, place);
        }
        while !batch.is_empty() {
            let logits = Runtime::step_logits(&mut batch).await?;
            let mut rows = vec![None; pending.len()];
            for (n, id) in logits.ids().enumerate() {
                if let Some(row) = places.get(&id).and_then(|&place: &usize| rows.get_mut(place)) {
                    *row = Some((n, id));
                }
            }
            let of_row = |(pending, row): (_, Option<(usize, usize)>)| {
                let (n, id) = row?;
                Some(HostDraw { id, n, pending, drawn: None })
            };
            let mut draws: Vec<HostDraw<'_>> = pending.iter_mut().zip(rows).filter_map(of_row).collect();
            draw_all(&mut draws, &logits);
            for HostDraw { id, pending, drawn, .. } in draws {
                let Some(sampled) = drawn.transpose()? else { continue };
                let taken = batch.take(id, sampled.token_id);
                let experts = self.runtime().expert_rows(taken.experts);
                if self.has_ended(pending, sampled, experts, params)? {
                    batch.end(id);
                }
            }
        }
        Ok(())
    }

    /// Takes a token and says whether the reply ends with it.
    fn has_ended(
        &self,
        pending: &mut Pending,
        sampled: Sampled,
        experts: ExpertRows,
        params: &SamplingParams,
    ) -> Result<bool, EngineError> {
        let Pending { output, reply, .. } = pending;
        let token_id = sampled.token_id;
        reply.push(token_id, sampled.logprob, sampled.drawn_from);
        for (layer_idx, rows) in experts {
            reply.experts.entry(layer_idx).or_default().extend(rows);
        }
        let is_end = self.end_tokens().contains(&token_id);
        if is_end && !params.ignore_eos {
            reply.reason = StopReason::Eos;
            return Ok(true);
        }
        if let Some(output) = output.as_mut().filter(|_| !is_end)
            && let (_, Some(stop_string)) = output.push(token_id)?
        {
            reply.reason = StopReason::StopString(stop_string);
            return Ok(true);
        }
        let is_full = params.max_tokens.is_some_and(|most| reply.token_ids.len() >= most);
        if is_full {
            reply.reason = StopReason::MaxTokens;
        }
        Ok(is_full)
    }
}

/// Replies at a time: as many as the memory has room for beside the plan's one session, where the system tells how much there is. The caches double
/// when they grow, so that half of what is left is counted on.
pub(super) fn rows(plan: &MemoryPlan, vocab_size: usize, asked: Asked<'_>) -> usize {
    let longest = asked.prompts.iter().map(Vec::len).max().unwrap_or(1);
    let longest = longest.saturating_add(asked.params.max_tokens.unwrap_or(plan.context)).min(plan.context);
    let left = plan.available_bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(plan.total_bytes));
    let more = left / 2 / plan.cache_bytes_per_token.max(1);
    let fit = (plan.context as u64).saturating_add(more) / longest.max(1) as u64;
    let most = Engine::BATCH_ROWS.min(MOST_LOGITS / vocab_size.max(1)).max(1);
    usize::try_from(fit).unwrap_or(usize::MAX).clamp(1, most).min(asked.prompts.len())
}

/// Draws on as many threads as there are cores; in a browser, where there is one, on this.
fn draw_all(draws: &mut [HostDraw<'_>], logits: &StepLogits) {
    let work = |piece: &mut [HostDraw<'_>]| {
        piece.iter_mut().for_each(|draw| draw.drawn = Some(draw.pending.sampler.sample(&logits.row(draw.n))));
    };
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(draws.len());
    if n_threads <= 1 {
        return work(draws);
    }
    std::thread::scope(|scope| {
        for piece in draws.chunks_mut(draws.len().div_ceil(n_threads)) {
            let work = &work;
            scope.spawn(move || work(piece));
        }
    });
}
