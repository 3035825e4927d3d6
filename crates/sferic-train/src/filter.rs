//! Cleans a corpus: drops paragraphs that are no prose, and what has been read before.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::hash::{fnv1a, mix};

/// Paragraphs of fewer words neither count as repeated nor are dropped as such: "Yes, sir." is no copy.
const MIN_REPEATED_WORDS: usize = 6;
/// The name in a cross reference is shorter.
const MAX_NOTE_BYTES: usize = 100;

/// The rules for one source, from `filter` of a source. Without it documents stay as they are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Writes cross references of manuals as their text: Texinfo's `*note name: 4f3.` and the roles of reStructuredText,
    /// `` :meth:`~dict.keys` ``.
    pub plain_references: bool,
    /// Paragraphs with a smaller share of letters and blanks among their characters are dropped, headings aside: tables, rules, code.
    pub min_letters: f64,
    /// Paragraphs that contain one of these are dropped.
    pub drop_containing: Vec<String>,
    /// A paragraph that was read this often, in this source or another, is dropped. Case, digits and marks make no difference.
    pub max_repeats: usize,
    /// Documents with a greater share of their text in paragraphs that were read before are dropped.
    pub max_repeated_share: f64,
    /// Documents of fewer bytes after all this are dropped.
    pub min_bytes: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            plain_references: false,
            min_letters: 0.0,
            drop_containing: Vec::new(),
            max_repeats: 3,
            max_repeated_share: 0.5,
            min_bytes: 1,
        }
    }
}

/// What a filter did to a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterCounts {
    /// Documents dropped because most of their text was read before.
    pub n_repeated_documents: usize,
    /// Documents dropped because too little was left of them.
    pub n_short_documents: usize,
    /// Paragraphs dropped because they were read before.
    pub n_repeated_paragraphs: usize,
    /// Paragraphs dropped for their letters or for what they contain, and headings that were left without a text.
    pub n_odd_paragraphs: usize,
    /// Bytes of text before and after.
    pub n_bytes_before: usize,
    /// Bytes of text before and after.
    pub n_bytes_after: usize,
}

/// How often paragraphs were read: hashes of their words.
#[derive(Debug, Clone, Default)]
pub struct Seen(HashMap<u64, u32>);

impl Filter {
    /// Checks the values; `key` is the table's path in the file.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] with the key.
    pub fn check(&self, key: &str) -> Result<(), TrainError> {
        for (name, value) in [("min_letters", self.min_letters), ("max_repeated_share", self.max_repeated_share)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(TrainError::config(&format!("{key}.{name}"), "0 to 1", value.to_string()));
            }
        }
        if self.max_repeats == 0 {
            return Err(TrainError::config(&format!("{key}.max_repeats"), "at least 1", "0"));
        }
        Ok(())
    }

    /// Returns what is left of a document, `None` if it is dropped. Counts and `seen` grow.
    pub fn apply(&self, document: &str, seen: &mut Seen, counts: &mut FilterCounts) -> Option<String> {
        counts.n_bytes_before += document.len();
        let mut kept: Vec<(String, u32)> = Vec::new();
        for paragraph in document.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
            let paragraph = if self.plain_references { plain_references(paragraph) } else { paragraph.to_owned() };
            if self.is_odd(&paragraph) {
                counts.n_odd_paragraphs += 1;
                continue;
            }
            let n_before = seen.read(&paragraph);
            kept.push((paragraph, n_before));
        }
        let n_bytes = |is_counted: &dyn Fn(u32) -> bool| -> usize {
            kept.iter().filter(|(_, n_before)| is_counted(*n_before)).map(|(paragraph, _)| paragraph.len()).sum()
        };
        if n_bytes(&|n_before| n_before > 0) as f64 > self.max_repeated_share * n_bytes(&|_| true) as f64 {
            counts.n_repeated_documents += 1;
            return None;
        }
        let n_kept = kept.len();
        kept.retain(|(_, n_before)| (*n_before as usize) < self.max_repeats);
        counts.n_repeated_paragraphs += n_kept - kept.len();
        let paragraphs: Vec<String> = kept.into_iter().map(|(paragraph, _)| paragraph).collect();
        let texts = without_bare_headings(&paragraphs);
        counts.n_odd_paragraphs += paragraphs.len() - texts.len();
        let text = texts.join("\n\n");
        if text.len() < self.min_bytes.max(1) {
            counts.n_short_documents += 1;
            return None;
        }
        counts.n_bytes_after += text.len();
        Some(text)
    }

    fn is_odd(&self, paragraph: &str) -> bool {
        if self.drop_containing.iter().any(|phrase| paragraph.contains(phrase)) {
            return true;
        }
        if heading_level(paragraph) > 0 {
            return false;
        }
        let is_plain = |letter: &char| letter.is_alphabetic() || letter.is_whitespace();
        let (n_plain, n_all) = (paragraph.chars().filter(is_plain).count(), paragraph.chars().count());
        (n_plain as f64) < self.min_letters * n_all as f64
    }
}

impl Seen {
    /// Notes a paragraph and returns how often it had been read; 0 for a short one.
    fn read(&mut self, paragraph: &str) -> u32 {
        let words = paragraph.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty());
        let (mut hash, mut n_words) = (0, 0);
        for word in words {
            hash = mix(hash ^ fnv1a(word.to_lowercase().as_bytes()));
            n_words += 1;
        }
        if n_words < MIN_REPEATED_WORDS {
            return 0;
        }
        let n_read = self.0.entry(hash).or_default();
        *n_read += 1;
        *n_read - 1
    }
}

/// Leaves out headings that no text follows before the next heading of their level or a higher one, or the end.
fn without_bare_headings(paragraphs: &[String]) -> Vec<&str> {
    let mut kept: Vec<&str> = Vec::new();
    // From the end: the level of the heading or text that comes next, text being deeper than any heading.
    let mut next_level = 0;
    for paragraph in paragraphs.iter().rev() {
        let level = heading_level(paragraph);
        if level > 0 && level >= next_level {
            continue;
        }
        next_level = if level > 0 { level } else { usize::MAX };
        kept.push(paragraph);
    }
    kept.reverse();
    kept
}

/// Returns the number of marks in front of a heading, 0 for text.
fn heading_level(paragraph: &str) -> usize {
    let level = paragraph.chars().take_while(|&letter| letter == '#').count();
    if paragraph[level..].starts_with(' ') && !paragraph.contains('\n') { level } else { 0 }
}

/// Writes cross references as their text.
fn plain_references(paragraph: &str) -> String {
    without_roles(&without_notes(paragraph))
}

/// `*note name: 4f3.` becomes the name; the point belongs to the reference.
fn without_notes(paragraph: &str) -> String {
    let mut clean = String::with_capacity(paragraph.len());
    let mut rest = paragraph;
    while let Some((before, after)) = rest.split_once("*note ") {
        clean.push_str(before);
        let name = after.split_once(": ").filter(|(name, target)| {
            let hex = target.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
            name.len() < MAX_NOTE_BYTES && hex.len() < target.len() && hex.starts_with('.')
        });
        rest = match name {
            Some((name, target)) => {
                clean.push_str(name);
                target.split_once('.').map_or("", |(_, tail)| tail)
            }
            None => after,
        };
    }
    clean + rest
}

/// `` :meth:`~dict.keys` `` becomes `dict.keys`, `` :ref:`a text <label>` `` becomes `a text`.
fn without_roles(paragraph: &str) -> String {
    let mut clean = String::with_capacity(paragraph.len());
    let mut rest = paragraph;
    while let Some(at) = rest.find(":`") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        let head = before.trim_end_matches(|letter: char| letter.is_ascii_alphanumeric() || matches!(letter, ':' | '-'));
        let role = &before[head.len()..];
        match after.split_once('`').filter(|_| role.len() > 1 && role.starts_with(':')) {
            Some((text, tail)) => {
                let text = text.trim_start_matches(['~', '!']);
                clean.extend([head, text.split_once(" <").map_or(text, |(text, _)| text)]);
                rest = tail;
            }
            None => {
                clean.push_str(&rest[..at + 2]);
                rest = after;
            }
        }
    }
    clean + rest
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
