//! `y[j] = Σ_z parts[z, j]`, the parts added in their order: the second launch of sums that many workgroups share.
//!
//! Source: ours.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::sum_parts;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, grid, launch};

/// The kernel; it has one permutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SumParts;

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    parts: u32,
    quads: u32,
}

impl SumParts {
    const WG_SIZE: u32 = 256;
    const BINDINGS: [Binding; 2] = [Binding::read("parts"), Binding::write("y")];

    /// The composed program.
    pub fn program(self) -> Program {
        let prelude = Prelude::new().constant("WG_SIZE", Self::WG_SIZE);
        let source = include_str!("sum_parts.wgsl");
        Program::new("train/sum_parts".into(), &prelude, source, &Self::BINDINGS, [Self::WG_SIZE, 1, 1])
    }

    /// Checks the sizes and returns the launch for `parts` of `n` values. Buffers: parts `[Z, N]`, y `[N]`.
    ///
    /// # Errors
    /// [`KernelError`] for no parts, a number of values that is no multiple of 4, or more of them than a binding holds.
    pub fn launch(self, parts: u32, n: u32, device: &Capabilities) -> Result<Launch, KernelError> {
        const NAME: &str = "train/sum_parts";
        if parts == 0 {
            return Err(KernelError::shape(NAME, "parts", "at least 1", 0));
        }
        if n == 0 || !n.is_multiple_of(4) {
            return Err(KernelError::shape(NAME, "values of a part", "a multiple of 4", n.into()));
        }
        let (values, most) = (u64::from(parts) * u64::from(n), device.limits.max_binding_bytes / 4);
        if values > most {
            return Err(KernelError::limit(NAME, "values", values, most));
        }
        let params = Params { parts, quads: n / 4 };
        launch(self.program(), &params, grid(params.quads.div_ceil(Self::WG_SIZE), &device.limits), device)
    }
}
