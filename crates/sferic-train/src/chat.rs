//! Conversations to learn from, and how they become tokens: always in DeepSeek-V3.2's own prompt format.
//!
//! [`sferic_text::dsv32::render`] writes the whole conversation, and the text is cut at its control tokens, so that a model learns
//! the tokens that the engine will feed it. Text of a message that spells a control token stays text.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sferic_text::{Message, PromptFormat, Role, TextError};

use crate::corpus::Part;
use crate::tokenizer::Special;

/// The first of the characters that stand for control tokens while a conversation is rendered; from a plane for private use.
const STAND_IN: u32 = 0xf_0000;

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

    /// Returns the rendered conversation with a mark on what the model writes.
    ///
    /// # Errors
    /// Those of [`PromptFormat::render`], and [`TextError::InvalidMessage`] for a system message that is not the first.
    pub fn segments(&self) -> Result<Vec<Segment>, TextError> {
        if let Some(late) = self.messages.iter().skip(1).position(|message| message.role == Role::System) {
            let problem = "a system message must be the first to be learned from";
            return Err(TextError::InvalidMessage { message_idx: late + 1, problem });
        }
        let messages: Vec<Message> = self.messages.iter().map(without_control_tokens).collect();
        let text = PromptFormat::V32.render(&messages, &self.tools, self.thinking, false)?;
        Ok(marked(split_at_control_tokens(&text)))
    }

    /// Returns the rendered conversation.
    ///
    /// # Errors
    /// As [`segments`](Self::segments).
    pub fn parts(&self) -> Result<Vec<Part<'static>>, TextError> {
        Ok(self.segments()?.into_iter().map(|segment| segment.part).collect())
    }
}

/// Marks what the model writes: from the token that lets it speak, which is the prompt's, to the end of its turn.
///
/// It speaks after `<｜Assistant｜>` and after tool results, each followed by `<think>` or `</think>`. Before the first user turn
/// such a token belongs to the explanation of tools.
fn marked(parts: Vec<Part<'static>>) -> Vec<Segment> {
    let (mut has_user_spoken, mut is_models) = (false, false);
    let mark = |part| {
        if part == Part::Token(Special::User) {
            (has_user_spoken, is_models) = (true, false);
        }
        let segment = Segment { part, is_models };
        match segment.part {
            Part::Token(Special::Think | Special::EndThink) => is_models = has_user_spoken,
            Part::Token(Special::Eos) => is_models = false,
            _ => {}
        }
        segment
    };
    parts.into_iter().map(mark).collect()
}

/// Cuts a rendered text at the spellings of control tokens and puts back what [`without_control_tokens`] hid.
fn split_at_control_tokens(text: &str) -> Vec<Part<'static>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let found = Special::ALL.iter().filter_map(|special| rest.find(special.text()).map(|at| (at, *special)));
        let (before, special) = match found.min_by_key(|(at, _)| *at) {
            Some((at, special)) => (&rest[..at], Some(special)),
            None => (rest, None),
        };
        if !before.is_empty() {
            parts.push(Part::Text(Cow::Owned(with_spellings(before))));
        }
        let Some(special) = special else { return parts };
        parts.push(Part::Token(special));
        rest = &rest[before.len() + special.text().len()..];
    }
}

/// Replaces every spelling of a control token in a message by a character that stands for it.
fn without_control_tokens(message: &Message) -> Message {
    let mut message = message.clone();
    let texts = [message.content.as_mut(), message.reasoning_content.as_mut()];
    let arguments = message.tool_calls.iter_mut().map(|call| &mut call.function.arguments);
    for text in texts.into_iter().flatten().chain(arguments) {
        for special in Special::ALL {
            if text.contains(special.text()) {
                *text = text.replace(special.text(), &stand_in(special));
            }
        }
    }
    message
}

fn with_spellings(text: &str) -> String {
    let mut text = text.to_owned();
    if text.chars().any(|letter| u32::from(letter) >= STAND_IN) {
        for special in Special::ALL {
            text = text.replace(&stand_in(special), special.text());
        }
    }
    text
}

fn stand_in(special: Special) -> String {
    char::from_u32(STAND_IN + special as u32).into_iter().collect()
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
