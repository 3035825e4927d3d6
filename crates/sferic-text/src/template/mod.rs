//! Jinja chat templates of Hugging Face checkpoints.
//!
//! Rendered by minijinja, set up like Transformers' Jinja2: block trimming, Python's string and dictionary methods,
//! `tojson` as `json.dumps`, `raise_exception`, `strftime_now`, and `{% generation %}` blocks, which only mark text.

mod python;
mod strftime;

use std::collections::BTreeMap;

use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};

use crate::error::{Result, TextError};
use crate::message::Message;
use crate::tokenizer_config::TokenizerConfig;

/// The compiled chat templates of one checkpoint.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    names: Vec<String>,
    special_tokens: Vec<(String, String)>,
}

/// What a template is given.
#[derive(Debug, Clone, Default)]
pub struct TemplateInput<'a> {
    /// The conversation.
    pub messages: &'a [Message],
    /// Tools on offer; if empty, those of the first message that carries some.
    pub tools: &'a [Value],
    /// Whether the prompt ends where the assistant begins to speak.
    pub add_generation_prompt: bool,
    /// Which of several named templates; `None` takes `tool_use` if there are tools and such a template, else `default`.
    pub template_name: Option<&'a str>,
    /// More variables, `enable_thinking` for instance.
    pub variables: BTreeMap<String, Value>,
    /// The time that `strftime_now` shows, in seconds since 1970; `None` reads the clock, in UTC.
    pub now_unix_secs: Option<i64>,
}

/// How `function.arguments` of tool calls reach the template.
#[derive(Clone, Copy, PartialEq)]
enum Arguments {
    Object,
    Text,
}

impl ChatTemplate {
    /// Compiles one template, the text of a `chat_template.jinja`.
    ///
    /// `special_tokens` are variables of the template, `("bos_token", "<s>")` for instance.
    ///
    /// # Errors
    /// [`TextError::TemplateSyntax`] with the line.
    pub fn new(source: &str, special_tokens: &[(String, String)]) -> Result<Self> {
        Self::from_named(&[("default".into(), source.into())], special_tokens)
    }

    /// Compiles the templates of a `tokenizer_config.json`; `None` if it has none.
    ///
    /// # Errors
    /// [`TextError::TemplateSyntax`] with name and line.
    pub fn from_config(config: &TokenizerConfig) -> Result<Option<Self>> {
        if config.chat_templates.is_empty() {
            return Ok(None);
        }
        Self::from_named(&config.chat_templates, &config.special_tokens).map(Some)
    }

    /// Returns the prompt for a conversation.
    ///
    /// Arguments of tool calls are given as objects, as Transformers documents it; a template that fails on those, as
    /// DeepSeek-V3's does, gets them as JSON text.
    ///
    /// # Errors
    /// [`TextError::TemplateRefused`] if the template raises an exception of its own, [`TextError::TemplateRender`] if it fails,
    /// [`TextError::UnknownTemplate`] if no template has the asked name.
    pub fn render(&self, input: &TemplateInput) -> Result<String> {
        let has_tool_calls = input.messages.iter().any(|message| !message.tool_calls.is_empty());
        match self.render_with(input, Arguments::Object) {
            Err(error @ TextError::TemplateRender { .. }) if has_tool_calls => {
                self.render_with(input, Arguments::Text).map_err(|_| error)
            }
            result => result,
        }
    }

    fn from_named(templates: &[(String, String)], special_tokens: &[(String, String)]) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        python::install(&mut environment);
        environment.add_function("strftime_now", strftime::strftime_now);
        for (name, source) in templates {
            let source = without_generation_tags(source);
            environment.add_template_owned(name.clone(), source).map_err(|error| syntax_error(name, &error))?;
        }
        let names = templates.iter().map(|(name, _)| name.clone()).collect();
        Ok(Self { environment, names, special_tokens: special_tokens.to_vec() })
    }

    fn render_with(&self, input: &TemplateInput, arguments: Arguments) -> Result<String> {
        let own_tools = || input.messages.iter().map(|message| message.tools.as_slice()).find(|tools| !tools.is_empty());
        let tools = if input.tools.is_empty() { own_tools().unwrap_or_default() } else { input.tools };
        let name = self.select_name(input.template_name, !tools.is_empty())?;
        let failed = |error: minijinja::Error| render_error(name, &error);

        let mut context = Map::new();
        context.extend(self.special_tokens.iter().map(|(key, token)| (key.clone(), Value::from(token.as_str()))));
        context.extend(input.variables.iter().map(|(key, value)| (key.clone(), value.clone())));
        let messages = input.messages.iter().map(|message| message_value(message, arguments)).collect();
        context.insert("messages".into(), Value::Array(messages));
        // Python passes None where there are no tools, and templates ask for `tools is not none`.
        context.insert("tools".into(), if tools.is_empty() { Value::Null } else { tools.to_vec().into() });
        context.insert("documents".into(), Value::Null);
        context.insert("add_generation_prompt".into(), input.add_generation_prompt.into());
        context.insert(strftime::NOW_VARIABLE.into(), input.now_unix_secs.into());

        let template = self.environment.get_template(name).map_err(failed)?;
        template.render(context).map_err(failed)
    }

    fn select_name(&self, asked: Option<&str>, has_tools: bool) -> Result<&str> {
        let find = |wanted: &str| self.names.iter().map(String::as_str).find(|name| *name == wanted);
        let tool_use = if has_tools { find("tool_use") } else { None };
        let only = if self.names.len() == 1 { self.names.first().map(String::as_str) } else { None };
        let chosen = match asked {
            Some(asked) => find(asked),
            None => tool_use.or_else(|| find("default")).or(only),
        };
        chosen.ok_or_else(|| TextError::UnknownTemplate {
            name: asked.unwrap_or("default").into(),
            available: self.names.join(", "),
        })
    }
}

fn message_value(message: &Message, arguments: Arguments) -> Value {
    let mut value = serde_json::to_value(message).unwrap_or_default();
    if arguments == Arguments::Object {
        let calls = value.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten();
        for text in calls.filter_map(|call| call.pointer_mut("/function/arguments")) {
            let object = text.as_str().and_then(|text| serde_json::from_str::<Map<_, _>>(text).ok());
            if let Some(object) = object {
                *text = object.into();
            }
        }
    }
    value
}

/// Replaces the `generation` tags of Transformers, which mark what training learns, by tags that do nothing.
///
/// Line numbers and white-space control stay as they are.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        rest = after;
        let Some((tag, after)) = after.split_once("%}") else { break };
        let word = tag.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let replacement = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        out.push_str(&tag.replacen(word, replacement, 1));
        out.push_str("%}");
        rest = after;
    }
    out.push_str(rest);
    out
}

fn reason(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()))
}

fn syntax_error(name: &str, error: &minijinja::Error) -> TextError {
    TextError::TemplateSyntax { name: name.into(), line: error.line().unwrap_or(0), reason: reason(error) }
}

fn render_error(name: &str, error: &minijinja::Error) -> TextError {
    let (name, line) = (name.to_string(), error.line().unwrap_or(0));
    if let Some(refusal) = python::refusal(error) {
        return TextError::TemplateRefused { name, line, reason: refusal };
    }
    match error.kind() {
        ErrorKind::SyntaxError => TextError::TemplateSyntax { name, line, reason: reason(error) },
        _ => TextError::TemplateRender { name, line, reason: reason(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_blocks_without_effect() {
        let source = "a{%- generation -%}\n{{ x }}{% endgeneration %}{% if generation %}{% endif %}{% broken";
        let expected = "a{%- if true -%}\n{{ x }}{% endif %}{% if generation %}{% endif %}{% broken";
        assert_eq!(without_generation_tags(source), expected);
    }
}
