//! Reads corpus files and renders their documents for the tokenizer.
//!
//! A document becomes a list of [`Part`]s: plain text and special tokens. Text never turns into special tokens, whatever it spells.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde::Deserialize;

use crate::TrainError;
use crate::hash::fnv1a;
use crate::tokenizer::Special;

/// How one corpus file is read, from `[[data.sources]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Name in reports and in the manifest.
    pub name: String,
    /// File under `data.root`: `.txt`, `.txt.xz` or `.jsonl`.
    pub path: String,
    /// What the documents are.
    pub format: Format,
    /// What separates documents.
    #[serde(default)]
    pub split: Split,
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
}

/// What the documents of a source are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Plain text.
    Text,
    /// A title line (a leading `# ` is dropped), then the body.
    Titled,
    /// Lines that begin with `User:` or `Assistant:`.
    Dialogue,
    /// JSON lines with `question` and `answer`.
    Questions,
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
}

/// A piece of a rendered document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text for the tokenizer.
    Text(Cow<'a, str>),
    /// One special token.
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
        let separator: &[u8] = if source.format == Format::Questions { b"\n" } else { b"\n\n" };
        if let Some(end) = bytes.windows(separator.len()).rposition(|window| window == separator) {
            bytes.truncate(end);
        }
    }
    String::from_utf8(bytes).map_err(|error| TrainError::Corpus {
        name: source.name.clone(),
        expected: "UTF-8 text",
        found: format!("an invalid byte at offset {}", error.utf8_error().valid_up_to()),
        path,
    })
}

/// Returns the documents of `text` in file order, without empty ones.
pub fn split_documents<'a>(text: &'a str, source: &SourceConfig) -> Vec<&'a str> {
    let pieces: Vec<&str> = if source.format == Format::Questions {
        text.lines().collect()
    } else {
        match source.split {
            Split::Documents => text.split("\n\n\n").collect(),
            Split::Paragraphs => text.split("\n\n").collect(),
        }
    };
    pieces.into_iter().map(str::trim).filter(|piece| !piece.is_empty()).collect()
}

/// Renders one document: always `<BOS>` first and `<EOS>` last.
///
/// In a dialogue each assistant turn ends with `<EOS>`, as the chat template writes it. Returns `None` for a dialogue
/// without an answer.
///
/// # Errors
/// [`TrainError::Corpus`] when a JSON line has no `question` or `answer`.
pub fn render<'a>(document: &'a str, source: &SourceConfig) -> Result<Option<Vec<Part<'a>>>, TrainError> {
    match source.format {
        Format::Text => Ok(Some(plain(tidy(document, source.reflow)))),
        Format::Titled => Ok(Some(render_titled(document, source))),
        Format::Dialogue => Ok(render_dialogue(document)),
        Format::Questions => render_question(document, source).map(Some),
    }
}

fn plain(text: Cow<'_, str>) -> Vec<Part<'_>> {
    vec![Part::Token(Special::Bos), Part::Text(text), Part::Token(Special::Eos)]
}

fn exchange<'a>(question: Cow<'a, str>, answer: Cow<'a, str>) -> Vec<Part<'a>> {
    vec![
        Part::Token(Special::Bos),
        Part::Token(Special::User),
        Part::Text(question),
        Part::Token(Special::Assistant),
        Part::Text(answer),
        Part::Token(Special::Eos),
    ]
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

fn render_titled<'a>(document: &'a str, source: &SourceConfig) -> Vec<Part<'a>> {
    let (title, body) = match document.split_once('\n') {
        Some((title, body)) if !body.trim().is_empty() => (title.trim().trim_start_matches('#').trim(), body.trim()),
        _ => return plain(tidy(document, source.reflow)),
    };
    let hash = fnv1a(document.as_bytes());
    // Two disjoint parts of the hash, so that the choice of the prompt does not depend on the share.
    let as_chat = ((hash >> 32) as f64) < source.chat_share * 2f64.powi(32);
    if as_chat && !source.prompts.is_empty() {
        let prompt = &source.prompts[(hash & 0xffff) as usize % source.prompts.len()];
        return exchange(Cow::Owned(prompt.replace("{title}", title)), tidy(body, source.reflow));
    }
    let body = tidy(body, source.reflow);
    plain(Cow::Owned(format!("{title}\n\n{body}")))
}

fn render_dialogue(document: &str) -> Option<Vec<Part<'static>>> {
    let mut turns: Vec<(Special, String)> = Vec::new();
    for line in document.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (role, text) = if let Some(text) = line.strip_prefix("User:") {
            (Some(Special::User), text.trim())
        } else if let Some(text) = line.strip_prefix("Assistant:") {
            (Some(Special::Assistant), text.trim())
        } else {
            (None, line)
        };
        match (role, turns.last_mut()) {
            // A line without a speaker, or a second line of the same one, continues the turn.
            (role, Some((last, turn))) if role.is_none() || role == Some(*last) => {
                turn.push('\n');
                turn.push_str(text);
            }
            (Some(role), _) => turns.push((role, text.to_owned())),
            (None, _) => {}
        }
    }
    let first = turns.iter().position(|(role, _)| *role == Special::User)?;
    let last = turns.iter().rposition(|(role, _)| *role == Special::Assistant)?;
    if last < first {
        return None;
    }
    let mut parts = vec![Part::Token(Special::Bos)];
    for (role, text) in turns.drain(first..=last) {
        parts.push(Part::Token(role));
        parts.push(Part::Text(Cow::Owned(text)));
        if role == Special::Assistant {
            parts.push(Part::Token(Special::Eos));
        }
    }
    Some(parts)
}

fn render_question<'a>(line: &'a str, source: &SourceConfig) -> Result<Vec<Part<'a>>, TrainError> {
    #[derive(Deserialize)]
    struct Record {
        question: String,
        answer: String,
    }
    let record: Record = serde_json::from_str(line).map_err(|error| TrainError::Corpus {
        name: source.name.clone(),
        expected: "JSON lines with the strings `question` and `answer`",
        found: format!("{error} in a line of {} bytes", line.len()),
        path: source.path.clone().into(),
    })?;
    let answer = without_calculator_marks(&record.answer);
    let answer = match answer.split_once("\n#### ") {
        Some((steps, result)) => format!("{}\nThe answer is {}.", steps.trim(), result.trim()),
        None => answer,
    };
    Ok(exchange(Cow::Owned(record.question.trim().to_owned()), Cow::Owned(answer)))
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
