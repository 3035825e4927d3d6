//! The gradients of `norm/rms_norm`: of x, and of the weight in parts that `sum_parts` adds.
//!
//! Source: ours, by differentiating spec §2.1.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::rms_norm_grad;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, launch, unrolled};
use crate::shared::Lanes;

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RmsNormGrad {
    /// How a row is summed.
    pub lanes: Lanes,
    /// Most columns of an invocation.
    pub columns: u32,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Rows `N`.
    pub n: u32,
    /// Width `D`.
    pub d: u32,
    /// Rows of a part.
    pub rows: u32,
    /// Added to the mean square.
    pub eps: f32,
}

impl Params {
    /// Most parts: they fill a large device once.
    const MOST: u32 = 1024;

    /// Parts that fill a large device.
    pub fn new(n: u32, d: u32, eps: f32) -> Self {
        Self { n, d, rows: n.div_ceil(Self::MOST).max(4), eps }
    }

    /// The parts that the rows make.
    pub fn parts(&self) -> u32 {
        self.n.div_ceil(self.rows.max(1))
    }
}

const NAME: &str = "train/rms_norm_grad";

impl RmsNormGrad {
    const BINDINGS: [Binding; 5] =
        [Binding::read("x"), Binding::read("weight"), Binding::read("dy"), Binding::write("dx"), Binding::write("parts")];

    /// The best permutation on `device` for rows of `d` values.
    pub fn best(d: u32, device: &Capabilities) -> Self {
        let lanes = Lanes::of(device.features);
        Self { lanes, columns: d.div_ceil(Self::workgroup_size(d)).max(1) }
    }

    /// Invocations for rows of `d` values: few enough that most have work.
    fn workgroup_size(d: u32) -> u32 {
        if d <= 512 { 128 } else { 256 }
    }

    /// The composed program for rows of `d` values.
    fn program(self, size: u32) -> Program {
        let counts = [("COLUMNS", self.columns)];
        let prelude = Prelude::new().constant("WG_SIZE", size).constant("COLUMNS", self.columns).reduce(self.lanes);
        let name = format!("{NAME}[{},{}x{size}]", self.lanes.name(), self.columns);
        let source = unrolled(include_str!("rms_norm_grad.wgsl"), &counts);
        Program::new(name, &prelude, &source, &Self::BINDINGS, [size, 1, 1])
            .with_workgroup_bytes(4 * size)
            .with_features(self.lanes.features())
    }

    /// Checks the sizes and returns the launch. Buffers: x, weight, dy, dx, parts `[Z, D]` with `Z` of [`Params::parts`].
    ///
    /// # Errors
    /// [`KernelError`] for no rows, rows wider than the permutation's, or more values than a binding holds.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        let Params { n, d, rows, .. } = params;
        let size = Self::workgroup_size(d);
        let widest = size * self.columns;
        if d == 0 || d > widest || self.columns > 16 {
            return Err(KernelError::shape(NAME, "width D", format!("1 to {}", widest.min(16 * size)), d.into()));
        }
        if n == 0 || rows == 0 {
            return Err(KernelError::shape(NAME, "rows", "at least 1", 0));
        }
        let (values, most) = (u64::from(n) * u64::from(d), (device.limits.max_binding_bytes / 4).min(1 << 32));
        if values > most {
            return Err(KernelError::limit(NAME, "values", values, most));
        }
        launch(self.program(size), &params, [params.parts(), 1, 1], device)
    }
}
