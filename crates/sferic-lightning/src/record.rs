//! One step of a model as a list of launches.
//!
//! A step of few rows, decode above all, multiplies vectors with matrices and norms on the way; a step of many rows multiplies matrices, sorts
//! the tokens of a mixture by their experts, and norms in launches of its own. Both attend in the absorbed form.

mod attention;

use crate::architecture::{Architecture, Experts, Indexer, Selection};
use crate::cache::{CacheFormats, LayerCache};
use crate::pages::PAGE;
use crate::terms::{key_format, rule};
use crate::weights::{Layer, Matrix, ModelWeights};
use crate::workspace::{LOGIT_ROWS, PartialSizes, Ports, Queries, Workspace};
use sferic_gpu::{Buffer, Task};
use sferic_shaders::attention::mla_decode::Slots;
use sferic_shaders::indexer::index_scores::{self, IndexScores};
use sferic_shaders::indexer::top_k::{self, TopK};
use sferic_shaders::kernel::{Capabilities, KernelError};
use sferic_shaders::linear::{embed, gemm, gemv};
use sferic_shaders::moe::{self, Shape, combine, down, gate_up, grouped, route, sort};
use sferic_shaders::norm::rms_norm::{self, RmsNorm};
use sferic_shaders::rope::step;

/// The smallest context that a step is made for.
pub(crate) const FIRST_BUCKET: usize = 256;

/// The most rows that are multiplied as vectors.
pub(crate) const FEW: usize = gemv::MAX_TOKENS as usize;

/// Everything that a step is made of.
pub(crate) struct Recorder<'a> {
    pub(crate) architecture: &'a Architecture,
    pub(crate) weights: &'a ModelWeights,
    pub(crate) formats: CacheFormats,
    /// Whether index queries and keys are transformed.
    pub(crate) hadamard: bool,
    pub(crate) caches: &'a [LayerCache],
    pub(crate) workspace: &'a Workspace,
    pub(crate) ports: &'a Ports,
    pub(crate) device: &'a Capabilities,
    pub(crate) tasks: Vec<Task>,
}

/// What a step's launches depend on; everything else is in buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StepShape {
    /// Tokens.
    pub(crate) rows: usize,
    /// Context that the launches are made for, at least that of the last token.
    pub(crate) bucket: usize,
    /// Whether the indexers select; else every token is attended to.
    pub(crate) sparse: bool,
}

/// Rows of values in a buffer: from one row to the next, to the first one, and from one matrix to the next.
#[derive(Clone, Copy)]
struct Rows<'a> {
    buffer: &'a Buffer,
    stride: usize,
    offset: usize,
    batch: usize,
}

impl<'a> Rows<'a> {
    fn dense(buffer: &'a Buffer, stride: usize) -> Self {
        Self { buffer, stride, offset: 0, batch: 0 }
    }
}

/// A gain with its epsilon.
type Norm<'a> = Option<(&'a Buffer, f64)>;

impl<'a> Recorder<'a> {
    /// Adds the whole of a step but the head; returns the number of launches before the layers, and for each layer those up to its selection
    /// and up to its end.
    pub(crate) fn step(&mut self, shape: StepShape) -> Result<(usize, Vec<[usize; 2]>), KernelError> {
        let (a, w, ports) = (self.architecture, self.workspace, self.ports);
        let (t, d) = (shape.rows as u32, a.d_model as u32);
        let table = &self.weights.embedding;
        let launch = embed::Embed { format: table.format }
            .launch(embed::Params { v: table.o, i: table.i, t, y_stride: d, y_offset: 0 }, self.device)?;
        let buffers = self.with_matrix(&[&ports.tokens], table, &[&w.h]);
        self.push(launch, &buffers);
        let n_positions = (w.n_pages * PAGE) as u32;
        let params = step::Params { t, rows: n_positions, pages: w.n_pages as u32, table_stride: ports.table_stride as u32 };
        let launch = step::RopeStep { rope: a.d_rope as u32 }.launch(params, self.device)?;
        self.push(launch, &[&w.rope_table, &ports.positions, &ports.block_table, &w.step]);
        let prologue = self.tasks.len();
        let mut ends = Vec::with_capacity(self.weights.layers.len());
        for ((layer, cache), single) in self.weights.layers.iter().zip(self.caches).zip(&w.single) {
            let queries = if shape.rows == 1 { single } else { &w.queries };
            let selected = self.attention(layer, cache, queries, shape)?;
            self.feed_forward(layer, shape.rows)?;
            ends.push([selected, self.tasks.len()]);
        }
        Ok((prologue, ends))
    }

    /// Adds the logits of up to [`LOGIT_ROWS`] rows from `first` on.
    pub(crate) fn logits(&mut self, first: usize, rows: usize) -> Result<(), KernelError> {
        debug_assert!(rows <= LOGIT_ROWS);
        let (a, w) = (self.architecture, self.workspace);
        let x = Rows { offset: first * a.d_model, ..Rows::dense(&w.h, a.d_model) };
        let y = Rows::dense(&self.ports.logits, a.vocab.next_multiple_of(4));
        self.vectors(rows, &self.weights.head, x, y, Some((&self.weights.norm, a.norm_eps)), false)
    }

    /// Adds the logits of all `rows`; the ports have room for them.
    pub(crate) fn head(&mut self, rows: usize) -> Result<(), KernelError> {
        let (x, norm) = self.input(rows, &self.weights.norm)?;
        let y = Rows::dense(&self.ports.logits, self.architecture.vocab.next_multiple_of(4));
        self.product(rows, &self.weights.head, x, y, norm, false)
    }

    /// The residual stream as the input of products behind `gain`: few rows are normalised by the products themselves.
    fn input(&mut self, rows: usize, gain: &'a Buffer) -> Result<(Rows<'a>, Norm<'a>), KernelError> {
        let (a, w) = (self.architecture, self.workspace);
        self.normed(rows, Rows::dense(&w.h, a.d_model), a.d_model, gain, a.norm_eps, &w.x)
    }

    fn normed(
        &mut self,
        rows: usize,
        x: Rows<'a>,
        width: usize,
        gain: &'a Buffer,
        eps: f64,
        into: &'a Buffer,
    ) -> Result<(Rows<'a>, Norm<'a>), KernelError> {
        if rows <= FEW {
            return Ok((x, Some((gain, eps))));
        }
        let params = rms_norm::Params { n: rows as u32, d: width as u32, x_stride: x.stride as u32, eps: eps as f32 };
        let launch = RmsNorm::best(self.device).launch(params, self.device)?;
        self.push(launch, &[x.buffer, gain, into]);
        Ok((Rows::dense(into, width), None))
    }

    fn product(
        &mut self,
        rows: usize,
        matrix: &'a Matrix,
        x: Rows<'a>,
        y: Rows<'a>,
        norm: Norm<'a>,
        accumulate: bool,
    ) -> Result<(), KernelError> {
        if rows <= FEW {
            return self.vectors(rows, matrix, x, y, norm, accumulate);
        }
        let params = gemm::Params {
            t: rows as u32,
            o: matrix.o,
            i: matrix.i,
            x_stride: x.stride as u32,
            x_offset: x.offset as u32,
            x_batch: x.batch as u32,
            y_stride: y.stride as u32,
            y_offset: y.offset as u32,
            y_batch: y.batch as u32,
        };
        let spec = gemm::Gemm { accumulate, ..gemm::Gemm::best(matrix.format, rows as u32, matrix.o, self.device) };
        let launch = spec.launch(params, matrix.z, self.device)?;
        let buffers = self.with_matrix(&[x.buffer], matrix, &[y.buffer]);
        self.push(launch, &buffers);
        Ok(())
    }

    fn vectors(
        &mut self,
        rows: usize,
        matrix: &'a Matrix,
        x: Rows<'a>,
        y: Rows<'a>,
        norm: Norm<'a>,
        accumulate: bool,
    ) -> Result<(), KernelError> {
        let params = gemv::Params {
            o: matrix.o,
            i: matrix.i,
            t: rows as u32,
            z: matrix.z,
            x_stride: x.stride as u32,
            x_offset: x.offset as u32,
            x_batch: x.batch as u32,
            y_stride: y.stride as u32,
            y_offset: y.offset as u32,
            y_batch: y.batch as u32,
            eps: norm.map_or(0.0, |(_, eps)| eps as f32),
        };
        let mut spec = gemv::Gemv::best(matrix.format, &params, self.device);
        if norm.is_some() {
            spec = spec.with_norm();
        }
        if accumulate {
            spec = spec.with_accumulate();
        }
        let launch = spec.launch(params, self.device)?;
        let gain = norm.map(|(gain, _)| gain);
        let after: Vec<&Buffer> = gain.into_iter().chain([y.buffer]).collect();
        let buffers = self.with_matrix(&[x.buffer], matrix, &after);
        self.push(launch, &buffers);
        Ok(())
    }

    /// Scores and selects, block after block of rows, in layers with an indexer.
    fn select(
        &mut self,
        layer: &'a Layer,
        cache: &'a LayerCache,
        queries: &'a Queries,
        shape: StepShape,
    ) -> Result<(), KernelError> {
        let (a, w, ports) = (self.architecture, self.workspace, self.ports);
        let own_tables = ports.table_stride > 0;
        let Some(indexer) = own_indexer(a, layer).filter(|_| shape.sparse) else { return Ok(()) };
        let (q_stride, w_stride, k) = (layer.queries.o.next_multiple_of(4), layer.projections.stride, indexer.top_k as u32);
        for first in (0..shape.rows).step_by(w.score_rows) {
            let rows = w.score_rows.min(shape.rows - first) as u32;
            let params = index_scores::Params {
                t: rows,
                s: shape.bucket as u32,
                q_stride,
                q_offset: (a.n_heads * a.d_query()) as u32 + first as u32 * q_stride,
                w_stride,
                w_offset: layer.projections.index_w + first as u32 * w_stride,
                scores_stride: shape.bucket as u32,
                table_stride: ports.table_stride as u32,
            };
            let (heads, dim, format) = (indexer.n_heads as u32, indexer.d_head as u32, key_format(self.formats.index));
            let spec = if own_tables {
                IndexScores::best_alone(heads, dim, format, self.device)
            } else {
                IndexScores::best(heads, dim, format, rows, self.device)
            };
            let launch = spec.launch(params, self.device)?;
            let words = |n: u64| 4 * n * first as u64..4 * n * (first as u64 + u64::from(rows));
            let positions = ports.positions.part(words(1));
            let mut table = ports.block_table.clone();
            if own_tables {
                table = table.part(words(ports.table_stride as u64));
            }
            self.push(launch, &[&queries.projected, &w.projections, &cache.index, &table, &positions, &w.scores]);
            let params = top_k::Params { rows, k, stride: shape.bucket as u32 };
            let selected = w.selected.part(words(u64::from(k)));
            let buffers = [&w.scores, &positions, &selected, &w.top_k];
            for step in TopK::best(self.device).launches(params, self.device)? {
                let bound: Vec<_> = step.buffers.iter().map(|&i| buffers[i]).collect();
                self.push(step.launch, &bound);
            }
        }
        Ok(())
    }

    fn feed_forward(&mut self, layer: &'a Layer, rows: usize) -> Result<(), KernelError> {
        let (a, w) = (self.architecture, self.workspace);
        let (input, norm) = self.input(rows, &layer.feed_forward_norm)?;
        let shape = expert_shape(a, layer);
        let mut route = None;
        if let (Some(router), Some(sizes)) = (&layer.router, &a.experts) {
            let logits = Rows::dense(&w.router, sizes.n_routed.next_multiple_of(4));
            self.product(rows, router, input, logits, norm, false)?;
            let (n_experts, n_shared) = (sizes.n_routed as u32, sizes.n_shared as u32);
            route = Some(route::Route { n_experts, n_shared, rule: rule(&sizes.routing) });
        }
        if rows <= FEW {
            return self.few_experts(layer, shape, rows, route);
        }
        route.map_or(Ok(()), |route| self.route(layer, route, rows))?;
        self.many_experts(layer, shape, rows, input)
    }

    /// Chooses experts in a launch of its own.
    fn route(&mut self, layer: &'a Layer, route: route::Route, rows: usize) -> Result<(), KernelError> {
        let w = self.workspace;
        let logits_stride = route.n_experts.next_multiple_of(4);
        let params = route::Params { t: rows as u32, logits_stride, logits_offset: 0, scale: 1.0 };
        let launch = route.launch(params, self.device)?;
        let experts = w.experts_of(layer.index, rows);
        self.push(launch, &[&w.router, self.router_bias(layer), &experts, &w.expert_weights]);
        Ok(())
    }

    fn router_bias(&self, layer: &'a Layer) -> &'a Buffer {
        layer.router_bias.as_ref().unwrap_or(&self.workspace.no_bias)
    }

    /// The experts of each token of a layer, and their weights.
    fn experts_of(&self, layer: &Layer, rows: usize) -> (Buffer, &'a Buffer) {
        let w = self.workspace;
        match layer.router {
            Some(_) => (w.experts_of(layer.index, rows), &w.expert_weights),
            None => (w.only_expert.clone(), &w.only_weight),
        }
    }

    fn few_experts(
        &mut self,
        layer: &'a Layer,
        shape: Shape,
        rows: usize,
        route: Option<route::Route>,
    ) -> Result<(), KernelError> {
        let (a, w) = (self.architecture, self.workspace);
        let (up, down) = (&layer.gate_up, &layer.down_experts);
        let (experts, expert_weights) = self.experts_of(layer, rows);
        let (given, second) = moe::halves(shape, up.format, down.format, self.device);
        let choosing = route.and_then(|route| given.choosing(route, self.device));
        let mut after = vec![&layer.feed_forward_norm, &experts, &w.hidden];
        let mut logits_stride = 0;
        if let Some(route) = route {
            if choosing.is_some() {
                logits_stride = route.n_experts.next_multiple_of(4);
                after.splice(1..2, [&w.router, self.router_bias(layer), &experts, expert_weights]);
            } else {
                self.route(layer, route, rows)?;
            }
        }
        let params = gate_up::Params { logits_stride, ..gate_up::Params::given(a.d_model as u32, 0, a.norm_eps as f32) };
        let launch = choosing.unwrap_or(given).launch(params, rows as u32, self.device)?;
        let buffers = self.with_matrix(&[&w.h], up, &after);
        self.push(launch, &buffers);
        let params = down::Params { y_stride: a.d_model as u32, y_offset: 0 };
        let launch = second.launch(params, rows as u32, self.device)?;
        let buffers = self.with_matrix(&[&w.hidden, &experts, expert_weights], down, &[&w.h]);
        self.push(launch, &buffers);
        Ok(())
    }

    fn many_experts(&mut self, layer: &'a Layer, shape: Shape, rows: usize, x: Rows<'a>) -> Result<(), KernelError> {
        let (a, w) = (self.architecture, self.workspace);
        let (up, down) = (&layer.gate_up, &layer.down_experts);
        let (experts, expert_weights) = self.experts_of(layer, rows);
        let n = rows as u32 * shape.n_active;
        let first = grouped::Grouped::best(grouped::Part::GateUp, shape, up.format, self.device);
        // Both halves share the tiles that the sort has cut, and the format of the hidden values.
        let second = grouped::Grouped { part: grouped::Part::Down, format: down.format, ..first };
        let launch = first.sort().launch(sort::Params { n }, self.device)?;
        self.push(launch, &[&experts, &w.order, &w.offsets, &w.tiles]);
        let params = grouped::Params { x_stride: x.stride as u32, x_offset: 0 };
        let launch = first.launch(params, n, self.device)?;
        let buffers = self.with_matrix(&[x.buffer, &w.order, &w.offsets, &w.tiles], up, &[&w.hidden]);
        self.push(launch, &buffers);
        let launch = second.launch(params, n, self.device)?;
        let buffers = self.with_matrix(&[&w.hidden, &w.order, &w.offsets, &w.tiles], down, &[&w.parts]);
        self.push(launch, &buffers);
        let params = combine::Params { t: rows as u32, d: a.d_model as u32, y_stride: a.d_model as u32, y_offset: 0 };
        let launch = combine::Combine { n_active: shape.n_active }.launch(params, self.device)?;
        self.push(launch, &[&w.parts, expert_weights, &w.h]);
        Ok(())
    }

    fn push(&mut self, launch: sferic_shaders::kernel::Launch, buffers: &[&Buffer]) {
        self.tasks.push(Task::new(launch, buffers));
    }

    /// The buffers of a launch that multiplies with `matrix`.
    fn with_matrix<'b>(&self, before: &[&'b Buffer], matrix: &'b Matrix, after: &[&'b Buffer]) -> Vec<&'b Buffer> {
        before.iter().copied().chain([&matrix.data]).chain(&matrix.scales).chain(after.iter().copied()).collect()
    }
}

/// Values that partial results of attention and selection take in the largest step.
pub(crate) fn partial_sizes(a: &Architecture, formats: CacheFormats, context: usize, device: &Capabilities) -> PartialSizes {
    let mut most = PartialSizes::default();
    let buckets = || buckets(context);
    [most.partials, most.stats] = attention_sizes(a, formats, context, 1..=FEW, device);
    // Few rows are what is selected in two launches; more of them are tried all the same, since the kernel decides.
    let Some(indexer) = &a.indexer else { return most };
    for (rows, bucket) in (0..=9).flat_map(|log| buckets().map(move |bucket| (1 << log, bucket as u32))) {
        let params = top_k::Params { rows, k: indexer.top_k as u32, stride: bucket };
        most.top_k = most.top_k.max(TopK::best(device).scratch_words(params, device) as usize);
    }
    most
}

/// Sizes of the context that steps are made for.
fn buckets(context: usize) -> impl Iterator<Item = usize> {
    let longest = context.next_multiple_of(PAGE);
    std::iter::successors(Some(FIRST_BUCKET.min(longest)), move |&b| (b < longest).then(|| (2 * b).min(longest)))
}

/// Values that partial sums of attention and their statistics take at most, in steps of these numbers of `rows`.
pub(crate) fn attention_sizes(
    a: &Architecture,
    formats: CacheFormats,
    context: usize,
    rows: impl Iterator<Item = usize>,
    device: &Capabilities,
) -> [usize; 2] {
    let mut most = [0; 2];
    for (rows, bucket) in rows.flat_map(|rows| buckets(context).map(move |bucket| (rows, bucket))) {
        for slots in [Slots::Dense, Slots::Selected] {
            let (spec, sizes) = attention::mla(a, formats, slots, rows, bucket, device);
            most = [most[0].max(spec.partials_len(&sizes)), most[1].max(spec.stats_len(&sizes))];
        }
    }
    most
}

fn own_indexer<'a>(a: &'a Architecture, layer: &Layer) -> Option<&'a Indexer> {
    a.indexer.as_ref().filter(|_| layer.kind.selection == Selection::Own)
}

/// A dense block is a mixture of one expert.
fn expert_shape(a: &Architecture, layer: &Layer) -> Shape {
    let (d, i) = (a.d_model as u32, layer.down_experts.i);
    let n_active = match &a.experts {
        Some(Experts { routing, n_shared, .. }) if layer.router.is_some() => (routing.n_active + n_shared) as u32,
        _ => 1,
    };
    Shape { n_experts: layer.gate_up.z, n_active, d, i }
}
