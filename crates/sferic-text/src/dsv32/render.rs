//! Messages to prompt.

use serde_json::Value;

use super::{
    ASSISTANT, BOS, EOS, INVOKE_END, INVOKE_START, PARAMETER_END, PARAMETER_START, THINK_END, THINK_START, TOOL_CALLS_END,
    TOOL_CALLS_START, USER,
};
use crate::error::{Result, TextError};
use crate::message::{Message, Role, ToolCall};
use crate::python_json::{dumps, object_entries, reformat};

/// What the model is told before the list of its tools.
const TOOLS_PREAMBLE: &str = r#"## Tools
You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "<｜DSML｜function_calls>" block like the following as part of your reply to the user:
<｜DSML｜function_calls>
<｜DSML｜invoke name="$FUNCTION_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$FUNCTION_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜function_calls>
String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for other types (numbers, booleans, arrays, objects).
If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. Here is an example:
<｜DSML｜function_calls>
...
</｜DSML｜function_calls>
<function_results>
...
</function_results>
<think>...thinking about results</think>
Here are the functions available in JSONSchema format:
"#;

/// What the model is told before the schema of its answer.
const RESPONSE_FORMAT_PREAMBLE: &str = "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n";

/// Returns the prompt of a conversation, BOS included, up to where the model speaks.
///
/// With `thinking` the model is asked to reason, and assistant turns after the last user message show their reasoning.
/// Earlier turns never show it, whatever `keep_thinking` says: the format has no place for it. Without `keep_thinking` the
/// reference drops old reasoning beforehand, and refuses a conversation with an early `developer` message.
///
/// # Errors
/// [`TextError::InvalidMessage`] and [`TextError::ToolArguments`] where the reference refuses: a developer message without
/// text, a tool message without a matching call, an assistant turn with neither reasoning nor tool calls after the last user
/// message while thinking, tools that are no functions, arguments that are no JSON object. Also for a user message without
/// content, where the reference writes `None`.
///
/// # Source
/// spec/dsa.md §8.3; `encoding/encoding_dsv32.py` of the checkpoint.
pub fn render(messages: &[Message], thinking: bool, keep_thinking: bool) -> Result<String> {
    let last_user_idx = messages.iter().rposition(|message| matches!(message.role, Role::User | Role::Developer));
    let early = messages.iter().take(last_user_idx.unwrap_or(0));
    if let Some(message_idx) =
        early.clone().position(|message| message.role == Role::Developer).filter(|_| thinking && !keep_thinking)
    {
        let problem =
            "a developer message before the last user message cannot be combined with dropping old reasoning; keep the reasoning";
        return Err(TextError::InvalidMessage { message_idx, problem });
    }
    let mut prompt = Prompt { text: BOS.into(), messages, thinking, last_user_idx };
    for (message_idx, message) in messages.iter().enumerate() {
        match message.role {
            Role::System => prompt.push_system(message_idx, message)?,
            Role::Developer => prompt.push_developer(message_idx, message)?,
            Role::User => prompt.push_user(message_idx, message)?,
            Role::Assistant => prompt.push_assistant(message_idx, message)?,
            Role::Tool => prompt.push_tool(message_idx, message)?,
        }
    }
    Ok(prompt.text)
}

struct Prompt<'a> {
    text: String,
    messages: &'a [Message],
    thinking: bool,
    last_user_idx: Option<usize>,
}

impl Prompt<'_> {
    fn push_system(&mut self, message_idx: usize, message: &Message) -> Result<()> {
        self.text.push_str(message.text());
        self.push_tools_and_format(message_idx, message)
    }

    fn push_developer(&mut self, message_idx: usize, message: &Message) -> Result<()> {
        if message.text().is_empty() {
            return Err(invalid(message_idx, "a developer message needs content"));
        }
        self.text.push_str(USER);
        self.push_tools_and_format(message_idx, message)?;
        self.text.push_str("\n\n# The user's message is: ");
        self.text.push_str(message.text());
        self.text.push_str(ASSISTANT);
        self.push_think(Some(message_idx) == self.last_user_idx);
        Ok(())
    }

    fn push_user(&mut self, message_idx: usize, message: &Message) -> Result<()> {
        let Some(content) = &message.content else {
            return Err(invalid(message_idx, "a user message needs content"));
        };
        self.text.extend([USER, content, ASSISTANT]);
        self.push_think(Some(message_idx) == self.last_user_idx);
        Ok(())
    }

    fn push_assistant(&mut self, message_idx: usize, message: &Message) -> Result<()> {
        let reasoning = message.reasoning_content.as_deref().unwrap_or_default();
        if self.thinking && self.last_user_idx.is_none_or(|last_user_idx| message_idx > last_user_idx) {
            if reasoning.is_empty() && message.tool_calls.is_empty() {
                return Err(invalid(
                    message_idx,
                    "while thinking, an assistant message after the last user message needs reasoning_content or tool_calls; add one or turn thinking off",
                ));
            }
            self.text.extend([reasoning, THINK_END]);
        }
        self.text.push_str(message.text());
        if !message.tool_calls.is_empty() {
            self.text.extend(["\n\n", TOOL_CALLS_START, "\n"]);
            for call in &message.tool_calls {
                self.push_tool_call(message_idx, call)?;
            }
            self.text.push_str(TOOL_CALLS_END);
        }
        self.text.push_str(EOS);
        Ok(())
    }

    fn push_tool_call(&mut self, message_idx: usize, call: &ToolCall) -> Result<()> {
        let invalid = |detail| TextError::ToolArguments { message_idx, function: call.function.name.clone(), detail };
        let in_json = |error: serde_json::Error| invalid(format!(" ({error})"));
        let arguments = call.function.arguments.as_str();
        let entries = object_entries(arguments).map_err(in_json)?.ok_or_else(|| invalid(String::new()))?;
        self.text.extend([INVOKE_START, &call.function.name, "\">\n"]);
        for (key, json) in &entries {
            let (is_string, value) = if json.starts_with('"') {
                ("true", serde_json::from_str(json).map_err(in_json)?)
            } else {
                ("false", reformat(json).map_err(in_json)?)
            };
            self.text.extend([PARAMETER_START, key, "\" string=\"", is_string, "\">", &value, PARAMETER_END, "\n"]);
        }
        // A call without arguments has an empty line between its tags, as in the reference.
        if entries.is_empty() {
            self.text.push('\n');
        }
        self.text.extend([INVOKE_END, "\n"]);
        Ok(())
    }

    /// Writes one result of a call; the first opens the block and the last closes it and lets the model speak.
    fn push_tool(&mut self, message_idx: usize, message: &Message) -> Result<()> {
        let before = self.messages.get(..message_idx).unwrap_or_default();
        let n_results = 1 + before.iter().rev().take_while(|message| message.role == Role::Tool).count();
        let caller = message_idx.checked_sub(n_results).and_then(|caller_idx| self.messages.get(caller_idx));
        let n_calls = caller.filter(|caller| caller.role == Role::Assistant).map_or(0, |caller| caller.tool_calls.len());
        if n_results > n_calls {
            return Err(invalid(message_idx, "a tool message must follow an assistant message, one for each of its tool_calls"));
        }
        if n_results == 1 {
            self.text.push_str("\n\n<function_results>");
        }
        self.text.extend(["\n<result>", message.text(), "</result>"]);
        if n_results == n_calls {
            self.text.push_str("\n</function_results>\n\n");
            self.push_think(self.last_user_idx.is_none_or(|last_user_idx| message_idx >= last_user_idx));
        }
        Ok(())
    }

    fn push_tools_and_format(&mut self, message_idx: usize, message: &Message) -> Result<()> {
        if !message.tools.is_empty() {
            self.text.extend(["\n\n", TOOLS_PREAMBLE, "<functions>\n"]);
            for tool in &message.tools {
                let function = tool.get("function").ok_or_else(|| {
                    invalid(message_idx, "every tool must be an object {\"type\": \"function\", \"function\": {…}}")
                })?;
                self.text.push_str(&dumps(function));
                self.text.push('\n');
            }
            self.text.push_str("</functions>\n");
        }
        if let Some(format) = message.response_format.as_ref().filter(|format| is_truthy(format)) {
            self.text.extend(["\n\n", RESPONSE_FORMAT_PREAMBLE, &dumps(format)]);
        }
        Ok(())
    }

    /// Lets the model think, where thinking is on and the turn is the current one.
    fn push_think(&mut self, is_current_turn: bool) {
        self.text.push_str(if self.thinking && is_current_turn { THINK_START } else { THINK_END });
    }
}

fn invalid(message_idx: usize, problem: &'static str) -> TextError {
    TextError::InvalidMessage { message_idx, problem }
}

/// Python's truth of a value: an empty format is no format.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}
