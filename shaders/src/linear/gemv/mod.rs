//! `y[z, t, o] = Σ_i x[z, t, i] · W[z, o, i]` for one to eight rows `t`, with any weight format.
//!
//! With `norm`, x is normalised first: `x · gain / sqrt(mean(x²) + eps)` (spec §2.1); the factor of the row comes out of the sum, so that x needs
//! no pass of its own. With `accumulate` the product is added to y, which is a residual connection. `Z > 1` multiplies a matrix with the
//! rows of its own head each: the absorbed projections of MLA (spec §2).
//!
//! Memory bound: every weight is read once. What counts is that enough loads are on their way at a time, and that few instructions are
//! spent on a weight. [`Arithmetic::Packed`] takes one for eight products of q4 instead of three for one, with x rounded to 16 bits.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::gemv;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Limits, Prelude, Program, WeightFormat, grid, launch};
use crate::shared::Lanes;

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
    /// The most rows of x: 1, 2, 4 or 8.
    pub tokens: u32,
    /// Rows of W that an invocation multiplies at a time.
    pub rows: u32,
    /// Invocations that share those rows and add up through subgroup operations: a power of two, 1 without subgroups.
    pub lanes: u32,
    /// Sets of lanes that share those rows and add up through workgroup memory: a power of two.
    pub split: u32,
    /// Vectors of a row that one invocation takes before the next part of x is staged.
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
    const KERNEL: &'static str = "linear/gemv";

    /// The best permutation on `device` for these sizes, without `norm` and `accumulate`.
    pub fn best(format: WeightFormat, params: &Params, device: &Capabilities) -> Self {
        let quantised = matches!(format, WeightFormat::Q8 | WeightFormat::Q4);
        let arithmetic = if quantised && device.features.dp4a { Arithmetic::Packed } else { Arithmetic::Float };
        Self::fitted(format, arithmetic, params, device)
    }

    /// The permutation with `arithmetic` that suits these sizes.
    pub fn fitted(format: WeightFormat, arithmetic: Arithmetic, params: &Params, device: &Capabilities) -> Self {
        let tokens = params.t.next_power_of_two().min(MAX_TOKENS);
        let vectors = (params.i / format.values_per_vector()).max(1);
        let subgroups = device.features.subgroups && device.subgroup.min > 1;
        let mut spec = Self {
            format,
            norm: false,
            accumulate: false,
            arithmetic,
            tokens,
            rows: (8 / tokens).min(4),
            lanes: 1,
            split: 8,
            steps: 1,
            wg_size: 128,
        };
        if subgroups {
            spec.lanes = device.subgroup.min.min(32).min(vectors.next_power_of_two());
            spec.split = 1;
            spec.wg_size = 256;
            spec.rows = 4;
            // Few rows: fewer of them at a time, and then more invocations for each, until every multiprocessor has something to wait for.
            let invocations =
                |spec: &Self| u64::from(params.o) * u64::from(params.z.max(1)) * u64::from(spec.slices() / spec.rows);
            while spec.rows > 1 && invocations(&spec) < Self::BUSY {
                spec.rows /= 2;
            }
            let allowed = Self::allowed_bytes(&device.limits);
            while spec.workgroup_bytes() > allowed && spec.lanes > 1 {
                spec.lanes /= 2;
            }
            loop {
                let wider = Self { split: spec.split * 2, ..spec };
                if wider.split > 8
                    || wider.slices() > vectors
                    || invocations(&spec) >= Self::BUSY
                    || wider.workgroup_bytes() > allowed
                {
                    break;
                }
                spec = wider;
            }
        }
        spec.with_steps(vectors, &device.limits)
    }

    /// Invocations that keep a large adapter busy: 16 subgroups of 32 on each of 132 multiprocessors.
    const BUSY: u64 = 132 * 16 * 32;
    /// Workgroup memory that is not worth exceeding, because several workgroups are to share a multiprocessor.
    const WORKGROUP_BYTES: u32 = 36 << 10;

    /// The same with as many steps as workgroup memory allows and `vectors` need.
    #[must_use]
    pub fn with_steps(mut self, vectors: u32, limits: &Limits) -> Self {
        self.steps = vectors.div_ceil(self.slices()).max(1);
        while self.steps > 1 && self.workgroup_bytes() > Self::allowed_bytes(limits) {
            self.steps = self.steps.div_ceil(2);
        }
        self
    }

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

    fn allowed_bytes(limits: &Limits) -> u32 {
        limits.max_workgroup_bytes.min(Self::WORKGROUP_BYTES)
    }

    fn slices(self) -> u32 {
        self.lanes * self.split
    }

    fn reduce(self) -> Lanes {
        if self.lanes > 1 { Lanes::Subgroup } else { Lanes::Shared }
    }

    fn sums(self) -> u32 {
        if self.split > 1 { self.wg_size / self.lanes * self.rows * self.tokens } else { 1 }
    }

    fn workgroup_bytes(self) -> u32 {
        let values = self.format.values_per_vector();
        let vectors = self.steps * self.tokens;
        let x = match self.arithmetic {
            Arithmetic::Float => 16 * vectors * (values / 4) * (self.slices() + 1),
            Arithmetic::Packed => 16 * vectors * (values / 8) * (self.slices() + 1) + 8 * vectors * self.slices(),
        };
        x + 4 * self.wg_size + 4 * self.sums()
    }

    fn name(self) -> String {
        let Self { tokens, rows, lanes, split, steps, wg_size, .. } = self;
        let mut name = format!("{}[{}", Self::KERNEL, self.format.name());
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
            .constant("CHUNK", self.steps * self.slices())
            .constant("SUMS", self.sums())
            .flag("NORM", self.norm)
            .flag("ACCUMULATE", self.accumulate)
            .weights(self.format, scales)
            .reduce(reduce)
            .lanes_sum(reduce);
        prelude = match self.arithmetic {
            Arithmetic::Float => prelude.fragment(include_str!("x_float.wgsl")),
            Arithmetic::Packed => prelude.fragment(include_str!("x_packed.wgsl")),
        };
        prelude = if self.norm {
            prelude.constant("GAIN", gain).fragment(include_str!("gain.wgsl"))
        } else {
            prelude.fragment(include_str!("gain_none.wgsl"))
        };
        Program::new(self.name(), &prelude, include_str!("gemv.wgsl"), &bindings, [self.wg_size, 1, 1])
            .with_workgroup_bytes(self.workgroup_bytes())
            .with_features(reduce.features())
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
        let [x, y, _] = grid(o.div_ceil(self.wg_size / self.slices() * self.rows), &device.limits);
        launch(self.program(), &params, [x, y, z], device)
    }

    fn check(self, device: &Capabilities) -> Result<(), KernelError> {
        let powers =
            [("tokens", self.tokens, MAX_TOKENS), ("lanes", self.lanes, device.subgroup.min), ("split", self.split, 256)];
        for (what, n, most) in powers {
            if !n.is_power_of_two() || n > most {
                return Err(KernelError::shape(Self::KERNEL, what, format!("a power of two up to {most}"), u64::from(n)));
            }
        }
        if self.rows == 0 || self.steps == 0 {
            return Err(KernelError::shape(Self::KERNEL, "rows and steps", "at least 1", 0));
        }
        if self.wg_size == 0 || !self.wg_size.is_multiple_of(self.slices()) {
            return Err(KernelError::shape(Self::KERNEL, "invocations", "a multiple of lanes · split", u64::from(self.wg_size)));
        }
        let quantised = matches!(self.format, WeightFormat::Q8 | WeightFormat::Q4);
        let values = self.slices() * self.steps * self.format.values_per_vector();
        if self.arithmetic == Arithmetic::Packed && (!quantised || !values.is_multiple_of(WeightFormat::GROUP as u32)) {
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
