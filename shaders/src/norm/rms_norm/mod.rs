//! `y = g · x / sqrt(mean(x²) + eps)` for each row.
//!
//! Source: spec §2.1; Zhang and Sennrich 2019, <https://arxiv.org/abs/1910.07467>.

mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::rms_norm;
