//! `loss[r] = ln Σ_v exp(logits[r, v]) − logits[r, target[r]]`, with the gradient of its sum times a scale in place of the logits.
//!
//! Source: ours.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::cross_entropy;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, grid, launch};
use crate::shared::Lanes;

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CrossEntropy {
    /// How a row is summed.
    pub lanes: Lanes,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Rows `R`.
    pub rows: u32,
    /// Logits `V` of a row.
    pub vocab: u32,
    /// Factor on the gradient.
    pub scale: f32,
}

impl CrossEntropy {
    const WG_SIZE: u32 = 256;
    const BINDINGS: [Binding; 3] = [Binding::write("logits"), Binding::read("targets"), Binding::write("loss")];

    /// The best permutation on `device`.
    pub fn best(device: &Capabilities) -> Self {
        Self { lanes: Lanes::of(device.features) }
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let prelude = Prelude::new().constant("WG_SIZE", Self::WG_SIZE).reduce(self.lanes);
        let name = format!("train/cross_entropy[{}]", self.lanes.name());
        Program::new(name, &prelude, include_str!("cross_entropy.wgsl"), &Self::BINDINGS, [Self::WG_SIZE, 1, 1])
            .with_workgroup_bytes(8 * Self::WG_SIZE)
            .with_features(self.lanes.features())
    }

    /// Checks the sizes and returns the launch. Buffers: logits, targets (ids below `V`), loss.
    ///
    /// # Errors
    /// [`KernelError`] for no rows, no logits, or more of them than a binding holds.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        const NAME: &str = "train/cross_entropy";
        for (what, n) in [("rows", params.rows), ("logits of a row", params.vocab)] {
            if n == 0 {
                return Err(KernelError::shape(NAME, what, "at least 1", 0));
            }
        }
        let values = u64::from(params.rows) * u64::from(params.vocab);
        let most = (device.limits.max_binding_bytes / 4).min(1 << 32);
        if values > most {
            return Err(KernelError::limit(NAME, "logits", values, most));
        }
        launch(self.program(), &params, grid(params.rows, &device.limits), device)
    }
}
