//! The gradients of [`attention`](super::attention): `dq`, `dk` and `dv` from the gradient of the output.
//!
//! `p[t, s] = exp(σ · q[t] · k[s] − lse[t])`, `d[t, s] = p[t, s] · (do[t] · v[s] − D[t])` with `D[t] = do[t] · o[t]`;
//! `dq[t] = σ Σ_s d[t, s] k[s]`, `dk[s] = σ Σ_t d[t, s] q[t]`, `dv[s] = Σ_t p[t, s] do[t]`.
//!
//! Probabilities are formed again, once by the launch that keeps rows of queries and once by the one that keeps keys: nothing is added to by two
//! workgroups, so that the gradients repeat to the bit.
//!
//! Cost: `2 · H · (2QK + V)` operations for each pair of a token and a key that it sees, and `2 · H · (2QK + 2V)`.
//!
//! Source: Dao 2023, <https://arxiv.org/abs/2307.08691>, §3.1; the order of the work is ours.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::attention_grad;

use super::{Sizes, Tiles, Visible, Widths};
use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, grid, launch, unrolled};

/// Which gradients a launch forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Of queries.
    Queries,
    /// Of keys and values.
    Keys,
}

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttentionGrad {
    /// Which gradients.
    pub side: Side,
    /// Widths of a head.
    pub widths: Widths,
    /// What a token sees.
    pub visible: Visible,
    /// How products are formed.
    pub tiles: Tiles,
}

/// Sizes as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    t: u32,
    h: u32,
    scale: f32,
    second: u32,
}

/// Sizes of the launch of dot products.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct DotParams {
    t: u32,
    h: u32,
    rows: u32,
}

impl AttentionGrad {
    const NAME: &str = "train/attention_grad";

    /// The best permutation on `device`.
    pub fn best(side: Side, widths: Widths, visible: Visible, device: &Capabilities) -> Self {
        let lanes = device.subgroup.max;
        let with = |tiles| Self { side, widths, visible, tiles };
        let coop = |[subgroups, row_tiles, step]: [u32; 3]| with(Tiles::Coop { subgroups, row_tiles, step, lanes });
        // Short steps leave room for more workgroups on a core; keys have more to stage, which many rows share.
        let shapes: &[[u32; 3]] = if side == Side::Keys { &[[8, 1, 16], [4, 1, 16]] } else { &[[4, 1, 16]] };
        let found = shapes.iter().copied().map(coop).find(|spec| spec.fits(device));
        found.unwrap_or(with(Tiles::Fma))
    }

    /// Whether the device offers what it needs.
    fn fits(self, device: &Capabilities) -> bool {
        device.features.missing(self.tiles.features()).is_none()
            && self.tiles.check(Self::NAME, device).is_ok()
            && self.workgroup_bytes() <= device.limits.max_workgroup_bytes
    }

    /// Places for rows of width V.
    fn v_places(self) -> u32 {
        if self.side == Side::Keys { 2 } else { 1 }
    }

    fn own_words(self) -> u32 {
        if self.side == Side::Keys { self.tiles.rows().div_ceil(32) } else { 1 }
    }

    /// The constants of its program.
    fn counts(self) -> Vec<(&'static str, u32)> {
        let Widths { qk, v } = self.widths;
        let Tiles::Coop { subgroups, row_tiles, step, lanes } = self.tiles else {
            return vec![("QK_CHUNKS", qk / 16), ("V_CHUNKS", v / 16)];
        };
        let threads = subgroups * lanes;
        let kept_v = if self.side == Side::Keys { v / 16 } else { 1 };
        vec![
            ("SUBGROUPS", subgroups),
            ("LANES", lanes),
            ("ROW_TILES", row_tiles),
            ("STEP", step),
            ("STEP_TILES", step / 16),
            ("SHARE", step / 4 / (lanes / 16)),
            ("QK_TILES", qk / 16),
            ("V_TILES", v / 16),
            ("KEPT_V", kept_v),
            ("OWN_QK", row_tiles * qk / 16),
            ("OWN_V", row_tiles * v / 16),
            ("SUMS_QK", row_tiles * qk / 16),
            ("SUMS_V", row_tiles * kept_v),
            ("QK_LOADS", (step * qk / 4).div_ceil(threads)),
            ("V_LOADS", (step * v / 4).div_ceil(threads)),
            ("V_PLACES", self.v_places()),
            ("OWN_WORDS", self.own_words()),
            ("HALVES", self.halves()),
        ]
    }

    /// Vectors of four f16 in workgroup memory.
    fn halves(self) -> u32 {
        let Tiles::Coop { step, .. } = self.tiles else { return 0 };
        let (qk_row, v_row, p_row, rows) = (self.widths.qk / 4 + 2, self.widths.v / 4 + 2, step / 4 + 2, self.tiles.rows());
        (step * (2 * qk_row + self.v_places() * v_row) + self.v_places() * rows * p_row).max(rows * qk_row.max(v_row))
    }

    fn workgroup_bytes(self) -> u32 {
        match self.tiles {
            Tiles::Fma => Tiles::FMA_BYTES + 12 * 32,
            Tiles::Coop { step, .. } => {
                let products = 2 * self.tiles.rows() * (step / 4 + 1);
                8 * self.halves() + 16 * products + 4 * step * (2 + self.own_words())
            }
        }
    }

    /// The composed program. Buffers: q, k, v, what is seen, do, stats, gradients.
    pub fn program(self) -> Program {
        let Widths { qk, v } = self.widths;
        let bindings = [
            Binding::read("q"),
            Binding::read("k"),
            Binding::read("v"),
            self.visible.binding(),
            Binding::read("d_o"),
            Binding::read("stats"),
            Binding::write("gradients"),
        ];
        let counts = self.counts();
        let mut prelude = Prelude::new().constant("QK", qk).constant("V", v).flag("OWN_KEYS", self.side == Side::Keys);
        for &(name, value) in &counts {
            prelude = prelude.constant(name, value);
        }
        prelude = self.visible.add(prelude, 3).fragment(include_str!("gradients.wgsl"));
        let source = match self.tiles {
            Tiles::Fma => {
                prelude = prelude.fragment(include_str!("../../shared/tile_products.wgsl"));
                include_str!("attention_grad.wgsl")
            }
            Tiles::Coop { .. } => include_str!("attention_grad_coop.wgsl"),
        };
        let side = if self.side == Side::Keys { "keys" } else { "queries" };
        let name = format!("{}[{side},{qk}/{v},{},{}]", Self::NAME, self.visible.name(), self.tiles.name());
        Program::new(name, &prelude, &unrolled(source, &counts), &bindings, [self.tiles.workgroup(), 1, 1])
            .with_workgroup_bytes(self.workgroup_bytes())
            .with_features(self.tiles.features())
    }

    /// Checks the sizes and returns the launch. Buffers: q, k, v, what is seen, do, stats, gradients.
    ///
    /// The gradients are `dq [B, T, H, QK]`, or `dk [B, T, H, QK]` and behind it `dv [B, T, H, V]`.
    ///
    /// # Errors
    /// [`KernelError`] for widths that are no multiple of 16, empty sizes, and what the adapter lacks.
    pub fn launch(self, sizes: &Sizes, device: &Capabilities) -> Result<Launch, KernelError> {
        let Widths { qk, v } = self.widths;
        let widest = if self.side == Side::Keys { qk + v } else { qk.max(v) };
        sizes.check(Self::NAME, &[qk, v], widest, device)?;
        self.tiles.check(Self::NAME, device)?;
        let Sizes { b, t, h, scale } = *sizes;
        let params = Params { t, h, scale: scale * std::f32::consts::LOG2_E, second: b * t * h * qk };
        launch(self.program(), &params, [t.div_ceil(self.tiles.rows()), h, b], device)
    }

    /// The launch that forms the stats `[B, H, T, 2]` of the other two. Buffers: o, do, lse, stats.
    ///
    /// # Errors
    /// [`KernelError`] for a width that is no multiple of 16, empty sizes, and what the adapter lacks.
    pub fn dots(v: u32, sizes: &Sizes, device: &Capabilities) -> Result<Launch, KernelError> {
        sizes.check(Self::NAME, &[v], v, device)?;
        let bindings = [Binding::read("o"), Binding::read("d_o"), Binding::read("lse"), Binding::write("stats")];
        let prelude = Prelude::new().constant("V", v);
        let name = format!("{}[dots,{v}]", Self::NAME);
        let program =
            Program::new(name, &prelude, include_str!("dots.wgsl"), &bindings, [256, 1, 1]).with_workgroup_bytes(4 * 256);
        let Sizes { b, t, h, .. } = *sizes;
        let rows = b * t * h;
        launch(program, &DotParams { t, h, rows }, grid(rows.div_ceil(16), &device.limits), device)
    }
}
