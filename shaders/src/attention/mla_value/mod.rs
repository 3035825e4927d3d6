//! The values of a head from the splits of [`mla_decode`](super::mla_decode): `o[t, h, v] = Σ_c W[h, v, c] · u[t, h, c]`.
//!
//! It takes the place of the second dispatch of that kernel and of the product that follows it, so that the sum of latents `u` is never
//! written. Workgroups that share a head combine it each for themselves, from the cache of the device.
//!
//! Source: spec §2.4 (form b); the fusion is ours.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::mla_value;

use super::mla_decode::{self, MlaDecode};
use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, WeightFormat, composed, launch};

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MlaValue {
    /// Latent rank `C`.
    pub c: u32,
    /// Format of the weights.
    pub format: WeightFormat,
    /// Rows of a workgroup: a power of two up to 256.
    pub rows: u32,
}

/// Where the values go, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Rows `V` of a head.
    pub v: u32,
    /// From the values of one query to those of the next.
    pub stride: u32,
    /// Where the first values start.
    pub offset: u32,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    n_splits: u32,
    padded_heads: u32,
    v: u32,
    o_stride: u32,
    o_offset: u32,
}

impl MlaValue {
    const NAME: &str = "attention/mla_value";
    const WG_SIZE: u32 = 256;
    /// Splits that an invocation has on their way at a time: two invocations share 64 of them.
    const BATCH: u32 = 16;

    /// The best permutation for `t` queries of `h` heads: few workgroups combine a head where the heads alone fill a large GPU.
    pub fn best(c: u32, format: WeightFormat, t: u32, h: u32) -> Self {
        Self { c, format, rows: if t * h >= 128 { 128 } else { 32 } }
    }

    /// The composed program. Buffers: partials, stats, weight, scales where the format has them, o.
    pub fn program(self) -> Program {
        let mut bindings = vec![Binding::read("partials"), Binding::read("stats"), Binding::read("weight")];
        if self.format.has_scales() {
            bindings.push(Binding::read("scales"));
        }
        bindings.push(Binding::write("o"));
        let constants = [
            ("LATENT", self.c),
            ("WG_SIZE", Self::WG_SIZE),
            ("MAX_SPLITS", MlaDecode::MAX_SPLITS),
            ("PARTS", 1),
            ("ROWS", self.rows),
            ("PADDED", self.padded()),
            ("O", bindings.len() as u32 - 1),
            ("PARAMS", bindings.len() as u32),
        ];
        let prelude = constants.into_iter().fold(Prelude::new(), |prelude, (name, value)| prelude.constant(name, value));
        let prelude = prelude.weights(self.format, 3).splits(Self::BATCH);
        let name = format!("{}[{},c{},r{}]", Self::NAME, self.format.name(), self.c, self.rows);
        Program::new(name, &prelude, include_str!("mla_value.wgsl"), &bindings, [Self::WG_SIZE, 1, 1])
            .with_workgroup_bytes(12 * MlaDecode::MAX_SPLITS + 20 * Self::WG_SIZE + 16 * self.padded())
    }

    /// Vectors of a combined head with their padding.
    fn padded(self) -> u32 {
        self.c / 4 + self.c / 32 + 1
    }

    /// Checks the sizes and returns the launch that follows the first one of `decode` for the same `sizes`; the outputs in `sizes` do not count.
    /// Buffers: partials, stats, weight `[H, V, C]`, scales where the format has them, o.
    ///
    /// # Errors
    /// [`KernelError`] for a latent rank that is not that of `decode`, is above 512 or does not suit the format, for rows that are no power
    /// of two, empty sizes, or values of queries that overlap.
    pub fn launch(
        self,
        decode: MlaDecode,
        sizes: &mla_decode::Sizes,
        output: Output,
        device: &Capabilities,
    ) -> Result<Launch, KernelError> {
        let refuse =
            |what: &str, expected: String, found: u32| Err(KernelError::shape(Self::NAME, what, expected, u64::from(found)));
        let mla_decode::Sizes { t, h, n_splits, .. } = *sizes;
        let Output { v, stride, offset } = output;
        if self.c != decode.c || self.c > 512 || !self.c.is_multiple_of(4) {
            return refuse("latent rank C", format!("{}, up to 512", decode.c), self.c);
        }
        if !self.rows.is_power_of_two() || self.rows > Self::WG_SIZE {
            return refuse("rows of a workgroup", "a power of two up to 256".into(), self.rows);
        }
        for (what, n) in [("queries T", t), ("heads H", h), ("splits", n_splits)] {
            if n == 0 {
                return refuse(what, "at least 1".into(), 0);
            }
        }
        if n_splits > MlaDecode::MAX_SPLITS {
            return Err(KernelError::limit(Self::NAME, "splits", u64::from(n_splits), u64::from(MlaDecode::MAX_SPLITS)));
        }
        self.format.check(Self::NAME, h, v, self.c, &device.limits)?;
        if t > 1 && stride < h * v {
            return refuse("output stride", format!("at least {}", h * v), stride);
        }
        let params = Params { n_splits, padded_heads: decode.padded_heads(h), v, o_stride: stride, o_offset: offset };
        launch(composed(&self, "", || self.program()), &params, [v.div_ceil(self.rows), h, t], device)
    }
}
