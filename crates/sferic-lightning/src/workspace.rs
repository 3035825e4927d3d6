//! Buffers that a step passes its values through, made once for the largest step.

use crate::architecture::Architecture;
use crate::pages::PAGE;
use sferic_gpu::{Buffer, Device, GpuError};

/// Bytes of index scores that a step may hold at a time; longer chunks select in blocks of rows.
const SCORE_BYTES: u64 = 64 << 20;
/// Rows of a block of index scores are a multiple of this, so that every part of a row of words is aligned.
pub(crate) const SCORE_ROWS: usize = Buffer::ALIGNMENT as usize / 4;
/// Rows of logits at a time.
pub(crate) const LOGIT_ROWS: usize = 8;

/// What a step passes its values through.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Rows that every buffer holds.
    pub(crate) rows: usize,
    /// Rows of index scores.
    pub(crate) score_rows: usize,
    /// Words of the block table.
    pub(crate) n_pages: usize,
    bytes: u64,
    pub(crate) tokens: Buffer,
    pub(crate) positions: Buffer,
    pub(crate) block_table: Buffer,
    /// Angles of every position, `[context, R]`.
    pub(crate) rope_table: Buffer,
    pub(crate) step: Buffer,
    /// The residual stream, `[T, D]`.
    pub(crate) h: Buffer,
    /// The same, normalised: for products of many rows.
    pub(crate) x: Buffer,
    /// The query latent, normalised: likewise.
    pub(crate) query_latent: Buffer,
    pub(crate) projections: Buffer,
    pub(crate) queries: Queries,
    pub(crate) scores: Buffer,
    pub(crate) selected: Buffer,
    pub(crate) partials: Buffer,
    pub(crate) stats: Buffer,
    pub(crate) top_k: Buffer,
    /// Attended latents, `[T, H, C]`.
    pub(crate) u: Buffer,
    /// Attended values, `[T, H, Dv]`.
    pub(crate) o: Buffer,
    pub(crate) router: Buffer,
    pub(crate) no_bias: Buffer,
    /// Experts of each layer, one part after the other, so that those of a whole step can be read at its end.
    experts: Buffer,
    /// Experts of a token, the shared ones included.
    n_active: usize,
    pub(crate) expert_weights: Buffer,
    /// The one expert of a dense block, `[T]` zeros and ones.
    pub(crate) only_expert: Buffer,
    pub(crate) only_weight: Buffer,
    pub(crate) order: Buffer,
    pub(crate) offsets: Buffer,
    pub(crate) tiles: Buffer,
    pub(crate) hidden: Buffer,
    pub(crate) parts: Buffer,
    pub(crate) logits: Buffer,
    /// For each layer what the queries of a step of one token pass through.
    ///
    /// Buffers that a submission has not used yet need no barrier, so that these products run beside others.
    pub(crate) single: Vec<Queries>,
}

/// What a step reads, and what it leaves in sizes that depend on whose its rows are.
#[derive(Debug, Clone)]
pub(crate) struct Ports {
    pub(crate) tokens: Buffer,
    pub(crate) positions: Buffer,
    pub(crate) block_table: Buffer,
    /// Words from the block table of a row to that of the next; 0 where all rows are of one text.
    pub(crate) table_stride: usize,
    /// Whether the rows are of prompts, of which more than a few fill a device with a workgroup for each.
    pub(crate) of_prompts: bool,
    pub(crate) partials: Buffer,
    pub(crate) stats: Buffer,
    pub(crate) logits: Buffer,
}

/// Queries of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Queries {
    /// Heads and index heads as projected, `[T, H · (Dn + R) + Hi · Di]`.
    pub(crate) projected: Buffer,
    /// Absorbed and rotated heads, `[T, H, C + R]`.
    pub(crate) full: Buffer,
}

/// Values for each row of a step.
struct Widths {
    projections: usize,
    n_experts: usize,
    n_active: usize,
    hidden: usize,
    slots: usize,
}

impl Widths {
    fn new(a: &Architecture) -> Self {
        let experts = a.experts.as_ref();
        let moe = experts.map_or(0, |experts| (experts.routing.n_active + experts.n_shared) * experts.width);
        let index_rows = a.indexer.as_ref().map_or(0, |indexer| indexer.d_head + indexer.n_heads);
        Self {
            projections: (a.q_rank.unwrap_or(0) + a.d_latent() + index_rows).next_multiple_of(4),
            n_experts: experts.map_or(1, |experts| experts.n_routed + experts.n_shared),
            n_active: experts.map_or(1, |experts| experts.routing.n_active + experts.n_shared),
            hidden: moe.max(a.d_feed_forward),
            slots: a.indexer.as_ref().map_or(1, |indexer| indexer.top_k),
        }
    }
}

/// Partial results, in words: of `u`, of its statistics, of the selection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PartialSizes {
    pub(crate) partials: usize,
    pub(crate) stats: usize,
    /// Words of scratch of the selection.
    pub(crate) top_k: usize,
}

/// Words of every buffer, in the order of the fields.
struct Sizes {
    rows: usize,
    score_rows: usize,
    n_pages: usize,
    n_active: usize,
    words: [(&'static str, usize); 28],
}

impl Sizes {
    fn new(a: &Architecture, context: usize, rows: usize, partial: PartialSizes, largest_buffer: u64) -> Self {
        let w = Widths::new(a);
        let n_pages = context.div_ceil(PAGE);
        let score_rows = if a.indexer.is_some() { score_rows(largest_buffer, context, rows) } else { 0 };
        let d = a.d_model;
        let assignments = rows * w.n_active;
        let [projected, full] = query_words(a);
        let words = [
            ("tokens", rows),
            ("positions", rows),
            ("block table", n_pages),
            ("step", rows * (a.d_rope + 4)),
            ("hidden state", rows * d),
            ("normalised state", rows * d),
            ("query latent", rows * a.q_rank.unwrap_or(1)),
            ("projections", rows * w.projections),
            ("queries", rows * projected),
            ("absorbed queries", rows * full),
            ("index scores", score_rows * n_pages * PAGE),
            ("selected", rows * w.slots),
            ("partial sums", partial.partials),
            ("statistics", partial.stats),
            ("partial selections", partial.top_k),
            ("attended latents", rows * a.n_heads * a.kv_rank),
            ("attended values", rows * a.n_heads * a.d_value),
            ("router logits", rows * w.n_experts.next_multiple_of(4)),
            ("no bias", w.n_experts),
            ("experts", a.layers.len() * expert_words(rows, w.n_active)),
            ("expert weights", assignments),
            ("only expert", rows),
            ("order", assignments),
            ("offsets", w.n_experts + 1),
            // At most one tile for each assignment.
            ("tiles", 2 * (assignments + 1)),
            ("hidden values", rows * w.hidden),
            ("contributions", if rows > LOGIT_ROWS { assignments * d } else { 1 }),
            ("logits", LOGIT_ROWS * a.vocab.next_multiple_of(4)),
        ];
        Self { rows, score_rows, n_pages, n_active: w.n_active, words }
    }
}

/// Words of a layer's experts in a step of `rows` tokens; the next layer's begin where a part may start.
fn expert_words(rows: usize, n_active: usize) -> usize {
    (rows * n_active).next_multiple_of(Buffer::ALIGNMENT as usize / 4)
}

/// Words of one token in the two buffers of [`Queries`].
fn query_words(a: &Architecture) -> [usize; 2] {
    let index = a.indexer.as_ref().map_or(0, |indexer| indexer.n_heads * indexer.d_head);
    [(a.n_heads * a.d_query() + index).next_multiple_of(4), a.n_heads * a.d_latent()]
}

/// Rows of index scores that are held at a time.
fn score_rows(largest_buffer: u64, context: usize, rows: usize) -> usize {
    let row = 4 * context.next_multiple_of(PAGE) as u64;
    let most = SCORE_BYTES.min(largest_buffer) / row;
    (most as usize / SCORE_ROWS * SCORE_ROWS).clamp(SCORE_ROWS, rows.next_multiple_of(SCORE_ROWS))
}

impl Workspace {
    /// Makes the buffers for steps of up to `rows` tokens in contexts of up to `context`.
    pub(crate) fn new(
        device: &Device,
        a: &Architecture,
        context: usize,
        rows: usize,
        partial: PartialSizes,
    ) -> Result<Self, GpuError> {
        let sizes = Sizes::new(a, context, rows, partial, device.largest_buffer());
        let only_weight = vec![1.0_f32; sizes.rows];
        let rope_table = device.upload("rope table", bytemuck::cast_slice(&angles(a, sizes.n_pages * PAGE)))?;
        let only_weight = device.upload("only weight", bytemuck::cast_slice(&only_weight))?;
        let mut made = Vec::with_capacity(sizes.words.len());
        for (label, n) in sizes.words {
            made.push(device.allocate(label, 4 * n as u64)?);
        }
        let mut single = Vec::with_capacity(a.layers.len());
        for _ in &a.layers {
            let [projected, full] = query_words(a).map(|words| device.allocate("queries of one token", 4 * words as u64));
            single.push(Queries { projected: projected?, full: full? });
        }
        Self::of(&sizes, made, single, [rope_table, only_weight])
    }

    /// As [`Workspace::new`] without the memory: every buffer is the same small one, to record steps that are not run.
    pub(crate) fn outline(
        device: &Device,
        a: &Architecture,
        context: usize,
        rows: usize,
        partial: PartialSizes,
    ) -> Result<Self, GpuError> {
        let sizes = Sizes::new(a, context, rows, partial, device.largest_buffer());
        let one = device.allocate("outline", Buffer::ALIGNMENT)?;
        let single = vec![Queries { projected: one.clone(), full: one.clone() }; a.layers.len()];
        Self::of(&sizes, vec![one.clone(); sizes.words.len()], single, [one.clone(), one])
    }

    /// Gives the buffers, in the order of [`Sizes::words`], their names.
    fn of(
        sizes: &Sizes,
        made: Vec<Buffer>,
        single: Vec<Queries>,
        [rope_table, only_weight]: [Buffer; 2],
    ) -> Result<Self, GpuError> {
        let queries = single.iter().flat_map(|queries| [&queries.projected, &queries.full]);
        let bytes = made.iter().chain(queries).chain([&rope_table, &only_weight]).map(Buffer::bytes).sum();
        let mut made = made.into_iter();
        let mut next = || made.next().ok_or_else(|| GpuError::Device("a buffer of the workspace is missing".into()));
        Ok(Self {
            rows: sizes.rows,
            score_rows: sizes.score_rows,
            n_pages: sizes.n_pages,
            n_active: sizes.n_active,
            bytes,
            rope_table,
            only_weight,
            tokens: next()?,
            positions: next()?,
            block_table: next()?,
            step: next()?,
            h: next()?,
            x: next()?,
            query_latent: next()?,
            projections: next()?,
            queries: Queries { projected: next()?, full: next()? },
            scores: next()?,
            selected: next()?,
            partials: next()?,
            stats: next()?,
            top_k: next()?,
            u: next()?,
            o: next()?,
            router: next()?,
            no_bias: next()?,
            experts: next()?,
            expert_weights: next()?,
            only_expert: next()?,
            order: next()?,
            offsets: next()?,
            tiles: next()?,
            hidden: next()?,
            parts: next()?,
            logits: next()?,
            single,
        })
    }

    /// Where a layer's experts are in a step of `rows` tokens, `[T, A + S]`.
    pub(crate) fn experts_of(&self, layer_idx: usize, rows: usize) -> Buffer {
        let start = layer_idx * expert_words(rows, self.n_active);
        self.experts.part(4 * start as u64..4 * (start + rows * self.n_active) as u64)
    }

    /// The experts of every layer of a step of `rows` tokens, which [`Workspace::experts_in`] takes apart.
    pub(crate) fn all_experts(&self, n_layers: usize, rows: usize) -> Buffer {
        self.experts.part(0..4 * (n_layers * expert_words(rows, self.n_active)) as u64)
    }

    /// A layer's experts among those of [`Workspace::all_experts`].
    pub(crate) fn experts_in(&self, all: &[i32], layer_idx: usize, rows: usize) -> Vec<i32> {
        let start = layer_idx * expert_words(rows, self.n_active);
        all.get(start..start + rows * self.n_active).unwrap_or_default().to_vec()
    }

    /// Bytes of all buffers before they are made.
    pub(crate) fn bytes_for(a: &Architecture, context: usize, rows: usize, partial: PartialSizes, largest_buffer: u64) -> u64 {
        let sizes = Sizes::new(a, context, rows, partial, largest_buffer);
        let tables = sizes.n_pages * PAGE * a.d_rope + sizes.rows;
        let single = a.layers.len() * query_words(a).iter().sum::<usize>();
        4 * (sizes.words.iter().map(|&(_, words)| words.max(1)).sum::<usize>() + tables + single) as u64
    }

    /// The ports of a step whose rows are of one text.
    pub(crate) fn ports(&self) -> Ports {
        Ports {
            tokens: self.tokens.clone(),
            positions: self.positions.clone(),
            block_table: self.block_table.clone(),
            table_stride: 0,
            of_prompts: true,
            partials: self.partials.clone(),
            stats: self.stats.clone(),
            logits: self.logits.clone(),
        }
    }

    /// Bytes of all buffers.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Cosines and sines of every position, formed in f64, so that long positions lose nothing.
fn angles(a: &Architecture, n_positions: usize) -> Vec<f32> {
    let pair = |angle: f64| [(angle.cos() * a.rope_factor) as f32, (angle.sin() * a.rope_factor) as f32];
    (0..n_positions).flat_map(|position| a.inv_freq.iter().flat_map(move |freq| pair(position as f64 * freq))).collect()
}
