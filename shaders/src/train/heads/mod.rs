//! `q_h = [q^C_h | R q^R_h]`, `k_h = [k^C_h | R k^R]`, `v_h` of each head from the products that hold them side by side, and the gradients back.
//!
//! `R` rotates pairs by the angle of the token's position; all heads share `k^R`. Rows are padded with zeros to the widths of `train/attention`.
//!
//! Source: spec §2.2 and §2.3.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::{heads, heads_grad};

use super::Widths;
use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, grid, launch};
use crate::rope::rotate::Layout;

/// Which way a launch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Buffers: rows of q, rows of k and v, rows of the shared key, turns, q, k, v.
    Forward,
    /// Buffers: dq, dk followed by dv, turns, and the gradients of the three kinds of rows.
    Backward,
}

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Heads {
    /// Heads `H`.
    pub n_heads: u32,
    /// Width `Dn` of a query or key that is not rotated.
    pub d_nope: u32,
    /// Rotated width `Dr`.
    pub d_rope: u32,
    /// Width `Dv` of a value.
    pub d_value: u32,
    /// Widths of the padded rows.
    pub widths: Widths,
    /// Which components are a pair.
    pub layout: Layout,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    n: u32,
    t: u32,
}

const NAME: &str = "train/heads";

impl Heads {
    const WG_SIZE: u32 = 128;
    const FORWARD: [Binding; 7] = [
        Binding::read("q_rows"),
        Binding::read("kv_rows"),
        Binding::read("key_rows"),
        Binding::read("turns"),
        Binding::write("q"),
        Binding::write("k"),
        Binding::write("v"),
    ];
    const BACKWARD: [Binding; 6] = [
        Binding::read("dq"),
        Binding::read("dkv"),
        Binding::read("turns"),
        Binding::write("dq_rows"),
        Binding::write("dkv_rows"),
        Binding::write("dkey_rows"),
    ];

    /// The composed program.
    pub fn program(self, pass: Pass) -> Program {
        let Self { n_heads, d_nope, d_rope, d_value, widths, layout } = self;
        let (pass, bindings, source) = match pass {
            Pass::Forward => ("forward", &Self::FORWARD[..], include_str!("heads.wgsl")),
            Pass::Backward => ("backward", &Self::BACKWARD[..], include_str!("heads_grad.wgsl")),
        };
        let prelude = Prelude::new()
            .constant("WG_SIZE", Self::WG_SIZE)
            .constant("H", n_heads)
            .constant("DN", d_nope)
            .constant("DR", d_rope)
            .constant("DV", d_value)
            .constant("QK", widths.qk)
            .constant("V", widths.v)
            .flag("INTERLEAVED", layout == Layout::Interleaved)
            .fragment(include_str!("turn.wgsl"));
        let name = format!("{NAME}[{pass},{n_heads}x{d_nope}+{d_rope}/{d_value},{layout:?}]");
        Program::new(name, &prelude, source, bindings, [Self::WG_SIZE, 1, 1])
    }

    /// Checks the sizes and returns the launch for `n` tokens in sequences of `t`.
    ///
    /// # Errors
    /// [`KernelError`] for sizes of zero, an odd rotated width, rows narrower than what they hold, sequences that are not whole, or more values
    /// than a binding holds.
    pub fn launch(self, pass: Pass, n: u32, t: u32, device: &Capabilities) -> Result<Launch, KernelError> {
        let Self { n_heads, d_nope, d_rope, d_value, widths, .. } = self;
        for (what, n) in [("tokens", n), ("tokens of a sequence", t), ("heads", n_heads), ("width of values", d_value)] {
            if n == 0 {
                return Err(KernelError::shape(NAME, what, "at least 1", 0));
            }
        }
        if !n.is_multiple_of(t) {
            return Err(KernelError::shape(NAME, "tokens", format!("a multiple of {t}"), n.into()));
        }
        if d_rope == 0 || !d_rope.is_multiple_of(2) {
            return Err(KernelError::shape(NAME, "rotated width", "a multiple of 2", d_rope.into()));
        }
        for (what, width, least) in [("width QK", widths.qk, d_nope + d_rope), ("width V", widths.v, d_value)] {
            if width < least {
                return Err(KernelError::shape(NAME, what, format!("at least {least}"), width.into()));
            }
        }
        let widest = u64::from(widths.qk + widths.v).max(u64::from(d_nope + d_value));
        let (values, most) = (u64::from(n) * u64::from(n_heads) * widest, (device.limits.max_binding_bytes / 4).min(1 << 32));
        if values > most {
            return Err(KernelError::limit(NAME, "values", values, most));
        }
        launch(self.program(pass), &Params { n, t }, grid(n, &device.limits), device)
    }
}
