//! `dE[v] = Σ_t [ids[t] = v] · dh[t]`: the gradient of the embedding table, in parts that `sum_parts` adds.
//!
//! A workgroup has some rows of the table and looks for their tokens, so that nothing is sorted and sums keep the order of the tokens.
//!
//! Source: ours.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::embed_grad;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, launch, unrolled};

/// The kernel; it has one permutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EmbedGrad;

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Tokens `T`.
    pub t: u32,
    /// Rows `V` of the table.
    pub vocab: u32,
    /// Width `D`.
    pub d: u32,
    /// Tokens of a part.
    pub rows: u32,
}

impl Params {
    /// Tokens of a part: a frequent token's sum must not last longer than all others.
    const ROWS: u32 = 8192;

    /// Parts for `t` tokens.
    pub fn new(t: u32, vocab: u32, d: u32) -> Self {
        Self { t, vocab, d, rows: Self::ROWS }
    }

    /// The parts that the tokens make.
    pub fn parts(&self) -> u32 {
        self.t.div_ceil(self.rows.max(1))
    }
}

impl EmbedGrad {
    const WG_SIZE: u32 = 256;
    /// Rows of the table for each workgroup.
    const IDS: u32 = 8;
    const BINDINGS: [Binding; 3] = [Binding::read("ids"), Binding::read("dh"), Binding::write("parts")];

    /// The composed program.
    pub fn program(self) -> Program {
        let counts = [("WG_SIZE", Self::WG_SIZE), ("IDS", Self::IDS)];
        let prelude = counts.iter().fold(Prelude::new(), |prelude, &(name, value)| prelude.constant(name, value));
        let source = unrolled(include_str!("embed_grad.wgsl"), &counts[1..]);
        Program::new("train/embed_grad".into(), &prelude, &source, &Self::BINDINGS, [Self::WG_SIZE, 1, 1])
            .with_workgroup_bytes(4 * Self::WG_SIZE + 4)
    }

    /// Checks the sizes and returns the launch. Buffers: ids (below `V`), dh, parts `[Z, V, D]` with `Z` of [`Params::parts`].
    ///
    /// # Errors
    /// [`KernelError`] for sizes of zero, or more values than a binding holds.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        const NAME: &str = "train/embed_grad";
        let Params { t, vocab, d, rows } = params;
        for (what, n) in [("tokens", t), ("rows of the table", vocab), ("width D", d), ("tokens of a part", rows)] {
            if n == 0 {
                return Err(KernelError::shape(NAME, what, "at least 1", 0));
            }
        }
        let most = (device.limits.max_binding_bytes / 4).min(1 << 32);
        let parts = u64::from(params.parts()) * u64::from(vocab) * u64::from(d);
        for (what, n) in [("values of dh", u64::from(t) * u64::from(d)), ("values of the parts", parts)] {
            if n > most {
                return Err(KernelError::limit(NAME, what, n, most));
            }
        }
        let workgroups = [vocab.div_ceil(Self::IDS), d.div_ceil(Self::WG_SIZE), params.parts()];
        launch(self.program(), &params, workgroups, device)
    }
}
