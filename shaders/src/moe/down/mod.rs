//! The second half of the chosen experts, for few tokens: `y_t += Σ_a weight[t, a] · W_down[e] hidden[t, a]` with `e = experts[t, a]`.
//!
//! `W [E, D, I]`; the hidden values lie in the order in which `gate_up` leaves them.
//!
//! Source: spec §4.3.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::down;

use super::{Hidden, Shape, sums_bytes, with_sums};
use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, WeightFormat, composed, launch};
use crate::shared::Lanes;

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Down {
    /// Sizes of the model.
    pub shape: Shape,
    /// Format of the weights.
    pub format: WeightFormat,
    /// In which numbers the hidden values lie.
    pub hidden: Hidden,
    /// How sums are gathered.
    pub lanes: Lanes,
    /// Invocations of a workgroup.
    pub wg_size: u32,
    /// Outputs of a workgroup.
    pub rows: u32,
}

/// Places of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Elements from one token's y to the next.
    pub y_stride: u32,
    /// Element of the first y.
    pub y_offset: u32,
}

impl Down {
    const NAME: &'static str = "moe/down";

    /// The best permutation on `device`.
    pub fn best(shape: Shape, format: WeightFormat, device: &Capabilities) -> Self {
        let lanes = Lanes::of(device.features);
        // Few invocations for few vectors: a workgroup is to take several rounds, which overlap with those of other workgroups.
        let units = shape.n_active * (shape.i / format.values_per_vector()).max(1);
        let wg_size = if units >= 512 { 192 } else { 128 };
        Self { shape, format, hidden: Hidden::Float, lanes, wg_size, rows: 4 }
    }

    /// The same for packed hidden values, where the weights are q4.
    pub fn packed(self) -> Option<Self> {
        (self.format == WeightFormat::Q4).then_some(Self { hidden: Hidden::Packed, wg_size: 128, rows: 4, ..self })
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let Shape { n_active, d, i, .. } = self.shape;
        let mut bindings =
            vec![Binding::read("hidden"), Binding::read("experts"), Binding::read("expert_weights"), Binding::read("weights")];
        let scales = bindings.len() as u32;
        if self.format.has_scales() {
            bindings.push(Binding::read("scales"));
        }
        let prelude = Prelude::new()
            .weights(self.format, scales)
            .constant("Y", bindings.len() as u32)
            .constant("PARAMS", bindings.len() as u32 + 1)
            .constant("WG_SIZE", self.wg_size)
            .constant("TEAM", self.wg_size)
            .constant("A", n_active)
            .constant("D", d)
            .constant("I", i);
        bindings.push(Binding::write("y"));
        let name = format!(
            "{}[{},{}{},a{n_active},d{d},i{i},{}x{}]",
            Self::NAME,
            self.format.name(),
            self.lanes.name(),
            if self.hidden == Hidden::Packed { ",packed" } else { "" },
            self.wg_size,
            self.rows
        );
        let counts = [("ROWS", self.rows), ("SUMS", self.rows), ("QUADS", self.format.values_per_vector() / 4)];
        let (prelude, source) = match self.hidden {
            Hidden::Float => (prelude.stepped(self.format), include_str!("down.wgsl")),
            Hidden::Packed => (prelude.packed_q4_product(), include_str!("down_packed.wgsl")),
        };
        let (prelude, source) = with_sums(prelude, source, self.lanes, &counts);
        Program::new(name, &prelude, &source, &bindings, [self.wg_size, 1, 1])
            .with_workgroup_bytes(sums_bytes(self.lanes, self.rows, self.wg_size))
            .with_features(self.lanes.features())
    }

    /// Checks the sizes and returns the launch for `tokens`. Buffers: hidden, experts, expert weights, weights, scales where the format has
    /// them, y.
    ///
    /// # Errors
    /// [`KernelError`] for widths that do not suit the format, a stack larger than a binding, or more tokens than one dimension of a dispatch.
    pub fn launch(self, params: Params, tokens: u32, device: &Capabilities) -> Result<Launch, KernelError> {
        let Shape { d, i, .. } = self.shape;
        self.shape.check(Self::NAME, self.format, [d, i], tokens, &device.limits)?;
        if tokens > 1 && params.y_stride < d {
            return Err(KernelError::shape(Self::NAME, "y_stride", format!("at least D = {d}"), u64::from(params.y_stride)));
        }
        launch(composed(&self, "", || self.program()), &params, [d.div_ceil(self.rows), tokens, 1], device)
    }
}
