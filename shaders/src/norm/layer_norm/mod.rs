//! `y = g · (x − mean) / sqrt(var + eps) + b` for each row: the indexer's `k_norm`, and nothing else.
//!
//! Source: spec §2.1; Ba et al. 2016, <https://arxiv.org/abs/1607.06450>.

mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::layer_norm;

/// The epsilon of `k_norm`; no configuration carries it (spec §2.1).
pub const K_NORM_EPS: f64 = 1e-6;
