//! Replies to many prompts at once: each step computes one token of every reply and draws the next ones.
//!
//! A step reads the tokens, positions and block tables of its rows from buffers of the batch, so that the step after it can be submitted before
//! the host has read what was drawn. What a row draws in the step that was under way when it ended is thrown away. Prompts but for their last tokens
//! are computed before, several of them in a step, once for neighbours that are the same; the last token is the row's first step.

mod host;
mod prompts;
mod rows;
mod steps;

pub use host::{LogitsBatch, StepLogits, Taken};

use crate::model::{Experts, Model, ModelError};
use crate::pages::PAGE;
use crate::record::{StepShape, attention_sizes};
use crate::sequence::Sequence;
use prompts::Prompts;
use rows::{Buffers, Row};
use sferic_gpu::Graph;
use sferic_shaders::sample::next_token::{BAD_LOGITS, NOTHING_TO_DRAW, STATE_HEADER, Settings};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How the replies of a batch are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchSettings {
    /// Replies that are computed at a time, at most [`Settings::chunk`](crate::Settings::chunk).
    pub rows: usize,
    /// Temperature, filters and penalties of all of them.
    pub sampling: Settings,
    /// What is added to the logit of each token; `None` without bias and penalties.
    pub bias: Option<Vec<f32>>,
    /// Attends to every token instead of the selected ones.
    pub dense: bool,
    /// Whether the experts of what is computed are read. Nothing that is cached already is taken over then, since nobody knows its experts.
    pub experts: bool,
}

/// A reply that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// What it is a reply to.
    pub prompt: Vec<u32>,
    /// Most tokens of it; fewer where the context ends.
    pub most: usize,
    /// Seed of its draws: they are those of [`Draws`](crate::Draws) with this seed.
    pub seed: u64,
    /// For every token how often it counts for the penalties, as in [`Drawing`](crate::Drawing); empty without bias and penalties.
    pub counts: Vec<u32>,
}

/// A token of a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchDraw {
    /// Whose it is: what [`Batch::push`] returned.
    pub id: usize,
    /// The token.
    pub token: u32,
    /// Natural logarithm of the model's probability of it, before penalties, bias and temperature.
    pub logprob: f32,
    /// Whether a logit was NaN or +∞, or nothing could be drawn: the token means nothing then.
    pub has_bad_logits: bool,
    /// Whether it is the last one, because no more were wanted or fit.
    pub is_last: bool,
    /// Experts of the tokens that were computed for it, where they are read: the prompt's for the first token of a reply.
    pub experts: Experts,
}

/// Replies that are computed together.
///
/// What a reply draws depends on its prompt and its seed, and on its neighbours only by the rounding of sums: products of up to eight rows and of
/// more are different kernels.
pub struct Batch {
    model: Model,
    settings: BatchSettings,
    /// Whether the host draws the tokens, from logits that it reads.
    host_draws: bool,
    buffers: Buffers,
    waiting: VecDeque<(usize, Order)>,
    /// As many as the step has rows.
    rows: Vec<Option<Row>>,
    /// The prompt of the reply that was begun last without its last token, where the next one has the same.
    same: Option<Prompt>,
    /// Prompts of the replies that begin next, as far as they are computed.
    ready: VecDeque<Prompt>,
    prompts: Prompts,
    steps: HashMap<StepShape, Arc<Graph>>,
    /// The caches' buffers that the steps bind.
    generation: u64,
    ahead: Option<Ahead>,
    /// Steps since the positions of rows without a reply were last set back.
    n_strayed: usize,
    n_orders: usize,
    /// Whether a call was begun and not ended, so that nobody knows how far the device has come.
    is_unsure: bool,
}

/// A step that is under way.
struct Ahead {
    reading: steps::Reading,
    /// Whose tokens it draws, by row.
    ids: Vec<Option<usize>>,
}

/// A computed prompt without its last token.
struct Prompt {
    sequence: Sequence,
    /// Where they are read.
    experts: Experts,
}

impl Batch {
    /// Makes the buffers for [`BatchSettings::rows`] replies at a time.
    ///
    /// # Errors
    /// [`ModelError`] for no rows or more than a step may have, for settings out of range, or where memory is short.
    pub fn new(model: &Model, settings: BatchSettings) -> Result<Self, ModelError> {
        Self::with(model, settings, false)
    }

    /// As [`Batch::new`]; with `host_draws` for a [`LogitsBatch`].
    fn with(model: &Model, settings: BatchSettings, host_draws: bool) -> Result<Self, ModelError> {
        let chunk = model.workspace().rows;
        if settings.rows == 0 || settings.rows > chunk {
            return Err(ModelError::StepTooLong { found: settings.rows, chunk });
        }
        let (a, caches) = (model.architecture(), model.settings().caches);
        let counts = (0..).map(|log| 1 << log).take_while(|&n| n < settings.rows).chain([settings.rows]);
        let sums = attention_sizes(a, caches, model.settings().context, counts, &model.device().capabilities);
        let buffers = Buffers::new(model, &settings, sums)?;
        let generation = model.state().caches.generation;
        let batch = Self {
            model: model.clone(),
            settings,
            host_draws,
            buffers,
            waiting: VecDeque::new(),
            rows: Vec::new(),
            same: None,
            ready: VecDeque::new(),
            prompts: Prompts::new(model)?,
            steps: HashMap::new(),
            generation,
            ahead: None,
            n_strayed: 0,
            n_orders: 0,
            is_unsure: false,
        };
        batch.choice(1)?;
        Ok(batch)
    }

    /// Adds a reply, which begins as soon as there is a row and room in the caches for it. Returns the number that its draws will have.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`] for a prompt that leaves no room for a reply, or of no tokens.
    pub fn push(&mut self, order: Order) -> Result<usize, ModelError> {
        let (found, context) = (order.prompt.len(), self.model.settings().context);
        if found == 0 || found > context {
            return Err(ModelError::ContextFull { found, context });
        }
        let id = self.n_orders;
        self.n_orders += 1;
        self.waiting.push_back((id, order));
        Ok(id)
    }

    /// Ends a reply, whether it has begun or not; nothing more is drawn for it.
    pub fn end(&mut self, id: usize) {
        self.waiting.retain(|(waiting, _)| *waiting != id);
        let has_id = |row: &Option<Row>| row.as_ref().is_some_and(|row| row.id == id);
        if let Some(at) = self.rows.iter().position(has_id) {
            self.rows[at] = None;
            self.buffers.clear(self.model.device(), at);
        }
    }

    /// Whether every reply has ended.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.n_active() == 0
    }

    /// Replies that have begun and not ended.
    pub fn n_active(&self) -> usize {
        self.rows.iter().flatten().count()
    }

    /// Computes one token of every reply and returns what is drawn after it; nothing once every reply has ended.
    ///
    /// It may be dropped at any point; the next call then computes the last tokens again.
    ///
    /// # Errors
    /// [`ModelError`]. [`ModelError::Full`] for a reply that does not fit the caches even by itself, which is then given up, as it is
    /// with every other error in its prompt's computation.
    pub async fn step(&mut self) -> Result<Vec<BatchDraw>, ModelError> {
        self.prepare().await?;
        let mut draws = Vec::new();
        if self.n_active() > 0 {
            let now = match self.ahead.take() {
                Some(ahead) => ahead,
                None => self.submit().await?,
            };
            draws = self.finish(now).await?;
        }
        self.is_unsure = false;
        Ok(draws)
    }

    /// Begins a call: rows for the replies that there are, and prompts of those that begin.
    async fn prepare(&mut self) -> Result<(), ModelError> {
        if std::mem::replace(&mut self.is_unsure, true) {
            self.ahead = None;
            self.rearrange();
        } else if self.ahead.is_none() && self.wanted_rows() != self.rows.len() {
            self.rearrange();
        }
        self.begin_replies().await
    }

    /// Rows for the replies that there are, a power of two where that is less than all.
    fn wanted_rows(&self) -> usize {
        let n = (self.n_active() + self.waiting.len()).min(self.settings.rows);
        if n == 0 { 0 } else { n.next_power_of_two().min(self.settings.rows) }
    }

    /// Moves the replies to the first of as many rows as are wanted, and brings the device's state to what the host knows.
    fn rearrange(&mut self) {
        let wanted = self.wanted_rows();
        self.rows.retain(Option::is_some);
        self.rows.iter_mut().flatten().for_each(|row| row.n_under_way = 0);
        self.rows.resize_with(wanted.max(self.rows.len()), || None);
        for (at, row) in self.rows.iter().enumerate() {
            match row {
                Some(row) => self.buffers.write(self.model.device(), at, row),
                None => self.buffers.clear(self.model.device(), at),
            }
        }
    }

    /// Gives free rows to the replies that wait, in their order, as far as the caches have room.
    async fn begin_replies(&mut self) -> Result<(), ModelError> {
        while let Some(at) = self.rows.iter().position(Option::is_none) {
            let Some((id, order)) = self.waiting.pop_front() else { break };
            self.same = self.same.take().filter(|same| same.sequence.tokens() == without_last(&order.prompt));
            if !self.has_room(&order, 0) {
                // Replies that end will make room, and prompts of later ones that are computed again.
                if self.n_active() > 0 {
                    self.waiting.push_front((id, order));
                    break;
                }
                self.ready.clear();
            }
            let prompt = self.computed(&order).await?;
            let row = Row::new(id, order, prompt, &self.model);
            self.buffers.write(self.model.device(), at, &row);
            self.rows[at] = Some(row);
        }
        Ok(())
    }

    /// Tokens that may be computed for a reply.
    fn room_for(&self, order: &Order) -> usize {
        (order.prompt.len() - 1 + order.most.max(1)).min(self.model.settings().context)
    }

    /// Whether the caches have room for a reply and `more` pages beside what it shares with the one before, or what is ready of it.
    fn has_room(&self, order: &Order, more: usize) -> bool {
        let is_ready = |prompt: &&Prompt| prompt.sequence.tokens() == without_last(&order.prompt);
        let ready = || self.ready.front().filter(is_ready).map_or(0, |prompt| prompt.sequence.table().pages.len());
        let held = self.same.as_ref().map_or_else(ready, |same| same.sequence.len() / PAGE);
        self.model.state().caches.has_room(self.room_for(order).div_ceil(PAGE) - held + more)
    }

    /// The prompt without its last token, with room for the reply.
    async fn computed(&mut self, order: &Order) -> Result<Prompt, ModelError> {
        let is_same = self.waiting.front().is_some_and(|(_, next)| next.prompt == order.prompt);
        let is_kept = is_same && self.has_room(order, 1);
        let mut prompt = match self.same.take() {
            Some(same) => same,
            None => self.prompt(order).await?,
        };
        if is_kept {
            let forked = Prompt { sequence: prompt.sequence.fork()?, experts: prompt.experts.clone() };
            self.same = Some(std::mem::replace(&mut prompt, forked));
        }
        prompt.sequence.reserve(self.room_for(order))?;
        Ok(prompt)
    }

    /// Begins the step after `now` where some reply goes on, and takes what `now` has drawn.
    async fn finish(&mut self, now: Ahead) -> Result<Vec<BatchDraw>, ModelError> {
        let goes_on = self.rows.iter().flatten().any(|row| row.left > row.n_under_way);
        let next = if goes_on && self.wanted_rows() == self.rows.len() { Some(self.submit().await?) } else { None };
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&now.reading.rows.bytes(self.model.device()).await?);
        let experts = self.experts(now.reading.experts, now.ids.len()).await?;
        let is_drawn = self.settings.sampling.temperature > 0.0;
        let mut draws = Vec::new();
        let mut ended = Vec::new();
        let drawn = words.chunks_exact(STATE_HEADER as usize).zip(now.ids).zip(experts);
        for (at, ((words, id), experts)) in drawn.enumerate() {
            let Some(row) = self.rows.get_mut(at).and_then(Option::as_mut).filter(|row| Some(row.id) == id) else { continue };
            let [.., status, logprob, token] = *words else { continue };
            let experts = row.experts_with(experts);
            row.took(token, is_drawn);
            let has_bad_logits = status & (BAD_LOGITS | NOTHING_TO_DRAW) != 0;
            let is_last = row.left == 0;
            draws.push(BatchDraw { id: row.id, token, logprob: f32::from_bits(logprob), has_bad_logits, is_last, experts });
            ended.extend(is_last.then_some(row.id));
        }
        ended.into_iter().for_each(|id| self.end(id));
        self.ahead = next;
        Ok(draws)
    }
}

fn without_last(prompt: &[u32]) -> &[u32] {
    prompt.split_last().map_or(&[], |(_, before)| before)
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("settings", &self.settings.sampling)
            .field("active", &self.n_active())
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
