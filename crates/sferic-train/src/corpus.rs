//! Reads corpus files and renders their documents for the tokenizer.
//!
//! A document becomes a list of [`Part`]s: plain text and control tokens. Text never turns into control tokens, whatever it spells.
//! Exchanges are written in the prompt format of the model ([`Chat`]).

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use sferic_text::{Message, Role};

use crate::TrainError;
use crate::chat::Chat;
use crate::filter::{Filter, FilterCounts, Seen};
use crate::hash::fnv1a;
use crate::task_source::TaskConfig;
use crate::tokenizer::Special;

/// What [`Format::Chats`] expects.
const LINES_OF_CHATS: &str = "JSON lines with `messages`, perhaps `tools` and `thinking`";
/// Some editors put it in front of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// How one corpus file is read, from `[[data.sources]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Name in reports and in the manifest.
    pub name: String,
    /// File under `data.root`: `.txt`, `.txt.xz` or `.jsonl`. For [`Format::Tasks`] the text that fills documents, or absent.
    #[serde(default)]
    pub path: String,
    /// What the documents are.
    pub format: Format,
    /// What separates documents.
    #[serde(default)]
    pub split: Split,
    /// Reads only this part of a file that two blank lines divide, counted from 0.
    pub section: Option<usize>,
    /// Share of the training rows, relative to the other sources, where a stage has no `mix` of its own.
    pub weight: f64,
    /// Bytes of text to read from the start of the file; all when absent.
    pub max_bytes: Option<usize>,
    /// Joins the lines of each paragraph, for texts with hard line breaks.
    #[serde(default)]
    pub reflow: bool,
    /// Questions for [`Format::Titled`], with `{title}` in place of the title.
    #[serde(default)]
    pub prompts: Vec<String>,
    /// Share of titled documents that become an answer to one of `prompts`; the rest stay plain text.
    #[serde(default)]
    pub chat_share: f64,
    /// Rules for what is left out.
    pub filter: Option<Filter>,
    /// What [`Format::Tasks`] makes.
    pub tasks: Option<TaskConfig>,
}

/// What the documents of a source are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Plain text.
    Text,
    /// A title line (a leading `# ` is dropped), then the body; with [`Split::Lines`] `title: body`.
    Titled,
    /// Lines that begin with `User:` or `Assistant:`.
    Dialogue,
    /// JSON lines with `question` and `answer`.
    Questions,
    /// JSON lines of [`Chat`]s.
    Chats,
    /// Conversations about verifiable tasks, made by the generators of `sferic_tasks`.
    Tasks,
}

/// What separates the documents of a text file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Two blank lines.
    #[default]
    Documents,
    /// One blank line or more.
    Paragraphs,
    /// A line end.
    Lines,
}

/// A piece of a rendered document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text for the tokenizer.
    Text(Cow<'a, str>),
    /// One control token.
    Token(Special),
}

/// Returns the text of a source's file, decompressed and cut at `max_bytes`.
///
/// The cut falls on the last document or paragraph end before the limit, so that no sentence is torn.
///
/// # Errors
/// [`TrainError::Io`] when the file cannot be read, [`TrainError::Corpus`] when it is not UTF-8.
pub fn read_text(source: &SourceConfig, root: &Path) -> Result<String, TrainError> {
    let path = root.join(&source.path);
    let file = File::open(&path).map_err(TrainError::io("open the corpus file", &path))?;
    let limit = source.max_bytes.map_or(u64::MAX, |bytes| bytes as u64);
    let mut bytes = Vec::new();
    let reader = BufReader::new(file);
    let read = if source.path.ends_with(".xz") {
        lzma_rust2::XzReader::new(reader, true).take(limit).read_to_end(&mut bytes)
    } else {
        reader.take(limit).read_to_end(&mut bytes)
    };
    read.map_err(TrainError::io("read the corpus file", &path))?;
    if source.max_bytes == Some(bytes.len()) {
        let separator: &[u8] = if source.has_lines() { b"\n" } else { b"\n\n" };
        if let Some(end) = bytes.windows(separator.len()).rposition(|window| window == separator) {
            bytes.truncate(end);
        }
    }
    let text = String::from_utf8(bytes).map_err(|error| TrainError::Corpus {
        name: source.name.clone(),
        expected: "UTF-8 text",
        found: format!("an invalid byte at offset {}", error.utf8_error().valid_up_to()),
        path: path.clone(),
    })?;
    let Some(section) = source.section else { return Ok(text) };
    text.split("\n\n\n").nth(section).map(str::to_owned).ok_or_else(|| TrainError::Corpus {
        name: source.name.clone(),
        expected: "the part that `section` asks for",
        found: format!("{} parts between two blank lines", text.split("\n\n\n").count()),
        path,
    })
}

impl SourceConfig {
    /// Whether a document is a line of its file.
    fn has_lines(&self) -> bool {
        matches!(self.format, Format::Questions | Format::Chats | Format::Tasks) || self.split == Split::Lines
    }
}

/// Returns the documents of a source, read or made, and what its filter did. `seen` grows with what was read.
///
/// # Errors
/// Those of [`read_text`] and [`TaskConfig::chats`].
pub fn load(source: &SourceConfig, root: &Path, seen: &mut Seen) -> Result<(Vec<String>, FilterCounts), TrainError> {
    let text = if source.path.is_empty() { String::new() } else { read_text(source, root)? };
    let mut counts = FilterCounts::default();
    if source.format == Format::Tasks {
        let filler: Vec<&str> = text.split("\n\n\n").filter(|text| !text.trim().is_empty()).collect();
        let chats = source.tasks.clone().unwrap_or_default().chats(&filler)?;
        let lines = chats.iter().map(|chat| serde_json::to_string(chat).unwrap_or_default()).collect();
        return Ok((lines, counts));
    }
    let documents = split_documents(&text, source).into_iter();
    let documents = match &source.filter {
        Some(filter) => documents.filter_map(|document| filter.apply(document, seen, &mut counts)).collect(),
        None => documents.map(str::to_owned).collect(),
    };
    Ok((documents, counts))
}

/// Returns the documents of `text` in file order, without empty ones.
pub fn split_documents<'a>(text: &'a str, source: &SourceConfig) -> Vec<&'a str> {
    let pieces: Vec<&str> = match source.split {
        _ if source.has_lines() => text.lines().collect(),
        Split::Paragraphs => text.split("\n\n").collect(),
        _ => text.split("\n\n\n").collect(),
    };
    let is_blank = |letter: char| letter.is_whitespace() || letter == BYTE_ORDER_MARK;
    pieces.into_iter().map(|piece| piece.trim_matches(is_blank)).filter(|piece| !piece.is_empty()).collect()
}

/// Renders one document: always `<BOS>` first and `<EOS>` last.
///
/// Exchanges are those of [`Chat::parts`]. Returns `None` for a dialogue without an answer.
///
/// # Errors
/// [`TrainError::Corpus`] when a JSON line has no `question` or `answer`, or is no [`Chat`] that can be rendered.
pub fn render<'a>(document: &'a str, source: &SourceConfig) -> Result<Option<Vec<Part<'a>>>, TrainError> {
    match source.format {
        Format::Text => Ok(Some(plain(tidy(document, source.reflow)))),
        Format::Titled => render_titled(document, source).map(Some),
        Format::Dialogue => dialogue(document).map(|chat| chat_parts(&chat, source)).transpose(),
        Format::Questions => chat_parts(&question(document, source)?, source).map(Some),
        Format::Chats | Format::Tasks => {
            let chat = serde_json::from_str(document).map_err(|error| bad_line(source, LINES_OF_CHATS, document, &error))?;
            chat_parts(&chat, source).map(Some)
        }
    }
}

fn chat_parts(chat: &Chat, source: &SourceConfig) -> Result<Vec<Part<'static>>, TrainError> {
    let text = || chat.messages.first().map_or("", Message::text);
    chat.parts().map_err(|error| bad_line(source, "a conversation in the model's format", text(), &error))
}

fn bad_line(source: &SourceConfig, expected: &'static str, line: &str, error: &dyn std::fmt::Display) -> TrainError {
    let start: String = line.chars().take(60).collect();
    let found = format!("{error} in `{start}…`");
    TrainError::Corpus { name: source.name.clone(), expected, found, path: source.path.clone().into() }
}

fn plain(text: Cow<'_, str>) -> Vec<Part<'_>> {
    vec![Part::Token(Special::Bos), Part::Text(text), Part::Token(Special::Eos)]
}

/// Joins the lines of each paragraph when `reflow` is set.
fn tidy(text: &str, reflow: bool) -> Cow<'_, str> {
    if !reflow {
        return Cow::Borrowed(text);
    }
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.is_empty())
        .collect();
    Cow::Owned(paragraphs.join("\n\n"))
}

fn render_titled<'a>(document: &'a str, source: &SourceConfig) -> Result<Vec<Part<'a>>, TrainError> {
    let separator = if source.split == Split::Lines { ": " } else { "\n" };
    let (title, body) = match document.split_once(separator) {
        Some((title, body)) if !body.trim().is_empty() => (title.trim().trim_start_matches('#').trim(), body.trim()),
        _ => return Ok(plain(tidy(document, source.reflow))),
    };
    let hash = fnv1a(document.as_bytes());
    // Two disjoint parts of the hash, so that the choice of the prompt does not depend on the share.
    let as_chat = ((hash >> 32) as f64) < source.chat_share * 2f64.powi(32);
    let body = tidy(body, source.reflow);
    if as_chat && !source.prompts.is_empty() {
        let prompt = &source.prompts[(hash & 0xffff) as usize % source.prompts.len()];
        return chat_parts(&Chat::exchange(prompt.replace("{title}", title), body), source);
    }
    let separator = if source.split == Split::Lines { ": " } else { "\n\n" };
    Ok(plain(Cow::Owned(format!("{title}{separator}{body}"))))
}

/// Returns the dialogue from its first question to its last answer, `None` if it has none.
fn dialogue(document: &str) -> Option<Chat> {
    let mut turns: Vec<Message> = Vec::new();
    for line in document.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (role, text) = if let Some(text) = line.strip_prefix("User:") {
            (Some(Role::User), text.trim())
        } else if let Some(text) = line.strip_prefix("Assistant:") {
            (Some(Role::Assistant), text.trim())
        } else {
            (None, line)
        };
        match (role, turns.last_mut()) {
            // A line without a speaker, or a second line of the same one, continues the turn.
            (role, Some(last)) if role.is_none_or(|role| role == last.role) => {
                let turn = last.content.get_or_insert_default();
                turn.push('\n');
                turn.push_str(text);
            }
            (Some(role), _) => turns.push(Message::new(role, text)),
            (None, _) => {}
        }
    }
    let first = turns.iter().position(|turn| turn.role == Role::User)?;
    let last = turns.iter().rposition(|turn| turn.role == Role::Assistant)?;
    (first < last).then(|| Chat::direct(turns.drain(first..=last).collect()))
}

fn question(line: &str, source: &SourceConfig) -> Result<Chat, TrainError> {
    #[derive(Deserialize)]
    struct Record {
        question: String,
        answer: String,
    }
    let record: Record = serde_json::from_str(line)
        .map_err(|error| bad_line(source, "JSON lines with the strings `question` and `answer`", line, &error))?;
    let answer = without_calculator_marks(&record.answer);
    let answer = match answer.split_once("\n#### ") {
        Some((steps, result)) => format!("{}\nThe answer is {}.", steps.trim(), result.trim()),
        None => answer,
    };
    Ok(Chat::exchange(record.question.trim(), answer))
}

/// Removes the `<<48/2=24>>` marks of GSM8K answers, which are input for a calculator tool and no prose.
fn without_calculator_marks(answer: &str) -> String {
    let mut rest = answer;
    let mut clean = String::with_capacity(answer.len());
    while let Some((before, after)) = rest.split_once("<<") {
        clean.push_str(before);
        rest = after.split_once(">>").map_or("", |(_, tail)| tail);
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
#[path = "corpus_tests.rs"]
mod tests;
