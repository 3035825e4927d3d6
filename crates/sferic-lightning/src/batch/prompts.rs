//! Prompts of many replies, computed together.
//!
//! A prompt by itself is too short to fill a device, and a wait for each of them is what a batch of short replies takes longest for. So the tokens
//! of several prompts stand one behind the other in the rows of a step, each with its own position and the block table of its prompt. Prompts of
//! replies that wait are computed along where the step has room for them.

use super::{Batch, Order, Prompt, without_last};
use crate::draws::append;
use crate::model::{Experts, Logits, Model, ModelError, Request};
use crate::pages::PAGE;
use crate::record::{FEW, StepShape};
use crate::workspace::Ports;
use sferic_gpu::{GpuError, Graph, ReadBack};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Fewest rows of a step: more than are multiplied as vectors. The number of rows is doubled from here on, so that few steps are recorded.
const FEWEST_ROWS: usize = 2 * FEW;

/// Steps that are kept.
const MOST_STEPS: usize = 32;

/// What the steps of prompts read, and the steps.
pub(super) struct Prompts {
    ports: Ports,
    /// Most rows of a step.
    rows: usize,
    steps: HashMap<StepShape, Arc<Graph>>,
    /// The caches' buffers that the steps bind.
    generation: u64,
}

/// Tokens of one prompt in the rows of a step.
struct Stretch {
    prompt_idx: usize,
    /// Places in the prompt.
    places: Range<usize>,
}

impl Prompts {
    /// Makes the buffers.
    pub(super) fn new(model: &Model) -> Result<Self, ModelError> {
        let (device, w) = (model.device(), model.workspace());
        let table_stride = w.n_pages + 1;
        let words = |label: &str, words: usize| device.allocate(label, 4 * words as u64);
        let ports = Ports {
            tokens: words("tokens of prompts", w.rows)?,
            positions: words("positions of prompts", w.rows)?,
            block_table: words("block tables of prompts", w.rows * table_stride)?,
            table_stride,
            ..w.ports()
        };
        Ok(Self { ports, rows: w.rows, steps: HashMap::new(), generation: model.state().caches.generation })
    }

    /// Rows of a step of `n` tokens.
    fn rows_for(&self, n: usize) -> usize {
        n.next_power_of_two().max(FEWEST_ROWS).min(self.rows)
    }

    /// The step, recorded on the caches' present buffers.
    async fn recorded(&mut self, model: &Model, shape: StepShape) -> Result<Arc<Graph>, ModelError> {
        let tasks = {
            let state = model.state();
            if state.caches.generation != self.generation || self.steps.len() >= MOST_STEPS {
                self.steps.clear();
                self.generation = state.caches.generation;
            }
            if let Some(known) = self.steps.get(&shape) {
                return Ok(known.clone());
            }
            let mut recorder = model.recorder(&state, &self.ports);
            recorder.step(shape)?;
            recorder.tasks
        };
        let graph = Arc::new(Graph::new(model.device(), &tasks).await?);
        self.steps.insert(shape, graph.clone());
        Ok(graph)
    }

    /// Writes the rows of a step of `n`; those without a token go to the first place of the spare page, where they disturb nobody.
    fn write(&self, model: &Model, n: usize, step: &[Stretch], texts: &[&[u32]], prompts: &[Prompt], spare: u32) {
        let (mut tokens, mut positions) = (vec![0_u32; n], vec![0_u32; n]);
        let mut tables = vec![spare; n * self.ports.table_stride];
        let mut rows = tables.chunks_exact_mut(self.ports.table_stride).zip(&mut tokens).zip(&mut positions);
        for Stretch { prompt_idx, places } in step {
            let pages = &prompts[*prompt_idx].sequence.table().pages;
            for (place, ((table, token), position)) in places.clone().zip(&mut rows) {
                table[..pages.len()].copy_from_slice(pages);
                (*token, *position) = (texts[*prompt_idx][place], place as u32);
            }
        }
        let device = model.device();
        device.write(&self.ports.tokens, 0, bytemuck::cast_slice(&tokens));
        device.write(&self.ports.positions, 0, bytemuck::cast_slice(&positions));
        device.write(&self.ports.block_table, 0, bytemuck::cast_slice(&tables));
    }
}

impl Batch {
    /// The computed prompt of `order`, which is the next to begin.
    pub(super) async fn prompt(&mut self, order: &Order) -> Result<Prompt, ModelError> {
        // Of replies that were ended meanwhile nobody asks.
        while let Some(prompt) = self.ready.pop_front() {
            if prompt.sequence.tokens() == without_last(&order.prompt) {
                return Ok(prompt);
            }
        }
        let mut computed: VecDeque<Prompt> = self.computed_prompts(&self.prompts_with(order)).await?.into();
        let own = computed.pop_front();
        self.ready = computed;
        // There is one for each, and the first is that of `order`.
        own.ok_or_else(|| GpuError::Device("a prompt of the batch is missing".into()).into())
    }

    /// The prompt of `order` and those of the next orders that go along: they begin as soon, or find room in the last step, and the caches have room
    /// for all of them with their replies.
    fn prompts_with(&self, order: &Order) -> Vec<Vec<u32>> {
        let n_free = self.rows.iter().filter(|row| row.is_none()).count();
        let mut prompts = vec![order.prompt.clone()];
        let (mut n_tokens, mut n_pages) = (order.prompt.len() - 1, self.most_pages(order));
        let mut most_tokens = n_tokens;
        for (at, (_, next)) in (1..).zip(&self.waiting) {
            n_pages += self.most_pages(next);
            if prompts.last() == Some(&next.prompt) {
                continue;
            }
            n_tokens += next.prompt.len() - 1;
            if at < n_free {
                most_tokens = n_tokens;
            }
            let is_in_time = n_tokens <= most_tokens.next_multiple_of(self.prompts.rows);
            if !is_in_time || prompts.len() >= self.most_prompts() || !self.model.state().caches.has_room(n_pages) {
                break;
            }
            prompts.push(next.prompt.clone());
        }
        prompts
    }

    /// Prompts that are computed before their replies begin, so that they do not hold too many pages.
    fn most_prompts(&self) -> usize {
        2 * self.settings.rows
    }

    /// Pages that a reply and its prompt take, however they are shared.
    fn most_pages(&self, order: &Order) -> usize {
        self.room_for(order).div_ceil(PAGE) + 1
    }

    /// Computes prompts without their last tokens, all but the whole steps of long ones together.
    async fn computed_prompts(&mut self, whole: &[Vec<u32>]) -> Result<Vec<Prompt>, ModelError> {
        let mut prompts = Vec::with_capacity(whole.len());
        for prompt in whole {
            prompts.push(self.begun_prompt(prompt).await?);
        }
        let texts: Vec<&[u32]> = whole.iter().map(|prompt| without_last(prompt)).collect();
        let starts: Vec<usize> = prompts.iter().map(|prompt| prompt.sequence.len()).collect();
        let mut reading = Vec::new();
        for step in steps(&texts, &starts, self.prompts.rows) {
            reading.push((self.submit_prompts(&step, &texts, &prompts).await?, step));
        }
        for ((prompt, text), start) in prompts.iter_mut().zip(&texts).zip(starts) {
            prompt.sequence.computed(text[start..].iter().copied());
        }
        for (experts, step) in reading {
            let n = self.prompts.rows_for(step.iter().map(|stretch| stretch.places.len()).sum());
            let mut rows = self.experts(experts, n).await?.into_iter();
            for Stretch { prompt_idx, places } in step {
                rows.by_ref().take(places.len()).for_each(|experts| append(&mut prompts[prompt_idx].experts, experts));
            }
        }
        Ok(prompts)
    }

    /// A sequence with room for `prompt` without its last token, and with those tokens computed that are cached or fill whole steps.
    async fn begun_prompt(&self, prompt: &[u32]) -> Result<Prompt, ModelError> {
        let (mut sequence, mut experts, text) = (self.model.sequence(), Experts::new(), without_last(prompt));
        let (dense, reads_experts) = (self.settings.dense, self.settings.experts);
        if dense {
            sequence.keep_to_itself();
        }
        if !reads_experts {
            sequence.resume(prompt);
        }
        let request = Request { logits: Logits::None, probe: false, scores: false, dense, experts: reads_experts };
        let chunk = sequence.longest_step();
        // A step of one text reads what its rows share once.
        while text.len() - sequence.len() > chunk {
            let start = sequence.len();
            append(&mut experts, sequence.advance(&text[start..start + chunk], request).await?.experts);
        }
        sequence.reserve(text.len())?;
        Ok(Prompt { sequence, experts })
    }

    /// Submits a step; returns its experts where they are read.
    async fn submit_prompts(
        &mut self,
        step: &[Stretch],
        texts: &[&[u32]],
        prompts: &[Prompt],
    ) -> Result<Option<ReadBack>, ModelError> {
        let n = self.prompts.rows_for(step.iter().map(|stretch| stretch.places.len()).sum());
        let end = step.iter().map(|stretch| stretch.places.end).max().unwrap_or(1);
        let shape = self.model.shape(end, n, self.settings.dense);
        self.prompts.write(&self.model, n, step, texts, prompts, self.buffers.spare_page());
        loop {
            let graph = self.prompts.recorded(&self.model, shape).await?;
            let state = self.model.state();
            // Another sequence may have made the caches grow meanwhile.
            if state.caches.generation == self.prompts.generation {
                let experts = self.model.experts_of_step(n).filter(|_| self.settings.experts);
                return Ok(self.model.device().submit(&[&graph], experts.as_slice()).pop());
            }
        }
    }
}

/// The tokens of `texts` from `starts` on in steps of `rows`, the last one excepted.
fn steps(texts: &[&[u32]], starts: &[usize], rows: usize) -> Vec<Vec<Stretch>> {
    let (mut steps, mut room) = (Vec::<Vec<Stretch>>::new(), 0);
    for (prompt_idx, (text, &start)) in texts.iter().zip(starts).enumerate() {
        let mut start = start;
        while start < text.len() {
            if room == 0 {
                steps.push(Vec::new());
                room = rows;
            }
            let end = text.len().min(start + room);
            room -= end - start;
            steps.last_mut().into_iter().for_each(|step| step.push(Stretch { prompt_idx, places: start..end }));
            start = end;
        }
    }
    steps
}
