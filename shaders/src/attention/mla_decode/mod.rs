//! Attention of few query rows over cached latent rows, in two dispatches: partial sums over splits of the slots, then their combination.
//!
//! `u_h = Σ_s softmax_s(σ · q_h · row_s) · row_s[0..C]`, with `s` the selected positions of a query or all positions up to its own. Every head
//! attends to the same rows, so a workgroup takes many heads and reads a row once for all of them; the slots are split over workgroups, each of
//! which leaves its maximum, its sum of exponentials and its unnormalised sum for the second dispatch.
//!
//! Cost for each query: `K · bytes of a row` read, `2 · H · K · (2C + R)` operations.
//!
//! Source: spec §§2.4 (form b), 5.2, 5.6, 5.7; raising the maximum only now and then is from FlashAttention-4.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::mla_decode;

use crate::kernel::{Binding, Capabilities, Features, KernelError, Launch, Prelude, Program, composed, launch, unrolled};

/// Format of the cached latent rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LatentFormat {
    /// `C + R` f32.
    F32,
    /// `C + R` f16.
    F16,
    /// 656 bytes (`C` = 512, `R` = 64): 512 e4m3 codes, 4 f32 scales, 64 bf16 (spec §5.2).
    Fp8,
}

impl LatentFormat {
    /// Its name in permutation ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Fp8 => "fp8",
        }
    }

    /// Bytes of a row.
    pub fn row_bytes(self, c: u32, r: u32) -> u32 {
        match self {
            Self::F32 => 4 * (c + r),
            Self::F16 => 2 * (c + r),
            Self::Fp8 => c + c / 32 + 2 * r,
        }
    }
}

/// Which positions a query attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slots {
    /// The positions in `selected`, i32 `[T, K]`; those after the last are −1.
    Selected,
    /// All positions up to `positions[t]`.
    Dense,
}

/// How products are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tiles {
    /// Multiply-adds in f32.
    Fma {
        /// Heads of a workgroup: 4, 8 or 16.
        heads: u32,
    },
    /// Cooperative matrices, f16 × f16 → f32.
    Coop {
        /// Heads of a workgroup in tiles of 16: 1 or 2.
        head_tiles: u32,
        /// Lanes of a subgroup; the adapter must have no other size.
        lanes: u32,
    },
    /// Cooperative matrices, one step of 16 heads in a workgroup.
    Step {
        /// Slots of a workgroup: 16 or 32.
        rows: u32,
        /// Subgroups of a workgroup: 4, 8 or 16, at least four for each 16 slots.
        subgroups: u32,
        /// Lanes of a subgroup; the adapter must have no other size.
        lanes: u32,
    },
}

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MlaDecode {
    /// Latent rank `C`.
    pub c: u32,
    /// Rotated width `R`.
    pub r: u32,
    /// Format of the cache.
    pub format: LatentFormat,
    /// What is attended to.
    pub slots: Slots,
    /// How products are summed.
    pub tiles: Tiles,
}

/// Sizes of a launch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// Queries `T`.
    pub t: u32,
    /// Heads `H`.
    pub h: u32,
    /// Values between two rows of the query buffer; a multiple of 4, as are the other strides and offsets.
    pub q_stride: u32,
    /// Where the first query starts.
    pub q_offset: u32,
    /// Values between two rows of the output buffer.
    pub u_stride: u32,
    /// Where the first output starts.
    pub u_offset: u32,
    /// Slots `K` of a query; for [`Slots::Dense`] the largest context that the launch is made for (it only helps to choose the splits,
    /// but [`Tiles::Step`] attends to no more).
    pub n_slots: u32,
    /// Splits of the slots; see [`MlaDecode::splits`].
    pub n_splits: u32,
    /// Entries from the block table of a query to that of the next; 0 where all queries are of one text.
    pub table_stride: u32,
    /// Softmax scale `σ`.
    pub scale: f32,
}

/// Sizes of the partial kernel, as its WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct PartialParams {
    h: u32,
    q_stride: u32,
    q_offset: u32,
    n_slots: u32,
    n_splits: u32,
    padded_heads: u32,
    table_stride: u32,
    scale: f32,
}

/// Sizes of the combining kernel, as its WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct CombineParams {
    h: u32,
    n_splits: u32,
    padded_heads: u32,
    u_stride: u32,
    u_offset: u32,
}

impl MlaDecode {
    const NAME: &str = "attention/mla_decode";
    /// Most splits of a query.
    pub const MAX_SPLITS: u32 = 256;
    /// Processors of a large GPU.
    const PROCESSORS: u32 = 132;
    const COMBINE_SIZE: u32 = 256;

    /// The best permutation on `device` for `h` heads.
    pub fn best(c: u32, r: u32, h: u32, format: LatentFormat, slots: Slots, device: &Capabilities) -> Self {
        let subgroup = device.subgroup;
        let coop = Self { c, r, format, slots, tiles: Tiles::coop(h, subgroup.max) };
        let fits = device.limits.max_workgroup_bytes >= coop.workgroup_bytes() && subgroup.min == subgroup.max;
        if device.features.coopmat && coop.check_widths(Self::NAME).is_ok() && fits {
            return coop;
        }
        Self { tiles: Tiles::Fma { heads: h.next_power_of_two().clamp(4, 16) }, ..coop }
    }

    /// The same in the form that takes one step for each workgroup, where a large GPU has a processor for each of them.
    #[must_use]
    pub fn in_one_step(self, t: u32, h: u32, n_slots: u32, device: &Capabilities) -> Self {
        let Tiles::Coop { lanes, .. } = self.tiles else { return self };
        let (rows, subgroups) = (32, 8);
        let step = Self { tiles: Tiles::Step { rows, subgroups, lanes }, ..self };
        let limits = &device.limits;
        let fits = limits.max_workgroup_bytes >= step.workgroup_bytes() && limits.max_invocations >= subgroups * lanes;
        if fits && t * h.div_ceil(16) * n_slots.div_ceil(rows) <= Self::PROCESSORS { step } else { self }
    }

    /// Heads of a workgroup.
    pub(crate) fn heads(self) -> u32 {
        match self.tiles {
            Tiles::Fma { heads } => heads,
            Tiles::Coop { head_tiles, .. } => 16 * head_tiles,
            Tiles::Step { .. } => 16,
        }
    }

    /// Slots of a step.
    fn rows(self) -> u32 {
        match self.tiles {
            Tiles::Fma { .. } => 64,
            Tiles::Coop { .. } => 32,
            Tiles::Step { rows, .. } => rows,
        }
    }

    /// Heads of `partials` and `stats`.
    pub(crate) fn padded_heads(self, h: u32) -> u32 {
        h.next_multiple_of(self.heads())
    }

    /// How many splits keep a large GPU busy: enough workgroups, no split of less than one step, and none with more steps than the others need.
    pub fn splits(self, t: u32, h: u32, n_slots: u32) -> u32 {
        let steps = n_slots.div_ceil(self.rows()).max(1);
        if matches!(self.tiles, Tiles::Step { .. }) {
            return steps;
        }
        let one = t * h.div_ceil(self.heads());
        // With matrices a workgroup has a processor for itself, and one left over would take as long as all.
        let workgroups = if matches!(self.tiles, Tiles::Coop { .. }) { Self::PROCESSORS } else { 2 * Self::PROCESSORS };
        let most = (workgroups / one.max(1)).clamp(1, steps.min(Self::MAX_SPLITS));
        steps.div_ceil(steps.div_ceil(most))
    }

    /// Values of the buffer `partials`, f32.
    pub fn partials_len(self, sizes: &Sizes) -> usize {
        self.stats_len(sizes) / 2 * self.c as usize
    }

    /// Values of the buffer `stats`, f32.
    pub fn stats_len(self, sizes: &Sizes) -> usize {
        2 * sizes.t as usize * sizes.n_splits as usize * self.padded_heads(sizes.h) as usize
    }

    fn workgroup_bytes(self) -> u32 {
        match self.tiles {
            Tiles::Fma { heads } => 4 * 64 + 16 * (64 * 9 + heads * 9 + heads * 16) + 4 * heads,
            Tiles::Coop { .. } => 4 * 128 + 16 * (32 * 73 + self.scores()) + 12 * self.heads(),
            Tiles::Step { rows, .. } => 16 * (rows * 73 + 64 * (rows / 4 + 1)),
        }
    }

    /// Vectors of the scores with cooperative matrices: two partial sums of 32 slots, or a patch of 16 × 16 for each of eight subgroups.
    fn scores(self) -> u32 {
        (2 * self.heads() * 9).max(8 * 64)
    }

    /// The program of the first dispatch. Buffers: q, cache, block_table, selected or positions, partials, stats.
    pub fn partial_program(self) -> Program {
        let outputs = [Binding::write("sums"), Binding::write("stats")];
        let sums = match self.tiles {
            Tiles::Fma { .. } => include_str!("partials_fma.wgsl"),
            Tiles::Coop { .. } | Tiles::Step { .. } => include_str!("partials_coop.wgsl"),
        };
        self.program(Self::NAME, &[include_str!("partials.wgsl"), sums], &outputs, false)
    }

    /// The kernel with what becomes of its sums: `ending` has the parameters and the outputs.
    pub(crate) fn program(self, kernel: &str, ending: &[&str], outputs: &[Binding], direct: bool) -> Program {
        let prelude = Prelude::new().constant("LATENT", self.c).constant("ROTATED", self.r).constant("ROWS", self.rows());
        let halves = !matches!(self.tiles, Tiles::Fma { .. }) && self.format == LatentFormat::F16;
        let prelude = prelude.alias("CacheVector", if halves { "vec4<f16>" } else { "vec4<u32>" });
        let prelude = prelude.flag("DIRECT", direct).fragment(include_str!("io.wgsl"));
        let prelude = ending.iter().fold(prelude, |prelude, part| prelude.fragment(part));
        let (prelude, slots) = match self.slots {
            Slots::Selected => (prelude.fragment(include_str!("slots_selected.wgsl")), "selected"),
            Slots::Dense => (prelude.fragment(include_str!("slots_dense.wgsl")), "positions"),
        };
        let prelude = if self.format == LatentFormat::Fp8 { prelude.fragment(include_str!("e4m3.wgsl")) } else { prelude };
        let (prelude, source, workgroup, features, tiles) = match self.tiles {
            Tiles::Fma { heads } => {
                let prelude = prelude.constant("HEADS", heads).fragment(match self.format {
                    LatentFormat::F32 => include_str!("latent_f32.wgsl"),
                    LatentFormat::F16 => include_str!("latent_f16.wgsl"),
                    LatentFormat::Fp8 => include_str!("latent_fp8.wgsl"),
                });
                (prelude, include_str!("mla_decode.wgsl").into(), 16 * heads, Features::BASE, format!("fma,h{heads}"))
            }
            Tiles::Coop { head_tiles, lanes } => {
                let tiles = format!("coop,h{}", 16 * head_tiles);
                let scores = [("HEAD_TILES", head_tiles), ("SCORES", self.scores())];
                let (prelude, source) = self.matrices(prelude, include_str!("mla_decode_coop.wgsl"), 8, lanes, scores);
                (prelude, source, 8 * lanes, Features::COOPMAT, tiles)
            }
            Tiles::Step { rows, subgroups, lanes } => {
                let tiles = format!("step,{rows}x{subgroups}");
                let counts = [("SUBGROUPS", subgroups), ("COLUMN_TILES", 32 / subgroups)];
                let (prelude, source) = self.matrices(prelude, include_str!("mla_decode_step.wgsl"), subgroups, lanes, counts);
                (prelude, source, subgroups * lanes, Features::COOPMAT, tiles)
            }
        };
        let inputs = [Binding::read("q"), Binding::read("cache"), Binding::read("block_table"), Binding::read(slots)];
        let bindings = [&inputs, outputs].concat();
        let name = format!("{kernel}[{slots},{},{tiles},c{},r{}]", self.format.name(), self.c, self.r);
        Program::new(name, &prelude, &source, &bindings, [workgroup, 1, 1])
            .with_workgroup_bytes(self.workgroup_bytes())
            .with_features(features)
    }

    /// Adds what the kernels with matrices have in common, and returns it with `source`, its loops written out.
    fn matrices(
        self,
        prelude: Prelude,
        source: &str,
        subgroups: u32,
        lanes: u32,
        own: [(&'static str, u32); 2],
    ) -> (Prelude, String) {
        let (items, stage) = match self.format {
            LatentFormat::Fp8 => (40, include_str!("stage_fp8.wgsl")),
            _ => (72, include_str!("stage_f16.wgsl")),
        };
        let constants = [
            ("LANES", lanes),
            ("LOADS", (self.rows() * items).div_ceil(subgroups * lanes)),
            ("QUERY_LOADS", (self.heads() * 144).div_ceil(subgroups * lanes)),
            ("ROW_TILES", self.rows() / 16),
        ];
        let constants = [&constants[..], &own].concat();
        let prelude = constants.iter().fold(prelude, |prelude, &(name, value)| prelude.constant(name, value));
        let counts = [&[("KEY_TILES", 9), ("COLUMN_TILES", 4)][..], &constants].concat();
        // What a form says of itself comes first.
        let counts: Vec<_> = counts.into_iter().rev().collect();
        (prelude.fragment(stage).fragment(include_str!("matrices.wgsl")), unrolled(source, &counts))
    }

    /// The program of the second dispatch. Buffers: partials, stats, u. The columns of a head are cut into `parts`.
    pub fn combine_program(self, parts: u32) -> Program {
        let size = Self::COMBINE_SIZE;
        let constants = [("LATENT", self.c), ("WG_SIZE", size), ("MAX_SPLITS", Self::MAX_SPLITS), ("PARTS", parts)];
        let prelude = constants.into_iter().fold(Prelude::new(), |prelude, (name, value)| prelude.constant(name, value));
        let prelude = prelude.splits(4);
        let bindings = [Binding::read("partials"), Binding::read("stats"), Binding::write("u")];
        let name = format!("{}:combine[c{},p{parts}]", Self::NAME, self.c);
        Program::new(name, &prelude, include_str!("mla_combine.wgsl"), &bindings, [Self::COMBINE_SIZE, 1, 1])
            .with_workgroup_bytes(12 * Self::MAX_SPLITS + 16 * Self::COMBINE_SIZE)
    }

    /// Workgroups that share the columns of a head in the second dispatch: where there are many splits there are few queries, and the heads
    /// alone would not fill a large GPU.
    fn combine_parts(self, n_splits: u32) -> u32 {
        if self.c.is_multiple_of(128) && n_splits >= 16 { 4 } else { 1 }
    }

    /// Checks the widths on behalf of `kernel`.
    pub(crate) fn check_widths(self, kernel: &str) -> Result<(), KernelError> {
        let (c, r) = (self.c, self.r);
        let refuse = |what: &str, expected: &str, found: u32| Err(KernelError::shape(kernel, what, expected, u64::from(found)));
        let real = !matches!(self.tiles, Tiles::Fma { .. }) || self.format == LatentFormat::Fp8;
        if real && c != 512 {
            return refuse("latent rank C", "512", c);
        }
        if real && r != 64 {
            return refuse("rotated width R", "64", r);
        }
        if c == 0 || c % 8 != 0 || c > 512 {
            return refuse("latent rank C", "a multiple of 8 up to 512", c);
        }
        if r % 8 != 0 {
            return refuse("rotated width R", "a multiple of 8", r);
        }
        match self.tiles {
            Tiles::Fma { heads } if ![4, 8, 16].contains(&heads) => refuse("heads of a workgroup", "4, 8 or 16", heads),
            Tiles::Coop { .. } | Tiles::Step { .. } if self.format == LatentFormat::F32 => {
                refuse("bits of a cached value", "16 or 8", 32)
            }
            Tiles::Coop { head_tiles, .. } if ![1, 2].contains(&head_tiles) => refuse("tiles of heads", "1 or 2", head_tiles),
            Tiles::Coop { lanes, .. } | Tiles::Step { lanes, .. } if ![8, 16, 32].contains(&lanes) => {
                refuse("lanes of a subgroup", "8, 16 or 32", lanes)
            }
            Tiles::Step { rows, .. } if ![16, 32].contains(&rows) => refuse("slots of a workgroup", "16 or 32", rows),
            Tiles::Step { rows, subgroups, .. } if ![4, 8, 16].contains(&subgroups) || subgroups < rows / 4 => {
                refuse("subgroups of a workgroup", "4, 8 or 16, four for each 16 slots", subgroups)
            }
            _ => Ok(()),
        }
    }

    fn check_sizes(self, sizes: &Sizes) -> Result<(), KernelError> {
        let Sizes { t, h, q_stride, q_offset, u_stride, u_offset, n_slots, n_splits, .. } = *sizes;
        let at_least_1 = [("queries T", t), ("heads H", h), ("slots K", n_slots), ("splits", n_splits)];
        if let Some((what, _)) = at_least_1.into_iter().find(|(_, n)| *n == 0) {
            return Err(KernelError::shape(Self::NAME, what, "at least 1", 0));
        }
        let fours =
            [("query stride", q_stride), ("query offset", q_offset), ("output stride", u_stride), ("output offset", u_offset)];
        if let Some((what, found)) = fours.into_iter().find(|(_, n)| n % 4 != 0) {
            return Err(KernelError::shape(Self::NAME, what, "a multiple of 4", u64::from(found)));
        }
        let rows = [("query stride", q_stride, h * (self.c + self.r)), ("output stride", u_stride, h * self.c)];
        if let Some((what, found, least)) = rows.into_iter().find(|(_, stride, row)| t > 1 && stride < row) {
            return Err(KernelError::shape(Self::NAME, what, format!("at least {least}"), u64::from(found)));
        }
        if matches!(self.tiles, Tiles::Step { .. }) && n_splits != n_slots.div_ceil(self.rows()) {
            let expected = format!("{}, one for each step", n_slots.div_ceil(self.rows()));
            return Err(KernelError::shape(Self::NAME, "splits", expected, u64::from(n_splits)));
        }
        if n_splits > Self::MAX_SPLITS {
            return Err(KernelError::limit(Self::NAME, "splits", u64::from(n_splits), u64::from(Self::MAX_SPLITS)));
        }
        Ok(())
    }

    /// Checks the sizes and returns both launches, in order.
    ///
    /// Buffers of the first: q, cache, block_table, selected or positions, partials, stats; of the second: partials, stats, u. An unfilled slot
    /// comes only after the filled ones.
    ///
    /// # Errors
    /// [`KernelError`] for widths that the permutation is not made for, empty sizes, strides that are no multiple of 4 or too short, too many
    /// splits, and what the adapter lacks.
    pub fn launch(self, sizes: &Sizes, device: &Capabilities) -> Result<[Launch; 2], KernelError> {
        self.check_widths(Self::NAME)?;
        self.check_sizes(sizes)?;
        self.tiles.check_lanes(Self::NAME, device)?;
        let Sizes { t, h, q_stride, q_offset, u_stride, u_offset, n_slots, n_splits, table_stride, scale } = *sizes;
        let padded_heads = self.padded_heads(h);
        let scale = scale * std::f32::consts::LOG2_E;
        let partial = PartialParams { h, q_stride, q_offset, n_slots, n_splits, padded_heads, table_stride, scale };
        let combine = CombineParams { h, n_splits, padded_heads, u_stride, u_offset };
        let parts = self.combine_parts(n_splits);
        let bytes = 4 * self.partials_len(sizes) as u64;
        if bytes > device.limits.max_binding_bytes {
            return Err(KernelError::limit(Self::NAME, "bytes of partial sums", bytes, device.limits.max_binding_bytes));
        }
        Ok([
            launch(
                composed(&self, "partial", || self.partial_program()),
                &partial,
                [padded_heads / self.heads(), n_splits, t],
                device,
            )?,
            launch(composed(&(self, parts), "combine", || self.combine_program(parts)), &combine, [h, t, parts], device)?,
        ])
    }
}

impl Prelude {
    /// Adds `combine_splits`, which needs the constants that its fragment names, with `batch` loads on their way at a time.
    pub(crate) fn splits(self, batch: u32) -> Self {
        self.constant("BATCH", batch).fragment(&unrolled(include_str!("splits.wgsl"), &[("BATCH", batch)]))
    }
}

impl Tiles {
    /// Checks on behalf of `kernel` that subgroups have the size that the matrices are laid out for.
    pub(crate) fn check_lanes(self, kernel: &str, device: &Capabilities) -> Result<(), KernelError> {
        match self {
            Self::Coop { lanes, .. } | Self::Step { lanes, .. }
                if (device.subgroup.min, device.subgroup.max) != (lanes, lanes) =>
            {
                Err(KernelError::shape(kernel, "lanes of a subgroup", lanes.to_string(), u64::from(device.subgroup.max)))
            }
            _ => Ok(()),
        }
    }

    /// What rounding may do in a case: in f32, exponents up to 90 and sums of some thousand terms; with matrices, the query rounded to 11
    /// bits (four standard deviations of the error of a score) and probabilities rounded to 11 bits. Both are relative to values of about 1.
    pub(crate) fn tolerance(self, spread: f32, growth: f32) -> f64 {
        match self {
            Self::Fma { .. } => 2e-5,
            Self::Coop { .. } | Self::Step { .. } => 1e-3 * f64::from(spread + growth / 4.0) + 5e-4,
        }
    }

    /// Cooperative matrices for `h` heads.
    fn coop(h: u32, lanes: u32) -> Self {
        Self::Coop { head_tiles: if h > 16 { 2 } else { 1 }, lanes }
    }
}
