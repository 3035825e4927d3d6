//! `y[c, r] = x[r, c]`, rounded: a weight as the product with the gradient of its output reads it.
//!
//! Source: ours.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::transpose;

use crate::kernel::{Binding, Capabilities, Elem, KernelError, Launch, Prelude, Program, grid, launch};

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transpose {
    /// Format of y.
    pub y: Elem,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    columns: u32,
}

impl Transpose {
    const WG_SIZE: u32 = 256;
    const BINDINGS: [Binding; 2] = [Binding::read("x"), Binding::write("y")];

    /// The composed program.
    pub fn program(self) -> Program {
        let prelude = Prelude::new().constant("WG_SIZE", Self::WG_SIZE).alias("Y", self.y.name());
        let name = format!("train/transpose[{}]", self.y.name());
        Program::new(name, &prelude, include_str!("transpose.wgsl"), &Self::BINDINGS, [Self::WG_SIZE, 1, 1])
            .with_workgroup_bytes(4 * 32 * 33)
            .with_features(self.y.features())
    }

    /// Checks the sizes and returns the launch. Buffers: x `[R, C]`, y `[C, R]`.
    ///
    /// # Errors
    /// [`KernelError`] for sizes of zero or more values than a binding holds.
    pub fn launch(self, rows: u32, columns: u32, device: &Capabilities) -> Result<Launch, KernelError> {
        const NAME: &str = "train/transpose";
        for (what, n) in [("rows", rows), ("columns", columns)] {
            if n == 0 {
                return Err(KernelError::shape(NAME, what, "at least 1", 0));
            }
        }
        let (values, most) = (u64::from(rows) * u64::from(columns), device.limits.max_binding_bytes / 4);
        if values > most {
            return Err(KernelError::limit(NAME, "values", values, most));
        }
        let tiles = rows.div_ceil(32) * columns.div_ceil(32);
        launch(self.program(), &Params { rows, columns }, grid(tiles, &device.limits), device)
    }
}
