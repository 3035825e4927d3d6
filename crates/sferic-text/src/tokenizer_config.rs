//! `tokenizer_config.json`: the texts of special tokens, and chat templates.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Result, TextError};
use crate::input::text_from_file;

/// What this crate uses of a `tokenizer_config.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerConfig {
    /// Named special tokens and their texts: `bos_token`, `eos_token`, `pad_token`, …
    pub special_tokens: Vec<(String, String)>,
    /// Chat templates by name; a single one is named `default`.
    pub chat_templates: Vec<(String, String)>,
}

impl TokenizerConfig {
    /// Reads the text of a `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`TextError::TokenizerConfig`] that names the key, or the place of a syntax error.
    pub fn from_json(text: &str) -> Result<Self> {
        let invalid = |field: &str, expected| TextError::TokenizerConfig { field: field.into(), expected };
        let value: Value = serde_json::from_str(text).map_err(|error| invalid(&error.to_string(), "a JSON object"))?;
        let Value::Object(map) = value else { return Err(invalid("top level", "a JSON object")) };
        Ok(Self { special_tokens: special_tokens(&map), chat_templates: chat_templates(map.get("chat_template"))? })
    }

    /// Reads a `tokenizer_config.json` file.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json), and [`TextError::ReadFile`], [`TextError::InvalidUtf8`].
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_json(&text_from_file(path)?)
    }

    /// Returns the text of a special token by its name in the file, `eos_token` for instance.
    pub fn special_token(&self, name: &str) -> Option<&str> {
        self.special_tokens.iter().find(|(key, _)| key == name).map(|(_, token)| token.as_str())
    }
}

/// A special token is a string or, as older files write it, an object with the string under `content`.
fn special_tokens(map: &Map<String, Value>) -> Vec<(String, String)> {
    let tokens = map.iter().filter(|(key, _)| key.ends_with("_token") && !key.starts_with("add_"));
    let texts = tokens.filter_map(|(key, value)| {
        let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
        Some((key.clone(), text.to_string()))
    });
    texts.collect()
}

fn chat_templates(value: Option<&Value>) -> Result<Vec<(String, String)>> {
    let invalid = || TextError::TokenizerConfig {
        field: "chat_template".into(),
        expected: "a string, or a list of objects with `name` and `template`",
    };
    let named = |entry: &Value| {
        let name = entry.get("name")?.as_str()?;
        let template = entry.get("template")?.as_str()?;
        Some((name.to_string(), template.to_string()))
    };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(template)) => Ok(vec![("default".into(), template.clone())]),
        Some(Value::Array(entries)) => entries.iter().map(|entry| named(entry).ok_or_else(invalid)).collect(),
        Some(Value::Object(map)) => {
            let entry = |(name, template): (&String, &Value)| Some((name.clone(), template.as_str()?.to_string()));
            map.iter().map(|pair| entry(pair).ok_or_else(invalid)).collect()
        }
        Some(_) => Err(invalid()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_tokens_and_templates_are_read() {
        let config = TokenizerConfig::from_json(
            r#"{"add_bos_token": true, "bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null,
                "chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]}"#,
        )
        .unwrap();
        assert_eq!(config.special_token("bos_token"), Some("<s>"));
        assert_eq!(config.special_token("eos_token"), Some("</s>"));
        assert_eq!(config.special_token("pad_token"), None);
        assert_eq!(config.special_tokens.len(), 2);
        assert_eq!(config.chat_templates[1], ("tool_use".into(), "b".into()));
    }

    #[test]
    fn errors_name_the_key() {
        for (text, expected) in [
            ("{", "line 1"),
            ("[]", "top level"),
            (r#"{"chat_template": 3}"#, "chat_template"),
            (r#"{"chat_template": [{}]}"#, "chat_template"),
        ] {
            let message = TokenizerConfig::from_json(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
