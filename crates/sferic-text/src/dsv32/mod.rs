//! The prompt format of DeepSeek-V3.2, which ships no Jinja template.
//!
//! [`render`] writes the prompt that the checkpoint's own Python encoder writes, byte for byte; [`parse`] takes the
//! model's answer apart. Text of users is not escaped: a message that spells out a special token becomes that token, as in
//! the original.

mod parse;
mod render;

pub use parse::{parse, parse_lenient};
pub use render::render;

/// Begins every prompt: the tokenizer must not add another one.
pub const BOS: &str = "<｜begin▁of▁sentence｜>";
/// Ends every answer.
pub const EOS: &str = "<｜end▁of▁sentence｜>";
/// Begins a user's turn.
pub const USER: &str = "<｜User｜>";
/// Begins the assistant's turn.
pub const ASSISTANT: &str = "<｜Assistant｜>";
/// Begins reasoning.
pub const THINK_START: &str = "<think>";
/// Ends reasoning; alone it says that there is none.
pub const THINK_END: &str = "</think>";
/// Begins a block of tool calls.
pub const TOOL_CALLS_START: &str = "<｜DSML｜function_calls>";
/// Ends a block of tool calls.
pub const TOOL_CALLS_END: &str = "</｜DSML｜function_calls>";

const INVOKE_START: &str = "<｜DSML｜invoke name=\"";
const INVOKE_END: &str = "</｜DSML｜invoke>";
const PARAMETER_START: &str = "<｜DSML｜parameter name=\"";
const PARAMETER_END: &str = "</｜DSML｜parameter>";
