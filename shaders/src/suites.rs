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
    /// A few small ones of what a model would choose on the device, for a self-test; none for kernels of training.
    pub quick: Option<Cases>,
    /// Benchmark cases, whose checks are the correctness gate of the figure.
    pub benches: Cases,
}

macro_rules! suites {
    ([$($family:ident / $kernel:ident),* $(,)?], [$($train:ident / $other:ident),* $(,)?] $(,)?) => {
        &[
            $(suites!(@one $family / $kernel, Some(crate::$family::$kernel::cases::quick)),)*
            $(suites!(@one $train / $other, None),)*
        ]
    };
    (@one $family:ident / $kernel:ident, $quick:expr) => {
        Suite {
            kernel: concat!(stringify!($family), "/", stringify!($kernel)),
            cases: crate::$family::$kernel::cases::cases,
            quick: $quick,
            benches: crate::$family::$kernel::cases::benches,
        }
    };
}

/// Every kernel, in the order of its first use in one decode step; those of training after the others.
pub const SUITES: &[Suite] = suites![
    [
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
    ],
    [
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
    ],
];
