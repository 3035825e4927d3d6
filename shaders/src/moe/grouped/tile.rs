//! How a workgroup goes about its share of the product.

use crate::kernel::{Capabilities, Features, WeightFormat};

/// The share of a workgroup, and of its invocations or subgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tile {
    /// Multiply-adds in f32: 32 assignments and 64 rows of W, 4 × 4 of them for each of 128 invocations.
    Fma,
    /// Cooperative matrices: each subgroup takes `tiles_t` × `tiles_o` matrices, and `groups_t` × `groups_o` subgroups are a workgroup.
    Coop {
        /// Matrices of 16 assignments for a subgroup.
        tiles_t: u32,
        /// Matrices of 16 rows of W for a subgroup; even.
        tiles_o: u32,
        /// Subgroups along the assignments.
        groups_t: u32,
        /// Subgroups along the rows of W.
        groups_o: u32,
        /// Terms of a step.
        k: u32,
    },
}

impl Tile {
    /// Lanes of a subgroup that multiplies cooperative matrices.
    const LANES: u32 = 32;

    /// The best one on `device`. Weights of f32 are multiplied in f32 in every tier; cooperative matrices round to f16.
    pub fn best(format: WeightFormat, device: &Capabilities) -> Self {
        let lanes = device.subgroup;
        let coop = Self::Coop { tiles_t: 2, tiles_o: 4, groups_t: 2, groups_o: 2, k: 32 };
        let fits = format != WeightFormat::F32 && (lanes.min, lanes.max) == (Self::LANES, Self::LANES);
        if fits && device.features.coopmat && coop.workgroup_bytes() <= device.limits.max_workgroup_bytes {
            coop
        } else {
            Self::Fma
        }
    }

    /// Its name in permutation ids.
    pub fn name(self) -> String {
        match self {
            Self::Fma => "fma".into(),
            Self::Coop { tiles_t, tiles_o, k, .. } => {
                format!("coop {}x{}x{k} {tiles_t}x{tiles_o}", self.tile_t(), self.tile_o())
            }
        }
    }

    /// Whether it takes cooperative matrices.
    pub fn is_coop(self) -> bool {
        self != Self::Fma
    }

    /// Assignments of a tile.
    pub fn tile_t(self) -> u32 {
        match self {
            Self::Fma => 32,
            Self::Coop { tiles_t, groups_t, .. } => 16 * tiles_t * groups_t,
        }
    }

    /// Rows of W in a tile.
    pub fn tile_o(self) -> u32 {
        match self {
            Self::Fma => 64,
            Self::Coop { tiles_o, groups_o, .. } => 16 * tiles_o * groups_o,
        }
    }

    fn tile_k(self) -> u32 {
        match self {
            Self::Fma => 32,
            Self::Coop { k, .. } => k,
        }
    }

    /// Invocations of a workgroup.
    pub fn workgroup_size(self) -> u32 {
        match self {
            Self::Fma => 128,
            Self::Coop { groups_t, groups_o, .. } => Self::LANES * groups_t * groups_o,
        }
    }

    /// Quads of values between staged rows.
    fn row_quads(self) -> u32 {
        self.tile_k() / 4 + if self.is_coop() { 2 } else { 0 }
    }

    /// Bytes of workgroup memory.
    pub fn workgroup_bytes(self) -> u32 {
        let quads = (self.tile_t() + self.tile_o()) * self.row_quads();
        16 + match self {
            Self::Fma => 16 * quads,
            Self::Coop { .. } => 8 * quads + 2048 * self.workgroup_size() / Self::LANES,
        }
    }

    /// What it needs beyond the base.
    pub fn features(self) -> Features {
        if self.is_coop() { Features::COOPMAT } else { Features::BASE }
    }

    /// The constants of the WGSL; `paired` where gate and up rows share a tile.
    pub(super) fn counts(self, paired: bool) -> Vec<(&'static str, u32)> {
        let size = self.workgroup_size();
        let rows_per_load = size / (self.tile_k() / 8);
        let mut counts = vec![
            ("WG_SIZE", size),
            ("TILE_T", self.tile_t()),
            ("TILE_O", self.tile_o()),
            ("TILE_K", self.tile_k()),
            ("ROWS_PER_LOAD", rows_per_load),
            ("LOADS_X", self.tile_t() / rows_per_load),
            ("LOADS_W", self.tile_o() / rows_per_load),
            ("QUADS_X", self.tile_t() * self.row_quads()),
            ("QUADS_W", self.tile_o() * self.row_quads()),
        ];
        let half = if paired { 2 } else { 1 };
        match self {
            Self::Fma => counts.extend([("SPAN", 64), ("SUMS_T", 4), ("SUMS_O", 4), ("SUMS", 16), ("STORES_O", 4 / half)]),
            Self::Coop { tiles_t, tiles_o, groups_t, groups_o, k } => counts.extend([
                ("SPAN", 16 * tiles_o),
                ("TILES_T", tiles_t),
                ("TILES_O", tiles_o),
                ("SUMS", tiles_t * tiles_o),
                ("STORES_O", tiles_o / half),
                ("GROUPS_O", groups_o),
                ("SUBGROUPS", groups_t * groups_o),
                ("STEPS_K", k / 16),
            ]),
        }
        counts
    }
}
