//! A model on a device: its recorded steps and their submission.

use crate::architecture::{Architecture, Selection};
use crate::cache::{CacheError, CacheFormats, Caches};
use crate::pages::{OutOfPages, PAGE, Table};
use crate::programs::SHORT_PROMPT;
use crate::record::{FIRST_BUCKET, Recorder, StepShape, partial_sizes};
use crate::sequence::Sequence;
use crate::weights::ModelWeights;
use crate::workspace::{LOGIT_ROWS, Ports, Workspace};
use sferic_gpu::{Buffer, Device, GpuError, Graph, ReadBack, Task};
use sferic_shaders::kernel::KernelError;
use sferic_shaders::rope::append::Format;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Number formats of the caches.
    pub caches: CacheFormats,
    /// Whether index queries and keys pass the Hadamard transform, as FP8 keys want it.
    pub hadamard: bool,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Most tokens of a step.
    pub chunk: usize,
    /// Most tokens that the caches of all sequences may grow to.
    pub cached_tokens: usize,
}

/// A failure of a step. The sequence is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A kernel refuses the model's sizes.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The device failed or was lost.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The caches are full.
    #[error(transparent)]
    Full(#[from] OutOfPages),
    /// The model's sizes and the cache formats do not fit together.
    #[error(
        "an FP8 cache of latent rows needs a latent rank of 512 and 64 rotated values, as in DeepSeek-V3; this model has {kv_rank} and {d_rope}: take an f16 cache"
    )]
    CacheFormat {
        /// Rank of the latent.
        kv_rank: usize,
        /// Rotated width.
        d_rope: usize,
    },
    /// More tokens than a step may have.
    #[error("a step of {found} tokens is asked for, at most {chunk} were planned for")]
    StepTooLong {
        /// Tokens asked for.
        found: usize,
        /// Tokens planned for.
        chunk: usize,
    },
    /// More tokens than the sequence may have.
    #[error("the sequence would have {found} tokens, the context that was planned for holds {context}")]
    ContextFull {
        /// Tokens asked for.
        found: usize,
        /// Tokens planned for.
        context: usize,
    },
}

impl From<CacheError> for ModelError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Full(error) => Self::Full(error),
            CacheError::Gpu(error) => Self::Gpu(error),
        }
    }
}

/// Which logits a step computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Logits {
    /// None: more of the prompt follows.
    None,
    /// Those of the last token.
    #[default]
    Last,
    /// Those of every token.
    All,
}

/// What a step is to compute and show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Request {
    /// Which logits.
    pub logits: Logits,
    /// Whether the hidden states, selections and experts of every layer are read.
    pub probe: bool,
    /// Whether the index scores of the selections are read as well, beside [`probe`](Request::probe).
    pub scores: bool,
    /// Whether the experts of every layer are read.
    pub experts: bool,
    /// Attends to every token instead of the selected ones.
    pub dense: bool,
}

/// Selections to attend to, by layer: ascending positions, `[T, K]`, with −1 in unfilled slots at the end of a row.
pub type Replay = BTreeMap<usize, Vec<i32>>;

/// Routed experts of each mixture layer, by layer: `[T, A]`, ascending.
pub type Experts = BTreeMap<usize, Vec<i32>>;

/// What a step computed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    /// Logits, `[rows, V]`.
    pub logits: Vec<f32>,
    /// Output of each layer, `[T, D]`.
    pub hidden: Vec<Vec<f32>>,
    /// Each layer's selected positions, `[T, K]` with −1 in unfilled slots, where it attended to a selection.
    pub selected: Vec<Option<Vec<i32>>>,
    /// The index scores of these positions, `[T, K]` with 0 in unfilled slots, where they were asked for. A step of more rows than
    /// [`Model::score_rows`] has none.
    pub scores: Vec<Option<Vec<f32>>>,
    /// Each layer's experts.
    pub experts: Experts,
}

/// A model whose steps run on our kernels. Clones share it.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    device: Device,
    architecture: Architecture,
    weights: ModelWeights,
    settings: Settings,
    workspace: Workspace,
    /// Of steps whose rows are of one text.
    ports: Ports,
    state: Mutex<State>,
}

/// What changes from step to step.
pub(crate) struct State {
    pub(crate) caches: Caches,
    recorded: HashMap<Key, Arc<Recorded>>,
    /// The caches' buffers that the recorded steps bind.
    generation: u64,
    /// What the block table on the device begins with.
    table: Vec<u32>,
    /// Counts the steps of all sequences.
    pub(crate) turn: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) shape: StepShape,
    /// The rows whose logits follow.
    logits: (usize, usize),
}

/// A step that can be replayed.
pub(crate) struct Recorded {
    graph: Graph,
    /// Launches before the first layer.
    prologue: usize,
    /// Launches up to each layer's selection, and up to its end.
    ends: Vec<[usize; 2]>,
}

impl Recorded {
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(crate) fn prologue(&self) -> usize {
        self.prologue
    }

    pub(crate) fn ends(&self) -> &[[usize; 2]] {
        &self.ends
    }
}

/// Recorded steps that are kept: decode in a few sizes of the context, and the chunks of a prompt.
const MOST_RECORDED: usize = 24;

impl Model {
    /// Makes the buffers of a model whose weights are on `device`.
    ///
    /// # Errors
    /// [`ModelError`] for sizes that the kernels do not take, or too little memory.
    pub fn new(
        device: Device,
        architecture: Architecture,
        weights: ModelWeights,
        settings: Settings,
    ) -> Result<Self, ModelError> {
        let (kv_rank, d_rope) = (architecture.kv_rank, architecture.d_rope);
        if settings.caches.latent == Format::Fp8 && (kv_rank, d_rope) != (512, 64) {
            return Err(ModelError::CacheFormat { kv_rank, d_rope });
        }
        let partial = partial_sizes(&architecture, settings.caches, settings.context, &device.capabilities);
        let workspace = Workspace::new(&device, &architecture, settings.context, settings.chunk, partial)?;
        let caches = Caches::new(&device, &architecture, settings.caches, settings.cached_tokens.div_ceil(PAGE))?;
        let state = State { generation: caches.generation, caches, recorded: HashMap::new(), table: Vec::new(), turn: 0 };
        let ports = workspace.ports();
        Ok(Self(Arc::new(Inner { device, architecture, weights, settings, workspace, ports, state: Mutex::new(state) })))
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The model's numbers.
    pub fn architecture(&self) -> &Architecture {
        &self.0.architecture
    }

    /// Formats of weights and caches, for a reader.
    pub fn describe(&self) -> String {
        let caches = self.0.settings.caches;
        let weights = self.0.weights.layers.first().map_or("no", |layer| layer.gate_up.format.name());
        let vocabulary = self.0.weights.head.format.name();
        let (latent, index) = (caches.latent.name(), caches.index.name());
        format!("weights {weights}, embedding and head {vocabulary}, latent rows {latent}, index keys {index}")
    }

    /// How it runs.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Bytes on the device: weights, caches as they are now, and what steps pass their values through.
    pub fn bytes(&self) -> [u64; 3] {
        [self.0.weights.bytes, self.state().caches.bytes(), self.0.workspace.bytes()]
    }

    /// Starts an empty sequence.
    pub fn sequence(&self) -> Sequence {
        Sequence::new(self.clone())
    }

    pub(crate) fn workspace(&self) -> &Workspace {
        &self.0.workspace
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn key(&self, start: usize, rows: usize, request: Request) -> Key {
        let logits = match request.logits {
            Logits::Last => (rows - 1, 1),
            Logits::None | Logits::All => (0, 0),
        };
        Key { shape: self.shape(start + rows, rows, request.dense), logits }
    }

    /// The step of `rows` tokens that see up to `end` tokens.
    pub(crate) fn shape(&self, end: usize, rows: usize, dense: bool) -> StepShape {
        let longest = self.0.workspace.n_pages * PAGE;
        let bucket = end.next_power_of_two().max(FIRST_BUCKET).min(longest);
        let top_k = self.0.architecture.indexer.as_ref().map(|indexer| indexer.top_k);
        StepShape { rows, bucket, sparse: !dense && top_k.is_some_and(|top_k| end > top_k) }
    }

    /// Lists the launches of a step on the caches' present buffers.
    pub(crate) fn recorder<'a>(&'a self, state: &'a State, ports: &'a Ports) -> Recorder<'a> {
        let Inner { device, architecture, weights, settings, workspace, .. } = &*self.0;
        Recorder {
            architecture,
            weights,
            formats: settings.caches,
            hadamard: settings.hadamard,
            caches: &state.caches.layers,
            workspace,
            ports,
            device: &device.capabilities,
            tasks: Vec::new(),
        }
    }

    /// Whether a step is recorded and so compiled.
    pub(crate) fn is_recorded(&self, key: Key) -> bool {
        let state = self.state();
        state.generation == state.caches.generation && state.recorded.contains_key(&key)
    }

    /// Makes ready what a short prompt needs, and has the device read a word of every buffer that it binds: memory that is not there shows here.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn prepare(&self) -> Result<(), ModelError> {
        let Settings { context, chunk, .. } = self.0.settings;
        let tasks = self.tasks(SHORT_PROMPT.rows.min(chunk).min(context))?;
        Graph::new(&self.0.device, &tasks).await?;
        let buffers: Vec<&Buffer> = tasks.iter().flat_map(|task| &task.buffers).collect();
        Ok(self.0.device.touch(&buffers).await?)
    }

    /// Compiles one of the programs that a reply asks for behind its first token; returns whether there was one left.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn compile_next(&self) -> Result<bool, ModelError> {
        let device = &self.0.device;
        let Some(task) = self.tasks(1)?.into_iter().find(|task| !device.is_compiled(&task.launch.program)) else {
            return Ok(false);
        };
        device.pipeline(&task.launch.program).await?;
        Ok(true)
    }

    /// The launches of the first `rows` tokens of a text, with the logits of the last one.
    fn tasks(&self, rows: usize) -> Result<Vec<Task>, ModelError> {
        let state = self.state();
        let mut recorder = self.recorder(&state, &self.0.ports);
        recorder.step(self.shape(rows, rows, false))?;
        recorder.logits(rows - 1, 1)?;
        Ok(recorder.tasks)
    }

    /// The step of `key`, recorded on the caches' present buffers.
    pub(crate) async fn recorded(&self, key: Key) -> Result<Arc<Recorded>, ModelError> {
        loop {
            let (tasks, (prologue, ends), generation) = {
                let mut state = self.state();
                if state.generation != state.caches.generation {
                    state.recorded.clear();
                    state.generation = state.caches.generation;
                }
                if let Some(known) = state.recorded.get(&key) {
                    return Ok(known.clone());
                }
                let mut recorder = self.recorder(&state, &self.0.ports);
                let ends = recorder.step(key.shape)?;
                if key.logits.1 > 0 {
                    recorder.logits(key.logits.0, key.logits.1)?;
                }
                (recorder.tasks, ends, state.generation)
            };
            let graph = Graph::new(&self.0.device, &tasks).await?;
            let recorded = Arc::new(Recorded { graph, prologue, ends });
            let mut state = self.state();
            // Another sequence may have made the caches grow meanwhile.
            if state.caches.generation == generation {
                if state.recorded.len() >= MOST_RECORDED {
                    state.recorded.clear();
                }
                state.recorded.insert(key, recorded.clone());
                return Ok(recorded);
            }
        }
    }

    /// The head for every row of a step, a few rows at a time.
    pub(crate) async fn heads(&self, rows: usize) -> Result<Vec<(Graph, usize)>, ModelError> {
        let mut heads = Vec::new();
        for first in (0..rows).step_by(LOGIT_ROWS) {
            let n = LOGIT_ROWS.min(rows - first);
            let tasks: Vec<Task> = {
                let state = self.state();
                let mut recorder = self.recorder(&state, &self.0.ports);
                recorder.logits(first, n)?;
                recorder.tasks
            };
            heads.push((Graph::new(&self.0.device, &tasks).await?, n));
        }
        Ok(heads)
    }

    /// Writes what a step reads. Nothing of another step comes between while the result is held.
    pub(crate) fn write_step(&self, ids: &[u32], start: usize, table: &Table) -> Turn<'_> {
        let Inner { device, workspace: w, .. } = &*self.0;
        let state = self.state();
        device.write(&w.tokens, 0, bytemuck::cast_slice(ids));
        self.write_positions(start, ids.len());
        self.next_turn(state, table)
    }

    /// As [`write_step`](Self::write_step) for one token that the step of turn `after` has left on the device; `None` where another step came
    /// between.
    pub(crate) fn continue_step(&self, position: usize, after: u64, table: &Table) -> Option<Turn<'_>> {
        let state = self.state();
        if state.turn != after {
            return None;
        }
        self.write_positions(position, 1);
        Some(self.next_turn(state, table))
    }

    fn write_positions(&self, start: usize, n: usize) {
        let positions: Vec<u32> = (start as u32..(start + n) as u32).collect();
        self.0.device.write(&self.0.workspace.positions, 0, bytemuck::cast_slice(&positions));
    }

    fn next_turn<'a>(&'a self, mut state: MutexGuard<'a, State>, table: &Table) -> Turn<'a> {
        if !state.table.starts_with(&table.pages) {
            self.0.device.write(&self.0.workspace.block_table, 0, bytemuck::cast_slice(&table.pages));
            state.table.clone_from(&table.pages);
        }
        state.turn += 1;
        Turn { state }
    }

    /// Submits a step. Nothing of another step comes between.
    pub(crate) fn submit(&self, recorded: &Recorded, heads: &[(Graph, usize)], step: &Step<'_>) -> Shown {
        let Inner { device, workspace: w, architecture: a, .. } = &*self.0;
        let rows = step.ids.len();
        let _turn = self.write_step(step.ids, step.start, step.table);
        let words = |n: usize| 0..4 * n as u64;
        let mut shown = Shown::default();
        let mut done = 0;
        if step.request.probe {
            for (layer_idx, (&[selected, end], layer)) in recorded.ends.iter().zip(&self.0.weights.layers).enumerate() {
                let mut read = ShownLayer::default();
                let selects = step.shape.sparse && layer.kind.selection != Selection::All;
                if let (true, Some(indexer)) = (selects, &a.indexer) {
                    let mut parts = vec![w.selected.part(words(rows * indexer.top_k))];
                    if step.request.scores && rows <= w.score_rows {
                        parts.push(w.scores.part(words(rows * step.shape.bucket)));
                    }
                    let mut found = recorded.graph.submit_and_read(device, done..selected, &parts).into_iter();
                    (read.selected, read.scores) = (found.next(), found.next());
                    if let Some(replayed) = step.replay.get(&layer_idx) {
                        device.write(&w.selected, 0, bytemuck::cast_slice(replayed));
                    }
                    done = selected;
                }
                let hidden = w.h.part(words(rows * a.d_model));
                read.hidden = recorded.graph.submit_and_read(device, done..end, &[hidden]).pop();
                shown.layers.push(read);
                done = end;
            }
        }
        let row = a.vocab.next_multiple_of(4);
        let mut parts = match step.request.logits {
            Logits::Last => vec![w.logits.part(words(row))],
            // A word of the result, to know when it is there.
            Logits::None => vec![w.h.part(words(1))],
            Logits::All => Vec::new(),
        };
        let experts = self.experts_of_step(rows).filter(|_| step.request.experts || step.request.probe);
        let reads_experts = experts.is_some();
        parts.extend(experts);
        shown.last = recorded.graph.submit_and_read(device, done..recorded.graph.len(), &parts);
        shown.experts = if reads_experts { shown.last.pop() } else { None };
        for (head, n) in heads {
            shown.last.extend(head.submit_and_read(device, 0..head.len(), &[w.logits.part(words(n * row))]));
        }
        shown
    }

    /// Rows of index scores that a step keeps whole.
    pub fn score_rows(&self) -> usize {
        self.0.workspace.score_rows
    }

    /// Where a step of `rows` tokens leaves its experts, in models that have some.
    pub(crate) fn experts_of_step(&self, rows: usize) -> Option<Buffer> {
        let a = &self.0.architecture;
        a.experts.as_ref().map(|_| self.0.workspace.all_experts(a.layers.len(), rows))
    }

    /// The experts of a step of `rows` tokens, from what was read of [`Model::experts_of_step`].
    pub(crate) async fn experts(&self, read: Option<ReadBack>, rows: usize) -> Result<Experts, GpuError> {
        let Inner { device, workspace, architecture: a, .. } = &*self.0;
        let (Some(read), Some(sizes)) = (read, &a.experts) else { return Ok(Experts::new()) };
        let all: Vec<i32> = bytemuck::pod_collect_to_vec(&read.bytes(device).await?);
        let n_active = sizes.routing.n_active;
        // The shared experts stand last in a row.
        let routed = |row: &[i32]| row.iter().take(n_active).copied().collect::<Vec<_>>();
        let of_layer = |layer_idx: usize| {
            let experts = workspace.experts_in(&all, layer_idx, rows);
            experts.chunks(n_active + sizes.n_shared).flat_map(routed).collect()
        };
        let mixtures = a.layers.iter().enumerate().filter(|(_, kind)| kind.is_moe);
        Ok(mixtures.map(|(layer_idx, _)| (layer_idx, of_layer(layer_idx))).collect())
    }
}

/// The right to submit a step.
pub(crate) struct Turn<'a> {
    state: MutexGuard<'a, State>,
}

impl Turn<'_> {
    pub(crate) fn number(&self) -> u64 {
        self.state.turn
    }
}

/// What a submission needs to know of its step.
pub(crate) struct Step<'a> {
    pub(crate) ids: &'a [u32],
    pub(crate) start: usize,
    pub(crate) table: &'a Table,
    pub(crate) request: Request,
    pub(crate) shape: StepShape,
    pub(crate) replay: &'a Replay,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("device", &self.0.device.name).field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// What is on its way to the host.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) layers: Vec<ShownLayer>,
    pub(crate) last: Vec<ReadBack>,
    pub(crate) experts: Option<ReadBack>,
}

/// What a layer shows.
#[derive(Default)]
pub(crate) struct ShownLayer {
    pub(crate) selected: Option<ReadBack>,
    /// Of all positions.
    pub(crate) scores: Option<ReadBack>,
    pub(crate) hidden: Option<ReadBack>,
}

/// The words that were read, if any were.
pub(crate) async fn words_of(part: Option<ReadBack>, device: &Device) -> Result<Option<Vec<i32>>, GpuError> {
    match part {
        Some(part) => Ok(Some(bytemuck::pod_collect_to_vec(&part.bytes(device).await?))),
        None => Ok(None),
    }
}

/// Rows of logits without what aligns them.
pub(crate) fn logit_rows(bytes: &[u8], vocab: usize) -> Vec<f32> {
    floats(bytes).chunks(vocab.next_multiple_of(4)).flat_map(|row| &row[..vocab.min(row.len())]).copied().collect()
}

pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}
