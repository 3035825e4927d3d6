//! `o[t] = Σ_s softmax_s(σ · q[t] · k[s]) · v[s]` for each head, over the keys that a token sees, and the logarithm of each sum of exponentials.
//!
//! Nothing of the size `T × T` is kept: keys stream by while maximum, sum and sums of values stay where they are. The logarithms are what the
//! backward pass and the indexer's loss need to form probabilities again.
//!
//! Cost: `2 · H · (QK + V)` operations for each pair of a token and a key that it sees.
//!
//! Source: Dao 2023, <https://arxiv.org/abs/2307.08691>, for the order of the work; spec §2.4 (form a).

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::attention;

use super::{Sizes, Tiles, Visible, Widths};
use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, launch, unrolled};

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attention {
    /// Widths of a head.
    pub widths: Widths,
    /// What a token sees.
    pub visible: Visible,
    /// How products are formed.
    pub tiles: Tiles,
}

impl Attention {
    const NAME: &str = "train/attention";

    /// The best permutation on `device`.
    pub fn best(widths: Widths, visible: Visible, device: &Capabilities) -> Self {
        let lanes = device.subgroup.max;
        let coop = Self { widths, visible, tiles: Tiles::Coop { subgroups: 8, row_tiles: 1, step: 32, lanes } };
        if coop.fits(device) { coop } else { Self { tiles: Tiles::Fma, ..coop } }
    }

    /// Whether the device offers what it needs.
    pub(super) fn fits(self, device: &Capabilities) -> bool {
        device.features.missing(self.tiles.features()).is_none()
            && self.tiles.check(Self::NAME, device).is_ok()
            && self.workgroup_bytes() <= device.limits.max_workgroup_bytes
    }

    /// The constants of cooperative matrices.
    fn counts(self) -> Vec<(&'static str, u32)> {
        let Widths { qk, v } = self.widths;
        let Tiles::Coop { subgroups, row_tiles, step, lanes } = self.tiles else {
            return vec![("V_CHUNKS", v / 16)];
        };
        let threads = subgroups * lanes;
        let words = step.div_ceil(32);
        vec![
            ("SUBGROUPS", subgroups),
            ("LANES", lanes),
            ("ROW_TILES", row_tiles),
            ("KEYS", step),
            ("KEY_TILES", step / 16),
            ("KEY_WORDS", words),
            ("WORDS", words * row_tiles),
            ("SHARE", step / 4 / (lanes / 16)),
            ("QK_TILES", qk / 16),
            ("V_TILES", v / 16),
            ("QUERY_TILES", row_tiles * qk / 16),
            ("SUM_TILES", row_tiles * v / 16),
            ("K_LOADS", (step * qk / 4).div_ceil(threads)),
            ("V_LOADS", (step * v / 4).div_ceil(threads)),
            ("HALVES", self.halves()),
        ]
    }

    /// Vectors of four f16 in workgroup memory.
    fn halves(self) -> u32 {
        let Tiles::Coop { step, .. } = self.tiles else { return 0 };
        let (qk_row, v_row, p_row, rows) = (self.widths.qk / 4 + 2, self.widths.v / 4 + 2, step / 4 + 2, self.tiles.rows());
        (step * (qk_row + 2 * v_row) + rows * p_row).max(rows * qk_row)
    }

    fn workgroup_bytes(self) -> u32 {
        match self.tiles {
            Tiles::Fma => Tiles::FMA_BYTES + 4 * (64 + 32),
            Tiles::Coop { step, .. } => 8 * self.halves() + 16 * self.tiles.rows() * (step / 4 + 2) + 4,
        }
    }

    /// The composed program. Buffers: q, k, v, what is seen, o, lse.
    pub fn program(self) -> Program {
        let Widths { qk, v } = self.widths;
        let bindings = [
            Binding::read("q"),
            Binding::read("k"),
            Binding::read("v"),
            self.visible.binding(),
            Binding::write("o"),
            Binding::write("lse"),
        ];
        let counts = self.counts();
        let mut prelude = Prelude::new().constant("QK", qk).constant("V", v);
        for &(name, value) in &counts {
            prelude = prelude.constant(name, value);
        }
        prelude = self.visible.add(prelude, 3);
        let source = match self.tiles {
            Tiles::Fma => {
                prelude = prelude.fragment(include_str!("../../shared/tile_products.wgsl"));
                include_str!("attention.wgsl")
            }
            Tiles::Coop { .. } => include_str!("attention_coop.wgsl"),
        };
        let name = format!("{}[{qk}/{v},{},{}]", Self::NAME, self.visible.name(), self.tiles.name());
        Program::new(name, &prelude, &unrolled(source, &counts), &bindings, [self.tiles.workgroup(), 1, 1])
            .with_workgroup_bytes(self.workgroup_bytes())
            .with_features(self.tiles.features())
    }

    /// Checks the sizes and returns the launch. Buffers: q, k, v, what is seen, o, lse.
    ///
    /// # Errors
    /// [`KernelError`] for widths that are no multiple of 16, empty sizes, and what the adapter lacks.
    pub fn launch(self, sizes: &Sizes, device: &Capabilities) -> Result<Launch, KernelError> {
        let Widths { qk, v } = self.widths;
        sizes.check(Self::NAME, &[qk, v], qk.max(v), device)?;
        self.tiles.check(Self::NAME, device)?;
        launch(self.program(), &sizes.params(), [sizes.t.div_ceil(self.tiles.rows()), sizes.h, sizes.b], device)
    }
}
