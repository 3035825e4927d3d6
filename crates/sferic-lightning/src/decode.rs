//! Tokens drawn on the device: many steps of decode without a word crossing the bus.

use crate::model::{Model, ModelError, Recorded, Request};
use crate::sequence::Sequence;
use sferic_gpu::{Buffer, Device, GpuError, Graph, Task};
use sferic_shaders::sample::next_token::{BAD_LOGITS, NOTHING_TO_DRAW, NextToken, STATE_HEADER, Settings, Shape};
use std::sync::Arc;

/// Draws tokens for one sequence.
///
/// The graph of a step is recorded once and replayed; each replay reads the token that the one before drew, and its position, from buffers.
pub struct Decoder<'s> {
    sequence: &'s mut Sequence,
    step: Arc<Recorded>,
    choice: Graph,
    state: Buffer,
    /// Most tokens of one call.
    most: usize,
}

/// Tokens that were drawn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drawn {
    /// They, in order.
    pub tokens: Vec<u32>,
    /// Whether a logit was NaN or +∞, or nothing could be drawn.
    pub has_bad_logits: bool,
}

impl<'s> Decoder<'s> {
    /// Prepares up to `most` steps of `sequence` with tokens drawn by `settings`; penalties and biases are the host's.
    ///
    /// # Errors
    /// [`ModelError`] for a context without room for them, settings out of range, or a failing device.
    pub async fn new(sequence: &'s mut Sequence, settings: Settings, most: usize) -> Result<Self, ModelError> {
        let model = sequence.model().clone();
        let end = sequence.len() + most;
        sequence.reserve(end)?;
        // Of the sizes that one step could be recorded for, the one that is good for the last.
        let key = model.key(end - 1, 1, Request::default());
        let step = model.recorded(key).await?;
        let device = model.device();
        let v = model.architecture().vocab as u32;
        let shape = Shape { t: 1, v, stride: v.next_multiple_of(4), offset: 0, history: most as u32 };
        let [chunks, choice] = NextToken::best(&device.capabilities, false).launch(shape, settings, &device.capabilities)?;
        let partials = device.allocate("partial choices", 4 * u64::from(shape.partial_words()))?;
        let state = device.allocate("state of the draws", 4 * u64::from(STATE_HEADER) + 4 * most as u64)?;
        let w = model.workspace();
        let tasks = [
            Task::new(chunks, &[&w.logits, &partials]),
            Task::new(choice, &[&w.logits, &partials, &state, &w.tokens, &w.positions]),
        ];
        let choice = Graph::new(device, &tasks).await?;
        Ok(Self { sequence, step, choice, state, most })
    }

    /// Computes `token` and draws the next one, `n` times in a row, with draw `draw` of `seed` first. Returns what was drawn, the last of which
    /// is not computed yet.
    ///
    /// # Errors
    /// [`ModelError`]; the sequence is unchanged then.
    pub async fn draw(&mut self, token: u32, n: usize, seed: u64, draw: u64) -> Result<Drawn, ModelError> {
        let n = n.min(self.most);
        let model = self.sequence.model().clone();
        let device = model.device();
        let words = [seed, seed >> 32, draw, draw >> 32, 0, 0, 0, 0].map(|word| word as u32);
        let read = {
            let _turn = model.write_step(&[token], self.sequence.len(), self.sequence.table());
            device.write(&self.state, 0, bytemuck::cast_slice(&words));
            // A submission for each token: the device works on one while the next is being encoded.
            for _ in 1..n {
                device.submit(&[self.step.graph(), &self.choice], &[]);
            }
            let shown = self.state.part(0..4 * (u64::from(STATE_HEADER) + n as u64));
            device.submit(&[self.step.graph(), &self.choice], &[shown])
        };
        let mut drawn = Drawn::default();
        for part in read {
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(&part.bytes(device).await?);
            drawn.tokens.extend_from_slice(&words[STATE_HEADER as usize..]);
            drawn.has_bad_logits = words[5] & (BAD_LOGITS | NOTHING_TO_DRAW) != 0;
        }
        let computed = [token].into_iter().chain(drawn.tokens.iter().copied()).take(n);
        self.sequence.computed(computed);
        Ok(drawn)
    }

    /// Forgets what was computed after `n_tokens` tokens; the room for it stays.
    pub fn rewind(&mut self, n_tokens: usize) {
        self.sequence.rewind(n_tokens);
    }

    /// Seconds of each launch of a step and of the draw, by name; `None` where the adapter has no clock. The tokens mean nothing.
    ///
    /// # Errors
    /// [`GpuError`] when the device is lost.
    pub async fn profile(&self, device: &Device) -> Result<Option<Vec<(String, f64)>>, GpuError> {
        let mut all = Vec::new();
        for graph in [self.step.graph(), &self.choice] {
            let Some(seconds) = graph.profile(device).await? else { return Ok(None) };
            all.extend(graph.names().map(str::to_owned).zip(seconds));
        }
        Ok(Some(all))
    }
}

impl Model {
    /// Names of the launches of a decode step at `context` cached tokens, layer by layer; the last list is what surrounds the layers.
    ///
    /// # Errors
    /// [`ModelError`] for sizes that the kernels do not take, or a failing device.
    pub async fn decode_launches(&self, context: usize) -> Result<Vec<Vec<String>>, ModelError> {
        let recorded = self.recorded(self.key(context, 1, Request::default())).await?;
        let names: Vec<String> = recorded.graph().names().map(str::to_owned).collect();
        let mut lists = Vec::new();
        let mut start = recorded.prologue();
        for &[_, end] in recorded.ends() {
            lists.push(names[start..end].to_vec());
            start = end;
        }
        lists.push(names[..recorded.prologue()].iter().chain(&names[start..]).cloned().collect());
        Ok(lists)
    }
}
