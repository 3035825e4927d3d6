//! Exact deterministic selection: score descending, then index ascending.
//!
//! Source: spec §§3.6, 3.7. The tie rule is ours; the references leave it open.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::top_k;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, Step, grid, launch, unrolled};
use crate::shared::Lanes;

/// Largest number of selected tokens.
pub const MAX_K: u32 = 4096;

/// Leading bits by which a part's remaining digits and its places are searched.
const SPLIT_FINE_BITS: u32 = 10;
/// Most parts of a row.
const MAX_PARTS: u32 = 1 << SPLIT_FINE_BITS;
/// Scores of a row that say where its bins are narrow.
const SAMPLE: u32 = 128;
/// Most rows that [`TopK::launches`] splits; more rows fill a device with one workgroup each.
const MAX_SPLIT_ROWS: u32 = 32;
/// Shortest rows that [`TopK::launches`] splits. On an H100 one launch takes as long as two at 16,384 scores, and twice as long at 65,536.
const MIN_SPLIT_STRIDE: u32 = 32_768;

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
    const MERGE: [Binding; 3] = [Binding::read("positions"), Binding::read("scratch"), Binding::write("selected")];

    /// The best permutation on `device`.
    pub fn best(device: &Capabilities) -> Self {
        let limits = &device.limits;
        let wg_size = if limits.max_invocations >= 1024 { 1024 } else { 256 };
        let (bits, map_words) = match limits.max_workgroup_bytes >> 10 {
            48.. => (12, 4096),
            32..48 => (12, 1024),
            _ => (11, 1024),
        };
        Self { lanes: Lanes::of(device.features), wg_size, bits, map_words }
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let Self { lanes, wg_size, bits, map_words } = self;
        let fine_bits = bits - 2;
        let prelude = Prelude::new()
            .constant("WG_SIZE", wg_size)
            .constant("BITS", bits)
            .constant("FINE_BITS", fine_bits)
            .constant("MAP_WORDS", map_words)
            .constant("CANDIDATES", 1 << bits)
            .fragment(include_str!("key.wgsl"))
            .fragment(include_str!("bins.wgsl"))
            .fragment(include_str!("map.wgsl"))
            .scan(lanes);
        let name = format!("indexer/top_k[{},{wg_size},{bits},{map_words}]", lanes.name());
        let words = (1 << bits) + (1 << fine_bits) + map_words + wg_size + 10;
        Program::new(name, &prelude, include_str!("top_k.wgsl"), &Self::BINDINGS, [wg_size, 1, 1])
            .with_workgroup_bytes(4 * words)
            .with_features(lanes.features())
    }

    /// Checks the sizes and returns the launch that gives each row to one workgroup. Buffers: scores, positions, selected.
    ///
    /// # Errors
    /// [`KernelError`] for no row, a `K` of 0 or beyond [`MAX_K`], a stride that is not a multiple of 4, or buffers beyond a binding.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        check(params, device)?;
        launch(self.program(), &params, grid(params.rows, &device.limits), device)
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
        let parts = stride.div_ceil(self.part());
        if parts > MAX_PARTS {
            return Err(KernelError::shape(NAME, "parts of a row", format!("at most {MAX_PARTS}"), u64::from(parts)));
        }
        let (bytes, most) = (4 * self.split_words(params), device.limits.max_binding_bytes);
        if bytes > most {
            return Err(KernelError::limit(NAME, "bytes of the scratch", bytes, most));
        }
        let sizes = SplitParams { rows, k, stride, parts };
        let split = launch(self.split_program(), &sizes, [parts, rows, 1], device)?;
        let merge = launch(self.merge_program(), &sizes, grid(rows, &device.limits), device)?;
        Ok(vec![Step { launch: split, buffers: vec![0, 1, 3] }, Step { launch: merge, buffers: vec![1, 3, 2] }])
    }

    /// 32-bit words of scratch that [`TopK::launches`] needs, 0 for one launch.
    pub fn scratch_words(self, params: Params, device: &Capabilities) -> u64 {
        if self.splits(params, device) { self.split_words(params) } else { 0 }
    }

    /// Whether two dispatches are better, and fit.
    fn splits(self, params: Params, device: &Capabilities) -> bool {
        let Params { rows, stride, .. } = params;
        let fits = stride.div_ceil(self.part()) <= MAX_PARTS;
        fits && rows <= MAX_SPLIT_ROWS
            && stride >= MIN_SPLIT_STRIDE
            && 4 * self.split_words(params) <= device.limits.max_binding_bytes
    }

    /// 32-bit words of scratch that [`TopK::split`] needs.
    pub fn split_words(self, params: Params) -> u64 {
        2 * u64::from(self.part_pairs()) * u64::from(params.rows) * u64::from(params.stride.div_ceil(self.part()))
    }

    /// Scores that one workgroup of the first of two dispatches sorts.
    fn part(self) -> u32 {
        if self.bits < 12 { 1024 } else { 2048 }
    }

    /// Bits of the bins that the first of two dispatches sorts into: an even number, so that there are as many coarse bins as bins in each.
    fn split_bits(self) -> u32 {
        if self.map_words < 4096 { 10 } else { 12 }
    }

    /// Pairs of words that a part leaves in the scratch: the scale of its bins, counts of coarse bins and of bins, and its scores.
    fn part_pairs(self) -> u32 {
        1 + (1 << (self.split_bits() / 2)) / 4 + (1 << self.split_bits()) / 4 + self.part()
    }

    fn split_prelude(self, wg_size: u32) -> Prelude {
        let bits = self.split_bits();
        Prelude::new()
            .constant("WG_SIZE", wg_size)
            .constant("BITS", bits)
            .constant("BINS", 1 << bits)
            .constant("COARSE_BINS", 1 << (bits / 2))
            .constant("COARSE", 1 << (bits / 2))
            .constant("PART", self.part())
            .constant("PAIRS", self.part_pairs())
            .constant("SAMPLE", SAMPLE)
            .fragment(include_str!("key.wgsl"))
            .fragment(include_str!("scale.wgsl"))
            .scan(self.lanes)
    }

    fn split_program(self) -> Program {
        let wg_size = if self.split_bits() < 12 { 256 } else { self.wg_size.min(512) };
        let (lanes, bins) = (self.lanes, 1 << self.split_bits());
        let each = bins / wg_size;
        let prelude = self.split_prelude(wg_size).constant("QUARTERS", each / 4);
        let source =
            unrolled(include_str!("split.wgsl"), &[("OWN", self.part() / (4 * wg_size)), ("EACH", each), ("QUARTERS", each / 4)]);
        let name = format!("indexer/top_k[split,{},{wg_size},{}]", lanes.name(), self.split_bits());
        Program::new(name, &prelude, &source, &Self::SPLIT, [wg_size, 1, 1])
            .with_workgroup_bytes(4 * (bins + wg_size + 2 * self.part() + wg_size + 1 + SAMPLE + 2))
            .with_features(lanes.features())
    }

    fn merge_program(self) -> Program {
        let Self { lanes, wg_size, map_words, .. } = self;
        let fine_bits = SPLIT_FINE_BITS;
        let prelude = self
            .split_prelude(wg_size)
            .constant("FINE_BITS", fine_bits)
            .constant("MAP_WORDS", map_words)
            .fragment(include_str!("bins.wgsl"))
            .fragment(include_str!("map.wgsl"));
        let name = format!("indexer/top_k[merge,{},{wg_size},{},{map_words}]", lanes.name(), self.split_bits());
        let words = (1 << fine_bits) + map_words + wg_size + (1 << (self.split_bits() / 2)) + 12;
        Program::new(name, &prelude, include_str!("merge.wgsl"), &Self::MERGE, [wg_size, 1, 1])
            .with_workgroup_bytes(4 * words)
            .with_features(lanes.features())
    }
}

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
