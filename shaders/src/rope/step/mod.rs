//! What every layer needs to know about the tokens of a step, gathered once: cosines and sines of their positions, and their cache rows.
//!
//! `step[t] = [cos, sin of pair 0, …, cos, sin of pair R/2 − 1 | row, position, 0, 0]`, with `row = block_table[p >> 6] · 64 + (p & 63)` for
//! position `p`. Tokens of several texts have a block table each. A position beyond the table or the pages has row `0xFFFF_FFFF`, and [`append`](crate::rope::append) writes nothing for it.
//!
//! Each layer then reads one row of `R + 4` words instead of following positions to a block table and to a rope table.
//!
//! Source: ours; pages of 64 tokens as in spec §3.6.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::step_rows;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, composed, grid, launch};

/// The row of a position that has none.
pub const NO_ROW: u32 = u32::MAX;

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RopeStep {
    /// Rotated width `R`.
    pub rope: u32,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Tokens `T`.
    pub t: u32,
    /// Rows `P` of the table.
    pub rows: u32,
    /// Entries of a block table.
    pub pages: u32,
    /// From the block table of a token to that of the next, at least `pages`; 0 where all have one.
    pub table_stride: u32,
}

impl RopeStep {
    const WG_SIZE: u32 = 64;
    const BINDINGS: [Binding; 4] =
        [Binding::read("rope_table"), Binding::read("positions"), Binding::read("block_table"), Binding::write("step")];

    /// Words of the output for one token.
    pub fn words(self) -> u32 {
        self.rope + 4
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let prelude = Prelude::new().constant("WG_SIZE", Self::WG_SIZE).constant("ROPE", self.rope);
        let name = format!("rope/step[r{}]", self.rope);
        Program::new(name, &prelude, include_str!("step.wgsl"), &Self::BINDINGS, [Self::WG_SIZE, 1, 1])
    }

    /// Checks the sizes and returns the launch. Buffers: rope_table, positions, block_table, step.
    ///
    /// # Errors
    /// [`KernelError`] for a rotated width that is not divisible by 4, block tables that overlap, or nothing to do.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        if self.rope == 0 || !self.rope.is_multiple_of(4) {
            let expected = "a positive multiple of 4";
            return Err(KernelError::shape("rope/step", "rotated width R", expected, u64::from(self.rope)));
        }
        for (what, size) in [("tokens T", params.t), ("table rows P", params.rows), ("pages", params.pages)] {
            if size == 0 {
                return Err(KernelError::shape("rope/step", what, "at least 1", 0));
            }
        }
        if params.table_stride != 0 && params.table_stride < params.pages {
            let expected = format!("0 or at least {}", params.pages);
            return Err(KernelError::shape("rope/step", "table stride", expected, u64::from(params.table_stride)));
        }
        let groups = (params.t * (self.rope / 4 + 1)).div_ceil(Self::WG_SIZE);
        launch(composed(&self, "", || self.program()), &params, grid(groups, &device.limits), device)
    }
}
