//! The chosen experts of one token: `y = Σ_a weight_a · down_a(silu(gate_a x) · up_a x)`.
//!
//! Source: spec §4.3.

mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::experts;
