//! Attention over latent rows.

pub mod sparse_mla;
