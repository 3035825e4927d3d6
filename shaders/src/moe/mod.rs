//! Mixture of experts.

pub mod experts;
pub mod route;
