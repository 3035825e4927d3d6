//! Exact deterministic selection: score descending, then index ascending.
//!
//! Source: spec §§3.6, 3.7. The tie rule is ours; the references leave it open.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::top_k;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, Step, composed, grid, launch, unrolled};
use crate::shared::Lanes;

/// Largest number of selected tokens.
pub const MAX_K: u32 = 4096;

/// Bits of a bin of keys that are held in registers.
const SLOT_BITS: u32 = 11;
/// Bins with no more keys than this are searched by comparing them all.
const FEW: u32 = 64;
/// Words of workgroup memory by which the last selected of a bin is found.
const CHOOSE_WORDS: u32 = 2 * FEW + 4;
/// Scores of one workgroup of the first of two dispatches.
const PART: u32 = 2048;
/// Scores of a row that say where its K-th largest is to be expected.
const SAMPLE: u32 = 1024;
/// Keys of the sample that may be in one bin with the floor that it gives.
const SAMPLE_SLACK: u32 = 8;
/// Most rows that [`TopK::launches`] splits; more rows fill a device with one workgroup each.
const MAX_SPLIT_ROWS: u32 = 32;
/// Shortest rows that [`TopK::launches`] splits.
const MIN_SPLIT_STRIDE: u32 = 16_384;

/// A permutation of the kernel.
///
/// [`TopK::launch`] gives a row to one workgroup. [`TopK::launches`] may give a few long rows to many, in two dispatches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopK {
    /// How a workgroup sums.
    pub lanes: Lanes,
    /// Invocations of a workgroup.
    pub wg_size: u32,
    /// Leading bits of a key that the first histogram counts; candidates for the threshold are up to 2 to this power.
    pub bits: u32,
    /// Words of the map of selected scores, one bit each.
    pub map_words: u32,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Query rows `T`.
    pub rows: u32,
    /// Selected tokens `K`.
    pub k: u32,
    /// Scores from one row to the next, `S`.
    pub stride: u32,
}

/// Sizes of the two dispatches for few rows, as their WGSL reads them.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct SplitParams {
    rows: u32,
    k: u32,
    stride: u32,
    parts: u32,
}

impl TopK {
    const BINDINGS: [Binding; 3] = [Binding::read("scores"), Binding::read("positions"), Binding::write("selected")];
    const SPLIT: [Binding; 3] = [Binding::read("scores"), Binding::read("positions"), Binding::write("scratch")];
    const MERGE: [Binding; 4] =
        [Binding::read("scores"), Binding::read("positions"), Binding::read("scratch"), Binding::write("selected")];

    /// The best permutation on `device`.
    pub fn best(device: &Capabilities) -> Self {
        let limits = &device.limits;
        let (bits, map_words) = match limits.max_workgroup_bytes >> 10 {
            48.. => (12, 4096),
            32..48 => (12, 1024),
            _ => (11, 1024),
        };
        let wg_size = if limits.max_invocations >= 1024 && bits == 12 { 1024 } else { 256 };
        Self { lanes: Lanes::of(device.features), wg_size, bits, map_words }
    }

    /// The program for rows of any length.
    pub fn program(self) -> Program {
        let Self { lanes, wg_size, bits, map_words } = self;
        let prelude = self.streams(Prelude::new().constant("WG_SIZE", wg_size), map_words);
        let name = format!("{NAME}[{},{wg_size},{bits},{map_words}]", lanes.name());
        Program::new(name, &prelude, include_str!("top_k.wgsl"), &Self::BINDINGS, [wg_size, 1, 1])
            .with_workgroup_bytes(4 * (self.stream_words(map_words) + self.find_words(wg_size)))
            .with_features(lanes.features())
    }

    /// Adds what reads a row of any length.
    fn streams(self, prelude: Prelude, map_words: u32) -> Prelude {
        let Self { lanes, bits, .. } = self;
        prelude
            .constant("BITS", bits)
            .constant("FINE_BITS", bits - 2)
            .constant("MAP_WORDS", map_words)
            .constant("CANDIDATES", 1 << bits)
            .fragment(include_str!("key.wgsl"))
            .fragment(include_str!("bins.wgsl"))
            .fragment(include_str!("map.wgsl"))
            .fragment(include_str!("stream.wgsl"))
            .scan(lanes)
    }

    /// Words of workgroup memory of what [`TopK::streams`] adds.
    fn stream_words(self, map_words: u32) -> u32 {
        (1 << self.bits) + (1 << (self.bits - 2)) + map_words + 6
    }

    /// Words of workgroup memory of sums, ranges and the bin that is looked for.
    fn find_words(self, wg_size: u32) -> u32 {
        wg_size + if self.lanes == Lanes::Shared { 6 } else { 4 }
    }

    /// The program for rows that a workgroup holds in registers, `own` scores in an invocation.
    fn held_program(self, own: u32) -> Program {
        let Self { lanes, wg_size, .. } = self;
        let counts = [("VECTORS", own / 4)];
        let prelude = Prelude::new()
            .constant("WG_SIZE", wg_size)
            .constant("VECTORS", own / 4)
            .fragment(include_str!("key.wgsl"))
            .fragment(include_str!("bins.wgsl"))
            .chooses(own)
            .scan(lanes);
        let name = format!("{NAME}[held,{},{wg_size},{own}]", lanes.name());
        Program::new(name, &prelude, &unrolled(include_str!("held.wgsl"), &counts), &Self::BINDINGS, [wg_size, 1, 1])
            .with_workgroup_bytes(4 * ((1 << SLOT_BITS) + CHOOSE_WORDS + self.find_words(wg_size)))
            .with_features(lanes.features())
    }

    /// Keys that one invocation holds at most.
    fn own(self) -> u32 {
        (16_384 / self.wg_size).min(32)
    }

    /// Checks the sizes and returns the fastest launch that gives each row to one workgroup. Buffers: scores, positions, selected.
    ///
    /// # Errors
    /// [`KernelError`] for no row, a `K` of 0 or beyond [`MAX_K`], a stride that is not a multiple of 4, or buffers beyond a binding.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        let own = params.stride.div_ceil(self.wg_size).next_power_of_two().max(4);
        if own > self.own() {
            return self.stream(params, device);
        }
        check(params, device)?;
        launch(composed(&(self, own), "held", || self.held_program(own)), &params, grid(params.rows, &device.limits), device)
    }

    /// As [`TopK::launch`], with the program for rows of any length.
    ///
    /// # Errors
    /// As [`TopK::launch`].
    pub fn stream(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        check(params, device)?;
        launch(composed(&self, "", || self.program()), &params, grid(params.rows, &device.limits), device)
    }

    /// Checks the sizes and returns the fastest launches, in order: one, or two where few long rows would leave most of a device idle.
    ///
    /// The buffers of a step are indices into `[scores, positions, selected, scratch]`. The scratch has [`TopK::scratch_words`] words; what it
    /// holds before does not matter, and it must not be used for anything else between the two launches.
    ///
    /// # Errors
    /// As [`TopK::launch`].
    pub fn launches(self, params: Params, device: &Capabilities) -> Result<Vec<Step>, KernelError> {
        if !self.splits(params, device) {
            return Ok(vec![Step { launch: self.launch(params, device)?, buffers: vec![0, 1, 2] }]);
        }
        self.split(params, device)
    }

    /// Checks the sizes and returns the two launches that give each row to many workgroups, whether or not that is the fastest. Buffers as in
    /// [`TopK::launches`]; the scratch has [`TopK::split_words`] words.
    ///
    /// # Errors
    /// As [`TopK::launch`], also for more parts of a row than the second launch takes, and for a scratch beyond a binding.
    pub fn split(self, params: Params, device: &Capabilities) -> Result<Vec<Step>, KernelError> {
        check(params, device)?;
        let Params { rows, k, stride } = params;
        let (parts, most) = (stride.div_ceil(PART), self.max_parts());
        if parts > most {
            return Err(KernelError::shape(NAME, "parts of a row", format!("at most {most}"), u64::from(parts)));
        }
        let (bytes, most) = (4 * self.split_words(params), device.limits.max_binding_bytes);
        if bytes > most {
            return Err(KernelError::limit(NAME, "bytes of the scratch", bytes, most));
        }
        let sizes = SplitParams { rows, k, stride, parts };
        let split = launch(composed(&self, "split", || self.split_program()), &sizes, [parts, rows, 1], device)?;
        let merge = launch(composed(&(self, k), "merge", || self.merge_program(k)), &sizes, grid(rows, &device.limits), device)?;
        Ok(vec![Step { launch: split, buffers: vec![0, 1, 3] }, Step { launch: merge, buffers: vec![0, 1, 3, 2] }])
    }

    /// 32-bit words of scratch that [`TopK::launches`] needs, 0 for one launch.
    pub fn scratch_words(self, params: Params, device: &Capabilities) -> u64 {
        if self.splits(params, device) { self.split_words(params) } else { 0 }
    }

    /// Whether two dispatches are better, and fit.
    fn splits(self, params: Params, device: &Capabilities) -> bool {
        let Params { rows, stride, .. } = params;
        rows <= MAX_SPLIT_ROWS
            && stride > self.own() * self.wg_size
            && stride >= MIN_SPLIT_STRIDE
            && stride.div_ceil(PART) <= self.max_parts()
            && 4 * self.split_words(params) <= device.limits.max_binding_bytes
    }

    /// Most parts of a row: every part has invocations of its own in the second of two dispatches.
    fn max_parts(self) -> u32 {
        self.wg_size / 2
    }

    /// 32-bit words of scratch that [`TopK::split`] needs.
    pub fn split_words(self, params: Params) -> u64 {
        2 * u64::from(PART_PAIRS) * u64::from(params.rows) * u64::from(params.stride.div_ceil(PART))
    }

    /// What both dispatches know of a part.
    fn split_prelude(wg_size: u32) -> Prelude {
        Prelude::new()
            .constant("WG_SIZE", wg_size)
            .constant("PART", PART)
            .constant("PAIRS", PART_PAIRS)
            .constant("MASKS_AT", 1)
            .constant("KEYS_AT", 1 + PART / 32)
    }

    fn split_program(self) -> Program {
        let (lanes, wg_size) = (self.lanes, self.wg_size.min(512));
        let own = SAMPLE / wg_size;
        let counts = [("OWN", own), ("VECTORS", PART / (4 * wg_size)), ("4u", 4)];
        let prelude = Self::split_prelude(wg_size)
            .constant("SAMPLE", SAMPLE)
            .constant("SAMPLE_SLACK", SAMPLE_SLACK)
            .fragment(include_str!("key.wgsl"))
            .fragment(include_str!("bins.wgsl"))
            .chooses(own)
            .scan(lanes);
        let name = format!("{NAME}[split,{},{wg_size}]", lanes.name());
        Program::new(name, &prelude, &unrolled(include_str!("split.wgsl"), &counts), &Self::SPLIT, [wg_size, 1, 1])
            .with_workgroup_bytes(4 * ((1 << SLOT_BITS) + CHOOSE_WORDS + 2 * PART / 32 + self.find_words(wg_size)))
            .with_features(lanes.features())
    }

    fn merge_program(self, k: u32) -> Program {
        let Self { lanes, wg_size, bits, .. } = self;
        // Twice K and more are expected above the floor.
        let own = if k <= 2048 && wg_size == 1024 { 8 } else { self.own() };
        let parts = self.max_parts();
        // The whole row is read only where a sample misled.
        let map_words = if self.map_words < 4096 { 512 } else { self.map_words };
        let counts = [("OWN", own)];
        let prelude = Self::split_prelude(wg_size).constant("MAX_PARTS", parts).flag("HOLDS_INDICES", own * wg_size <= 8192);
        let prelude = self.streams(prelude, map_words).chooses(own);
        let name = format!("{NAME}[merge,{},{wg_size},{own},{bits},{map_words}]", lanes.name());
        Program::new(name, &prelude, &unrolled(include_str!("merge.wgsl"), &counts), &Self::MERGE, [wg_size, 1, 1])
            .with_workgroup_bytes(4 * (self.stream_words(map_words) + CHOOSE_WORDS + 2 * parts + self.find_words(wg_size)))
            .with_features(lanes.features())
    }
}

/// Pairs of words that a part leaves in the scratch: two counts, two masks for each 32 scores, and its keys with their indices.
const PART_PAIRS: u32 = 1 + PART / 32 + PART;

const NAME: &str = "indexer/top_k";

/// Checks the sizes that all permutations have in common.
fn check(params: Params, device: &Capabilities) -> Result<(), KernelError> {
    let Params { rows, k, stride } = params;
    if rows == 0 {
        return Err(KernelError::shape(NAME, "rows T", "at least 1", 0));
    }
    if k == 0 || k > MAX_K {
        return Err(KernelError::shape(NAME, "selected K", format!("1 to {MAX_K}"), u64::from(k)));
    }
    if stride == 0 || !stride.is_multiple_of(4) {
        return Err(KernelError::shape(NAME, "stride S", "a multiple of 4 from 4 on", u64::from(stride)));
    }
    let bytes = 4 * u64::from(rows) * u64::from(stride.max(k));
    if bytes > device.limits.max_binding_bytes {
        return Err(KernelError::limit(NAME, "bytes of one binding", bytes, device.limits.max_binding_bytes));
    }
    Ok(())
}

/// Returns the key of a score: larger for a larger score, one key for both zeros, and the lowest of all for NaN.
pub fn key(score: f32) -> u32 {
    if score.is_nan() {
        return 0;
    }
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits }
}

impl Prelude {
    /// Adds `choose` for the keys that an invocation holds, at most `own`.
    ///
    /// Needs the constant `WG_SIZE`, `sh_bins` and bins.wgsl.
    fn chooses(self, own: u32) -> Self {
        let group = own.min(4);
        let counts = [("GROUP", group), ("GROUPS", own / group)];
        self.constant("OWN", own)
            .constant("GROUP", group)
            .constant("GROUPS", own / group)
            .constant("SLOT_BITS", SLOT_BITS)
            .constant("FEW", FEW)
            .fragment(&unrolled(include_str!("choose.wgsl"), &counts))
    }

    /// Adds `workgroup_scan(value, lid, lane, lanes)`, the sum `sh_total` that it leaves, and the struct `Lane` of entry-point inputs.
    ///
    /// Needs the constant `WG_SIZE`.
    fn scan(self, lanes: Lanes) -> Self {
        match lanes {
            Lanes::Shared => self.fragment(include_str!("../../shared/lane.wgsl")).fragment(include_str!("scan_shared.wgsl")),
            Lanes::Subgroup => {
                self.fragment(include_str!("../../shared/lane_subgroup.wgsl")).fragment(include_str!("scan_subgroup.wgsl"))
            }
        }
    }
}
