//! Tensor operations of sparse-attention language models on Burn devices.
//!
//! Every operation is a plain function over Burn tensors: the *reference path*.
//! The same functions run on the CPU (`Device::flex`) and on any wgpu device, in f32 or in f64, with or without autodiff.
//! Kernels of `sferic-shaders` replace them one by one on GPUs, and two of them have a fused form on the CPU; these functions stay as their oracle.
//! In browsers they run on the CPU alone, and training is not there.
//!
//! Dimension letters used throughout:
//! `B` batch, `T` query tokens, `S` context tokens, `D` model width, `H` heads, `Dn` nope width, `Dr` rope width, `Dv` value width,
//! `C` latent rank, `Hi`/`Di` indexer heads and width, `K` selected tokens, `E` experts, `A` active experts.
#![deny(missing_docs)]

pub mod attention;
mod host;
pub mod indexer;
#[cfg(not(target_family = "wasm"))]
pub mod kernels;
pub mod linear;
pub mod moe;
pub mod norm;
pub mod quant;
pub mod rope;
pub mod select;
#[cfg(not(target_family = "wasm"))]
pub mod train;

/// The score of a masked position: far below any real score and finite, because WGSL does not promise infinities.
pub(crate) const MASKED: f32 = -1.0e30;
