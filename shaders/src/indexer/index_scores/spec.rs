//! Permutations and launches of the kernel.

use crate::kernel::{Binding, Capabilities, Features, KernelError, Launch, Prelude, Program, launch};

/// Keys of a page of the cache.
pub(super) const PAGE: u32 = 64;
/// Keys of a workgroup without cooperative matrices.
const FMA_KEYS: u32 = 128;
const KERNEL: &str = "indexer/index_scores";

/// How index keys are stored. A page is 64 keys of `Di` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyFormat {
    /// `[64, Di]` f32.
    F32,
    /// `[64, Di]` f16.
    F16,
    /// `[64, Di]` e4m3 without NaN, then `[64]` f32 scales: spec §5.3.
    Fp8,
}

impl KeyFormat {
    /// Its name in permutation ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Fp8 => "fp8",
        }
    }

    /// Bytes of one page.
    pub fn page_bytes(self, dim: u32) -> u32 {
        match self {
            Self::F32 => 4 * PAGE * dim,
            Self::F16 => 2 * PAGE * dim,
            Self::Fp8 => PAGE * dim + 4 * PAGE,
        }
    }
}

/// How a workgroup on cooperative matrices is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tiling {
    /// Lanes of a subgroup.
    pub lanes: u32,
    /// Groups of 64 rows: 1, 2 or 4. A row is one head of one query.
    pub groups: u32,
    /// Subgroups that share the keys of a page: 1, 2 or 4.
    pub key_groups: u32,
    /// Pages of one workgroup.
    pub pages: u32,
    /// Products pass between lanes behind a barrier of the subgroup, not of the workgroup.
    pub subgroup_barrier: bool,
    /// The next page is under way while one is multiplied.
    pub prefetch: bool,
}

/// What multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// f32 multiply-adds.
    Fma,
    /// Cooperative matrices, f16 × f16 → f32.
    Coopmat(Tiling),
}

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IndexScores {
    /// Indexer heads `Hi`.
    pub heads: u32,
    /// Indexer width `Di`.
    pub dim: u32,
    /// How keys are stored.
    pub keys: KeyFormat,
    /// What multiplies.
    pub unit: Unit,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Query rows `T`.
    pub t: u32,
    /// Keys `S` that the launch may touch: a bucket, at least `max(positions) + 1`.
    pub s: u32,
    /// Elements from one query row to the next.
    pub q_stride: u32,
    /// Element where the first query row starts.
    pub q_offset: u32,
    /// Elements from one row of head weights to the next.
    pub w_stride: u32,
    /// Element where the first row of head weights starts.
    pub w_offset: u32,
    /// Elements from one row of scores to the next, at least `s`.
    pub scores_stride: u32,
}

impl IndexScores {
    const BINDINGS: [Binding; 6] = [
        Binding::read("q"),
        Binding::read("weights"),
        Binding::read("keys"),
        Binding::read("block_table"),
        Binding::read("positions"),
        Binding::write("scores"),
    ];

    /// The best permutation on `device` for launches of about `t` query rows.
    pub fn best(heads: u32, dim: u32, keys: KeyFormat, t: u32, device: &Capabilities) -> Self {
        let coopmat = Self { heads, dim, keys, unit: Unit::Coopmat(Tiling::of(t, padded(heads), device)) };
        if device.features.coopmat && coopmat.check(device).is_ok() { coopmat } else { Self { unit: Unit::Fma, ..coopmat } }
    }

    /// The composed program.
    pub fn program(self) -> Program {
        match self.unit {
            Unit::Fma => self.fma(),
            Unit::Coopmat(tiling) => self.coopmat(tiling),
        }
    }

    fn fma(self) -> Program {
        let stage = match self.keys {
            KeyFormat::F32 => include_str!("keys_f32.wgsl"),
            KeyFormat::F16 => include_str!("keys_f16.wgsl"),
            KeyFormat::Fp8 => include_str!("keys_fp8.wgsl"),
        };
        let prelude = Prelude::new()
            .constant("HEADS", self.heads)
            .constant("HEADS_PADDED", self.heads.next_power_of_two().max(8))
            .constant("DIM", self.dim)
            .fragment(stage);
        let name = format!("{KERNEL}[{},h{},d{},fma]", self.keys.name(), self.heads, self.dim);
        Program::new(name, &prelude, include_str!("index_scores.wgsl"), &Self::BINDINGS, [256, 1, 1])
            .with_workgroup_bytes(16 * 5 * (64 + FMA_KEYS))
    }

    fn coopmat(self, tiling: Tiling) -> Program {
        let Tiling { lanes, groups, key_groups, pages, subgroup_barrier, prefetch } = tiling;
        let stage = if self.keys == KeyFormat::Fp8 { include_str!("coopmat_fp8.wgsl") } else { include_str!("coopmat_f16.wgsl") };
        let prelude = Prelude::new()
            .constant("HEADS", self.heads)
            .constant("HEADS_PADDED", padded(self.heads))
            .constant("DIM", self.dim)
            .constant("LANES", lanes)
            .constant("GROUPS", groups)
            .constant("KEY_GROUPS", key_groups)
            .constant("PAGES", pages)
            .flag("SUBGROUP_BARRIER", subgroup_barrier)
            .flag("PREFETCH", prefetch)
            .fragment(stage);
        let barrier = if subgroup_barrier { "s" } else { "w" };
        let tiles = format!("{groups}x{key_groups}x{pages}{barrier}{}", if prefetch { "p" } else { "" });
        let name = format!("{KERNEL}[{},h{},d{},coopmat,{tiles}]", self.keys.name(), self.heads, self.dim);
        let bytes = 64 * (2 * self.dim + 16) + groups * key_groups * 16 * 272 + groups * 256 + 256;
        let size = [lanes * groups * key_groups, 1, 1];
        Program::new(name, &prelude, include_str!("index_scores_coopmat.wgsl"), &Self::BINDINGS, size)
            .with_workgroup_bytes(bytes)
            .with_features(Features::COOPMAT)
    }

    /// Checks the permutation itself.
    fn check(self, device: &Capabilities) -> Result<(), KernelError> {
        let Self { heads, dim, keys, unit } = self;
        let refuse = |what, expected: &str, found: u32| Err(KernelError::shape(KERNEL, what, expected, u64::from(found)));
        if heads == 0 {
            return refuse("heads Hi", "at least 1", heads);
        }
        if dim == 0 || dim % 16 != 0 {
            return refuse("width Di", "a multiple of 16", dim);
        }
        let Unit::Coopmat(tiling) = unit else { return Ok(()) };
        if heads > 64 {
            return refuse("heads Hi", "at most 64 on cooperative matrices", heads);
        }
        if ![32, 64, 128].contains(&dim) {
            return refuse("width Di", "32, 64 or 128 on cooperative matrices", dim);
        }
        if keys == KeyFormat::F32 {
            return refuse("bits of a key", "16 or 8 on cooperative matrices", 32);
        }
        if ![1, 2, 4].contains(&tiling.groups) || ![1, 2, 4].contains(&tiling.key_groups) || tiling.pages == 0 {
            return refuse("groups of a workgroup", "1, 2 or 4", tiling.groups);
        }
        let lanes = [device.subgroup.min, device.subgroup.max];
        if lanes != [tiling.lanes; 2] || ![16, 32, 64].contains(&tiling.lanes) {
            return refuse("lanes of a subgroup", "those of the device, always 16, 32 or 64", tiling.lanes);
        }
        Ok(())
    }

    /// Checks the sizes and returns the launch. Buffers: q, weights, keys, block_table, positions, scores.
    ///
    /// The grid depends on `T` and `S` alone; workgroups whose keys are past every one of their queries return at once. Of row `t` the launch
    /// writes columns `0 ..= positions[t]`.
    ///
    /// # Errors
    /// [`KernelError`] for sizes that the permutation does not take.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        self.check(device)?;
        let Params { t, s, q_stride, q_offset, w_stride, scores_stride, .. } = params;
        let row = self.heads * self.dim;
        let checks = [
            ("query rows T", t > 0, "at least 1".to_owned(), t),
            ("keys S", s > 0, "at least 1".to_owned(), s),
            ("q_stride", q_stride % 4 == 0 && q_stride >= row, format!("a multiple of 4, at least {row}"), q_stride),
            ("q_offset", q_offset % 4 == 0, "a multiple of 4".to_owned(), q_offset),
            ("w_stride", w_stride >= self.heads, format!("at least {}", self.heads), w_stride),
            ("scores_stride", scores_stride >= s, format!("at least S = {s}"), scores_stride),
        ];
        if let Some((what, _, expected, found)) = checks.into_iter().find(|(_, fits, ..)| !fits) {
            return Err(KernelError::shape(KERNEL, what, expected, u64::from(found)));
        }
        let most = device.limits.max_binding_bytes;
        let sizes = [
            ("bytes of q", 4 * u64::from(t) * u64::from(q_stride)),
            ("bytes of scores", 4 * u64::from(t) * u64::from(scores_stride)),
            ("bytes of keys", u64::from(s.div_ceil(PAGE)) * u64::from(self.keys.page_bytes(self.dim))),
        ];
        if let Some((what, needed)) = sizes.into_iter().find(|&(_, needed)| needed > most) {
            return Err(KernelError::limit(KERNEL, what, needed, most));
        }
        let (queries, keys) = match self.unit {
            Unit::Fma => (64 / self.heads.next_power_of_two().clamp(8, 64), FMA_KEYS),
            Unit::Coopmat(tiling) => (tiling.groups * 64 / padded(self.heads), PAGE * tiling.pages),
        };
        launch(self.program(), &params, [t.div_ceil(queries), s.div_ceil(keys), 1], device)
    }
}

/// Heads of a query on cooperative matrices, a power of two of at least the 16 rows of one matrix.
fn padded(heads: u32) -> u32 {
    heads.next_power_of_two().max(16)
}

impl Tiling {
    /// The layout for `t` queries of `heads` padded heads.
    fn of(t: u32, heads: u32, device: &Capabilities) -> Self {
        let groups = (t * heads).div_ceil(64).next_power_of_two().min(4);
        let pages = if t <= 16 { 4 } else { 64 };
        Self { lanes: device.subgroup.max, groups, key_groups: 4 / groups, pages, subgroup_barrier: true, prefetch: true }
    }
}
