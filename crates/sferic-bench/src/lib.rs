//! Benchmark suites, statistics and reports.
//!
//! Every figure carries its device, shape and share of a ceiling that was measured in the same run, and stands behind a correctness gate: a
//! row whose result differs from the oracle shows the difference instead of a time.
#![deny(missing_docs)]

mod kernels;
mod model;
mod xray;

pub use kernels::{Figures, KernelReport, KernelRow, kernels};
pub use model::{ModelBenchError, ModelPlan, ModelReport, ModelRow, measure, synthetic};
pub use sferic_gpu::Device;
pub use sferic_gpu::{GpuError, Selection};
pub use sferic_lightning::architecture::Architecture;
pub use sferic_lightning::{CacheFormats, Formats, Model, WeightFormat};
pub use xray::{Layer, Xray};
