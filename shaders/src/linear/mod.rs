//! Products with weight matrices, and rows of them.

pub mod embed;
pub mod gemm;
pub mod gemv;
