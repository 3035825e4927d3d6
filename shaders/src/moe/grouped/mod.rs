//! The chosen experts for many tokens: products of each expert's assignments with its weights, in tiles that `sort` has cut.
//!
//! [`Part::GateUp`]: `hidden[p] = silu(W_gate[e] x_t) · (W_up[e] x_t)` for place `p` of the order, `t` its token and `e` its expert.
//! [`Part::Down`]: `part[n] = W_down[e] hidden[p]` for assignment `n = order[p]`; `combine` sums them.
//! Hidden values are f16 where cooperative matrices multiply them, which would round them anyway, and f32 elsewhere.
//!
//! Source: spec §4.3; Gale et al. 2022, <https://arxiv.org/abs/2211.15841>, for groups of rows instead of padded batches.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;
mod tile;

pub use oracle::grouped;
pub use tile::Tile;

use super::{Shape, sort::Sort};
use crate::kernel::{
    Binding, Capabilities, Elem, KernelError, Launch, Prelude, Program, WeightFormat, composed, launch, unrolled,
};

/// Which half of an expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// From tokens to hidden values.
    GateUp,
    /// From hidden values to contributions.
    Down,
}

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grouped {
    /// Which half.
    pub part: Part,
    /// Sizes of the model.
    pub shape: Shape,
    /// Format of the weights.
    pub format: WeightFormat,
    /// How a workgroup goes about its share; both halves of a layer need the same.
    pub tile: Tile,
}

/// Places of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Elements from one row of x to the next; `launch` sets it for hidden values.
    pub x_stride: u32,
    /// Element of the first x; `launch` sets it for hidden values.
    pub x_offset: u32,
}

impl Grouped {
    const NAME: &'static str = "moe/grouped";

    /// The best permutation on `device`.
    pub fn best(part: Part, shape: Shape, format: WeightFormat, device: &Capabilities) -> Self {
        Self { part, shape, format, tile: Tile::best(format, device) }
    }

    /// The sort that makes its tiles.
    pub fn sort(self) -> Sort {
        Sort { n_experts: self.shape.n_experts, tile: self.tile.tile_t() }
    }

    /// Format of the hidden values.
    pub fn hidden(self) -> Elem {
        if self.tile.is_coop() { Elem::F16 } else { Elem::F32 }
    }

    /// Rows and columns of an expert's weights.
    fn weights(self) -> [u32; 2] {
        let Shape { d, i, .. } = self.shape;
        if self.part == Part::GateUp { [2 * i, d] } else { [d, i] }
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let paired = self.part == Part::GateUp;
        let counts = self.tile.counts(paired);
        let mut bindings = ["x", "order", "offsets", "tiles", "weights"].map(Binding::read).to_vec();
        if self.format.has_scales() {
            bindings.push(Binding::read("scales"));
        }
        let [o, k] = self.weights();
        let (x, y) = if paired { (Elem::F32, self.hidden()) } else { (self.hidden(), Elem::F32) };
        let prelude = counts.iter().fold(Prelude::new(), |prelude, &(name, value)| prelude.constant(name, value));
        let prelude = prelude
            .constant("Y_AT", bindings.len() as u32)
            .constant("O", o)
            .constant("K", k)
            .constant("SLOTS", self.shape.n_active)
            .flag("PAIRED", paired)
            .flag("FROM_TOKENS", paired)
            .alias("X", x.name())
            .alias("Y", y.name())
            .alias("S", if self.tile.is_coop() { "f16" } else { "f32" });
        let prelude = self.decoding(prelude);
        bindings.push(Binding::write("y"));
        let kernel = if self.tile.is_coop() { include_str!("grouped_coop.wgsl") } else { include_str!("grouped.wgsl") };
        let source = unrolled(&[include_str!("stage.wgsl"), kernel].concat(), &counts);
        let name = format!(
            "{}[{},{},a{},d{},i{},{}]",
            Self::NAME,
            if paired { "gate_up" } else { "down" },
            self.format.name(),
            self.shape.n_active,
            self.shape.d,
            self.shape.i,
            self.tile.name(),
        );
        Program::new(name, &prelude, &source, &bindings, [self.tile.workgroup_size(), 1, 1])
            .with_workgroup_bytes(self.tile.workgroup_bytes())
            .with_features(self.tile.features())
    }

    /// Adds how eight weights are read and decoded.
    fn decoding(self, prelude: Prelude) -> Prelude {
        let (coded, [lo, hi]) = match self.format {
            WeightFormat::F32 => {
                ("struct Coded {\n    lo: vec4<u32>,\n    hi: vec4<u32>,\n}\n", ["codes.lo, 0u", "codes.hi, 0u"])
            }
            WeightFormat::F16 | WeightFormat::Bf16 => ("alias Coded = vec4<u32>;\n", ["codes, 0u", "codes, 1u"]),
            WeightFormat::Fp8 | WeightFormat::Q8 => {
                ("alias Coded = vec2<u32>;\n", ["vec4<u32>(codes, 0u, 0u), 0u", "vec4<u32>(codes, 0u, 0u), 1u"])
            }
            WeightFormat::Q4 => {
                ("alias Coded = u32;\n", ["vec4<u32>(codes, 0u, 0u, 0u), 0u", "vec4<u32>(codes, 0u, 0u, 0u), 1u"])
            }
        };
        let decode = format!(
            "fn eight_of(codes: Coded, scale: f32) -> Eight {{\n    \
             return Eight(vec4<S>(weight4({lo}) * scale), vec4<S>(weight4({hi}) * scale));\n}}\n"
        );
        prelude.weights(self.format, 5).fragment(coded).fragment(&decode)
    }

    /// Checks the sizes and returns the launch for `n` assignments. Buffers: x or hidden values, order, offsets, tiles, weights, scales where
    /// the format has them, hidden values `[N, I]` or contributions `[T, A, D]`.
    ///
    /// # Errors
    /// [`KernelError`] for widths that do not suit the format or are no multiple of 8, x that is not aligned to four, buffers larger than a
    /// binding, or more tiles than one dimension of a dispatch.
    pub fn launch(self, params: Params, n: u32, device: &Capabilities) -> Result<Launch, KernelError> {
        let Shape { n_active, d, i, .. } = self.shape;
        let refuse = |what: &str, expected: String, found: u32| Err(KernelError::shape(Self::NAME, what, expected, found.into()));
        if n == 0 || n_active == 0 || !n.is_multiple_of(n_active) {
            return refuse("assignments N", format!("a multiple of A = {n_active}"), n);
        }
        let tokens = n / n_active;
        self.shape.check(Self::NAME, self.format, self.weights(), tokens, &device.limits)?;
        for (what, width) in [("width D", d), ("width I", i)] {
            if !width.is_multiple_of(8) {
                return refuse(what, "a multiple of 8".into(), width);
            }
        }
        let params = if self.part == Part::GateUp { params } else { Params { x_stride: i, x_offset: 0 } };
        for (what, value) in [("x_stride", params.x_stride), ("x_offset", params.x_offset)] {
            if !value.is_multiple_of(4) {
                return refuse(what, "a multiple of 4".into(), value);
            }
        }
        if self.part == Part::GateUp && tokens > 1 && params.x_stride < d {
            return refuse("x_stride", format!("at least D = {d}"), params.x_stride);
        }
        let parts = 4 * u64::from(n) * u64::from(d);
        if parts > device.limits.max_binding_bytes {
            let most = device.limits.max_binding_bytes;
            return Err(KernelError::limit(Self::NAME, "bytes of contributions in one binding", parts, most));
        }
        let columns = self.weights()[0].div_ceil(self.tile.tile_o());
        launch(composed(&self, "", || self.program()), &params, [columns, self.sort().max_tiles(n), 1], device)
    }
}
