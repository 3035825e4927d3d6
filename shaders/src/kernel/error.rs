//! Refusals of a kernel, before anything is launched.

/// Why a kernel cannot be launched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// A size does not suit the kernel: zero, not divisible, or two sizes that contradict each other.
    #[error("{kernel}: {what} is {found}, expected {expected}")]
    Shape {
        /// The kernel.
        kernel: String,
        /// The size.
        what: String,
        /// What is allowed.
        expected: String,
        /// What was given.
        found: u64,
    },
    /// The adapter allows less than the launch needs.
    #[error("{kernel}: needs {needed} {what}, the adapter allows {allowed}")]
    Limit {
        /// The kernel.
        kernel: String,
        /// The limit.
        what: String,
        /// What the launch needs.
        needed: u64,
        /// What the adapter allows.
        allowed: u64,
    },
    /// The adapter lacks a feature that the permutation is written for.
    #[error("{kernel}: needs {feature}, which the adapter does not offer")]
    Unsupported {
        /// The kernel.
        kernel: String,
        /// The feature.
        feature: &'static str,
    },
}

impl KernelError {
    /// Returns the error for a size that does not suit.
    pub fn shape(kernel: &str, what: &str, expected: impl Into<String>, found: u64) -> Self {
        Self::Shape { kernel: kernel.into(), what: what.into(), expected: expected.into(), found }
    }

    /// Returns the error for an adapter's limit.
    pub fn limit(kernel: &str, what: &str, needed: u64, allowed: u64) -> Self {
        Self::Limit { kernel: kernel.into(), what: what.into(), needed, allowed }
    }
}
