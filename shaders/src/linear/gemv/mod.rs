//! `y[z, t, o] = Σ_i x[z, t, i] · W[z, o, i]` for one to eight rows `t`, with any weight format.
//!
//! With `norm`, x is normalised first: `x · gain / sqrt(mean(x²) + eps)` (spec §2.1); the factor of the row comes out of the sum, so that x needs
//! no pass of its own. With `accumulate` the product is added to y, which is a residual connection. `Z > 1` multiplies a matrix with the
//! rows of its own head each: the absorbed projections of MLA (spec §2).
//!
//! Memory bound: every weight is read once. What counts is that enough loads are on their way at a time, and that few instructions are
//! spent on a weight. [`Arithmetic::Packed`] takes one for eight products of q4 instead of three for one, with x rounded to 16 bits.

pub mod cases;
mod fit;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::gemv;

use crate::kernel::{
    Binding, Capabilities, KernelError, Launch, Prelude, Program, WeightFormat, composed, grid, launch, unrolled,
};
use crate::shared::{Lanes, packed_q4_bytes};

/// The most rows of x.
pub const MAX_TOKENS: u32 = 8;

/// In which numbers products are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// f32.
    Float,
    /// Bytes: x rounded to 16-bit integers with a scale for each group of 32, which is an error below `2e-5` of the group's largest value.
    /// For q8 and q4 weights.
    Packed,
}

/// How x reaches the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// In parts through workgroup memory.
    Staged,
    /// Read where it lies, in f32: nothing has to wait.
    Direct,
    /// Packed, all of it in workgroup memory, by few workgroups that stay for many rows: one row of x, q4 weights.
    Resident,
}

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gemv {
    /// Storage of the weights.
    pub format: WeightFormat,
    /// Whether x is normalised first.
    pub norm: bool,
    /// Whether the product is added to y.
    pub accumulate: bool,
    /// In which numbers products are taken.
    pub arithmetic: Arithmetic,
    /// How x reaches the products.
    pub form: Form,
    /// Words that one load of weights takes: 4, or fewer with [`Form::Direct`].
    pub words: u32,
    /// The most rows of x: 1, 2, 4 or 8.
    pub tokens: u32,
    /// Rows of W that an invocation multiplies at a time.
    pub rows: u32,
    /// Invocations that share those rows and add up through subgroup operations: a power of two, 1 without subgroups.
    pub lanes: u32,
    /// Sets of lanes that share those rows and add up through workgroup memory: a power of two.
    pub split: u32,
    /// Vectors of a row that one invocation takes before the next part of x is staged; loads of a row that it has on their way at a time where
    /// x is read directly.
    pub steps: u32,
    /// Invocations of a workgroup.
    pub wg_size: u32,
}

/// Sizes of a launch, as the WGSL reads them. Strides and offsets count elements.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Rows `O` of a matrix.
    pub o: u32,
    /// Columns `I` of a matrix.
    pub i: u32,
    /// Rows `T` of x.
    pub t: u32,
    /// Matrices `Z`.
    pub z: u32,
    /// From one row of x to the next; a multiple of 4, as are the next two.
    pub x_stride: u32,
    /// Where the first row of x starts.
    pub x_offset: u32,
    /// From the x of one matrix to that of the next.
    pub x_batch: u32,
    /// From one row of y to the next.
    pub y_stride: u32,
    /// Where the first row of y starts.
    pub y_offset: u32,
    /// From the y of one matrix to that of the next.
    pub y_batch: u32,
    /// Added to the mean square, with `norm`.
    pub eps: f32,
}

impl Params {
    /// Dense x `[T, I]` and y `[T, O]`, one matrix.
    pub fn dense(t: u32, o: u32, i: u32) -> Self {
        Self { o, i, t, z: 1, x_stride: i, x_offset: 0, x_batch: 0, y_stride: o, y_offset: 0, y_batch: 0, eps: 1e-6 }
    }
}

impl Gemv {
    /// Invocations of all workgroups together where they stay: four workgroups of 384 for each multiprocessor of the largest adapter we know.
    const RESIDENT_INVOCATIONS: u32 = 132 * 4 * 384;
    const KERNEL: &'static str = "linear/gemv";

    /// The same with x normalised first.
    #[must_use]
    pub fn with_norm(mut self) -> Self {
        self.norm = true;
        self
    }

    /// The same added to y.
    #[must_use]
    pub fn with_accumulate(mut self) -> Self {
        self.accumulate = true;
        self
    }

    fn slices(self) -> u32 {
        self.lanes * self.split
    }

    fn reduce(self) -> Lanes {
        if self.lanes > 1 { Lanes::Subgroup } else { Lanes::Shared }
    }

    /// Sums of a set of lanes, or with staged x of a workgroup.
    fn sums(self) -> u32 {
        let outputs = self.rows * self.tokens;
        match self.form {
            Form::Direct => outputs + if self.norm { self.tokens } else { 0 },
            Form::Staged if self.split > 1 => self.wg_size / self.lanes * outputs,
            Form::Staged | Form::Resident => 1,
        }
    }

    /// Vectors of weights, or packs of words, in a row.
    fn loads(self, i: u32) -> u32 {
        i / (self.format.values_per_vector() * self.words / 4).max(1)
    }

    fn workgroup_bytes(self) -> u32 {
        let values = self.format.values_per_vector();
        let vectors = self.steps * self.tokens;
        let reduce = 4 * self.wg_size;
        match (self.form, self.arithmetic) {
            (Form::Direct, _) => 4 * (self.wg_size / self.lanes) * self.sums(),
            (Form::Resident, _) => reduce + packed_q4_bytes(self.steps * self.slices()),
            (Form::Staged, Arithmetic::Float) => reduce + 16 * vectors * (values / 4) * (self.slices() + 1) + 4 * self.sums(),
            (Form::Staged, Arithmetic::Packed) => {
                reduce + 16 * vectors * (values / 8) * (self.slices() + 1) + 8 * vectors * self.slices() + 4 * self.sums()
            }
        }
    }

    fn name(self) -> String {
        let Self { tokens, rows, lanes, split, steps, wg_size, .. } = self;
        let form = match self.form {
            Form::Staged => String::new(),
            Form::Direct => format!(",direct{}", self.words),
            Form::Resident => ",resident".into(),
        };
        let mut name = format!("{}[{}{form}", Self::KERNEL, self.format.name());
        for (flag, text) in
            [(self.arithmetic == Arithmetic::Packed, ",packed"), (self.norm, ",norm"), (self.accumulate, ",accumulate")]
        {
            name.push_str(if flag { text } else { "" });
        }
        name + &format!(",t{tokens},r{rows},l{lanes}x{split},s{steps},w{wg_size}]")
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let mut bindings = vec![Binding::read("x"), Binding::read("weight")];
        let scales = bindings.len() as u32;
        if self.format.has_scales() {
            bindings.push(Binding::read("scales"));
        }
        let gain = bindings.len() as u32;
        if self.norm {
            bindings.push(Binding::read("gain"));
        }
        bindings.push(Binding::write("y"));
        let reduce = self.reduce();
        let mut prelude = Prelude::new()
            .constant("Y", bindings.len() as u32 - 1)
            .constant("PARAMS", bindings.len() as u32)
            .constant("WG_SIZE", self.wg_size)
            .constant("TOKENS", self.tokens)
            .constant("ROWS", self.rows)
            .constant("LANES", self.lanes)
            .constant("SPLIT", self.split)
            .constant("STEPS", self.steps)
            .flag("NORM", self.norm)
            .flag("ACCUMULATE", self.accumulate)
            .weights(self.format, scales)
            .lanes_sum(reduce);
        prelude = if self.norm {
            prelude.constant("GAIN", gain).fragment(include_str!("gain.wgsl"))
        } else {
            prelude.fragment(include_str!("gain_none.wgsl"))
        };
        let (prelude, source) = self.source(prelude);
        Program::new(self.name(), &prelude, &source, &bindings, [self.wg_size, 1, 1])
            .with_workgroup_bytes(self.workgroup_bytes())
            .with_features(reduce.features())
    }

    /// Adds what the form needs to the prelude, and returns it with the kernel.
    fn source(self, prelude: Prelude) -> (Prelude, String) {
        let reduce = self.reduce();
        match self.form {
            Form::Staged => {
                let prelude = prelude.constant("CHUNK", self.steps * self.slices()).constant("SUMS", self.sums()).reduce(reduce);
                let x = match self.arithmetic {
                    Arithmetic::Float => include_str!("x_float.wgsl"),
                    Arithmetic::Packed => include_str!("x_packed.wgsl"),
                };
                (prelude.fragment(x), include_str!("gemv.wgsl").into())
            }
            Form::Direct => {
                let counts = [
                    ("QUADS", self.format.values_per_vector() * self.words / 16),
                    ("LOADS", self.steps * self.rows),
                    ("OUTPUTS", self.rows * self.tokens),
                    ("SUMS", self.sums()),
                    ("ROWS", self.rows),
                    ("TOKENS", self.tokens),
                    ("STEPS", self.steps),
                ];
                let (pack, vector) = match self.words {
                    1 => ("u32", "vec4<u32>(pack, 0u, 0u, 0u)"),
                    2 => ("vec2<u32>", "vec4<u32>(pack, 0u, 0u)"),
                    _ => ("vec4<u32>", "pack"),
                };
                let prelude = counts[..4].iter().fold(prelude, |prelude, &(name, count)| prelude.constant(name, count));
                let words_of = format!("fn words_of(pack: Pack) -> vec4<u32> {{\n    return {vector};\n}}\n");
                let prelude = prelude.alias("Pack", pack).fragment(&words_of).lane(reduce).stepped(self.format);
                (prelude, unrolled(include_str!("gemv_direct.wgsl"), &counts))
            }
            Form::Resident => {
                let prelude = prelude.constant("CAPACITY", self.steps * self.slices());
                (prelude.reduce(reduce).packed_q4(), unrolled(include_str!("gemv_resident.wgsl"), &[("ROWS", self.rows)]))
            }
        }
    }

    /// Checks the sizes and returns the launch. Buffers: x, weight, scales where the format has them, gain with `norm`, y.
    ///
    /// # Errors
    /// [`KernelError`] for sizes that do not suit the format, more rows of x than the permutation takes, strides of x that are no whole
    /// vectors, a permutation that contradicts itself or the adapter, or more than one binding holds.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        self.check(device)?;
        let Params { o, i, t, z, x_stride, x_offset, x_batch, .. } = params;
        self.format.check(Self::KERNEL, z, o, i, &device.limits)?;
        if t == 0 || t > self.tokens {
            return Err(KernelError::shape(Self::KERNEL, "rows T", format!("1 to {}", self.tokens), u64::from(t)));
        }
        for (what, n) in [("x_stride", x_stride), ("x_offset", x_offset), ("x_batch", x_batch)] {
            if !n.is_multiple_of(4) {
                return Err(KernelError::shape(Self::KERNEL, what, "a multiple of 4", u64::from(n)));
            }
        }
        let blocks = o.div_ceil(self.wg_size / self.slices() * self.rows);
        let [x, y, _] = if self.form == Form::Resident {
            if i > self.steps * self.slices() * self.format.values_per_vector() {
                return Err(KernelError::shape(Self::KERNEL, "width I", "x that fits workgroup memory", u64::from(i)));
            }
            [blocks.min(Self::RESIDENT_INVOCATIONS / self.wg_size), 1, 1]
        } else {
            grid(blocks, &device.limits)
        };
        launch(composed(&self, "", || self.program()), &params, [x, y, z], device)
    }

    fn check(self, device: &Capabilities) -> Result<(), KernelError> {
        let powers =
            [("tokens", self.tokens, MAX_TOKENS), ("lanes", self.lanes, device.subgroup.min), ("split", self.split, 256)];
        for (what, n, most) in powers {
            if !n.is_power_of_two() || n > most {
                return Err(KernelError::shape(Self::KERNEL, what, format!("a power of two up to {most}"), u64::from(n)));
            }
        }
        if self.form == Form::Resident
            && (self.format != WeightFormat::Q4 || self.lanes < 4 || (self.tokens, self.split) != (1, 1))
        {
            let expected = "q4 weights, one row and subgroups of at least 4 where x is resident";
            return Err(KernelError::shape(Self::KERNEL, "rows T", expected, u64::from(self.tokens)));
        }
        let least = 16u32.div_ceil(self.format.values_per_vector());
        let allowed = if self.form == Form::Direct { least.min(4) } else { 4 };
        if !self.words.is_power_of_two() || self.words < allowed || self.words > 4 {
            return Err(KernelError::shape(Self::KERNEL, "words of a load", format!("{allowed} to 4"), u64::from(self.words)));
        }
        if self.rows == 0 || self.steps == 0 {
            return Err(KernelError::shape(Self::KERNEL, "rows and steps", "at least 1", 0));
        }
        if self.wg_size == 0 || !self.wg_size.is_multiple_of(self.slices()) {
            return Err(KernelError::shape(Self::KERNEL, "invocations", "a multiple of lanes · split", u64::from(self.wg_size)));
        }
        let quantised = matches!(self.format, WeightFormat::Q8 | WeightFormat::Q4);
        let values = self.slices() * self.steps * self.format.values_per_vector();
        if self.arithmetic == Arithmetic::Packed
            && (!quantised || self.form == Form::Direct || !values.is_multiple_of(WeightFormat::GROUP as u32))
        {
            let bits = u64::from(self.format.values_per_vector());
            return Err(KernelError::shape(
                Self::KERNEL,
                "values per vector",
                "q8 or q4 weights and whole groups for packed products",
                bits,
            ));
        }
        Ok(())
    }
}
