//! Assignments (token `t` and slot `a`, as the number `t·A + a`) in order of their experts: the way of many tokens to their experts.
//!
//! `order [N]` lists the assignments of expert 0, then of expert 1 and so on, each in rising order; expert e's are `offsets[e]..offsets[e + 1]`.
//! `tiles` holds the number of tiles and then, for each tile of at most `tile` assignments of one expert, that expert and its first place in
//! `order`.
//!
//! Source: ours; counting sort.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::sort;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, composed, launch};

/// The kernel for one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sort {
    /// Experts, the shared ones included.
    pub n_experts: u32,
    /// Assignments of a tile.
    pub tile: u32,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Assignments `N = T·A`.
    pub n: u32,
}

/// Returns expert and first place of each tile.
pub fn tiles(offsets: &[u32], tile: u32) -> Vec<(u32, u32)> {
    let each = offsets.windows(2).enumerate();
    each.flat_map(|(e, ends)| (ends[0]..ends[1]).step_by(tile as usize).map(move |first| (e as u32, first))).collect()
}

impl Sort {
    const NAME: &'static str = "moe/sort";
    const WG_SIZE: u32 = 256;
    /// The most experts: their counts are kept in workgroup memory.
    pub const MAX_EXPERTS: u32 = 1024;
    const BINDINGS: [Binding; 4] =
        [Binding::read("experts"), Binding::write("order"), Binding::write("offsets"), Binding::write("tiles")];

    /// The most tiles that `n` assignments can have: every expert's last one may hold a single assignment.
    pub fn max_tiles(self, n: u32) -> u32 {
        let experts = self.n_experts.min(n);
        experts + (n - experts) / self.tile
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let prelude = Prelude::new().constant("WG_SIZE", Self::WG_SIZE);
        let prelude = prelude.constant("E", self.n_experts).constant("TILE", self.tile);
        let name = format!("{}[e{},{}]", Self::NAME, self.n_experts, self.tile);
        Program::new(name, &prelude, include_str!("sort.wgsl"), &Self::BINDINGS, [Self::WG_SIZE, 1, 1])
            .with_workgroup_bytes(4 * self.n_experts + 8 * Self::WG_SIZE)
    }

    /// Checks the sizes and returns the launch. Buffers: experts, order `[N]`, offsets `[E + 1]`, tiles `[1 + max_tiles, 2]`.
    ///
    /// # Errors
    /// [`KernelError`] for nothing to sort, no experts or too many, or tiles of nothing.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        if self.n_experts == 0 || self.n_experts > Self::MAX_EXPERTS {
            let expected = format!("1 to {}", Self::MAX_EXPERTS);
            return Err(KernelError::shape(Self::NAME, "experts E", expected, u64::from(self.n_experts)));
        }
        for (what, n) in [("tile", self.tile), ("assignments N", params.n)] {
            if n == 0 {
                return Err(KernelError::shape(Self::NAME, what, "at least 1", 0));
            }
        }
        launch(composed(&self, "", || self.program()), &params, [self.n_experts, 1, 1], device)
    }
}
