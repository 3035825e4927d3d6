//! One layer's buffers and launches.

use super::inputs::{Inputs, Queries};
use super::launches::{Launches, PAGE};
use super::shape::{AttentionOptions, CacheDtype, Shape};
use sferic_gpu::{Buffer, CACHE_BYTES, Device, GpuError, Graph, Task};
use sferic_shaders::kernel::Step;

/// Sets of inputs at most, so that short lengths do not take the whole device.
const MOST_SETS: u64 = 256;

/// Inputs that differ from run to run, so that no run finds them in a cache of the device.
pub(super) struct Set {
    index_queries: Buffer,
    weights: Buffer,
    queries: Buffer,
    /// Which copies of the caches it reads.
    keys: usize,
    latents: usize,
    /// Its own selection, for attention by itself.
    pub(super) picked: Buffer,
}

/// Buffers that all runs share, as the layers of a model do.
pub(super) struct Scratch {
    block_table: Buffer,
    positions: Buffer,
    pub(super) scores: Buffer,
    pub(super) selected: Buffer,
    top_k: Buffer,
    partials: Buffer,
    stats: Buffer,
    pub(super) output: Buffer,
}

/// One layer with `t` queries at the end of `len` cached tokens.
pub(super) struct Layer {
    pub(super) shape: Shape,
    pub(super) dtype: CacheDtype,
    pub(super) t: u32,
    pub(super) len: u32,
    /// Whether dense attention is left out.
    pub(super) prefill: bool,
    pub(super) launches: Launches,
    pub(super) inputs: Inputs,
    pub(super) scratch: Scratch,
    pub(super) sets: Vec<Set>,
    keys: Vec<Buffer>,
    latents: Vec<Buffer>,
}

/// The parts that are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Index scores.
    Scores,
    /// Selection.
    TopK,
    /// Attention over the selection of the set.
    Attention,
    /// The three before, one after the other.
    Sparse,
    /// Attention over everything.
    Dense,
}

impl Layer {
    /// Makes the launches, the inputs and the buffers.
    pub(super) fn new(device: &Device, options: &AttentionOptions, [t, len]: [u32; 2], prefill: bool) -> Result<Self, GpuError> {
        let AttentionOptions { shape, dtype, .. } = *options;
        let launches = Launches::new(shape, dtype, [t, len], prefill, &device.capabilities)?;
        let inputs = Inputs::new(shape, dtype, [t, len]);
        let positions: Vec<u32> = (len - t..len).collect();
        let zeros = |label, words: u64| device.allocate(label, 4 * words);
        let [scores, top_k, partials, stats] = launches.words;
        let scratch = Scratch {
            block_table: device.upload("block table", bytemuck::cast_slice(&inputs.block_table))?,
            positions: device.upload("positions", bytemuck::cast_slice(&positions))?,
            scores: zeros("scores", scores)?,
            selected: zeros("selected", u64::from(t * shape.selected))?,
            top_k: zeros("scratch of the selection", top_k)?,
            partials: zeros("partial sums", partials)?,
            stats: zeros("partial totals", stats)?,
            output: zeros("output", u64::from(t) * u64::from(shape.heads * shape.latent))?,
        };
        let (sets, keys, latents) = Default::default();
        let mut layer = Self { shape, dtype, t, len, launches, inputs, scratch, sets, keys, latents, prefill };
        layer.fill(device)?;
        Ok(layer)
    }

    /// Uploads as many sets of inputs, and copies of the caches, as exceed the cache of a device; one of each where there is none.
    fn fill(&mut self, device: &Device) -> Result<(), GpuError> {
        let cold = if device.software { 1 } else { CACHE_BYTES };
        let copies = |bytes: u64, most: u64| cold.div_ceil(bytes).clamp(1, most);
        let each = [Part::Scores, Part::Attention].map(|part| self.bytes(part) as u64);
        let sets = each.into_iter().map(|bytes| copies(bytes, MOST_SETS)).max().unwrap_or(1);
        for _ in 0..copies(self.inputs.keys.len() as u64, sets) {
            self.keys.push(device.upload("index keys", &self.inputs.keys)?);
        }
        for _ in 0..copies(self.inputs.latents.len() as u64, sets) {
            self.latents.push(device.upload("latents", &self.inputs.latents)?);
        }
        for i in 0..sets as usize {
            let other;
            let queries = match i {
                0 => &self.inputs.queries,
                _ => {
                    other = Queries::new(self.shape, self.t, i as u64);
                    &other
                }
            };
            self.sets.push(Set {
                index_queries: device.upload("index queries", bytemuck::cast_slice(&queries.index))?,
                weights: device.upload("head weights", bytemuck::cast_slice(&queries.weights))?,
                queries: device.upload("queries", bytemuck::cast_slice(&queries.attention))?,
                keys: i % self.keys.len(),
                latents: i % self.latents.len(),
                picked: device.allocate("picked", 4 * u64::from(self.t * self.shape.selected))?,
            });
        }
        Ok(())
    }

    /// The launches of a part for one set, which select into `selected`, or attend to what is in it.
    pub(super) fn tasks(&self, part: Part, set: &Set, selected: &Buffer) -> Vec<Task> {
        let Scratch { block_table, positions, scores, top_k, partials, stats, output, .. } = &self.scratch;
        let (keys, latents) = (&self.keys[set.keys], &self.latents[set.latents]);
        let bind = |steps: &[Step], buffers: &[&Buffer]| -> Vec<Task> {
            let bound = |step: &Step| step.buffers.iter().map(|&i| buffers[i]).collect::<Vec<_>>();
            steps.iter().map(|step| Task::new(step.launch.clone(), &bound(step))).collect()
        };
        match part {
            Part::Scores => {
                bind(&self.launches.scores, &[&set.index_queries, &set.weights, keys, block_table, positions, scores])
            }
            Part::TopK => bind(&self.launches.top_k, &[scores, positions, selected, top_k]),
            Part::Attention => {
                bind(&self.launches.sparse, &[&set.queries, latents, block_table, selected, partials, stats, output])
            }
            Part::Dense => bind(&self.launches.dense, &[&set.queries, latents, block_table, positions, partials, stats, output]),
            Part::Sparse => {
                [Part::Scores, Part::TopK, Part::Attention].into_iter().flat_map(|part| self.tasks(part, set, selected)).collect()
            }
        }
    }

    /// A part as graphs, one for each set.
    pub(super) async fn graphs(&self, device: &Device, part: Part) -> Result<Vec<Graph>, GpuError> {
        let mut graphs = Vec::with_capacity(self.sets.len());
        for set in &self.sets {
            let selected = if part == Part::Attention { &set.picked } else { &self.scratch.selected };
            graphs.push(Graph::new(device, &self.tasks(part, set, selected)).await?);
        }
        Ok(graphs)
    }

    /// Gives every set the selection of its queries.
    pub(super) async fn select(&self, device: &Device) -> Result<(), GpuError> {
        for set in &self.sets {
            let both = [Part::Scores, Part::TopK].into_iter().flat_map(|part| self.tasks(part, set, &set.picked));
            Graph::new(device, &both.collect::<Vec<_>>()).await?.replay(device, 1);
        }
        Ok(())
    }

    /// Pairs of a query and a token that it may see.
    fn pairs(&self) -> f64 {
        let [t, len] = [self.t, self.len].map(f64::from);
        t * len - t * (t - 1.0) / 2.0
    }

    /// Tokens that the queries attend to after selection, all queries together.
    fn selected(&self) -> f64 {
        (self.len - self.t + 1..=self.len).map(|seen| f64::from(seen.min(self.shape.selected))).sum()
    }

    /// Bytes that a part must move, each once; what different queries select is taken to be different as far as the cache goes.
    pub(super) fn bytes(&self, part: Part) -> f64 {
        let Shape { heads, index_heads, index_width, latent, selected, .. } = self.shape;
        let t = f64::from(self.t);
        let row = f64::from(self.dtype.latents().row_bytes(latent, self.shape.rotated));
        let key = f64::from(self.dtype.keys().page_bytes(index_width)) / f64::from(PAGE);
        let outer = 4.0 * t * f64::from(heads * (self.shape.row() + latent));
        match part {
            Part::Scores => f64::from(self.len) * key + 4.0 * (t * f64::from(index_heads * (index_width + 1)) + self.pairs()),
            Part::TopK => 4.0 * (self.pairs() + t * f64::from(selected)),
            Part::Attention => self.selected().min(f64::from(self.len)) * row + outer + 4.0 * t * f64::from(selected),
            Part::Dense => f64::from(self.len) * row + outer,
            Part::Sparse => [Part::Scores, Part::TopK, Part::Attention].map(|part| self.bytes(part)).iter().sum(),
        }
    }

    /// Operations of a part, two for a multiply-add.
    pub(super) fn flops(&self, part: Part) -> f64 {
        let Shape { heads, index_heads, index_width, latent, .. } = self.shape;
        let attend = |slots: f64| 2.0 * slots * f64::from(heads * (self.shape.row() + latent));
        match part {
            Part::Scores => 2.0 * self.pairs() * f64::from(index_heads * index_width),
            Part::TopK => 0.0,
            Part::Attention => attend(self.selected()),
            Part::Dense => attend(self.pairs()),
            Part::Sparse => self.flops(Part::Scores) + self.flops(Part::Attention),
        }
    }

    /// Bytes of inputs over which the runs of a part are spread.
    pub(super) fn spread_bytes(&self, part: Part) -> f64 {
        let sets = self.sets.len() as f64;
        let caches = |copies: &[Buffer]| copies.iter().map(|copy| copy.bytes() as f64).sum::<f64>();
        match part {
            Part::Scores => caches(&self.keys) + sets * self.sets[0].index_queries.bytes() as f64,
            Part::TopK => 0.0,
            Part::Attention | Part::Sparse => (sets * self.bytes(Part::Attention)).min(caches(&self.latents)),
            Part::Dense => caches(&self.latents),
        }
    }
}
