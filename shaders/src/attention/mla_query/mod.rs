//! Queries in the space of the latent rows: `qfull[t, h] = [Σ_n W[h, c, n] · q[t, h, n] | rope(q[t, h, Dn..])]`, with `W` the transposed half of
//! `kv_b_proj` that makes keys.
//!
//! For few tokens it takes the place of a product and of the queries' part of [`append`](crate::rope::append). Nothing of the selection needs
//! what it writes, so that both can run at the same time.
//!
//! Source: spec §§2.2, 2.4 (form b); the fusion is ours.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::mla_query;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, WeightFormat, composed, launch, unrolled};
use crate::rope::rotate::Layout;

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MlaQuery {
    /// Format of the weights.
    pub format: WeightFormat,
    /// Width `Dn` of a head that is not rotated.
    pub nope: u32,
    /// Latent rank `C`.
    pub latent: u32,
    /// Rotated width `R`.
    pub rope: u32,
    /// Pairs of the rotation.
    pub layout: Layout,
    /// Rows of a workgroup: a power of two up to 256.
    pub rows: u32,
}

/// Sizes of a launch, as the WGSL reads them. Strides and offsets count values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Heads `H`.
    pub heads: u32,
    /// From one token to the next in `queries`; a multiple of 4, as is the next one.
    pub q_stride: u32,
    /// Where head 0 starts in a token's `queries`: `[H, Dn + R]`.
    pub q_offset: u32,
}

impl MlaQuery {
    const NAME: &str = "attention/mla_query";
    const WG_SIZE: u32 = 256;
    /// Most vectors of a row that one invocation has on their way.
    const MAX_STEPS: u32 = 16;

    /// The best number of rows: an invocation for each vector, up to eight for each row.
    pub fn best(format: WeightFormat, nope: u32, latent: u32, rope: u32, layout: Layout) -> Self {
        let vectors = (nope / format.values_per_vector()).max(1);
        Self { format, nope, latent, rope, layout, rows: Self::WG_SIZE / vectors.next_power_of_two().min(8) }
    }

    fn blocks(self) -> u32 {
        self.latent.div_ceil(self.rows)
    }

    /// Vectors of a row that an invocation takes.
    fn steps(self) -> u32 {
        (self.nope / self.format.values_per_vector()).div_ceil(Self::WG_SIZE / self.rows)
    }

    /// The composed program. Buffers: queries, step, weight, scales where the format has them, qfull.
    pub fn program(self) -> Program {
        let mut bindings = vec![Binding::read("queries"), Binding::read("step"), Binding::read("weight")];
        if self.format.has_scales() {
            bindings.push(Binding::read("scales"));
        }
        bindings.push(Binding::write("qfull"));
        let steps = self.steps();
        let constants = [
            ("WG_SIZE", Self::WG_SIZE),
            ("NOPE", self.nope),
            ("LATENT", self.latent),
            ("ROPE", self.rope),
            ("ROWS", self.rows),
            ("BLOCKS", self.blocks()),
            ("STEPS", steps),
            ("QFULL", bindings.len() as u32 - 1),
            ("PARAMS", bindings.len() as u32),
        ];
        let prelude = constants.into_iter().fold(Prelude::new(), |prelude, (name, value)| prelude.constant(name, value));
        let half_split = self.layout == Layout::HalfSplit;
        let prelude = prelude.flag("HALF_SPLIT", half_split).weights(self.format, 3).rotated();
        let half = if half_split { ",half" } else { "" };
        let (format, rows) = (self.format.name(), self.rows);
        let name = format!("{}[{format},n{},c{},r{}{half},{rows}]", Self::NAME, self.nope, self.latent, self.rope);
        let counts = [("STEPS", steps), ("QUADS", self.format.values_per_vector() / 4)];
        let source = unrolled(include_str!("mla_query.wgsl"), &counts);
        Program::new(name, &prelude, &source, &bindings, [Self::WG_SIZE, 1, 1]).with_workgroup_bytes(4 * Self::WG_SIZE)
    }

    /// Checks the sizes and returns the launch for `t` tokens. Buffers: queries, step, weight `[H, C, Dn]`, scales where the format has them,
    /// qfull.
    ///
    /// # Errors
    /// [`KernelError`] for widths that do not suit the format or the vectors, rows that are no power of two, empty sizes, and heads outside a
    /// token's values.
    pub fn launch(self, t: u32, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        let refuse =
            |what: &str, expected: String, found: u32| Err(KernelError::shape(Self::NAME, what, expected, u64::from(found)));
        let Params { heads, q_stride, q_offset } = params;
        self.format.check(Self::NAME, heads, self.latent, self.nope, &device.limits)?;
        for (what, width) in [("width Dn", self.nope), ("rotated width R", self.rope)] {
            if width == 0 || !width.is_multiple_of(8) {
                return refuse(what, "a positive multiple of 8".into(), width);
            }
        }
        if !self.rows.is_power_of_two() || self.rows > Self::WG_SIZE {
            return refuse("rows of a workgroup", "a power of two up to 256".into(), self.rows);
        }
        if self.steps() > Self::MAX_STEPS {
            return refuse("vectors of an invocation", format!("at most {}", Self::MAX_STEPS), self.steps());
        }
        for (what, n) in [("query stride", q_stride), ("query offset", q_offset)] {
            if !n.is_multiple_of(4) {
                return refuse(what, "a multiple of 4".into(), n);
            }
        }
        let end = q_offset.saturating_add(heads.saturating_mul(self.nope + self.rope));
        if end > q_stride {
            return refuse("end of the query heads", format!("at most the stride {q_stride}"), end);
        }
        launch(composed(&self, "", || self.program()), &params, [self.blocks() + 1, heads, t], device)
    }
}
