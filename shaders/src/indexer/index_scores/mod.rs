//! Scores of the lightning indexer: `I[t, s] = Σ_h w[t, h] · max(0, q[t, h] · k[s])` for `s ≤ positions[t]`.
//!
//! Source: DeepSeek-V3.2-Exp report, eq. 1; spec §3.1.
//!
//! Keys come from a paged cache: f32 (the exact tier), f16, or planar pages of e4m3 with one scale for each key. Queries and head weights are f32;
//! where the queries are to be e4m3 as well, they arrive rounded, with their scales in the weights. The permutations on cooperative matrices round
//! queries to f16, which keeps e4m3 values as they are; the others compute in f32.

pub mod cases;
mod oracle;
mod spec;
#[cfg(test)]
mod tests;

pub use oracle::{index_scores, weight_scale};
pub use spec::{IndexScores, KeyFormat, Params, Tiling, Unit};
