//! Attention of all heads over the same selected latent rows: `u_h = Σ_s softmax_s(σ · q_h · row_s) · row_s[0..C]`.
//!
//! A row is `[c | kr]`: its first `C` values are key and value at once.
//!
//! Source: spec §§2.4 (form b), 5.1, 5.6.

mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::{Attended, sparse_mla};
