//! Which prompt format a model folder asks for.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::dsv32;
use crate::error::{Result, TextError};
use crate::input::optional_text_from_file;
use crate::message::{Completion, Message, Role};
use crate::template::{ChatTemplate, TemplateInput};
use crate::tokenizer_config::TokenizerConfig;

/// How a model wants its conversations written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PromptFormat {
    /// DeepSeek-V3.2's own format.
    V32,
    /// The Jinja template of the checkpoint.
    Jinja(Box<ChatTemplate>),
    /// `User: …` and `Assistant: …` lines, for a model that has no format of its own.
    Plain,
}

/// What a rendered conversation is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RenderOptions {
    /// The model is asked to reason.
    pub thinking: bool,
    /// The reasoning of earlier turns is kept where the format can show it.
    pub keep_thinking: bool,
    /// Ends with the last message, as a conversation to learn from does; else where the model begins to speak. DeepSeek-V3.2's
    /// format tells the two by the last message.
    pub is_whole: bool,
    /// The time that a template may show, in seconds since 1970; `None` reads the clock.
    pub now_unix_secs: Option<i64>,
}

impl PromptFormat {
    /// Chooses the format from a model folder's files: `chat_template.jinja` first, then `chat_template` of
    /// `tokenizer_config.json`, then V3.2's format for `deepseek_v32`, else plain lines.
    ///
    /// `model_type` is the key of `config.json`; the other two are the contents of those files, if they exist.
    ///
    /// # Errors
    /// [`TextError::TokenizerConfig`] and [`TextError::TemplateSyntax`].
    pub fn choose(model_type: &str, tokenizer_config: Option<&str>, chat_template_jinja: Option<&str>) -> Result<Self> {
        let config = tokenizer_config.map(TokenizerConfig::from_json).transpose()?.unwrap_or_default();
        let template = match chat_template_jinja {
            Some(source) => Some(ChatTemplate::new(source, &config.special_tokens)?),
            None => ChatTemplate::from_config(&config)?,
        };
        Ok(match template {
            Some(template) => Self::Jinja(Box::new(template)),
            None if model_type == "deepseek_v32" => Self::V32,
            None => Self::Plain,
        })
    }

    /// Chooses the format from the files of a folder, which may all be absent.
    ///
    /// # Errors
    /// As [`choose`](Self::choose), and [`TextError::ReadFile`], [`TextError::InvalidUtf8`].
    pub fn from_folder_files(model_type: &str, folder: &Path) -> Result<Self> {
        let tokenizer_config = optional_text_from_file(&folder.join("tokenizer_config.json"))?;
        let template = optional_text_from_file(&folder.join("chat_template.jinja"))?;
        Self::choose(model_type, tokenizer_config.as_deref(), template.as_deref())
    }

    /// Returns the prompt up to where the model speaks.
    ///
    /// `tools` are offered in the system message. With `thinking` the model is asked to reason; `keep_thinking` keeps the
    /// reasoning of earlier turns where the format can show it. A Jinja template sees them as `thinking`,
    /// `enable_thinking` and `clear_thinking`.
    ///
    /// # Errors
    /// [`TextError::InvalidMessage`], [`TextError::ToolArguments`], [`TextError::ToolsUnsupported`], and those of
    /// [`ChatTemplate::render`].
    pub fn render(&self, messages: &[Message], tools: &[Value], thinking: bool, keep_thinking: bool) -> Result<String> {
        self.render_with(messages, tools, RenderOptions { thinking, keep_thinking, ..RenderOptions::default() })
    }

    /// Returns a conversation as text; `tools` as in [`render`](Self::render).
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_with(&self, messages: &[Message], tools: &[Value], options: RenderOptions) -> Result<String> {
        let RenderOptions { thinking, keep_thinking, is_whole, now_unix_secs } = options;
        match self {
            Self::V32 if tools.is_empty() => dsv32::render(messages, thinking, keep_thinking),
            Self::V32 => dsv32::render(&with_tools(messages, tools), thinking, keep_thinking),
            Self::Jinja(template) => {
                let flags = [("thinking", thinking), ("enable_thinking", thinking), ("clear_thinking", !keep_thinking)];
                let variables: BTreeMap<_, _> = flags.into_iter().map(|(name, flag)| (name.to_string(), flag.into())).collect();
                template.render(&TemplateInput {
                    messages,
                    tools,
                    add_generation_prompt: !is_whole,
                    variables,
                    now_unix_secs,
                    ..TemplateInput::default()
                })
            }
            Self::Plain if !tools.is_empty() => Err(TextError::ToolsUnsupported { n_tools: tools.len() }),
            Self::Plain => render_plain(messages, is_whole),
        }
    }

    /// Takes apart what the model wrote after the prompt. Never fails: what cannot be understood is content.
    ///
    /// Tool calls are recognised in V3.2's format only; other templates define no common one.
    pub fn parse(&self, completion: &str, thinking: bool) -> Completion {
        match self {
            Self::V32 => dsv32::parse_lenient(completion, thinking),
            Self::Jinja(_) => split_reasoning(completion),
            Self::Plain => Completion { content: completion.trim().into(), ..Completion::default() },
        }
    }

    /// Whether [`Tokenizer::encode`](crate::Tokenizer::encode) is to add special tokens to a prompt of this format.
    ///
    /// Only where the prompt has none of its own: a second BOS changes the answer.
    pub fn add_special_tokens(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// Returns the strings that end an answer in this format where the model has no token for it.
    pub fn stop_strings(&self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["\nUser:"],
            _ => &[],
        }
    }
}

/// Offers tools in the first message, which becomes a system message if it is none.
fn with_tools(messages: &[Message], tools: &[Value]) -> Vec<Message> {
    let mut messages = messages.to_vec();
    if messages.first().is_none_or(|message| message.role != Role::System) {
        messages.insert(0, Message::system(""));
    }
    if let Some(system) = messages.first_mut() {
        system.tools.extend_from_slice(tools);
    }
    messages
}

fn render_plain(messages: &[Message], is_whole: bool) -> Result<String> {
    let mut prompt = String::new();
    for (message_idx, message) in messages.iter().enumerate() {
        let speaker = match message.role {
            Role::System | Role::Developer => "",
            Role::User => "User: ",
            Role::Assistant => "Assistant: ",
            Role::Tool => {
                let problem = "this model has no prompt format of its own, and plain lines have no place for tool results";
                return Err(TextError::InvalidMessage { message_idx, problem });
            }
        };
        prompt.extend([speaker, message.text(), "\n"]);
    }
    if !is_whole {
        prompt.push_str("Assistant:");
    }
    Ok(prompt)
}

/// Splits at `</think>`, the one convention that reasoning models share.
fn split_reasoning(completion: &str) -> Completion {
    let (reasoning, content) = match completion.split_once(dsv32::THINK_END) {
        Some((reasoning, content)) => (reasoning, content.trim_start_matches('\n')),
        None if completion.trim_start().starts_with(dsv32::THINK_START) => (completion, ""),
        None => ("", completion),
    };
    let reasoning = reasoning.trim_start();
    let reasoning = reasoning.strip_prefix(dsv32::THINK_START).unwrap_or(reasoning).trim_matches('\n');
    let reasoning = Some(reasoning.to_string()).filter(|reasoning| !reasoning.is_empty());
    Completion { reasoning, content: content.into(), tool_calls: Vec::new() }
}
