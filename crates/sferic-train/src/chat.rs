//! Conversations to learn from. [`ChatFormat`](crate::chat_format::ChatFormat) writes them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sferic_text::Message;

use crate::corpus::Part;

/// One conversation: a line of a JSONL file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Tools on offer in the whole conversation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
    /// Whether the model is asked to reason: the turns after the last user message then show their reasoning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub thinking: bool,
}

/// A part of a rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Text or a control token.
    pub part: Part<'static>,
    /// Whether the model writes it: thoughts, reply, tool calls and the end of the turn.
    pub is_models: bool,
}

impl Chat {
    /// Makes a conversation without tools and without reasoning.
    pub fn direct(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// Makes a conversation of one question and its answer.
    pub fn exchange(question: impl Into<String>, answer: impl Into<String>) -> Self {
        Self::direct(vec![Message::user(question), Message::assistant(answer)])
    }
}
