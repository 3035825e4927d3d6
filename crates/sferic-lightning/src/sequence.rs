//! One text: its tokens, its pages of the caches, and the next step.

use crate::architecture::Architecture;
use crate::model::{Key, Logits, Model, ModelError, Output, Recorded, Replay, Request, Step, floats, logit_rows, words_of};
use crate::pages::Table;
use sferic_gpu::Device;
use std::sync::Arc;

/// A sequence of tokens with its pages of the caches, which it lets go of when it is dropped.
pub struct Sequence {
    model: Model,
    table: Table,
    tokens: Vec<u32>,
    /// Whether its pages may be shared: not when it attended to other tokens than the selected ones, which changes what is cached.
    shared: bool,
}

impl Sequence {
    pub(crate) fn new(model: Model) -> Self {
        Self { model, table: Table::default(), tokens: Vec::new(), shared: true }
    }

    /// Tokens that are cached.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Number of tokens that are cached.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// The device.
    pub fn device(&self) -> &Device {
        self.model.device()
    }

    /// The model's numbers.
    pub fn architecture(&self) -> &Architecture {
        self.model.architecture()
    }

    /// Most tokens of a step.
    pub fn longest_step(&self) -> usize {
        self.model.settings().chunk
    }

    /// Forgets the tokens after `n_tokens`, whose pages nobody else knows and which stay the sequence's.
    pub(crate) fn rewind(&mut self, n_tokens: usize) {
        if self.shared {
            self.truncate(n_tokens);
        } else {
            self.tokens.truncate(n_tokens);
        }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Makes room for `n_tokens` in all.
    pub(crate) fn reserve(&mut self, n_tokens: usize) -> Result<(), ModelError> {
        let context = self.model.settings().context;
        if n_tokens > context {
            return Err(ModelError::ContextFull { found: n_tokens, context });
        }
        Ok(self.model.state().caches.reserve(self.model.device(), &mut self.table, n_tokens)?)
    }

    /// Another sequence of the same tokens, with whole pages shared and the last one copied.
    pub(crate) fn fork(&self) -> Result<Self, ModelError> {
        let n_tokens = self.tokens.len();
        let table = self.model.state().caches.fork(self.model.device(), &self.table, n_tokens)?;
        Ok(Self { model: self.model.clone(), table, tokens: self.tokens.clone(), shared: self.shared })
    }

    /// Takes tokens as computed.
    pub(crate) fn computed(&mut self, ids: impl IntoIterator<Item = u32>) {
        self.tokens.extend(ids);
        if self.shared {
            self.model.state().caches.pages.publish(&mut self.table, &self.tokens);
        }
    }

    /// Takes `n_tokens` tokens as computed, with rows and keys of random numbers in the caches: a long context for benchmarks, at once.
    ///
    /// # Errors
    /// [`ModelError`] when they do not fit.
    pub fn pretend(&mut self, n_tokens: usize, seed: u64) -> Result<(), ModelError> {
        self.reserve(n_tokens)?;
        self.shared = false;
        self.tokens.resize(n_tokens, 0);
        let model = self.model.clone();
        Ok(model.state().caches.fill(model.device(), &self.table, seed)?)
    }

    /// Shortens the sequence to its first `n_tokens` tokens or, where the last page is shared with others, to the end of the page before.
    pub fn truncate(&mut self, n_tokens: usize) {
        if n_tokens >= self.tokens.len() {
            return;
        }
        let mut state = self.model.state();
        let kept = state.caches.pages.kept(&self.table, n_tokens);
        state.caches.pages.truncate(&mut self.table, n_tokens);
        self.tokens.truncate(kept);
    }

    /// Makes the sequence the longest computed beginning of `tokens`: its own, or that of any other sequence, in whole pages. At least one token
    /// is left to compute. Returns the number of tokens that are cached then.
    pub fn resume(&mut self, tokens: &[u32]) -> usize {
        let most = tokens.len().saturating_sub(1);
        let own = self.tokens.iter().zip(&tokens[..most]).take_while(|(cached, new)| cached == new).count();
        let mut state = self.model.state();
        let mut found = Table::default();
        let n_found = if self.shared { state.caches.pages.reuse(&mut found, tokens) } else { 0 };
        if n_found > own {
            state.caches.pages.release(&mut self.table);
            self.table = found;
            self.tokens = tokens[..n_found].to_vec();
        } else {
            state.caches.pages.release(&mut found);
            drop(state);
            self.truncate(own);
        }
        self.tokens.len()
    }

    /// As [`resume`](Self::resume) with the sequence's own tokens alone.
    pub fn resume_own(&mut self, tokens: &[u32]) -> usize {
        let most = tokens.len().saturating_sub(1);
        let own = self.tokens.iter().zip(&tokens[..most]).take_while(|(cached, new)| cached == new).count();
        self.truncate(own);
        self.tokens.len()
    }

    /// Computes the tokens `ids` after those that are cached, at most [`Settings::chunk`] of them.
    ///
    /// # Errors
    /// [`ModelError`]; the sequence is unchanged then.
    pub async fn advance(&mut self, ids: &[u32], request: Request) -> Result<Output, ModelError> {
        self.advance_replaying(ids, request, &Replay::new()).await
    }

    /// As [`advance`](Self::advance) with [`Request::probe`], attending to the selections in `replay` where a layer selects; what it would have
    /// selected itself is shown all the same.
    ///
    /// # Errors
    /// [`ModelError`]; the sequence is unchanged then.
    pub async fn advance_replaying(&mut self, ids: &[u32], request: Request, replay: &Replay) -> Result<Output, ModelError> {
        let model = self.model.clone();
        let start = self.tokens.len();
        if ids.is_empty() {
            return Ok(Output::default());
        }
        let (key, recorded) = self.prepare(ids.len(), request).await?;
        let heads = if request.logits == Logits::All { model.heads(ids.len()).await? } else { Vec::new() };
        let step = Step { ids, start, table: &self.table, request, shape: key.shape, replay };
        let shown = model.submit(&recorded, &heads, &step);
        let device = model.device();
        let mut output = Output::default();
        for layer in shown.layers {
            let selected = words_of(layer.selected, device).await?;
            output.scores.push(match (&selected, layer.scores) {
                (Some(selected), Some(scores)) => {
                    Some(picked(&floats(&scores.bytes(device).await?), selected, [ids.len(), key.shape.bucket]))
                }
                _ => None,
            });
            output.selected.push(selected);
            if let Some(hidden) = layer.hidden {
                output.hidden.push(floats(&hidden.bytes(device).await?));
            }
        }
        output.experts = model.experts(shown.experts, ids.len()).await?;
        for last in shown.last {
            output.logits.extend(logit_rows(&last.bytes(device).await?, model.architecture().vocab));
        }
        if request.logits == Logits::None {
            output.logits.clear();
        }
        self.shared &= !request.dense && replay.is_empty();
        self.computed(ids.iter().copied());
        Ok(output)
    }

    /// Makes room for `n` tokens after those that are cached, and records their step.
    pub(crate) async fn prepare(&mut self, n: usize, request: Request) -> Result<(Key, Arc<Recorded>), ModelError> {
        let chunk = self.model.workspace().rows;
        if n > chunk {
            return Err(ModelError::StepTooLong { found: n, chunk });
        }
        let start = self.tokens.len();
        self.reserve(start + n)?;
        let key = self.model.key(start, n, request);
        Ok((key, self.model.recorded(key).await?))
    }

    /// Lets no other sequence take over its pages from here on, since it attends to more than what is selected.
    pub(crate) fn keep_to_itself(&mut self) {
        self.shared = false;
    }
}

/// The scores of the selected positions; each row of all scores has `stride` of them.
fn picked(scores: &[f32], selected: &[i32], [rows, stride]: [usize; 2]) -> Vec<f32> {
    let width = (selected.len() / rows).max(1);
    let of_row = |(row, selected): (usize, &[i32])| -> Vec<f32> {
        let score = |&position: &i32| usize::try_from(position).ok().and_then(|p| scores.get(row * stride + p)).copied();
        selected.iter().map(|position| score(position).unwrap_or(0.0)).collect()
    };
    selected.chunks(width).enumerate().flat_map(of_row).collect()
}

impl Drop for Sequence {
    fn drop(&mut self) {
        self.model.state().caches.pages.release(&mut self.table);
    }
}

impl std::fmt::Debug for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sequence").field("tokens", &self.tokens.len()).field("pages", &self.table.pages.len()).finish()
    }
}
