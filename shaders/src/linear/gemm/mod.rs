//! `y[z, t, o] = Σ_i x[z, t, i] · W[z, o, i]`, or added to y: the product of more than a few rows with a weight.
//!
//! Source: spec §2; Goto and van de Geijn 2008, <https://doi.org/10.1145/1356052.1356053>, for the blocking.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;
mod tile;

pub use oracle::gemm;
pub use tile::Tile;

use crate::kernel::{
    Binding, Capabilities, Elem, Features, KernelError, Launch, Prelude, Program, WeightFormat, composed, grid, launch, unrolled,
};

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gemm {
    /// Format of the weight.
    pub weight: WeightFormat,
    /// Format of x.
    pub x: Elem,
    /// Format of y.
    pub y: Elem,
    /// Whether the product is added to what y holds.
    pub accumulate: bool,
    /// How a workgroup goes about its share.
    pub tile: Tile,
}

/// Sizes of a launch, as the WGSL reads them. Strides and offsets count elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Rows `T`.
    pub t: u32,
    /// Columns `O`, rows of the weight.
    pub o: u32,
    /// Terms `I` of each sum.
    pub i: u32,
    /// From a row of x to the next.
    pub x_stride: u32,
    /// To the first row of x.
    pub x_offset: u32,
    /// From a matrix of x to the next.
    pub x_batch: u32,
    /// From a row of y to the next.
    pub y_stride: u32,
    /// To the first row of y.
    pub y_offset: u32,
    /// From a matrix of y to the next.
    pub y_batch: u32,
}

impl Gemm {
    /// Tiles of rows that one column of the weight's tiles is multiplied with before the next one.
    const BAND: u32 = 8;

    /// The best permutation on `device` for f32 rows in and out, `t` rows and `o` columns.
    ///
    /// Weights of f32 are multiplied in f32 in every tier; cooperative matrices, which round x and W to f16, are for the others.
    pub fn best(weight: WeightFormat, t: u32, o: u32, device: &Capabilities) -> Self {
        Self { weight, x: Elem::F32, y: Elem::F32, accumulate: false, tile: Tile::best(weight, t, o, device) }
    }

    /// The bindings, in order.
    fn bindings(self) -> Vec<Binding> {
        let mut bindings = vec![Binding::read("x"), Binding::read("weight")];
        if self.weight.has_scales() {
            bindings.push(Binding::read("scales"));
        }
        bindings.push(Binding::write("y"));
        bindings
    }

    /// What it needs beyond the base.
    pub fn features(self) -> Features {
        let half = if self.x == Elem::F16 || self.y == Elem::F16 { Features::F16 } else { Features::BASE };
        let tile = self.tile.features();
        Features { f16: tile.f16 || half.f16, ..tile }
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let counts = self.tile.counts();
        let bindings = self.bindings();
        let mut prelude = Prelude::new()
            .constant("BAND", Self::BAND)
            .constant("Y_AT", bindings.len() as u32 - 1)
            .flag("ACCUMULATE", self.accumulate)
            .alias("X", self.x.name())
            .alias("Y", self.y.name())
            .alias("S", if self.tile.is_coop() { "f16" } else { "f32" });
        for &(name, value) in &counts {
            prelude = prelude.constant(name, value);
        }
        let mut source = [include_str!("stage.wgsl"), include_str!("x.wgsl"), self.tile.source()].concat();
        prelude = self.decoding(prelude);
        if let Tile::Coop { exact, .. } = self.tile {
            let direct = self.y == Elem::F32;
            prelude = prelude.flag("EXACT", exact).flag("DIRECT", direct);
            source.push_str(if direct { include_str!("store_direct.wgsl") } else { include_str!("store_never.wgsl") });
        }
        let name = format!(
            "linear/gemm[{},x {},y {}{},{}]",
            self.weight.name(),
            self.x.name(),
            self.y.name(),
            if self.accumulate { "+" } else { "" },
            self.tile.name(),
        );
        let source = unrolled(&source, &counts);
        Program::new(name, &prelude, &source, &bindings, [self.tile.workgroup_size(), 1, 1])
            .with_workgroup_bytes(self.tile.workgroup_bytes())
            .with_features(self.features())
    }

    /// Adds how the weight is read and decoded.
    fn decoding(self, prelude: Prelude) -> Prelude {
        let words = match self.weight {
            WeightFormat::F32 => return prelude.alias("WEIGHT", "f32").fragment(include_str!("weight_plain.wgsl")),
            WeightFormat::F16 if self.tile.is_coop() => {
                return prelude.alias("WEIGHT", "f16").fragment(include_str!("weight_plain.wgsl"));
            }
            WeightFormat::F16 | WeightFormat::Bf16 => ("vec4<u32>", "codes"),
            WeightFormat::Fp8 | WeightFormat::Q8 => ("vec2<u32>", "vec4<u32>(codes, 0u, 0u)"),
            WeightFormat::Q4 => ("u32", "vec4<u32>(codes, 0u, 0u, 0u)"),
        };
        prelude
            .alias("Coded", words.0)
            .weights(self.weight, 2)
            .fragment(&format!("fn words_of(codes: Coded) -> vec4<u32> {{\n    return {};\n}}\n", words.1))
            .fragment(include_str!("weight_coded.wgsl"))
    }

    /// Checks the sizes and returns the launch over `batch` matrices. Buffers: x, weight, scales where the format has them, y.
    ///
    /// # Errors
    /// [`KernelError`] for sizes of zero, an `I` that does not suit the format or is no multiple of 8, rows of x that do not start at a
    /// multiple of 4, rows of y that overlap, or what the adapter does not allow.
    pub fn launch(self, params: Params, batch: u32, device: &Capabilities) -> Result<Launch, KernelError> {
        const NAME: &str = "linear/gemm";
        let Params { t, o, i, .. } = params;
        self.weight.check(NAME, batch, o, i, &device.limits)?;
        if !i.is_multiple_of(8) {
            return Err(KernelError::shape(NAME, "width I", "a multiple of 8", i.into()));
        }
        if t == 0 {
            return Err(KernelError::shape(NAME, "rows T", "at least 1", 0));
        }
        for (what, n) in [("x_stride", params.x_stride), ("x_offset", params.x_offset), ("x_batch", params.x_batch)] {
            if !n.is_multiple_of(4) {
                return Err(KernelError::shape(NAME, what, "a multiple of 4", n.into()));
            }
        }
        for (what, n, least) in [("x_stride", params.x_stride, i), ("y_stride", params.y_stride, o)] {
            if t > 1 && n < least {
                return Err(KernelError::shape(NAME, what, format!("at least {least}"), n.into()));
            }
        }
        let ends = [
            ("elements of x", self.x, params.x_offset, params.x_batch, params.x_stride, i),
            ("elements of y", self.y, params.y_offset, params.y_batch, params.y_stride, o),
        ];
        for (what, elem, offset, matrix, stride, width) in ends {
            let rows = u64::from(batch - 1) * u64::from(matrix) + u64::from(t - 1) * u64::from(stride);
            let end = u64::from(offset) + rows + u64::from(width);
            let most = device.limits.max_binding_bytes / elem.bytes() as u64;
            if end > most.min(1 << 32) {
                return Err(KernelError::limit(NAME, what, end, most));
            }
        }
        self.tile.check(NAME, device)?;
        let [x, y, _] = grid(self.tile.tiles(t, o), &device.limits);
        launch(composed(&self, "", || self.program()), &params, [x, y, batch], device)
    }
}
