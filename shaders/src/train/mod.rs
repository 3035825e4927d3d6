//! Operations of training: attention, gradients of products, norms and losses, and the optimiser.
//!
//! Attention runs in the expanded form, where each of `H` heads has keys and values of its own. Letters beside the common ones: `QK` the width of
//! queries and keys, `V` that of values.

pub mod attention;
pub mod attention_grad;
pub mod cross_entropy;
pub mod embed_grad;
pub mod heads;
pub mod indexer_kl;
mod inputs;
pub mod rms_norm_grad;
pub mod selection_bits;
pub mod silu_mul;
pub mod sum_parts;
mod tiles;
pub mod transpose;
pub mod weight_grad;

pub use tiles::{Sizes, Tiles, Visible, Widths};
