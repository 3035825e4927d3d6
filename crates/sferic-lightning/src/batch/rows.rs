//! The rows of a batch, on the host and on the device.

use super::steps::draw_shape;
use super::{BatchSettings, Order, Prompt};
use crate::draws::append;
use crate::model::{Experts, Model, ModelError};
use crate::pages::{PAGE, Table};
use crate::sequence::Sequence;
use crate::workspace::Ports;
use sferic_gpu::{Buffer, Device};
use sferic_shaders::sample::next_token::STATE_HEADER;

/// Steps after which a row without a reply is set back to the first position.
pub(super) const MOST_STRAYED: usize = PAGE / 2;

/// A reply in the making.
pub(super) struct Row {
    pub(super) id: usize,
    /// What is computed.
    pub(super) sequence: Sequence,
    /// The token after that.
    token: u32,
    seed: u64,
    n_draws: u64,
    /// Tokens that are still wanted.
    pub(super) left: usize,
    /// Its steps that are submitted and not read.
    pub(super) n_under_way: usize,
    counts: Vec<u32>,
    /// Experts of what was computed before its first step, until they are told.
    before: Experts,
    /// Experts of the step whose logits the host has.
    pub(super) computed: Experts,
}

impl Row {
    pub(super) fn new(id: usize, order: Order, computed: Prompt, model: &Model) -> Self {
        let Prompt { sequence, experts: before } = computed;
        let Order { prompt, most, seed, counts } = order;
        // The last token need not be computed, so that a prompt of n tokens leaves room for `context − n + 1`.
        let left = most.max(1).min(model.settings().context + 1 - prompt.len());
        let token = prompt.last().copied().unwrap_or(0);
        Self { id, sequence, token, seed, n_draws: 0, left, n_under_way: 0, counts, before, computed: Experts::new() }
    }

    /// Experts of a step's token, behind those that were not told yet.
    pub(super) fn experts_with(&mut self, experts: Experts) -> Experts {
        let mut all = std::mem::take(&mut self.before);
        append(&mut all, experts);
        all
    }

    /// The row's token is computed, and this one is drawn after it.
    pub(super) fn took(&mut self, token: u32, is_drawn: bool) {
        self.sequence.computed([self.token]);
        self.token = token;
        self.n_draws += u64::from(is_drawn);
        self.left -= 1;
        self.n_under_way = self.n_under_way.saturating_sub(1);
        if let Some(count) = self.counts.get_mut(token as usize) {
            *count += 1;
        }
    }
}

/// What the steps of a batch read and write for each row.
pub(super) struct Buffers {
    pub(super) ports: Ports,
    pub(super) partials: Buffer,
    /// `[rows, STATE_HEADER]`
    pub(super) state: Buffer,
    /// Counts and bias, `[rows, V]` each, where there are any.
    pub(super) more: Vec<Buffer>,
    model: Model,
    /// A page for what is written past the end of a reply, and by rows without one.
    spare: Table,
}

impl Buffers {
    /// Makes them; `sums` are the words of partial sums and of statistics.
    pub(super) fn new(model: &Model, settings: &BatchSettings, sums: [usize; 2]) -> Result<Self, ModelError> {
        let (device, w, n) = (model.device(), model.workspace(), settings.rows);
        let shape = draw_shape(model, n);
        let words = |label: &str, words: usize| device.allocate(label, 4 * words as u64);
        // A step may begin one position past the context.
        let table_stride = w.n_pages + 1;
        let vocabulary = shape.vocabulary_words() as usize;
        let ports = Ports {
            tokens: words("tokens of a batch", n)?,
            positions: words("positions of a batch", n)?,
            block_table: words("block tables of a batch", n * table_stride)?,
            table_stride,
            of_prompts: false,
            partials: words("partial sums of a batch", sums[0])?,
            stats: words("statistics of a batch", sums[1])?,
            logits: words("logits of a batch", n * shape.stride as usize)?,
        };
        let mut more = Vec::new();
        if let Some(bias) = &settings.bias {
            let biases = words("bias of tokens", n * vocabulary)?;
            let mut row = bias.clone();
            row.resize(vocabulary, 0.0);
            (0..n).for_each(|at| device.write(&biases, 4 * (at * vocabulary) as u64, bytemuck::cast_slice(&row)));
            more = vec![words("counts of tokens", n * vocabulary)?, biases];
        }
        let partials = words("partial choices", shape.partial_words() as usize)?;
        let state = words("state of the draws", n * STATE_HEADER as usize)?;
        let mut spare = Table::default();
        model.state().caches.reserve(device, &mut spare, 1)?;
        Ok(Self { ports, partials, state, more, model: model.clone(), spare })
    }

    /// Gives row `at` to a reply none of whose steps is under way.
    pub(super) fn write(&self, device: &Device, at: usize, row: &Row) {
        let (seed, draws) = (row.seed, row.n_draws);
        let state = [seed, seed >> 32, draws, draws >> 32, 0, 0, 0, 0].map(|word| word as u32);
        self.place(device, at, row.token, row.sequence.len(), &row.sequence.table().pages);
        device.write(&self.state, 4 * at as u64 * u64::from(STATE_HEADER), bytemuck::cast_slice(&state));
        if let Some(counts) = self.more.first().filter(|_| !row.counts.is_empty()) {
            let vocabulary = draw_shape(&self.model, 1).vocabulary_words() as usize;
            let n = row.counts.len().min(vocabulary);
            device.write(counts, 4 * (at * vocabulary) as u64, bytemuck::cast_slice(&row.counts[..n]));
        }
    }

    /// Writes the next token and position of every row, for a step after which the host draws.
    pub(super) fn write_tokens(&self, device: &Device, rows: &[Option<Row>]) {
        let values = |of: fn(&Row) -> u32| rows.iter().map(|row| row.as_ref().map_or(0, of)).collect::<Vec<_>>();
        device.write(&self.ports.tokens, 0, bytemuck::cast_slice(&values(|row| row.token)));
        device.write(&self.ports.positions, 0, bytemuck::cast_slice(&values(|row| row.sequence.len() as u32)));
    }

    /// Takes row `at` from its reply: it goes on in the spare page, where it disturbs nobody.
    pub(super) fn clear(&self, device: &Device, at: usize) {
        self.place(device, at, 0, 0, &[]);
    }

    /// The page of rows without a reply.
    pub(super) fn spare_page(&self) -> u32 {
        self.spare.pages.first().copied().unwrap_or(0)
    }

    fn place(&self, device: &Device, at: usize, token: u32, position: usize, pages: &[u32]) {
        let Ports { tokens, positions, block_table, table_stride, .. } = &self.ports;
        let spare = self.spare_page();
        let mut table = pages.to_vec();
        table.resize(*table_stride, spare);
        device.write(tokens, 4 * at as u64, bytemuck::bytes_of(&token));
        device.write(positions, 4 * at as u64, bytemuck::bytes_of(&(position as u32)));
        device.write(block_table, 4 * (at * table_stride) as u64, bytemuck::cast_slice(&table));
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        self.model.state().caches.pages.release(&mut self.spare);
    }
}
