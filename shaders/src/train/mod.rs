//! Operations of training: gradients of products, norms and losses, and the optimiser.

pub mod cross_entropy;
pub mod embed_grad;
pub mod rms_norm_grad;
pub mod silu_mul;
pub mod sum_parts;
pub mod transpose;
pub mod weight_grad;
