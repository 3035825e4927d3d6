//! Exact deterministic selection: score descending, then index ascending.
//!
//! Source: spec §§3.6, 3.7. The tie rule is ours; the references leave it open.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::top_k;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, grid, launch};
use crate::shared::Lanes;

/// Largest number of selected tokens.
pub const MAX_K: u32 = 4096;

/// A permutation of the kernel that gives a row to one workgroup.
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

impl TopK {
    const BINDINGS: [Binding; 3] = [Binding::read("scores"), Binding::read("positions"), Binding::write("selected")];

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
        let fine_bits = self.bits - 2;
        let prelude = Prelude::new()
            .constant("WG_SIZE", self.wg_size)
            .constant("BITS", self.bits)
            .constant("FINE_BITS", fine_bits)
            .constant("MAP_WORDS", self.map_words)
            .constant("CANDIDATES", 1 << self.bits)
            .constant("NAN_KEY", key(f32::NAN))
            .fragment(include_str!("key.wgsl"))
            .scan(self.lanes);
        let Self { lanes, wg_size, bits, map_words } = self;
        let name = format!("indexer/top_k[{},{wg_size},{bits},{map_words}]", lanes.name());
        let words = (1 << bits) + (1 << fine_bits) + map_words + wg_size + 9;
        Program::new(name, &prelude, include_str!("top_k.wgsl"), &Self::BINDINGS, [wg_size, 1, 1])
            .with_workgroup_bytes(4 * words)
            .with_features(lanes.features())
    }

    /// Checks the sizes and returns the launch. Buffers: scores, positions, selected.
    ///
    /// # Errors
    /// [`KernelError`] for no row, a `K` of 0 or beyond [`MAX_K`], a stride that is not a multiple of 4, or buffers beyond a binding.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        check(params, device)?;
        launch(self.program(), &params, grid(params.rows, &device.limits), device)
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

/// Returns the key of a score: larger for a larger score, one key for both zeros, and that of `−∞` for NaN.
pub fn key(score: f32) -> u32 {
    let score = if score.is_nan() { f32::NEG_INFINITY } else { score };
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
