//! `y[j] = Σ_z parts[z, j]`, the parts added in their order: the second launch of sums that many workgroups share.
//!
//! Source: ours.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::sum_parts;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, grid, launch};

/// The kernel; how many lanes share a sum follows from the number of parts.
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

    /// Lanes that share the sum of a value: one where there are few parts, whose values are many then.
    fn lanes(parts: u32) -> u32 {
        if parts < 64 { 1 } else { 32 }
    }

    /// The composed program.
    fn program(self, lanes: u32) -> Program {
        let prelude = Prelude::new().constant("WG_SIZE", Self::WG_SIZE).constant("LANES", lanes);
        let name = format!("train/sum_parts[{lanes}]");
        Program::new(name, &prelude, include_str!("sum_parts.wgsl"), &Self::BINDINGS, [Self::WG_SIZE, 1, 1])
            .with_workgroup_bytes(16 * Self::WG_SIZE)
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
        let lanes = Self::lanes(parts);
        let workgroups = params.quads.div_ceil(Self::WG_SIZE / lanes);
        launch(self.program(lanes), &params, grid(workgroups, &device.limits), device)
    }
}
