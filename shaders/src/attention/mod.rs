//! Attention over latent rows.

pub mod mla_decode;
pub mod sparse_mla;
