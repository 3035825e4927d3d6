//! Attention over latent rows.

mod inputs;
pub mod mla_decode;
pub mod mla_prefill;
pub mod sparse_mla;
