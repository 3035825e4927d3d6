//! Batches whose tokens the host draws, from logits that it reads.

use super::{Ahead, Batch, BatchSettings, Order};
use crate::model::{Experts, Model, ModelError, floats};
use sferic_shaders::sample::next_token::Settings;

/// Replies that are computed together as those of a [`Batch`], and whose tokens the host draws: for all that the device does not tell of its draws.
///
/// A step reads a row of logits for every reply. The next one begins when they have their tokens, so that the device waits for the host meanwhile.
#[derive(Debug)]
pub struct LogitsBatch(pub(super) Batch);

/// What a step has computed: for each reply that has begun the logits of its next token.
#[derive(Debug, Default)]
pub struct StepLogits {
    /// The rows of all replies, as they were read.
    bytes: Vec<u8>,
    /// Bytes from one row to the next.
    stride: usize,
    vocab: usize,
    /// Number and row of each.
    replies: Vec<(usize, usize)>,
}

/// What comes of a token that a reply was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Whether the reply ends with it, because no more are wanted or fit.
    pub is_last: bool,
    /// As [`BatchDraw::experts`](crate::BatchDraw::experts).
    pub experts: Experts,
}

impl LogitsBatch {
    /// Makes the buffers for `rows` replies at a time. With `dense` every token is attended to instead of the selected ones; with `experts` the
    /// experts of what is computed are read, and nothing that is cached already is taken over.
    ///
    /// # Errors
    /// [`ModelError`] for no rows or more than a step may have, or where memory is short.
    pub fn new(model: &Model, rows: usize, dense: bool, experts: bool) -> Result<Self, ModelError> {
        let settings = BatchSettings { rows, sampling: Settings::GREEDY, bias: None, dense, experts };
        Ok(Self(Batch::with(model, settings, true)?))
    }

    /// Adds a reply of up to `most` tokens, as [`Batch::push`] does.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`] for a prompt that leaves no room for a reply, or of no tokens.
    pub fn push(&mut self, prompt: Vec<u32>, most: usize) -> Result<usize, ModelError> {
        self.0.push(Order { prompt, most, ..Order::default() })
    }

    /// Ends a reply, whether it has begun or not.
    pub fn end(&mut self, id: usize) {
        self.0.end(id);
    }

    /// Whether every reply has ended.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replies that have begun and not ended.
    pub fn n_active(&self) -> usize {
        self.0.n_active()
    }

    /// Computes the last token of every reply and returns the logits of what comes next. A reply that was not given its token since is computed
    /// again; so are all of them after a call that was dropped.
    ///
    /// # Errors
    /// Those of [`Batch::step`].
    pub async fn step(&mut self) -> Result<StepLogits, ModelError> {
        let batch = &mut self.0;
        batch.prepare().await?;
        let mut logits = StepLogits::default();
        if batch.n_active() > 0 {
            batch.rows.iter_mut().flatten().for_each(|row| row.n_under_way = 0);
            batch.buffers.write_tokens(batch.model.device(), &batch.rows);
            let Ahead { reading, ids } = batch.submit().await?;
            let vocab = batch.model.architecture().vocab;
            let bytes = reading.rows.bytes(batch.model.device()).await?;
            let experts = batch.experts(reading.experts, ids.len()).await?;
            for (row, experts) in batch.rows.iter_mut().zip(experts) {
                if let Some(row) = row {
                    row.computed = experts;
                }
            }
            let replies = ids.into_iter().enumerate().filter_map(|(at, id)| Some((id?, at))).collect();
            logits = StepLogits { bytes, stride: 4 * vocab.next_multiple_of(4), vocab, replies };
        }
        batch.is_unsure = false;
        Ok(logits)
    }

    /// Gives a reply the token that the host has drawn from its logits.
    pub fn take(&mut self, id: usize, token: u32) -> Taken {
        let Some(row) = self.0.rows.iter_mut().flatten().find(|row| row.id == id) else {
            return Taken { is_last: true, experts: Experts::new() };
        };
        let computed = std::mem::take(&mut row.computed);
        let taken = Taken { experts: row.experts_with(computed), is_last: row.left <= 1 };
        row.took(token, true);
        if taken.is_last {
            self.0.end(id);
        }
        taken
    }
}

impl StepLogits {
    /// The replies: what [`LogitsBatch::push`] returned for each.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = usize> {
        self.replies.iter().map(|&(id, _)| id)
    }

    /// The logits of the `n`-th of them, `[V]`.
    pub fn row(&self, n: usize) -> Vec<f32> {
        let bytes = self.replies.get(n).and_then(|&(_, at)| self.bytes.get(at * self.stride..)?.get(..4 * self.vocab));
        floats(bytes.unwrap_or_default())
    }
}
