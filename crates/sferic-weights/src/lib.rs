//! Reads and writes Hugging Face model folders: `config.json` beside one or more safetensors files.
//!
//! [`Checkpoint`] opens a folder (memory-mapped) or an embedded model, compares its tensors with what a model wants, and hands
//! them out as `f32`, whatever they are stored as. [`SafeFile`] reads any single safetensors file. [`write_safetensors`],
//! [`save_weights`] and [`write_atomic`] write, and [`convert_model`] makes a smaller model of another. [`fp8`] holds DeepSeek's FP8 number
//! formats; q8 and q4 are those of the kernels, [`WeightFormat`].
//!
//! This crate knows names, shapes and bytes. What a configuration means is the business of `sferic-model`; nothing here touches
//! a GPU. On wasm, where there are no files, models come through [`Checkpoint::from_files`] from any [`ByteSource`].
//!
//! The header of a safetensors file is parsed here and not by the `safetensors` crate: its errors name neither the tensor nor the
//! file, it keeps the last of two tensors of one name, and it brings a temporary-file library into wasm builds. The tests compare
//! both implementations on the same files.
#![deny(missing_docs)]

mod checkpoint;
#[cfg(not(target_family = "wasm"))]
mod conversion;
mod convert;
mod dtype;
mod encoding;
mod error;
mod fit;
#[cfg(not(target_family = "wasm"))]
mod folder;
pub mod fp8;
mod header;
mod safe_file;
mod sanitize;
mod storage;
mod write;

pub use checkpoint::{Checkpoint, Progress, Warning};
#[cfg(not(target_family = "wasm"))]
pub use conversion::{Companion, Conversion, ConvertOptions, convert_model};
pub use convert::{bytes_from_f32, bytes_from_i32, bytes_from_i64};
pub use dtype::Dtype;
pub use error::{Problem, WeightsError};
pub use fit::Report;
pub use safe_file::SafeFile;
pub use sferic_shaders::kernel::{WeightFormat, Weights};
pub use storage::ByteSource;
pub use write::{TensorMeta, serialize};
#[cfg(not(target_family = "wasm"))]
pub use write::{
    atomic::write_atomic,
    files::{save_weights, write_safetensors, write_safetensors_with},
};

/// The result of everything in this crate that can fail.
pub type Result<T, E = WeightsError> = std::result::Result<T, E>;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
