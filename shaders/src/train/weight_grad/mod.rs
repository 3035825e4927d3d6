//! `dW[z, o, i] = Σ_t dy[t, o] · x[t, i]` over the tokens of part z: the gradient of a weight, in parts that `sum_parts` adds.
//!
//! A weight has few tiles and its gradient is a sum over all tokens. Parts fill the device, and a second launch adds them in their order, so
//! that the same inputs give the same bits.
//!
//! Source: ours.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::weight_grad;

use crate::kernel::{
    Binding, Capabilities, Elem, Features, KernelError, Launch, Prelude, Program, SubgroupSizes, grid, launch, unrolled,
};

/// How a workgroup goes about its tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tile {
    /// 64 × 64 in f32.
    Fma,
    /// In f16 with f32 sums, each subgroup with cooperative matrices.
    Coop {
        /// Columns of dy.
        o: u32,
        /// Columns of x.
        i: u32,
        /// Tokens that pass through workgroup memory at once.
        k: u32,
        /// Subgroups along the columns of dy.
        groups_o: u32,
        /// Subgroups along the columns of x.
        groups_i: u32,
        /// Lanes of a subgroup.
        lanes: u32,
    },
}

impl Tile {
    /// A tile for cooperative matrices; nothing where the size of a subgroup is not fixed.
    pub const fn coop([o, i, k]: [u32; 3], [groups_o, groups_i]: [u32; 2], lanes: SubgroupSizes) -> Option<Self> {
        if lanes.min == lanes.max { Some(Self::Coop { o, i, k, groups_o, groups_i, lanes: lanes.max }) } else { None }
    }

    /// The best one on `device`.
    pub fn best(device: &Capabilities) -> Self {
        let coop = Self::coop([128, 128, 32], [2, 2], device.subgroup).filter(|_| device.features.coopmat);
        coop.filter(|tile| tile.check(device).is_ok()).unwrap_or(Self::Fma)
    }

    /// Whether it is made for cooperative matrices.
    pub fn is_coop(self) -> bool {
        matches!(self, Self::Coop { .. })
    }

    /// Columns of dy, columns of x, tokens.
    fn sizes(self) -> [u32; 3] {
        match self {
            Self::Fma => [64, 64, 16],
            Self::Coop { o, i, k, .. } => [o, i, k],
        }
    }

    fn workgroup_size(self) -> u32 {
        match self {
            Self::Fma => 256,
            Self::Coop { groups_o, groups_i, lanes, .. } => groups_o * groups_i * lanes,
        }
    }

    fn workgroup_bytes(self) -> u32 {
        let [o, i, k] = self.sizes();
        match self {
            Self::Fma => 4 * k * (o + i),
            Self::Coop { groups_o, groups_i, .. } => 2 * k * (o + i + 16) + 1024 * groups_o * groups_i,
        }
    }

    /// The constants of its program.
    fn counts(self) -> Vec<(&'static str, u32)> {
        let [o, i, k] = self.sizes();
        let size = self.workgroup_size();
        let mut counts = vec![("WG_SIZE", size), ("TILE_O", o), ("TILE_I", i), ("TILE_K", k)];
        if let Self::Coop { groups_o, groups_i, .. } = self {
            let (tiles_o, tiles_i) = (o / groups_o / 16, i / groups_i / 16);
            let (loads_o, loads_i) = (k * o / 8 / size, k * i / 8 / size);
            counts.extend([
                ("SUBGROUPS", groups_o * groups_i),
                ("GROUPS_I", groups_i),
                ("LOADS_O", loads_o),
                ("LOADS_I", loads_i),
                ("QUADS_O", 2 * loads_o),
                ("QUADS_I", 2 * loads_i),
                ("TILES_O", tiles_o),
                ("TILES_I", tiles_i),
                ("TILES", tiles_o * tiles_i),
                ("STEPS_K", k / 16),
            ]);
        }
        counts
    }

    /// Checks that its sizes divide each other and suit the device.
    fn check(self, device: &Capabilities) -> Result<(), KernelError> {
        let Self::Coop { o, i, k, groups_o, groups_i, .. } = self else { return Ok(()) };
        let size = self.workgroup_size();
        let whole = k.is_multiple_of(16)
            && o.is_multiple_of(16 * groups_o)
            && i.is_multiple_of(16 * groups_i)
            && [o, i].iter().all(|n| size.is_multiple_of(n / 8) && (k * n / 8).is_multiple_of(size));
        if !whole {
            let expected = "a tile that divides among its invocations";
            return Err(KernelError::shape(NAME, "columns of a tile", expected, o.into()));
        }
        let limits = &device.limits;
        for (what, needed, allowed) in [
            ("invocations", size, limits.max_invocations),
            ("bytes of workgroup memory", self.workgroup_bytes(), limits.max_workgroup_bytes),
        ] {
            if needed > allowed {
                return Err(KernelError::limit(NAME, what, needed.into(), allowed.into()));
            }
        }
        Ok(())
    }

    fn name(self) -> String {
        match self {
            Self::Fma => "fma".into(),
            Self::Coop { o, i, k, groups_o, groups_i, .. } => format!("coop {o}x{i}x{k} {groups_o}x{groups_i}"),
        }
    }
}

const NAME: &str = "train/weight_grad";

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeightGrad {
    /// Format of dy.
    pub dy: Elem,
    /// Format of x.
    pub x: Elem,
    /// How a workgroup goes about its tile.
    pub tile: Tile,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Tokens `T`.
    pub t: u32,
    /// Columns `O` of dy.
    pub o: u32,
    /// Columns `I` of x.
    pub i: u32,
    /// Tokens of a part.
    pub rows: u32,
}

impl Params {
    /// The parts that the tokens make.
    pub fn parts(&self) -> u32 {
        self.t.div_ceil(self.rows.max(1))
    }
}

impl WeightGrad {
    const BINDINGS: [Binding; 3] = [Binding::read("dy"), Binding::read("x"), Binding::write("parts")];
    /// Workgroups that fill a large device.
    const FULL: u32 = 256;
    /// Fewest tokens of a part, so that writing and adding it stays small beside its products.
    const FEWEST: u32 = 512;

    /// Parts of `t` tokens that fill a large device.
    pub fn params(self, t: u32, o: u32, i: u32) -> Params {
        let [tile_o, tile_i, k] = self.tile.sizes();
        let tiles = o.div_ceil(tile_o).max(1) * i.div_ceil(tile_i).max(1);
        let parts = Self::FULL.div_ceil(tiles).min(t.div_ceil(Self::FEWEST)).max(1);
        Params { t, o, i, rows: t.div_ceil(parts).max(1).next_multiple_of(k) }
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let counts = self.tile.counts();
        let mut prelude = Prelude::new().alias("DY", self.dy.name()).alias("X", self.x.name());
        for &(name, value) in &counts {
            prelude = prelude.constant(name, value);
        }
        let source = match self.tile {
            Tile::Fma => include_str!("weight_grad.wgsl"),
            Tile::Coop { .. } => include_str!("weight_grad_coop.wgsl"),
        };
        let features = if self.tile.is_coop() { Features::COOPMAT } else { Features::BASE };
        let f16 = features.f16 || self.dy == Elem::F16 || self.x == Elem::F16;
        let name = format!("{NAME}[dy {},x {},{}]", self.dy.name(), self.x.name(), self.tile.name());
        let source = unrolled(source, &counts);
        let prelude = prelude.fragment(include_str!("inputs.wgsl"));
        Program::new(name, &prelude, &source, &Self::BINDINGS, [self.tile.workgroup_size(), 1, 1])
            .with_workgroup_bytes(self.tile.workgroup_bytes())
            .with_features(Features { f16, ..features })
    }

    /// Checks the sizes and returns the launch. Buffers: dy, x, parts `[Z, O, I]` with `Z` of [`Params::parts`].
    ///
    /// # Errors
    /// [`KernelError`] for no tokens, widths that are no multiple of 8, parts that are no whole steps, or what the adapter does not allow.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        let Params { t, o, i, rows } = params;
        for (what, n) in [("width O", o), ("width I", i)] {
            if n == 0 || !n.is_multiple_of(8) {
                return Err(KernelError::shape(NAME, what, "a multiple of 8", n.into()));
            }
        }
        if t == 0 {
            return Err(KernelError::shape(NAME, "tokens T", "at least 1", 0));
        }
        let [tile_o, tile_i, k] = self.tile.sizes();
        if rows == 0 || !rows.is_multiple_of(k) {
            return Err(KernelError::shape(NAME, "tokens of a part", format!("a multiple of {k}"), rows.into()));
        }
        self.tile.check(device)?;
        let widths = [("values of dy", t, o, self.dy), ("values of x", t, i, self.x)];
        let parts = ("values of the parts", params.parts().saturating_mul(o), i, Elem::F32);
        for (what, rows, width, elem) in widths.into_iter().chain([parts]) {
            let n = u64::from(rows) * u64::from(width);
            let most = (device.limits.max_binding_bytes / elem.bytes() as u64).min(1 << 32);
            if n > most {
                return Err(KernelError::limit(NAME, what, n, most));
            }
        }
        let [x, y, _] = grid(o.div_ceil(tile_o) * i.div_ceil(tile_i), &device.limits);
        launch(self.program(), &params, [x, y, params.parts()], device)
    }
}
