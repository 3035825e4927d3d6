//! `y[t] = E[token[t]]`: the rows of an embedding table `[V, I]` in any weight format, widened to f32.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::embed;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, WeightFormat, composed, launch};

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Embed {
    /// Storage of the table.
    pub format: WeightFormat,
}

/// Sizes of a launch, as the WGSL reads them. Strides and offsets count elements.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Rows `V` of the table.
    pub v: u32,
    /// Columns `I` of the table.
    pub i: u32,
    /// Tokens `T`.
    pub t: u32,
    /// From one row of y to the next, a multiple of 4.
    pub y_stride: u32,
    /// Where the first row of y starts, a multiple of 4.
    pub y_offset: u32,
}

impl Embed {
    const KERNEL: &'static str = "linear/embed";
    const WG_SIZE: u32 = 256;

    /// The composed program.
    pub fn program(self) -> Program {
        let mut bindings = vec![Binding::read("tokens"), Binding::read("weight")];
        bindings.extend(self.format.has_scales().then_some(Binding::read("scales")));
        bindings.push(Binding::write("y"));
        let prelude = Prelude::new()
            .constant("Y", bindings.len() as u32 - 1)
            .constant("PARAMS", bindings.len() as u32)
            .constant("WG_SIZE", Self::WG_SIZE)
            .weights(self.format, 2);
        let name = format!("{}[{}]", Self::KERNEL, self.format.name());
        Program::new(name, &prelude, include_str!("embed.wgsl"), &bindings, [Self::WG_SIZE, 1, 1])
    }

    /// Checks the sizes and returns the launch. Buffers: tokens, weight, scales where the format has them, y.
    ///
    /// # Errors
    /// [`KernelError`] for sizes that do not suit the format, strides that are no whole vectors, or more than the adapter allows.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        self.format.check(Self::KERNEL, 1, params.v, params.i, &device.limits)?;
        for (what, n) in [("y_stride", params.y_stride), ("y_offset", params.y_offset)] {
            if !n.is_multiple_of(4) {
                return Err(KernelError::shape(Self::KERNEL, what, "a multiple of 4", u64::from(n)));
            }
        }
        launch(composed(&self, "", || self.program()), &params, [params.t, 1, 1], device)
    }
}
