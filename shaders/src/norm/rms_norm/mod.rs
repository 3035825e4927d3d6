//! `y = g · x / sqrt(mean(x²) + eps)` for each row.
//!
//! Source: spec §2.1; Zhang and Sennrich 2019, <https://arxiv.org/abs/1910.07467>.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::rms_norm;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, composed, grid, launch};
use crate::shared::Lanes;

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RmsNorm {
    /// How a row is summed.
    pub lanes: Lanes,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Rows `N`.
    pub n: u32,
    /// Width `D`.
    pub d: u32,
    /// From one row of x to the next; rows of y follow each other.
    pub x_stride: u32,
    /// Added to the mean square.
    pub eps: f32,
}

impl RmsNorm {
    const WG_SIZE: u32 = 256;
    const BINDINGS: [Binding; 3] = [Binding::read("x"), Binding::read("weight"), Binding::write("y")];

    /// Every permutation.
    pub const ALL: [Self; 2] = [Self { lanes: Lanes::Shared }, Self { lanes: Lanes::Subgroup }];

    /// The best permutation on `device`.
    pub fn best(device: &Capabilities) -> Self {
        Self { lanes: Lanes::of(device.features) }
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let prelude = Prelude::new().constant("WG_SIZE", Self::WG_SIZE).reduce(self.lanes);
        let name = format!("norm/rms_norm[{}]", self.lanes.name());
        Program::new(name, &prelude, include_str!("rms_norm.wgsl"), &Self::BINDINGS, [Self::WG_SIZE, 1, 1])
            .with_workgroup_bytes(4 * Self::WG_SIZE)
            .with_features(self.lanes.features())
    }

    /// Checks the sizes and returns the launch. Buffers: x, weight, y.
    ///
    /// # Errors
    /// [`KernelError`] for no rows, an empty row, or rows that overlap.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        if params.d == 0 {
            return Err(KernelError::shape("norm/rms_norm", "width D", "at least 1", 0));
        }
        if params.x_stride < params.d && params.n > 1 {
            let expected = format!("at least D = {}", params.d);
            return Err(KernelError::shape("norm/rms_norm", "x_stride", expected, u64::from(params.x_stride)));
        }
        if params.n == 0 {
            return Err(KernelError::shape("norm/rms_norm", "rows", "at least 1", 0));
        }
        launch(composed(&self, "", || self.program()), &params, grid(params.n, &device.limits), device)
    }
}
