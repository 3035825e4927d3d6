//! Buffers that a step passes its values through, made once for the largest step.

use crate::architecture::Architecture;
use crate::pages::PAGE;
use crate::weights::ModelWeights;
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
    pub(crate) queries: Buffer,
    /// Absorbed and rotated queries, `[T, H, C + R]`.
    pub(crate) qfull: Buffer,
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
    pub(crate) experts: Buffer,
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
}

/// Values for each row of a step.
struct Widths {
    projections: usize,
    queries: usize,
    n_experts: usize,
    n_active: usize,
    hidden: usize,
    slots: usize,
}

impl Widths {
    fn new(a: &Architecture, weights: &ModelWeights) -> Self {
        let stride = |layer: &crate::weights::Layer| layer.projections.stride as usize;
        let experts = a.experts.as_ref();
        let moe = experts.map_or(0, |experts| (experts.routing.n_active + experts.n_shared) * experts.width);
        Self {
            projections: weights.layers.iter().map(stride).max().unwrap_or(1),
            queries: weights.layers.iter().map(|layer| layer.queries.o as usize).max().unwrap_or(1).next_multiple_of(4),
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

impl Workspace {
    /// Makes the buffers for steps of up to `rows` tokens in contexts of up to `context`.
    pub(crate) fn new(
        device: &Device,
        a: &Architecture,
        weights: &ModelWeights,
        context: usize,
        rows: usize,
        partial: PartialSizes,
    ) -> Result<Self, GpuError> {
        let w = Widths::new(a, weights);
        let n_pages = context.div_ceil(PAGE);
        let score_rows = if a.indexer.is_some() { Self::score_rows(device, context, rows) } else { 0 };
        let words = |label: &str, n: usize| device.allocate(label, 4 * n as u64);
        let d = a.d_model;
        let assignments = rows * w.n_active;
        let only_weight = vec![1.0_f32; rows];
        Ok(Self {
            rows,
            score_rows,
            n_pages,
            tokens: words("tokens", rows)?,
            positions: words("positions", rows)?,
            block_table: words("block table", n_pages)?,
            rope_table: device.upload("rope table", bytemuck::cast_slice(&angles(a, n_pages * PAGE)))?,
            step: words("step", rows * (a.d_rope + 4))?,
            h: words("hidden state", rows * d)?,
            x: words("normalised state", rows * d)?,
            query_latent: words("query latent", rows * a.q_rank.unwrap_or(1))?,
            projections: words("projections", rows * w.projections)?,
            queries: words("queries", rows * w.queries)?,
            qfull: words("absorbed queries", rows * a.n_heads * a.d_latent())?,
            scores: words("index scores", score_rows * n_pages * PAGE)?,
            selected: words("selected", rows * w.slots)?,
            partials: words("partial sums", partial.partials)?,
            stats: words("statistics", partial.stats)?,
            top_k: words("partial selections", partial.top_k)?,
            u: words("attended latents", rows * a.n_heads * a.kv_rank)?,
            o: words("attended values", rows * a.n_heads * a.d_value)?,
            router: words("router logits", rows * w.n_experts.next_multiple_of(4))?,
            no_bias: words("no bias", w.n_experts)?,
            experts: words("experts", assignments)?,
            expert_weights: words("expert weights", assignments)?,
            only_expert: words("only expert", rows)?,
            only_weight: device.upload("only weight", bytemuck::cast_slice(&only_weight))?,
            order: words("order", assignments)?,
            offsets: words("offsets", w.n_experts + 1)?,
            // At most one tile for each assignment.
            tiles: words("tiles", 2 * (assignments + 1))?,
            hidden: words("hidden values", rows * w.hidden)?,
            parts: words("contributions", if rows > LOGIT_ROWS { assignments * d } else { 1 })?,
            logits: words("logits", LOGIT_ROWS * a.vocab.next_multiple_of(4))?,
        })
    }

    /// Rows of index scores that are held at a time.
    fn score_rows(device: &Device, context: usize, rows: usize) -> usize {
        let row = 4 * context.next_multiple_of(PAGE) as u64;
        let most = SCORE_BYTES.min(device.largest_buffer()) / row;
        (most as usize / SCORE_ROWS * SCORE_ROWS).clamp(SCORE_ROWS, rows.next_multiple_of(SCORE_ROWS))
    }

    /// Bytes of all buffers.
    pub(crate) fn bytes(&self) -> u64 {
        let all = [
            &self.tokens,
            &self.positions,
            &self.block_table,
            &self.rope_table,
            &self.step,
            &self.h,
            &self.x,
            &self.query_latent,
            &self.projections,
            &self.queries,
            &self.qfull,
            &self.scores,
            &self.selected,
            &self.partials,
            &self.stats,
            &self.top_k,
            &self.u,
            &self.o,
            &self.router,
            &self.no_bias,
            &self.experts,
            &self.expert_weights,
            &self.only_expert,
            &self.only_weight,
            &self.order,
            &self.offsets,
            &self.tiles,
            &self.hidden,
            &self.parts,
            &self.logits,
        ];
        all.into_iter().map(Buffer::bytes).sum()
    }
}

/// Cosines and sines of every position, formed in f64, so that long positions lose nothing.
fn angles(a: &Architecture, n_positions: usize) -> Vec<f32> {
    let pair = |angle: f64| [(angle.cos() * a.rope_factor) as f32, (angle.sin() * a.rope_factor) as f32];
    (0..n_positions).flat_map(|position| a.inv_freq.iter().flat_map(move |freq| pair(position as f64 * freq))).collect()
}
