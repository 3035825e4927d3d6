//! The launches of one layer, before any buffer exists.

use super::shape::{CacheDtype, Shape};
use sferic_shaders::attention::mla_decode::{MlaDecode, Sizes, Slots, Tiles};
use sferic_shaders::attention::mla_prefill::{self, MlaPrefill};
use sferic_shaders::indexer::index_scores::{self, IndexScores};
use sferic_shaders::indexer::top_k::{self, TopK};
use sferic_shaders::kernel::{Capabilities, KernelError, Step};

/// Softmax scale of V3.2 (spec §2.3).
pub(super) const SCALE: f32 = 0.135_233_78;
/// Tokens of a page.
pub(super) const PAGE: u32 = 64;

/// Steps of each part; their buffers are indices into the lists that `Layer::tasks` binds.
pub(super) struct Launches {
    /// Of `[index queries, head weights, keys, block table, positions, scores]`.
    pub(super) scores: Vec<Step>,
    /// Of `[scores, positions, selected, scratch]`.
    pub(super) top_k: Vec<Step>,
    /// Of `[queries, latents, block table, selected, partials, stats, output]`.
    pub(super) sparse: Vec<Step>,
    /// Of the same with the positions instead of the selection; none for prefill.
    pub(super) dense: Vec<Step>,
    /// How sparse and dense attention sum.
    pub(super) tiles: [Tiles; 2],
    /// 32-bit words of `[scores, scratch of the selection, partials, stats]`.
    pub(super) words: [u64; 4],
}

impl Launches {
    /// The launches of decode, or of a `prefill` chunk, whose queries are enough not to be split.
    pub(super) fn new(
        shape: Shape,
        dtype: CacheDtype,
        [t, len]: [u32; 2],
        prefill: bool,
        device: &Capabilities,
    ) -> Result<Self, KernelError> {
        let stride = len.next_multiple_of(PAGE);
        let index = IndexScores::best(shape.index_heads, shape.index_width, dtype.keys(), t, device);
        let sizes = index_scores::Params {
            t,
            s: len,
            q_stride: shape.index_heads * shape.index_width,
            q_offset: 0,
            w_stride: shape.index_heads,
            w_offset: 0,
            scores_stride: stride,
            table_stride: 0,
        };
        let scores = Step { launch: index.launch(sizes, device)?, buffers: (0..6).collect() };
        let select = TopK::best(device);
        let rows = top_k::Params { rows: t, k: shape.selected, stride };
        let [sparse, dense] = if prefill {
            [Attention::prefill(shape, dtype, t, device)?, Attention::none()]
        } else {
            let decode = |slots, n_slots| Attention::decode(shape, dtype, t, (slots, n_slots), device);
            [decode(Slots::Selected, shape.selected)?, decode(Slots::Dense, len)?]
        };
        let attention = [0, 1].map(|i| sparse.words[i].max(dense.words[i]));
        Ok(Self {
            scores: vec![scores],
            top_k: select.launches(rows, device)?,
            tiles: [sparse.tiles, dense.tiles],
            words: [u64::from(t) * u64::from(stride), select.scratch_words(rows, device), attention[0], attention[1]],
            sparse: sparse.steps,
            dense: dense.steps,
        })
    }
}

struct Attention {
    steps: Vec<Step>,
    tiles: Tiles,
    words: [u64; 2],
}

impl Attention {
    fn none() -> Self {
        Self { steps: Vec::new(), tiles: Tiles::Fma { heads: 4 }, words: [0; 2] }
    }

    fn prefill(shape: Shape, dtype: CacheDtype, t: u32, device: &Capabilities) -> Result<Self, KernelError> {
        let Shape { heads, latent, rotated, selected, .. } = shape;
        let spec = MlaPrefill::best(latent, rotated, heads, dtype.latents(), Slots::Selected, device);
        let sizes = mla_prefill::Sizes {
            t,
            h: heads,
            q_stride: heads * shape.row(),
            q_offset: 0,
            u_stride: heads * latent,
            u_offset: 0,
            table_stride: 0,
            n_slots: selected,
            scale: SCALE,
        };
        let step = Step { launch: spec.launch(&sizes, device)?, buffers: vec![0, 1, 2, 3, 6] };
        Ok(Self { steps: vec![step], tiles: spec.tiles, words: [0; 2] })
    }

    fn decode(
        shape: Shape,
        dtype: CacheDtype,
        t: u32,
        (slots, n_slots): (Slots, u32),
        device: &Capabilities,
    ) -> Result<Self, KernelError> {
        let spec = MlaDecode::best(shape.latent, shape.rotated, shape.heads, dtype.latents(), slots, device);
        let sizes = Sizes {
            t,
            h: shape.heads,
            q_stride: shape.heads * shape.row(),
            q_offset: 0,
            u_stride: shape.heads * shape.latent,
            u_offset: 0,
            table_stride: 0,
            n_slots,
            n_splits: spec.splits(t, shape.heads, n_slots),
            scale: SCALE,
        };
        let [partial, combine] = spec.launch(&sizes, device)?;
        Ok(Self {
            steps: vec![
                Step { launch: partial, buffers: vec![0, 1, 2, 3, 4, 5] },
                Step { launch: combine, buffers: vec![4, 5, 6] },
            ],
            tiles: spec.tiles,
            words: [spec.partials_len(&sizes), spec.stats_len(&sizes)].map(|words| words as u64),
        })
    }
}
