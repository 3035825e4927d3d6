//! Models as launches of our own kernels: paged caches, prefill, replayed decode.
//!
//! A [`Model`] has weights and caches on a device; a [`Sequence`] is one text that it computes, with its pages of the caches. A step is recorded
//! once for its number of tokens and the size of its context, and replayed from then on: tokens, positions and the block table are read from
//! buffers.
#![deny(missing_docs)]

pub mod architecture;
mod batch;
mod cache;
mod decode;
mod draws;
mod footprint;
mod formats;
mod model;
pub mod pages;
mod programs;
mod record;
mod sequence;
mod terms;
pub mod weights;
mod workspace;

pub use batch::{Batch, BatchDraw, BatchSettings, LogitsBatch, Order, StepLogits, Taken};
pub use cache::{CacheError, CacheFormats};
pub use decode::{Decoder, Drawn};
pub use draws::{Draw, Drawing, Draws};
pub use footprint::{Footprint, workspace_bytes};
pub use formats::Formats;
pub use model::{Experts, Logits, Model, ModelError, Output, Replay, Request, Settings};
pub use programs::{first_programs, programs};
pub use sequence::Sequence;
pub use sferic_gpu::{Device, wgpu};
pub use sferic_shaders::kernel::{Capabilities, Features, WeightFormat};
pub use sferic_shaders::sample::next_token::{IN_PROMPT, MAX_VOCABULARY, Settings as Sampling};
pub use weights::{LoadError, ModelWeights, Source};
