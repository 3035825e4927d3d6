//! The number format e4m3fn: 1 sign, 4 exponent and 3 mantissa bits, bias 7, largest value 448, no infinity.
//!
//! Source: spec §3.5; Micikevicius et al. 2022, <https://arxiv.org/abs/2209.05433>.

mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::{decode, round};
