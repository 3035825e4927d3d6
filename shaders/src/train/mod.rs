//! Operations of training: gradients of products, norms and losses, and the optimiser.

pub mod sum_parts;
pub mod transpose;
pub mod weight_grad;
