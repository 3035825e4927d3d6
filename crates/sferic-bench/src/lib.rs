//! Benchmark suites, statistics and reports.
//!
//! Every figure carries its device, shape and share of a ceiling that was measured in the same run, and stands behind a correctness gate: a
//! row whose result differs from the oracle shows the difference instead of a time.
#![deny(missing_docs)]

mod attention;
mod kernels;
mod model;
#[cfg(not(target_arch = "wasm32"))]
mod xray;

pub use attention::{
    AttentionFigures, AttentionOptions, AttentionReport, AttentionRow, CacheDtype, Crossover, PartFigures, Shape, attention,
};
pub use kernels::{Figures, KernelOptions, KernelReport, KernelRow, kernels};
pub use model::{ModelBenchError, ModelPlan, ModelReport, ModelRow, measure, synthetic};
pub use sferic_gpu::{Device, Doing, GpuError, Selection};
pub use sferic_lightning::architecture::Architecture;
pub use sferic_lightning::{CacheFormats, Formats, Model, WeightFormat};
#[cfg(not(target_arch = "wasm32"))]
pub use xray::{Layer, Xray};
