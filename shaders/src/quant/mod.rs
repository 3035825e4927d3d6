//! The 8-bit number format, its scales, and the transform that goes before it.

pub mod act_quant;
pub mod e4m3;
pub mod hadamard;
