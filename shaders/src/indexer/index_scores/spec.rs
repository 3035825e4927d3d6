//! Permutations and launches of the kernel.

use crate::kernel::{Binding, Capabilities, Features, KernelError, Launch, Prelude, Program, composed, launch, unrolled};

/// Keys of a page of the cache.
pub(super) const PAGE: u32 = 64;
/// Keys of a workgroup without cooperative matrices.
const FMA_KEYS: u32 = 128;
/// Most pages of a workgroup on cooperative matrices.
const MAX_PAGES: u32 = 64;
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
    /// Strips of 16 rows of one subgroup: 1, 2 or 4. A row is one head of one query.
    pub strips: u32,
    /// Groups of so many rows.
    pub groups: u32,
    /// Tiles of 16 keys that a subgroup multiplies at once: 1 or 2.
    pub wide: u32,
    /// Subgroups that share the keys of a block: 1, 2 or 4.
    pub key_groups: u32,
    /// Keys that are staged together: 16, 32 or 64, and at least 16 for each key group.
    pub block: u32,
    /// Areas for products of each subgroup: 1, or 2 where a subgroup multiplies several times in a block.
    pub buffers: u32,
    /// How many workgroups a launch is divided among, about: enough to fill a device, few enough that loading queries does not count. No workgroup
    /// takes more than 64 pages.
    pub workgroups: u32,
    /// The next page is under way while one is multiplied.
    pub prefetch: bool,
}

/// What multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// f32 multiply-adds; a workgroup takes as many queries as its rows hold.
    Fma,
    /// The same with one query in a workgroup.
    FmaAlone,
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
    /// Entries from the block table of a query to that of the next; 0 where all queries are of one text.
    pub table_stride: u32,
}

/// Sizes of a launch on cooperative matrices.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct TiledParams {
    params: Params,
    /// Pages of one workgroup.
    pages: u32,
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
        let coopmat = Self { heads, dim, keys, unit: Unit::Coopmat(Tiling::of(t, padded(heads), dim, device)) };
        let row = heads * dim;
        let smallest =
            Params { t: 1, s: 1, q_stride: row, q_offset: 0, w_stride: heads, w_offset: 0, scores_stride: 1, table_stride: 0 };
        if coopmat.launch(smallest, device).is_ok() { coopmat } else { Self { unit: Unit::Fma, ..coopmat } }
    }

    /// The best permutation on `device` for queries with block tables of their own: one query in a workgroup.
    pub fn best_alone(heads: u32, dim: u32, keys: KeyFormat, device: &Capabilities) -> Self {
        let spec = Self::best(heads, dim, keys, 1, device);
        if spec.unit == Unit::Fma { Self { unit: Unit::FmaAlone, ..spec } } else { spec }
    }

    /// Queries of a workgroup.
    fn queries(self) -> u32 {
        match self.unit {
            Unit::Fma => 64 / self.padded_heads().min(64),
            Unit::FmaAlone => 1,
            Unit::Coopmat(tiling) => tiling.groups * tiling.strips * 16 / padded(self.heads),
        }
    }

    /// Heads of a query in the rows of a workgroup.
    fn padded_heads(self) -> u32 {
        match self.unit {
            Unit::Fma => self.heads.next_power_of_two().max(8),
            Unit::FmaAlone => self.heads.next_power_of_two().max(64),
            Unit::Coopmat(_) => padded(self.heads),
        }
    }

    /// The composed program.
    pub fn program(self) -> Program {
        match self.unit {
            Unit::Fma | Unit::FmaAlone => self.fma(),
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
            .constant("HEADS_PADDED", self.padded_heads())
            .constant("DIM", self.dim)
            .fragment(stage);
        let alone = if self.unit == Unit::FmaAlone { ",alone" } else { "" };
        let name = format!("{KERNEL}[{},h{},d{},fma{alone}]", self.keys.name(), self.heads, self.dim);
        Program::new(name, &prelude, include_str!("index_scores.wgsl"), &Self::BINDINGS, [256, 1, 1])
            .with_workgroup_bytes(16 * 5 * (64 + FMA_KEYS))
    }

    fn coopmat(self, tiling: Tiling) -> Program {
        let Tiling { lanes, strips, groups, wide, key_groups, block, buffers, prefetch, .. } = tiling;
        let (dim, fp8) = (self.dim, self.keys == KeyFormat::Fp8);
        let stage = if fp8 { include_str!("coopmat_fp8.wgsl") } else { include_str!("coopmat_f16.wgsl") };
        let size = lanes * groups * key_groups;
        let (rows, step) = (groups * strips * 16, 16 * wide * key_groups);
        let row = dim / 4 + 2;
        let stages = tiling.stages();
        let stage_row = if stages == 1 { row } else { dim / 4 / stages };
        let at_once = if stages == 1 { (block / (16 * groups)).min(strips) } else { 1 };
        // Vectors of products that one lane sums, and those of them that belong to one query.
        let lane_rows = step * rows / 4 / size;
        let query_rows = lane_rows.min(padded(self.heads) / 4);
        let counts = [
            ("LOADS", (block * dim / if fp8 { 16 } else { 4 }).div_ceil(size)),
            ("STRIPS", strips),
            ("WIDE", wide),
            ("STEPS", block / step),
            ("K_TILES", dim / 16),
            ("STAGE_TILES", dim / 16 / stages),
            ("STRIPS_AT_ONCE", at_once),
            ("ROUNDS", strips / at_once * stages),
            ("QUERY_ROWS", query_rows),
            ("LANE_QUERIES", lane_rows / query_rows),
        ];
        let mut prelude = Prelude::new();
        for (name, value) in counts {
            prelude = prelude.constant(name, value);
        }
        let prelude = prelude
            .constant("HEADS", self.heads)
            .constant("HEADS_PADDED", padded(self.heads))
            .constant("DIM", dim)
            .constant("LANES", lanes)
            .constant("GROUPS", groups)
            .constant("KEY_GROUPS", key_groups)
            .constant("BLOCK", block)
            .constant("LANE_ROWS", lane_rows)
            .constant("BUFFERS", buffers)
            .constant("STAGES", stages)
            .constant("STAGE_ROW", stage_row)
            .constant("STAGE_DIMS", dim / stages)
            .constant("A_TILES", strips * dim / 16)
            .constant("C_TILES", strips * wide)
            .flag("PREFETCH", prefetch)
            .fragment(&unrolled(stage, &counts));
        let tiles = format!("{strips}x{groups},{wide}x{key_groups}x{block}b{buffers}{}", if prefetch { "p" } else { "" });
        let name = format!("{KERNEL}[{},h{},d{},coopmat,{tiles}]", self.keys.name(), self.heads, dim);
        let bytes = 8 * block * row + 16 * buffers * step * (rows / 4 + 1) + 4 * rows + 4 * block;
        let source = unrolled(include_str!("index_scores_coopmat.wgsl"), &counts);
        Program::new(name, &prelude, &source, &Self::BINDINGS, [size, 1, 1])
            .with_workgroup_bytes(bytes)
            .with_features(Features::COOPMAT)
    }

    /// Checks the permutation itself.
    pub(super) fn check(self, device: &Capabilities) -> Result<(), KernelError> {
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
        let Tiling { strips, groups, wide, key_groups, block, buffers, workgroups, .. } = tiling;
        if ![1, 2, 4].contains(&strips) || ![1, 2].contains(&wide) || ![1, 2].contains(&buffers) || workgroups == 0 {
            return refuse("tiles", "1, 2 or 4 strips, 1 or 2 tiles, 1 or 2 buffers", strips);
        }
        if !groups.is_power_of_two() || !(groups * strips * 16).is_multiple_of(padded(heads)) {
            return refuse("groups of a workgroup", "as many as make whole queries", groups);
        }
        if ![16, 32, 64].contains(&block) || !key_groups.is_power_of_two() || 16 * wide * key_groups > block {
            return refuse("keys of a block", "16, 32 or 64 for all key groups", block);
        }
        if dim / tiling.stages() < 16 {
            return refuse("groups of a workgroup", "few enough to stage 16 dimensions of all", groups);
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
        let Params { t, s, q_stride, q_offset, w_stride, scores_stride, table_stride, .. } = params;
        let row = self.heads * self.dim;
        let checks = [
            ("query rows T", t > 0, "at least 1".to_owned(), t),
            ("keys S", s > 0, "at least 1".to_owned(), s),
            ("q_stride", q_stride % 4 == 0 && q_stride >= row, format!("a multiple of 4, at least {row}"), q_stride),
            ("q_offset", q_offset % 4 == 0, "a multiple of 4".to_owned(), q_offset),
            ("w_stride", w_stride >= self.heads, format!("at least {}", self.heads), w_stride),
            (
                "queries of a workgroup",
                table_stride == 0 || self.queries() == 1,
                "1 with tables of their own".to_owned(),
                self.queries(),
            ),
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
        let n_pages = s.div_ceil(PAGE);
        let Unit::Coopmat(tiling) = self.unit else {
            return launch(
                composed(&self, "", || self.program()),
                &params,
                [t.div_ceil(self.queries()), s.div_ceil(FMA_KEYS), 1],
                device,
            );
        };
        let blocks = t.div_ceil(self.queries());
        let wanted = (u64::from(n_pages) * u64::from(blocks)).div_ceil(u64::from(tiling.workgroups));
        let pages = wanted.clamp(1, u64::from(MAX_PAGES)) as u32;
        launch(
            composed(&self, "", || self.program()),
            &TiledParams { params, pages },
            [blocks, n_pages.div_ceil(pages), 1],
            device,
        )
    }
}

/// Heads of a query on cooperative matrices, a power of two of at least the 16 rows of one matrix.
fn padded(heads: u32) -> u32 {
    heads.next_power_of_two().max(16)
}

impl Tiling {
    /// In how many parts the dimensions of 16 rows of every group pass through the area for keys.
    fn stages(self) -> u32 {
        (16 * self.groups).div_ceil(self.block).next_power_of_two()
    }

    /// The layout for `t` queries of `heads` padded heads: as many rows as they have, up to four groups for a few queries and eight for many.
    ///
    /// Swept on an H100 with 64 heads. More rows of a subgroup leave fewer subgroups on a multiprocessor, fewer rows load keys more often than
    /// they multiply them.
    fn of(t: u32, heads: u32, dim: u32, device: &Capabilities) -> Self {
        let rows = u64::from(t) * u64::from(heads);
        let strips = rows.div_ceil(16).min(2) as u32;
        let many = rows >= 4096 && dim >= 64 && device.limits.max_workgroup_bytes >= 48 << 10;
        let most = if many { 8 } else { 4 };
        let groups = rows.div_ceil(16 * u64::from(strips)).min(most).next_power_of_two() as u32;
        let key_groups = (4 / groups).max(1);
        Self {
            lanes: device.subgroup.max,
            strips,
            groups,
            wide: 1,
            key_groups,
            block: if key_groups == 4 { 64 } else { 32 },
            buffers: if many { 2 } else { 1 },
            workgroups: match groups {
                1 => 256,
                2 | 3 => 512,
                _ => 1024,
            },
            prefetch: many,
        }
    }
}
