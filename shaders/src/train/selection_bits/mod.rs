//! Selections as bits: what the kernels of attention in training read.
//!
//! Source: ours.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::selection_bits;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, grid, launch};

/// The kernel; it has one permutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SelectionBits;

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Rows of the launch.
    pub rows: u32,
    /// Selected tokens of a row `K`.
    pub k: u32,
    /// Words of a row of bits, `ceil(T / 32)`.
    pub words: u32,
    /// The row of bits that the first row becomes.
    pub first_row: u32,
}

impl SelectionBits {
    const NAME: &str = "train/selection_bits";

    /// The composed program. Buffers: selected, bits.
    pub fn program(self) -> Program {
        let bindings = [Binding::read("selected"), Binding::write("bits")];
        Program::new(Self::NAME.into(), &Prelude::new(), include_str!("selection_bits.wgsl"), &bindings, [64, 1, 1])
    }

    /// Checks the sizes and returns the launch. Buffers: selected `[rows, K]` i32, ascending with −1 behind the last token of a row, and bits.
    ///
    /// # Errors
    /// [`KernelError`] for empty sizes and buffers that the adapter does not bind.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        let Params { rows, k, words, first_row } = params;
        for (what, n) in [("rows", rows), ("selected K", k), ("words", words)] {
            if n == 0 {
                return Err(KernelError::shape(Self::NAME, what, "at least 1", 0));
            }
        }
        let bits = (u64::from(first_row) + u64::from(rows)) * u64::from(words);
        let (bytes, most) = (4 * bits.max(u64::from(rows) * u64::from(k)), device.limits.max_binding_bytes);
        if bytes > most {
            return Err(KernelError::limit(Self::NAME, "bytes of a buffer", bytes, most));
        }
        launch(self.program(), &params, grid(rows, &device.limits), device)
    }
}
