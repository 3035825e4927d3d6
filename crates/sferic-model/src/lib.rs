//! DeepSeek Sparse Attention models, and the dense MLA family they come from, as Burn modules.
//!
//! Field names are the checkpoint's tensor names and configuration fields are the keys of `config.json`, so the code, the file and the paper share one vocabulary.
//! Reading order: [`config`], [`indexer`], [`attention`], [`feed_forward`], [`layer`], [`model`]; [`cache`] and [`load`] stand beside them.
//!
//! Sections of "the spec" are those of the project's DSA specification; the paper is the DeepSeek-V3.2-Exp report.
//!
//! Deviations from the references, each with its guard in `tests/`:
//! - the indexer of `deepseek_v32` rotates half-split pairs of the *first* components, unlike the first public demo (`mutations`, `float64_layer`);
//! - selection breaks ties by the lower index, where the references leave the order open (`selection`);
//! - YaRN and its softmax correction are on at every length (`parity`).
#![deny(missing_docs)]

pub mod attention;
pub mod cache;
pub mod config;
pub mod feed_forward;
pub mod indexer;
pub mod layer;
pub mod load;
pub mod model;
pub mod modules;

pub use attention::Observation;
pub use cache::Cache;
pub use config::{Config, ConfigError, IndexerType, ModelType, TensorSpec};
pub use load::TensorSource;
pub use model::{AttentionForm, AttentionMode, CacheFormat, Model, NoProbe, Options, Probe};
#[cfg(not(target_family = "wasm"))]
pub use model::{IndexerTraining, TrainForward, TrainInput};
#[cfg(not(target_family = "wasm"))]
pub use sferic_ops::{kernels, train::HeadGradients, train::products};
pub use sferic_ops::{moe, rope, select};
