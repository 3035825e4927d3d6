//! `y = x`.
//!
//! No model runs it: its rate is the ceiling of everything that is bound by memory.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::copy;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, grid, launch};

/// The kernel; it has one permutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Copy;

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Vectors of four words.
    pub n: u32,
}

impl Copy {
    const WG_SIZE: u32 = 256;
    const BINDINGS: [Binding; 2] = [Binding::read("x"), Binding::write("y")];

    /// The composed program.
    pub fn program(self) -> Program {
        let prelude = Prelude::new().constant("WG_SIZE", Self::WG_SIZE);
        Program::new("memory/copy[]".into(), &prelude, include_str!("copy.wgsl"), &Self::BINDINGS, [Self::WG_SIZE, 1, 1])
    }

    /// Checks the size and returns the launch. Buffers: x, y.
    ///
    /// # Errors
    /// [`KernelError`] for nothing to copy.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        if params.n == 0 {
            return Err(KernelError::shape("memory/copy", "vectors n", "at least 1", 0));
        }
        launch(self.program(), &params, grid(params.n.div_ceil(Self::WG_SIZE), &device.limits), device)
    }
}
