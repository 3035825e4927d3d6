//! Engine, sessions and sampling: the public API of Sferic.
//!
//! An [`Engine`] holds a model on a device, a [`Session`] one conversation, and a [`Generation`] reports a reply as a stream of
//! [`Event`]s. [`Chat`] keeps messages instead of tokens. [`Engine::trace`] and [`Engine::verify`] show and compare intermediate values.
//!
//! Everything that waits for a device is `async` and needs no runtime: any executor will do, a browser's event loop included.
//! Nothing here blocks on a device; errors are values, and a session that met one stays usable.
//!
//! ```no_run
//! use sferic_engine::{ChatOptions, Engine, EngineOptions, Event};
//!
//! # async fn example() -> Result<(), sferic_engine::EngineError> {
//! let engine = Engine::open("path/to/model", EngineOptions::default()).await?;
//! println!("{}", engine.device().reason);
//! let mut chat = engine.chat(ChatOptions::default())?;
//! let mut turn = chat.say("What is a sferic?", engine.default_sampling())?;
//! while let Some(event) = turn.next().await {
//!     if let Event::Text(text) = event? {
//!         print!("{text}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]

mod batch;
mod chat;
mod clock;
#[cfg(not(target_family = "wasm"))]
mod convert;
mod device;
mod engine;
mod error;
mod event;
mod generation_config;
mod loader;
mod plan;
mod read_back;
mod runtime;
mod sampler;
mod score;
mod session;
#[cfg(test)]
mod testing;
mod trace;
mod verify;

pub use batch::BatchReply;
pub use chat::{Chat, ChatOptions, ChatTurn};
#[cfg(not(target_family = "wasm"))]
pub use convert::{ConvertProgress, convert_folder, convert_parts};
#[cfg(not(target_family = "wasm"))]
pub use device::resolve_device;
pub use device::{DeviceChoice, DeviceClass, DeviceInfo, DeviceLimits, ResolvedDevice, devices, kernels_device};
pub use engine::{Engine, EngineOptions};
pub use error::EngineError;
pub use event::{CancelToken, Event, Stats, Stop, StopReason, TokenEvent};
#[cfg(not(target_family = "wasm"))]
pub use loader::inspect;
pub use loader::{Inspection, LoadProgress, ModelParts, WeightFiles, inspect_parts};
pub use plan::{LargestBinding, MAX_PREFILL_CHUNK, MemoryPlan, TILE_BYTES};
pub use runtime::{CachePrecision, Path as ComputePath, WeightPrecision};
pub use sampler::{DrawnFrom, Sampled, Sampler, SamplingParams, TokenLogprob, greedy, uniform};
pub use score::{Comparison, Prediction};
pub use session::{Generation, Selected, Session};
pub use sferic_lightning::Features;
pub use sferic_model::{AttentionForm, AttentionMode, CacheFormat, Config, IndexerType, ModelType, Options as ModelOptions};
pub use sferic_text::{Completion, Conversation, FunctionCall, Message, PromptFormat, Role, TextError, Tokenizer, ToolCall};
pub use sferic_weights::{ByteSource, Report, SafeFile, WeightFormat, WeightsError};
#[cfg(not(target_family = "wasm"))]
pub use sferic_weights::{Conversion, ConvertOptions};
pub use trace::{Matrix, Trace, TraceRequest};
pub use verify::{
    COSINE_BOUND, CPU_BOUND, CheckRow, EXPERTS_BOUND, GPU_BOUND, Golden, SELECTION_BOUND, Verification, VerifyOptions,
};
