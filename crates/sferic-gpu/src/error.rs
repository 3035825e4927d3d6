//! What can go wrong between a launch and its result.

use sferic_shaders::kernel::KernelError;

/// A failure of the device, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// There is no adapter that suits.
    #[error("no GPU adapter suits `{wanted}`; found: {found}")]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// The adapters that exist.
        found: String,
    },
    /// The adapter refuses a device.
    #[error("{adapter} refuses a device: {reason}")]
    NoDevice {
        /// The adapter.
        adapter: String,
        /// What it says.
        reason: String,
    },
    /// The driver refuses a program.
    #[error("{program} does not compile: {reason}")]
    Compile {
        /// The program.
        program: String,
        /// What the compiler says.
        reason: String,
    },
    /// A launch is refused before it reaches the device.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The device failed under a launch, or was lost.
    #[error("the device failed: {0}")]
    Device(String),
}
