//! `sferic prompt`: the exact prompt of a conversation. No weights are read.

use crate::cli::{Format, PromptArgs};
use crate::failure::{ExitStatus, bad_input};
use crate::output::{print, print_json};
use crate::{embedded, text};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use sferic_engine::{Conversation, PromptFormat, Tokenizer};
use std::io::IsTerminal;
use std::path::Path;

/// Prints the prompt and nothing else; on a terminal a line end follows.
pub fn run(args: &PromptArgs) -> Result<ExitStatus> {
    let folder = args.model.clone().into_folder();
    let format = match (args.format, &folder) {
        (Some(Format::V32), _) => PromptFormat::V32,
        (None, Some(folder)) => PromptFormat::from_folder_files(&model_type(folder)?, folder)?,
        (None, None) => {
            let config: Value = serde_json::from_str(embedded::CONFIG_JSON)?;
            PromptFormat::choose(model_type_of(&config), Some(embedded::TOKENIZER_CONFIG_JSON), None)?
        }
    };
    let read = text::read(&args.messages)?;
    let conversation =
        Conversation::from_json(&read).with_context(|| format!("the conversation is not usable: {}", args.messages.display()))?;
    let Conversation { messages, tools } = &conversation;
    if messages.is_empty() {
        return Err(bad_input(format!("the conversation holds no messages: expected one or more: {}", args.messages.display())));
    }
    let prompt = format.render(messages, tools, args.thinking, args.keep_thinking)?;
    if args.json {
        let token_ids =
            tokenizer(folder.as_deref())?.map(|tokenizer| tokenizer.encode(&prompt, format.add_special_tokens())).transpose()?;
        print_json(&json!({ "prompt": prompt, "token_ids": token_ids }))?;
    } else {
        print(&prompt)?;
        if std::io::stdout().is_terminal() {
            print("\n")?;
        }
    }
    Ok(ExitStatus::Done)
}

fn model_type(folder: &Path) -> Result<String> {
    if !folder.is_dir() {
        return Err(bad_input(format!("no such model folder; check the path: {}", folder.display())));
    }
    let path = folder.join("config.json");
    if !path.is_file() {
        let path = folder.display();
        return Err(bad_input(format!("config.json is missing; pass a Hugging Face model folder or --format: {path}")));
    }
    let config: Value = serde_json::from_str(&text::read(&path)?)
        .map_err(|error| bad_input(format!("config.json is not valid JSON ({error}); download it again: {}", path.display())))?;
    Ok(model_type_of(&config).to_owned())
}

fn model_type_of(config: &Value) -> &str {
    config.get("model_type").and_then(Value::as_str).unwrap_or_default()
}

fn tokenizer(folder: Option<&Path>) -> Result<Option<Tokenizer>> {
    let Some(folder) = folder else {
        return Ok(Some(Tokenizer::from_bytes(embedded::TOKENIZER_JSON)?));
    };
    let path = folder.join("tokenizer.json");
    Ok(if path.is_file() { Some(Tokenizer::from_file(&path)?) } else { None })
}
