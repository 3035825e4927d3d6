//! `h = silu(gate) · up`, and `dgate = dh · up · silu'(gate)`, `dup = dh · silu(gate)`.
//!
//! Source: spec §4.3; Shazeer 2020, <https://arxiv.org/abs/2002.05202>.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::{silu_mul, silu_mul_grad};

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, grid, launch};

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SiluMul {
    /// The value. Buffers: gate, up, h.
    Forward,
    /// The gradients. Buffers: gate, up, dh, dgate, dup.
    Backward,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    quads: u32,
}

impl SiluMul {
    const WG_SIZE: u32 = 256;
    const FORWARD: [Binding; 3] = [Binding::read("gate"), Binding::read("up"), Binding::write("h")];
    const BACKWARD: [Binding; 5] =
        [Binding::read("gate"), Binding::read("up"), Binding::read("dh"), Binding::write("dgate"), Binding::write("dup")];

    /// The composed program.
    pub fn program(self) -> Program {
        let (name, bindings, write) = match self {
            Self::Forward => ("forward", &Self::FORWARD[..], include_str!("forward.wgsl")),
            Self::Backward => ("backward", &Self::BACKWARD[..], include_str!("backward.wgsl")),
        };
        let prelude = Prelude::new().constant("WG_SIZE", Self::WG_SIZE).constant("PARAMS", bindings.len() as u32).fragment(write);
        let name = format!("train/silu_mul[{name}]");
        Program::new(name, &prelude, include_str!("silu_mul.wgsl"), bindings, [Self::WG_SIZE, 1, 1])
    }

    /// Checks the size and returns the launch for `n` values.
    ///
    /// # Errors
    /// [`KernelError`] for a number of values that is no multiple of 4, or more of them than a binding holds.
    pub fn launch(self, n: u32, device: &Capabilities) -> Result<Launch, KernelError> {
        const NAME: &str = "train/silu_mul";
        if n == 0 || !n.is_multiple_of(4) {
            return Err(KernelError::shape(NAME, "values", "a multiple of 4", n.into()));
        }
        let most = device.limits.max_binding_bytes / 4;
        if u64::from(n) > most {
            return Err(KernelError::limit(NAME, "values", n.into(), most));
        }
        launch(self.program(), &Params { quads: n / 4 }, grid((n / 4).div_ceil(Self::WG_SIZE), &device.limits), device)
    }
}
