//! Quantisation to e4m3 with one power-of-two scale per block: index queries and keys, and the latent cache.
//!
//! Source: spec §3.5 (`ue8m0`).

mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::{act_quant, ue8m0_scale};
