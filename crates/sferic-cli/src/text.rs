//! Text from files and standard input, checked once.

use crate::failure::bad_input;
use anyhow::Result;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// How standard input is called in messages.
pub const STDIN: &str = "standard input";

/// Reads a UTF-8 file; `-` is standard input.
///
/// # Errors
/// When it cannot be read or is not UTF-8.
pub fn read(path: &Path) -> Result<String> {
    let name = if path == Path::new("-") { STDIN.to_owned() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let read = if name == STDIN {
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(path).map(|content| bytes = content)
    };
    match read {
        Ok(()) => from_utf8(bytes, &name),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(bad_input(format!("no such file; check the path: {name}"))),
        Err(error) => Err(bad_input(format!("cannot read the file: {error}: {name}"))),
    }
}

/// Takes bytes as UTF-8 text; a byte-order mark at the start is dropped.
///
/// # Errors
/// When they are not UTF-8; `name` says where they came from.
pub fn from_utf8(bytes: Vec<u8>, name: &str) -> Result<String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let byte_offset = error.utf8_error().valid_up_to();
        bad_input(format!("not valid UTF-8 at byte {byte_offset}; expected UTF-8 text, convert it first: {name}"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Drops one line end at the end: editors and `echo` add it, and a model would read it.
pub fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// Reads a document to ask about.
///
/// # Errors
/// When it cannot be read, is not UTF-8 or holds nothing but blanks.
pub fn read_document(path: &Path) -> Result<String> {
    let document = read(path)?;
    if document.trim().is_empty() {
        return Err(bad_input(format!("the document is empty: expected some text: {}", path.display())));
    }
    Ok(document)
}

/// A question about a document, in the form in which Scout knows documents.
pub fn about(document: &str, question: &str) -> String {
    format!("<document>\n{}\n</document>\n\n{question}", document.trim_matches(['\n', '\r']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_stands_before_its_question() {
        assert_eq!(about("\n  One.\n\nTwo.\r\n", "Why?"), "<document>\n  One.\n\nTwo.\n</document>\n\nWhy?");
    }

    #[test]
    fn one_line_end_is_dropped() {
        for (text, expected) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("\n", ""), ("a\r", "a\r")] {
            assert_eq!(without_line_end(text.to_owned()), expected, "{text:?}");
        }
    }
}
