//! Scores of the lightning indexer: `I[t, s] = Σ_h w[t, h] · max(0, q[t, h] · k[s])`.
//!
//! Source: DeepSeek-V3.2-Exp report, eq. 1; spec §3.1.

mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::{index_scores, weight_scale};
