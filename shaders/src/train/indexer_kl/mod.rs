//! The loss that an indexer learns from, and its gradients: `KL(p[t] ‖ softmax_s I[t, s])` over the keys that a token sees.
//!
//! `p[t, s]` is attention's probability, the mean over heads, formed again from queries, keys and saved logarithms;
//! `I[t, s] = Σ_j w[t, j] · max(0, qi[t, j] · ki[s])`. With `g = softmax(I) − p`, `[z]` the sign of the product and a coefficient `c`:
//! `dqi[t, j] = c · w[t, j] Σ_s g [z] ki[s]`, `dw[t, j] = c Σ_s g [z] qi[t, j] · ki[s]`, `dki[s] = c Σ_t Σ_j g [z] w[t, j] qi[t, j]`.
//! Nothing of the size `T × T` is kept. A token that sees nothing, padding at the end of a sequence, has no loss and no part in gradients.
//!
//! A row of the index is `[qi | ki | w]`: `HI` queries of `DI` values, one key, `HI` weights with their constants.
//!
//! Cost: `2 · HI · DI` operations for each pair of a token and a key that it sees, for the logarithms, and twice `2 · (H · QK + 2 · HI · DI)`.
//!
//! Source: spec §§6.3, 6.4; DeepSeek-V3.2-Exp report, eq. 3 and 4.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::indexer_kl;

use super::{Sizes, Tiles, Visible, attention_grad::Side};
use crate::kernel::{Binding, Capabilities, Features, KernelError, Launch, Prelude, Program, SubgroupSizes, launch, unrolled};

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IndexerKl {
    /// Width of queries and keys of attention, a multiple of 16 up to 256.
    pub qk: u32,
    /// Heads of attention `H`.
    pub heads: u32,
    /// Heads of the indexer `HI`, a multiple of 4 up to 64.
    pub index_heads: u32,
    /// Width of a head of the indexer `DI`, a multiple of 16 up to 128.
    pub index_width: u32,
    /// What a token sees, perhaps nothing: its document starts behind the sequence then, or its selection is empty.
    pub visible: Visible,
    /// Lanes of a subgroup for products of f16 on cooperative matrices; without them products are of f32.
    pub lanes: Option<u32>,
}

/// Sizes as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    t: u32,
    scale: f32,
    coefficient: f32,
}

impl IndexerKl {
    const NAME: &str = "train/indexer_kl";

    /// The best permutation on `device` for `[H, QK]` of attention and `[HI, DI]` of the index.
    pub fn best([heads, qk]: [u32; 2], [index_heads, index_width]: [u32; 2], visible: Visible, device: &Capabilities) -> Self {
        let plain = Self { qk, heads, index_heads, index_width, visible, lanes: None };
        let coop = Self { lanes: Some(device.subgroup.max), ..plain };
        if coop.fits(device) { coop } else { plain }
    }

    /// Whether the device offers what it needs.
    fn fits(self, device: &Capabilities) -> bool {
        // The sums of all queries of the index stay in registers.
        let sums_fit = self.index_heads * self.index_width <= 512;
        let Some(lanes) = self.lanes else { return true };
        let same_lanes = [16, 32, 64].contains(&lanes) && device.subgroup == SubgroupSizes { min: lanes, max: lanes };
        sums_fit && same_lanes && device.features.coopmat && self.workgroup_bytes() <= device.limits.max_workgroup_bytes
    }

    /// Values of a row of the index, and of its gradients: `HI · DI + DI + HI`.
    pub fn row(self) -> u32 {
        (self.index_heads + 1) * self.index_width + self.index_heads
    }

    /// Vectors of four between staged rows of matrices.
    fn staged_row(self) -> u32 {
        self.qk.max(self.index_width).max(64) / 4 + 2
    }

    fn workgroup_bytes(self) -> u32 {
        match self.lanes {
            Some(_) => 8 * 2 * 64 * self.staged_row() + 16 * (8 * 144 + 32 + 32 + 16) + 8 * 128,
            None => Tiles::FMA_BYTES + 4 * (2 * 32 + 64 + 256),
        }
    }

    /// Rows of a workgroup.
    fn tile(self) -> u32 {
        if self.lanes.is_some() { 64 } else { 32 }
    }

    /// The constants of a program, for the gradients of `side` where it forms any.
    fn counts(self, side: Option<Side>) -> Vec<(&'static str, u32)> {
        let chunks = self.index_width / 16;
        let Some(lanes) = self.lanes else { return vec![("HI", self.index_heads), ("DI_CHUNKS", chunks)] };
        let sum_heads = if side == Some(Side::Queries) { self.index_heads } else { 1 };
        let columns = chunks.div_ceil(2);
        vec![
            ("HI", self.index_heads),
            ("LANES", lanes),
            ("ROW", self.staged_row()),
            ("LOADS", (64 * self.qk.max(self.index_width) / 4).div_ceil(8 * lanes)),
            ("SHARE", 8 / (lanes / 16)),
            ("COLUMNS", columns),
            ("SUM_HEADS", sum_heads),
            ("SUM_TILES", sum_heads * columns),
        ]
    }

    /// Composes a program of one part, with the buffer of what is seen at `visible_at`.
    fn compose(self, part: &str, side: Option<Side>, [plain, coop]: [&str; 2], visible_at: u32, bindings: &[Binding]) -> Program {
        let Self { qk, heads, index_heads, index_width, visible, lanes } = self;
        // On matrices attention's heads pass by like those of the index, and there are none where logarithms alone are formed.
        let passing = if side.is_none() { 0 } else { heads };
        let counts = self.counts(side);
        let mut prelude = Prelude::new()
            .constant("QK", qk)
            .constant("HEADS", passing)
            .constant("DI", index_width)
            .flag("OWN_KEYS", side == Some(Side::Keys));
        for &(name, value) in &counts {
            prelude = prelude.constant(name, value);
        }
        prelude = visible.add(prelude.fragment(include_str!("rows.wgsl")), visible_at);
        let source = if lanes.is_some() {
            prelude = prelude.fragment(&unrolled(include_str!("tiles_coop.wgsl"), &counts));
            coop
        } else {
            prelude = prelude.fragment(include_str!("../../shared/tile_products.wgsl"));
            plain
        };
        let tiles = if lanes.is_some() { "coop" } else { "fma" };
        let name = format!("{}[{part},{heads}x{qk},{index_heads}x{index_width},{},{tiles}]", Self::NAME, visible.name());
        let features = if lanes.is_some() { Features::COOPMAT } else { Features::BASE };
        Program::new(name, &prelude, &unrolled(source, &counts), bindings, [lanes.map_or(64, |lanes| 8 * lanes), 1, 1])
            .with_features(features)
    }

    /// The program of the logarithms. Buffers: what is seen, index, logs.
    pub fn logs_program(self) -> Program {
        let bindings = [self.visible.binding(), Binding::read("index"), Binding::write("logs")];
        let bytes = if self.lanes.is_some() { self.workgroup_bytes() } else { Tiles::FMA_BYTES + 4 * (32 + 64) + 8 * 256 };
        let sources = [include_str!("logs.wgsl"), include_str!("logs_coop.wgsl")];
        self.compose("logs", None, sources, 0, &bindings).with_workgroup_bytes(bytes)
    }

    /// The program of the loss and its gradients on one side. Buffers: q, k, lse, what is seen, index, logs, gradients.
    pub fn program(self, side: Side) -> Program {
        let bindings = [
            Binding::read("q"),
            Binding::read("k"),
            Binding::read("lse"),
            self.visible.binding(),
            Binding::read("index"),
            Binding::write("logs"),
            Binding::write("gradients"),
        ];
        let sources = [include_str!("indexer_kl.wgsl"), include_str!("indexer_kl_coop.wgsl")];
        let part = if side == Side::Keys { "keys" } else { "queries" };
        self.compose(part, Some(side), sources, 3, &bindings).with_workgroup_bytes(self.workgroup_bytes())
    }

    fn check(self, sizes: &Sizes, device: &Capabilities) -> Result<(), KernelError> {
        sizes.check(Self::NAME, &[self.qk], self.qk, device)?;
        Sizes { h: 1, ..*sizes }.check(Self::NAME, &[self.index_width], self.row(), device)?;
        if sizes.h != self.heads {
            return Err(KernelError::shape(Self::NAME, "heads H", self.heads.to_string(), sizes.h.into()));
        }
        if !self.index_heads.is_multiple_of(4) || !(4..=64).contains(&self.index_heads) {
            let expected = "a multiple of 4 up to 64";
            return Err(KernelError::shape(Self::NAME, "heads of the indexer", expected, self.index_heads.into()));
        }
        if !self.fits(device) {
            let found = self.lanes.unwrap_or(0);
            return Err(KernelError::shape(Self::NAME, "lanes of a subgroup", "those that sums and rows fit", found.into()));
        }
        Ok(())
    }

    /// Checks the sizes and returns the launches, to be run in this order, each with its buffers:
    ///
    /// 1. what is seen, index, logs;
    /// 2. q, k, lse, what is seen, index, logs, gradients;
    /// 3. the same.
    ///
    /// `logs [B, T, 2]` gets the loss of each token as its second value; `gradients` has the rows of the index.
    ///
    /// # Errors
    /// [`KernelError`] for widths and heads that the kernel is not made for, empty sizes, and what the adapter lacks.
    pub fn launches(self, sizes: &Sizes, coefficient: f32, device: &Capabilities) -> Result<[Launch; 3], KernelError> {
        self.check(sizes, device)?;
        let Sizes { b, t, scale, .. } = *sizes;
        let params = Params { t, scale: scale * std::f32::consts::LOG2_E, coefficient };
        let grid = [t.div_ceil(self.tile()), b, 1];
        Ok([
            launch(self.logs_program(), &params, grid, device)?,
            launch(self.program(Side::Queries), &params, grid, device)?,
            launch(self.program(Side::Keys), &params, grid, device)?,
        ])
    }
}
