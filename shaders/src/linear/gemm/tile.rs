//! How a workgroup goes about its share of the product.

use crate::kernel::{Capabilities, Features, KernelError, SubgroupSizes, WeightFormat};

/// A way to multiply, with the sizes of a workgroup's tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tile {
    /// In f32, each invocation by itself.
    Fma {
        /// Rows.
        t: u32,
        /// Columns.
        o: u32,
        /// Values along I that pass through workgroup memory at once: 16 or 32.
        k: u32,
        /// Invocations.
        invocations: u32,
    },
    /// In f16 with f32 sums, each subgroup with cooperative matrices.
    Coop {
        /// Rows.
        t: u32,
        /// Columns.
        o: u32,
        /// Values along I that pass through workgroup memory at once.
        k: u32,
        /// Subgroups along the rows.
        groups_t: u32,
        /// Subgroups along the columns.
        groups_o: u32,
        /// Steps that workgroup memory holds: 1, or 2 so that a step is written while another is read.
        buffers: u32,
        /// The most lanes that a subgroup has.
        lanes: u32,
        /// Whether every subgroup has so many.
        exact: bool,
    },
}

impl Tile {
    /// 128 × 128 in f32, eight by eight for each invocation: within the promised workgroup memory.
    pub const FMA_128: Self = Self::Fma { t: 128, o: 128, k: 16, invocations: 256 };
    /// 64 × 64 in f32, four by four for each invocation.
    pub const FMA_64: Self = Self::Fma { t: 64, o: 64, k: 32, invocations: 256 };
    /// 32 × 64 in f32, for few rows.
    pub const FMA_32: Self = Self::Fma { t: 32, o: 64, k: 32, invocations: 128 };
    /// 16 × 32 in f32, for few rows of few columns.
    pub const FMA_16: Self = Self::Fma { t: 16, o: 32, k: 32, invocations: 64 };
    /// Rows up to which a product is small.
    const FEW: u32 = 64;
    /// Processors of a large GPU.
    const PROCESSORS: u32 = 132;

    /// A tile for cooperative matrices on an adapter with these subgroups.
    pub const fn coop([t, o, k]: [u32; 3], [groups_t, groups_o]: [u32; 2], buffers: u32, lanes: SubgroupSizes) -> Self {
        Self::Coop { t, o, k, groups_t, groups_o, buffers, lanes: lanes.max, exact: lanes.min == lanes.max }
    }

    /// The best one for `t` rows and `o` columns.
    pub fn best(weight: WeightFormat, t: u32, o: u32, device: &Capabilities) -> Self {
        if device.features.coopmat && weight != WeightFormat::F32 {
            let coop = Self::best_coop(t, o, device);
            if coop.check("", device).is_ok() {
                return coop;
            }
        }
        // Where tiles do not fill a large device, a product takes as long as one of them.
        if t <= Self::FEW && Self::FMA_32.tiles(t, o) < Self::PROCESSORS {
            return Self::FMA_16;
        }
        // Large tiles pay when there are enough of them to fill a large device.
        if t <= Self::FEW {
            Self::FMA_32
        } else if Self::FMA_128.tiles(t, o) >= 128 {
            Self::FMA_128
        } else {
            Self::FMA_64
        }
    }

    /// The best one on cooperative matrices, as swept on an H100: few rows take long steps in small tiles, whole ones of which are stored
    /// without a detour.
    fn best_coop(t: u32, o: u32, device: &Capabilities) -> Self {
        let lanes = device.subgroup;
        let small =
            if t <= 16 { Self::coop([16, 32, 128], [1, 2], 1, lanes) } else { Self::coop([32, 32, 128], [1, 2], 1, lanes) };
        if t > Self::FEW {
            Self::coop([128, 128, 32], [2, 2], 1, lanes)
        } else if t <= 16 || small.tiles(t, o) <= Self::PROCESSORS {
            small
        } else {
            Self::coop([32, 64, 64], [1, 4], 1, lanes)
        }
    }

    /// Whether it is made for cooperative matrices.
    pub fn is_coop(self) -> bool {
        matches!(self, Self::Coop { .. })
    }

    /// Tiles that cover `t` rows and `o` columns.
    pub fn tiles(self, t: u32, o: u32) -> u32 {
        let (rows, columns, _) = self.sizes();
        t.div_ceil(rows) * o.div_ceil(columns)
    }

    /// Its part of permutation ids.
    pub(super) fn name(self) -> String {
        match self {
            Self::Fma { t, o, k, .. } => format!("fma {t}x{o}x{k}"),
            Self::Coop { t, o, k, groups_t, groups_o, buffers, .. } => {
                format!("coop {t}x{o}x{k}x{buffers} {groups_t}x{groups_o}")
            }
        }
    }

    pub(super) fn features(self) -> Features {
        if self.is_coop() { Features::COOPMAT } else { Features::BASE }
    }

    pub(super) fn source(self) -> &'static str {
        if self.is_coop() { include_str!("gemm_coop.wgsl") } else { include_str!("gemm.wgsl") }
    }

    /// Rows, columns, values along I.
    fn sizes(self) -> (u32, u32, u32) {
        match self {
            Self::Fma { t, o, k, .. } | Self::Coop { t, o, k, .. } => (t, o, k),
        }
    }

    pub(super) fn workgroup_size(self) -> u32 {
        match self {
            Self::Fma { invocations, .. } => invocations,
            Self::Coop { groups_t, groups_o, lanes, .. } => groups_t * groups_o * lanes,
        }
    }

    /// Quads of values of a staged row with its padding, and steps that are held.
    fn staged(self) -> (u32, u32) {
        match self {
            Self::Fma { k, .. } => (k / 4, 1),
            Self::Coop { k, buffers, .. } => (k / 4 + 2, buffers),
        }
    }

    pub(super) fn workgroup_bytes(self) -> u32 {
        let (t, o, _) = self.sizes();
        let (row, buffers) = self.staged();
        match self {
            Self::Fma { .. } => 16 * row * (t + o),
            Self::Coop { groups_t, groups_o, .. } => 8 * row * buffers * (t + o) + 1024 * groups_t * groups_o,
        }
    }

    /// The constants of its program.
    pub(super) fn counts(self) -> Vec<(&'static str, u32)> {
        let (t, o, k) = self.sizes();
        let (row, buffers) = self.staged();
        let rows_per_load = self.workgroup_size() / (k / 8);
        let mut counts = vec![
            ("WG_SIZE", self.workgroup_size()),
            ("TILE_T", t),
            ("TILE_O", o),
            ("TILE_K", k),
            ("ROWS_PER_LOAD", rows_per_load),
            ("LOADS_X", t / rows_per_load),
            ("LOADS_W", o / rows_per_load),
            ("QUADS_X", row * buffers * t),
            ("QUADS_W", row * buffers * o),
        ];
        match self {
            Self::Fma { invocations, .. } => counts.extend([("SUMS_T", t / (invocations / 16)), ("SUMS_O", o / 16)]),
            Self::Coop { groups_t, groups_o, .. } => {
                let (tiles_t, tiles_o) = (t / groups_t / 16, o / groups_o / 16);
                counts.extend([
                    ("SUBGROUPS", groups_t * groups_o),
                    ("GROUPS_O", groups_o),
                    ("BUFFERS", buffers),
                    ("TILES_T", tiles_t),
                    ("TILES_O", tiles_o),
                    ("TILES", tiles_t * tiles_o),
                    ("STEPS_K", k / 16),
                ]);
            }
        }
        counts
    }

    /// Checks that its sizes divide each other.
    pub(super) fn check(self, kernel: &str, device: &Capabilities) -> Result<(), KernelError> {
        let (t, o, k) = self.sizes();
        let rows_per_load = self.workgroup_size() / (k / 8).max(1);
        let (unit_t, unit_o) = match self {
            Self::Fma { invocations, .. } => (invocations / 16, 16),
            Self::Coop { groups_t, groups_o, .. } => (16 * groups_t, 16 * groups_o),
        };
        let whole = k.is_multiple_of(16)
            && rows_per_load > 0
            && [(t, unit_t), (o, unit_o), (t, rows_per_load), (o, rows_per_load)].iter().all(|&(n, unit)| n.is_multiple_of(unit));
        if !whole {
            let expected = "a tile that divides among its invocations";
            return Err(KernelError::shape(kernel, "rows of a tile", expected, t.into()));
        }
        let limits = &device.limits;
        for (what, needed, allowed) in [
            ("invocations", self.workgroup_size(), limits.max_invocations),
            ("bytes of workgroup memory", self.workgroup_bytes(), limits.max_workgroup_bytes),
        ] {
            if needed > allowed {
                return Err(KernelError::limit(kernel, what, needed.into(), allowed.into()));
            }
        }
        Ok(())
    }
}
