//! Reads corpus files and renders their documents for the tokenizer.
//!
//! A document becomes a list of [`Part`]s: plain text and control tokens. Text never turns into control tokens, whatever it spells.
//! Exchanges are written in the prompt format of the model ([`ChatFormat`]).

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use sferic_text::Message;

use crate::TrainError;
use crate::chat::Chat;
use crate::chat_format::ChatFormat;
use crate::exchange;
use crate::filter::{Filter, FilterCounts, Seen};
use crate::small_talk::SmallTalkConfig;
use crate::task_source::TaskConfig;

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
    /// File under `data.root`: `.txt`, `.txt.xz` or `.jsonl`. For [`Format::Tasks`] the text that fills documents, if any.
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
    /// Share of the tasks, questions, small talk and answers to `prompts` in which the model thinks before it answers.
    #[serde(default)]
    pub thinking: f64,
    /// What it thinks before it answers one of `prompts`, with `{title}` in place of the title.
    #[serde(default)]
    pub thoughts: Vec<String>,
    /// What [`Format::Tasks`] makes.
    pub tasks: Option<TaskConfig>,
    /// What [`Format::SmallTalk`] makes.
    pub small_talk: Option<SmallTalkConfig>,
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
    /// Conversations about the assistant itself, made from templates.
    SmallTalk,
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
    /// The token in front of a text, where the tokenizer has one.
    Begin,
    /// The token behind a text.
    End,
    /// A control token of a conversation, by its spelling.
    Token(Arc<str>),
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
        matches!(self.format, Format::Questions | Format::Chats) || self.split == Split::Lines
    }

    /// Whether the documents come from no file.
    pub(crate) fn is_made(&self) -> bool {
        matches!(self.format, Format::Tasks | Format::SmallTalk)
    }

    /// Checks the values; `key` is the table's path in the file.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] with the key.
    pub fn check(&self, key: &str) -> Result<(), TrainError> {
        let refuse =
            |field: &str, expected: &str, found: String| Err(TrainError::config(&format!("{key}.{field}"), expected, found));
        for (field, share) in [("chat_share", self.chat_share), ("thinking", self.thinking)] {
            if !(0.0..=1.0).contains(&share) {
                return refuse(field, "0 to 1", share.to_string());
            }
        }
        let is_titled = self.format == Format::Titled;
        if self.chat_share > 0.0 && !is_titled {
            return refuse("chat_share", "format `titled` with it", "another format".to_owned());
        }
        if self.chat_share > 0.0 && self.prompts.is_empty() {
            return refuse("prompts", "at least one prompt for a chat_share above 0", "none".to_owned());
        }
        if is_titled && self.thinking > 0.0 && self.thoughts.is_empty() {
            return refuse("thoughts", "at least one thought for a share of thinking above 0", "none".to_owned());
        }
        if self.path.is_empty() && !self.is_made() {
            return refuse("path", "a file under data.root", "none".to_owned());
        }
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            return refuse("weight", "a number of at least 0", self.weight.to_string());
        }
        if self.tasks.is_some() && self.format != Format::Tasks {
            return refuse("tasks", "format `tasks` with it", "another format".to_owned());
        }
        if self.small_talk.is_some() && self.format != Format::SmallTalk {
            return refuse("small_talk", "format `small_talk` with it", "another format".to_owned());
        }
        if let Some(filter) = &self.filter {
            filter.check(&format!("{key}.filter"))?;
        }
        if let Some(tasks) = &self.tasks {
            tasks.check(&format!("{key}.tasks"))?;
        }
        self.small_talk.as_ref().map_or(Ok(()), |small_talk| small_talk.check(&format!("{key}.small_talk")))
    }
}

/// Returns the documents of a source, read or made, and what its filter did. `seen` grows with what was read.
///
/// # Errors
/// Those of [`read_text`] and [`TaskConfig::chats`]; [`TrainError::Corpus`] for conversations that `format` cannot show.
pub fn load(
    source: &SourceConfig,
    root: &Path,
    format: &ChatFormat,
    seen: &mut Seen,
) -> Result<(Vec<String>, FilterCounts), TrainError> {
    let text = if source.path.is_empty() { String::new() } else { read_text(source, root)? };
    let mut counts = FilterCounts::default();
    if source.is_made() {
        let chats = if source.format == Format::Tasks {
            let filler: Vec<&str> = text.split("\n\n\n").filter(|text| !text.trim().is_empty()).collect();
            source.tasks.clone().unwrap_or_default().chats(&filler, source.thinking)?
        } else {
            source.small_talk.clone().unwrap_or_default().chats(source.thinking)
        };
        let lines = chats.iter().map(|chat| serde_json::to_string(chat).unwrap_or_default()).collect();
        return Ok((lines, counts));
    }
    if source.format == Format::Chats {
        check_lines(&text, source, format)?;
    }
    let documents = split_documents(&text, source).into_iter();
    let documents = match &source.filter {
        Some(filter) => documents.filter_map(|document| filter.apply(document, seen, &mut counts)).collect(),
        None => documents.map(str::to_owned).collect(),
    };
    Ok((documents, counts))
}

/// Refuses a file of conversations with the number of the first line that is none.
fn check_lines(text: &str, source: &SourceConfig, format: &ChatFormat) -> Result<(), TrainError> {
    for (line_idx, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad =
            |error: &dyn std::fmt::Display| bad_line(source, LINES_OF_CHATS, line, &format!("line {}: {error}", line_idx + 1));
        let chat = serde_json::from_str::<Chat>(line).map_err(|error| bad(&error))?;
        format.parts(&chat).map_err(|error| if let TrainError::Text(error) = error { bad(&error) } else { error })?;
    }
    Ok(())
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

/// Renders one document: a text with the begin token first and the end token last, or a conversation.
///
/// Conversations are those of [`ChatFormat::parts`]. Returns `None` for a dialogue without an answer.
///
/// # Errors
/// [`TrainError::Corpus`] when a JSON line has no `question` or `answer`, or is no [`Chat`] that can be rendered;
/// [`TrainError::MissingToken`] when the tokenizer lacks a token of the format.
pub fn render<'a>(document: &'a str, source: &SourceConfig, format: &ChatFormat) -> Result<Option<Vec<Part<'a>>>, TrainError> {
    if let Some(chat) = chat(document, source)? {
        let text = || chat.messages.first().map_or("", Message::text);
        let parts = format.parts(&chat).map_err(|error| match error {
            TrainError::Text(error) => bad_line(source, "a conversation in the model's format", text(), &error),
            other => other,
        })?;
        return Ok(Some(parts));
    }
    match source.format {
        Format::Text => Ok(Some(plain(tidy(document, source.reflow)))),
        Format::Titled => Ok(Some(plain(exchange::titled_text(document, source)))),
        _ => Ok(None),
    }
}

/// Returns the conversation that a document holds; `None` for text, and for a dialogue without an answer.
///
/// # Errors
/// As [`render`].
pub fn chat(document: &str, source: &SourceConfig) -> Result<Option<Chat>, TrainError> {
    match source.format {
        Format::Text => Ok(None),
        Format::Titled => Ok(exchange::about_title(document, source)),
        Format::Dialogue => Ok(exchange::dialogue(document)),
        Format::Questions => exchange::question(document, source).map(Some),
        Format::Chats | Format::Tasks | Format::SmallTalk => {
            serde_json::from_str(document).map(Some).map_err(|error| bad_line(source, LINES_OF_CHATS, document, &error))
        }
    }
}

pub(crate) fn bad_line(source: &SourceConfig, expected: &'static str, line: &str, error: &dyn std::fmt::Display) -> TrainError {
    let start: String = line.chars().take(60).collect();
    let found = format!("{error} in `{start}…`");
    TrainError::Corpus { name: source.name.clone(), expected, found, path: source.path.clone().into() }
}

fn plain(text: Cow<'_, str>) -> Vec<Part<'_>> {
    vec![Part::Begin, Part::Text(text), Part::End]
}

/// Joins the lines of each paragraph when `reflow` is set.
pub(crate) fn tidy(text: &str, reflow: bool) -> Cow<'_, str> {
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

#[cfg(test)]
#[path = "corpus_tests.rs"]
mod tests;
