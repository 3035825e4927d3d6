//! Every kernel with its suite, for runners.

use crate::kernel::{Capabilities, Case, KernelError};

/// Makes the cases of a kernel for an adapter.
pub type Cases = fn(&Capabilities) -> Result<Vec<Case>, KernelError>;

/// One kernel folder: its suite and its benchmarks.
pub struct Suite {
    /// Folder under `src`.
    pub kernel: &'static str,
    /// Correctness cases.
    pub cases: Cases,
    /// Benchmark cases, whose checks are the correctness gate of the figure.
    pub benches: Cases,
}

macro_rules! suites {
    ($($family:ident / $kernel:ident),* $(,)?) => {
        &[$(Suite {
            kernel: concat!(stringify!($family), "/", stringify!($kernel)),
            cases: crate::$family::$kernel::cases::cases,
            benches: crate::$family::$kernel::cases::benches,
        }),*]
    };
}

/// Every kernel, in the order of its first use in one decode step.
pub const SUITES: &[Suite] = suites![
    memory / copy,
    rope / step,
    linear / embed,
    norm / rms_norm,
    linear / gemv,
    linear / gemm,
    rope / append,
    indexer / index_scores,
    indexer / top_k,
    attention / mla_query,
    attention / mla_decode,
    attention / mla_prefill,
    attention / mla_value,
    moe / route,
    moe / gate_up,
    moe / down,
    moe / sort,
    moe / grouped,
    moe / combine,
    sample / next_token,
    train / silu_mul,
    train / heads,
    train / cross_entropy,
    train / embed_grad,
    train / rms_norm_grad,
    train / transpose,
    train / attention,
    train / attention_grad,
    train / indexer_kl,
    train / selection_bits,
    train / weight_grad,
    train / sum_parts,
];
