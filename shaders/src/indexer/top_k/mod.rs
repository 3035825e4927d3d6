//! Exact deterministic selection: score descending, then index ascending.
//!
//! Source: spec §§3.6, 3.7. The tie rule is ours; the references leave it open.

mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::top_k;
