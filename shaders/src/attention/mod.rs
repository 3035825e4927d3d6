//! Attention over latent rows.

mod inputs;
pub mod mla_decode;
pub mod mla_prefill;
pub mod mla_query;
pub mod mla_value;
pub mod sparse_mla;
