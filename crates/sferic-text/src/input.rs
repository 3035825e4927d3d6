//! Text from outside, checked once.

use std::path::Path;

use crate::error::{Result, TextError};

/// Takes bytes as UTF-8 text; `name` says in an error where they came from.
///
/// A byte-order mark at the start is dropped.
///
/// # Errors
/// [`TextError::InvalidUtf8`] with the offset of the first bad byte.
pub fn text_from_bytes(bytes: Vec<u8>, name: &str) -> Result<String> {
    let mut text = String::from_utf8(bytes)
        .map_err(|error| TextError::InvalidUtf8 { name: name.into(), byte_offset: error.utf8_error().valid_up_to() })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// Reads a UTF-8 text file.
///
/// # Errors
/// [`TextError::ReadFile`] and [`TextError::InvalidUtf8`].
pub fn text_from_file(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|source| TextError::ReadFile { path: path.into(), source })?;
    text_from_bytes(bytes, &path.display().to_string())
}

/// Reads a UTF-8 text file that may be absent.
///
/// # Errors
/// [`TextError::ReadFile`] for anything but absence, and [`TextError::InvalidUtf8`].
pub fn optional_text_from_file(path: &Path) -> Result<Option<String>> {
    match text_from_file(path) {
        Err(TextError::ReadFile { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
