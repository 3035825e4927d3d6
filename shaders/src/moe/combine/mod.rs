//! The contributions of a token's experts, summed: `y_t += Σ_a weight[t, a] · part[t, a]`.
//!
//! Source: spec §4.3.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::combine;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, composed, grid, launch};

/// The kernel for one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Combine {
    /// Slots of a token: active experts, the shared ones included, `A`.
    pub n_active: u32,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Tokens `T`.
    pub t: u32,
    /// Model width `D`.
    pub d: u32,
    /// Elements from one token's y to the next.
    pub y_stride: u32,
    /// Element of the first y.
    pub y_offset: u32,
}

impl Combine {
    const NAME: &'static str = "moe/combine";
    const WG_SIZE: u32 = 256;
    const BINDINGS: [Binding; 3] = [Binding::read("parts"), Binding::read("expert_weights"), Binding::write("y")];

    /// The composed program.
    pub fn program(self) -> Program {
        let prelude = Prelude::new().constant("WG_SIZE", Self::WG_SIZE).constant("A", self.n_active);
        let name = format!("{}[a{}]", Self::NAME, self.n_active);
        Program::new(name, &prelude, include_str!("combine.wgsl"), &Self::BINDINGS, [Self::WG_SIZE, 1, 1])
    }

    /// Checks the sizes and returns the launch. Buffers: parts `[T, A, D]`, expert weights, y.
    ///
    /// # Errors
    /// [`KernelError`] for sizes of zero, rows that are not whole fours, or rows of y that overlap.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        for (what, n) in [("tokens T", params.t), ("active experts A", self.n_active), ("width D", params.d)] {
            if n == 0 {
                return Err(KernelError::shape(Self::NAME, what, "at least 1", 0));
            }
        }
        for (what, n) in [("width D", params.d), ("y_stride", params.y_stride), ("y_offset", params.y_offset)] {
            if !n.is_multiple_of(4) {
                return Err(KernelError::shape(Self::NAME, what, "a multiple of 4", u64::from(n)));
            }
        }
        if params.t > 1 && params.y_stride < params.d {
            let expected = format!("at least D = {}", params.d);
            return Err(KernelError::shape(Self::NAME, "y_stride", expected, u64::from(params.y_stride)));
        }
        let quads = params.t.saturating_mul(params.d / 4);
        launch(composed(&self, "", || self.program()), &params, grid(quads.div_ceil(Self::WG_SIZE), &device.limits), device)
    }
}
