//! Compiles, launches and times the kernels on a wgpu device, without Burn.
//!
//! Suites and benchmarks run here, natively and in browsers; models run the same launches through `sferic-lightning`. Staying free of Burn keeps the
//! build of the suites small, which is what lets them run in a browser on every change.
#![deny(missing_docs)]
// Lints run natively; this is what they would say of the browser's build.
#![cfg_attr(target_arch = "wasm32", deny(unused))]

mod bench;
mod clock;
mod device;
mod error;
mod graph;
mod runner;
mod self_test;
mod store;
mod suite;
#[cfg(not(target_arch = "wasm32"))]
mod together;

pub use bench::{Benches, CACHE_BYTES, Doing, Measured, Row, run_benches};
pub use clock::{Sampling, Timing};
pub use device::{Device, Selection, adapters};
pub use error::GpuError;
pub use graph::{Buffer, Graph, Task};
pub use runner::{Pipeline, Prepared, ReadBack};
pub use self_test::{Failure, SelfTest, self_test};
pub use store::PipelineStore;
pub use suite::{Outcome, Report, run_suites};
/// For those who open adapters themselves.
pub use wgpu;
