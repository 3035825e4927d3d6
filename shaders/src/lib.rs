//! Kernels of Sferic: WGSL, host specs and f64 oracles, free of any GPU crate.
//!
//! An operation is a folder `src/<family>/<op>`. Where it has a kernel, the folder holds the WGSL, a spec that composes it and checks its
//! launches, and `cases.rs`, the suite as data ([`suites`]). Its oracle is the formula of the doc comment in plain loops over f64 slices: no tiling, no
//! reuse, nothing shared with the code that it judges. Its tests hold the numbers that the specification prints.
//!
//! Dimension letters are those of `sferic-ops`: `N` rows, `T` query tokens, `S` context tokens, `D` model width, `H` heads, `C` latent rank,
//! `R` rotated width, `Hi`/`Di` indexer heads and width, `K` selected tokens, `E` experts, `I` expert width.
#![deny(missing_docs)]

pub mod attention;
pub mod indexer;
pub mod kernel;
pub mod linear;
pub mod memory;
pub mod moe;
pub mod norm;
pub mod quant;
pub mod rope;
pub mod sample;
pub mod shared;
pub mod suites;
pub mod train;

/// Every operation, in the order of its first use in one decode step.
pub const OPERATIONS: &[&str] = &[
    "memory/copy",
    "rope/step",
    "linear/embed",
    "norm/rms_norm",
    "linear/gemv",
    "linear/gemm",
    "rope/rotate",
    "rope/append",
    "norm/layer_norm",
    "quant/hadamard",
    "quant/e4m3",
    "quant/act_quant",
    "indexer/index_scores",
    "indexer/top_k",
    "attention/sparse_mla",
    "attention/mla_query",
    "attention/mla_decode",
    "attention/mla_prefill",
    "attention/mla_value",
    "moe/route",
    "moe/gate_up",
    "moe/down",
    "moe/sort",
    "moe/grouped",
    "moe/combine",
    "moe/experts",
    "sample/next_token",
    "train/silu_mul",
    "train/heads",
    "train/cross_entropy",
    "train/embed_grad",
    "train/rms_norm_grad",
    "train/transpose",
    "train/attention",
    "train/attention_grad",
    "train/indexer_kl",
    "train/selection_bits",
    "train/weight_grad",
    "train/sum_parts",
];

/// Returns `Σ_i a_i · b_i`.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "vectors of a dot product have one length");
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests;
