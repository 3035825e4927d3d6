//! Kernels of training.
//!
//! Attention runs in the expanded form, where each of `H` heads has keys and values of its own. Letters beside the common ones: `QK` the width of
//! queries and keys, `V` that of values.

pub mod attention;
pub mod attention_grad;
pub mod indexer_kl;
mod inputs;
mod tiles;

pub use tiles::{Sizes, Tiles, Visible, Widths};
