//! Text on its way into a model and out of it.
//!
//! In: a conversation ([`Message`]) becomes a prompt ([`PromptFormat`]: a checkpoint's Jinja template or DeepSeek-V3.2's
//! own format, [`dsv32`]), and the prompt becomes token ids ([`Tokenizer`]). Out: tokens become text piece by piece
//! ([`DetokenizeStream`]), stop strings end it ([`StopMatcher`]), and the whole answer is taken apart into reasoning, content and
//! tool calls ([`Completion`]).
//!
//! No GPU, no threads and, but for functions with `from_file` or `from_folder_files` in their name, no files:
//! everything runs in a browser.

#![deny(missing_docs)]

pub mod dsv32;

mod detokenize;
mod error;
mod format;
mod input;
mod message;
mod python_json;
mod stop;
mod template;
mod tokenizer;
mod tokenizer_config;

pub use detokenize::DetokenizeStream;
pub use error::{Result, TextError};
pub use format::{PromptFormat, RenderOptions};
pub use input::{optional_text_from_file, text_from_bytes, text_from_file};
pub use message::{Completion, Conversation, FunctionCall, Message, Role, ToolCall};
pub use stop::{StopMatcher, StopOutput};
pub use template::{ChatTemplate, TemplateInput};
pub use tokenizer::Tokenizer;
pub use tokenizer_config::TokenizerConfig;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
