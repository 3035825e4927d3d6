//! The loss that an indexer learns from, and its gradients: `KL(p[t] ‖ softmax_s I[t, s])` over the keys that a token sees.
//!
//! `p[t, s]` is attention's probability, the mean over heads, formed again from queries, keys and saved logarithms;
//! `I[t, s] = Σ_j w[t, j] · max(0, qi[t, j] · ki[s])`. With `g = softmax(I) − p`, `[z]` the sign of the product and a coefficient `c`:
//! `dqi[t, j] = c · w[t, j] Σ_s g [z] ki[s]`, `dw[t, j] = c Σ_s g [z] qi[t, j] · ki[s]`, `dki[s] = c Σ_t Σ_j g [z] w[t, j] qi[t, j]`.
//! Nothing of the size `T × T` is kept.
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
use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, launch, unrolled};

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
    /// What a token sees.
    pub visible: Visible,
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

    /// Values of a row of the index, and of its gradients: `HI · DI + DI + HI`.
    pub fn row(self) -> u32 {
        (self.index_heads + 1) * self.index_width + self.index_heads
    }

    fn prelude(self, visible_at: u32) -> Prelude {
        let prelude = Prelude::new()
            .constant("QK", self.qk)
            .constant("HEADS", self.heads)
            .constant("HI", self.index_heads)
            .constant("DI", self.index_width)
            .constant("DI_CHUNKS", self.index_width / 16)
            .fragment(include_str!("rows.wgsl"));
        self.visible.add(prelude, visible_at).fragment(include_str!("../../shared/tile_products.wgsl"))
    }

    fn name(self, part: &str) -> String {
        let Self { qk, heads, index_heads, index_width, visible } = self;
        format!("{}[{part},{heads}x{qk},{index_heads}x{index_width},{}]", Self::NAME, visible.name())
    }

    /// The program of the logarithms. Buffers: what is seen, index, logs.
    pub fn logs_program(self) -> Program {
        let bindings = [self.visible.binding(), Binding::read("index"), Binding::write("logs")];
        let bytes = Tiles::FMA_BYTES + 4 * (32 + 64) + 8 * 256;
        Program::new(self.name("logs"), &self.prelude(0), include_str!("logs.wgsl"), &bindings, [64, 1, 1])
            .with_workgroup_bytes(bytes)
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
        let prelude = self.prelude(3).flag("OWN_KEYS", side == Side::Keys);
        let source = unrolled(include_str!("indexer_kl.wgsl"), &[("DI_CHUNKS", self.index_width / 16)]);
        let name = self.name(if side == Side::Keys { "keys" } else { "queries" });
        Program::new(name, &prelude, &source, &bindings, [64, 1, 1])
            .with_workgroup_bytes(Tiles::FMA_BYTES + 4 * (2 * 32 + 64 + 256))
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
        let grid = [t.div_ceil(32), b, 1];
        Ok([
            launch(self.logs_program(), &params, grid, device)?,
            launch(self.program(Side::Queries), &params, grid, device)?,
            launch(self.program(Side::Keys), &params, grid, device)?,
        ])
    }
}
