//! Conversations in the JSON shape that OpenAI's chat API made common.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::{Result, TextError};
use crate::python_json;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions before the conversation.
    System,
    /// Instructions with a task; DeepSeek uses it for search agents only.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The output of a tool that the model called.
    Tool,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text. Read from a string, null, or a list of `{"type": "text"}` parts, which are joined.
    #[serde(default, deserialize_with = "content_from_json")]
    pub content: Option<String>,
    /// What an assistant thought before its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Tools that an assistant calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The name of the speaker or of the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tools on offer, `{"type": "function", "function": {…}}`; on a system or developer message.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub tools: Vec<Value>,
    /// The JSON schema that the answer must follow; on a system or developer message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its id, which the tool's answer repeats. A parsed completion has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Always `function` so far.
    #[serde(rename = "type", default = "function_kind")]
    pub kind: String,
    /// What is called.
    pub function: FunctionCall,
}

/// The function of a [`ToolCall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// Its arguments as JSON text. An object is read as well and written as text.
    #[serde(default = "no_arguments", deserialize_with = "arguments_from_json")]
    pub arguments: String,
}

/// What a model's text says once it is taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// Its thoughts; `None` if it did not think.
    pub reasoning: Option<String>,
    /// The answer.
    pub content: String,
    /// The tools it wants to call.
    pub tool_calls: Vec<ToolCall>,
}

/// A conversation with the tools on offer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Tools on offer in the whole conversation.
    #[serde(default, deserialize_with = "null_as_default")]
    pub tools: Vec<Value>,
}

impl Message {
    /// Makes a message that has nothing but text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: Some(content.into()),
            reasoning_content: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
            tools: Vec::new(),
            response_format: None,
        }
    }

    /// Makes a system message.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }

    /// Makes a user message.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// Makes an assistant message.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }

    /// Makes the answer of a tool.
    pub fn tool(content: impl Into<String>) -> Self {
        Self::new(Role::Tool, content)
    }

    /// The text, empty if there is none.
    pub fn text(&self) -> &str {
        self.content.as_deref().unwrap_or_default()
    }
}

impl ToolCall {
    /// Makes a call of a function, `arguments` being JSON text.
    pub fn new(name: impl Into<String>, arguments: impl Into<String>) -> Self {
        let function = FunctionCall { name: name.into(), arguments: arguments.into() };
        Self { id: None, kind: function_kind(), function }
    }
}

impl Completion {
    /// Makes the assistant message that continues the conversation.
    pub fn into_message(self) -> Message {
        Message { reasoning_content: self.reasoning, tool_calls: self.tool_calls, ..Message::assistant(self.content) }
    }
}

impl Conversation {
    /// Reads a conversation: a list of messages, or an object with `messages` and perhaps `tools`.
    ///
    /// # Errors
    /// [`TextError::Messages`] with line and column, if the text is neither.
    pub fn from_json(text: &str) -> Result<Self> {
        let read = || {
            if text.trim_start().starts_with('[') {
                let messages = serde_json::from_str(text)?;
                return Ok(Self { messages, tools: Vec::new() });
            }
            serde_json::from_str(text)
        };
        read().map_err(|source| TextError::Messages { source })
    }
}

fn function_kind() -> String {
    "function".into()
}

fn no_arguments() -> String {
    "{}".into()
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn content_from_json<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Content {
        Text(String),
        Parts(Vec<Part>),
    }
    #[derive(Deserialize)]
    struct Part {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        text: String,
    }
    match Option::<Content>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Content::Text(text)) => Ok(Some(text)),
        Some(Content::Parts(parts)) => match parts.iter().find(|part| part.kind != "text") {
            Some(part) => Err(serde::de::Error::custom(format!("content part of type `{}`: only text is supported", part.kind))),
            None => Ok(Some(parts.into_iter().map(|part| part.text).collect())),
        },
    }
}

fn arguments_from_json<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Null => no_arguments(),
        value => python_json::dumps(&value),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_other_clients_are_read() {
        let text = r#"{"model": "x", "tools": null, "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1.0, "y": [1, 2]}}}]},
            {"role": "tool", "content": "ok", "tool_call_id": "c"}]}"#;
        let conversation = Conversation::from_json(text).unwrap();
        assert_eq!(conversation.messages[0].text(), "ab");
        assert_eq!(conversation.messages[1].content, None);
        assert_eq!(conversation.messages[1].tool_calls, [ToolCall::new("f", r#"{"x": 1.0, "y": [1, 2]}"#)]);
        assert_eq!(conversation.messages[2].tool_call_id.as_deref(), Some("c"));
    }

    #[test]
    fn bad_conversations_are_refused_with_a_place() {
        for (text, expected) in [
            (r#"[{"role": "robot", "content": "x"}]"#, "unknown variant `robot`"),
            (r#"[{"content": "x"}]"#, "missing field `role`"),
            (r#"[{"role": "user", "content": [{"type": "image_url"}]}]"#, "image_url"),
            ("", "EOF"),
            ("{}", "missing field `messages`"),
        ] {
            let message = Conversation::from_json(text).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("line"), "{message}");
        }
    }
}
