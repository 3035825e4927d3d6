//! Text from a growing list of tokens, piece by piece.

use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// Turns tokens into text one at a time and never emits half a character.
///
/// The pieces and the last one from [`finish`](Self::finish), joined, are what
/// [`Tokenizer::decode`] returns for all tokens together.
///
/// A byte-level tokenizer is followed byte by byte: at most three bytes are held back. Any other one is decoded over a
/// short window whose first tokens only give the spacing; its byte-fallback tokens (`<0xE4>`) are held until a token
/// of another kind follows, because its decoder judges such a run as a whole.
#[derive(Debug, Clone)]
pub struct DetokenizeStream {
    tokenizer: Tokenizer,
    skip_special_tokens: bool,
    held: Held,
}

#[derive(Debug, Clone)]
enum Held {
    /// Bytes of a character that is not complete yet.
    Bytes(Vec<u8>),
    /// Tokens: the first `n_emitted` gave the last piece, the others none yet.
    Window { token_ids: Vec<u32>, n_emitted: usize },
}

impl DetokenizeStream {
    /// Makes an empty stream; `skip_special_tokens` leaves out special tokens as [`Tokenizer::decode`] does.
    pub fn new(tokenizer: &Tokenizer, skip_special_tokens: bool) -> Self {
        Self { tokenizer: tokenizer.clone(), skip_special_tokens, held: Held::empty(tokenizer) }
    }

    /// Takes the next token and returns the text that became certain, or `None` if there is none yet.
    ///
    /// # Errors
    /// [`TextError::UnknownTokenId`](crate::TextError::UnknownTokenId) if the id has no token; the stream stays as it was.
    pub fn push(&mut self, token_id: u32) -> Result<Option<String>> {
        let token = self.tokenizer.token(token_id)?;
        if self.skip_special_tokens && self.tokenizer.is_special(token_id) {
            return Ok(None);
        }
        let text = match &mut self.held {
            Held::Bytes(bytes) => {
                extend_with_token_bytes(bytes, &token);
                take_certain_text(bytes)
            }
            Held::Window { token_ids, n_emitted } => {
                token_ids.push(token_id);
                if is_byte_fallback(&token) {
                    return Ok(None);
                }
                let (known, text) = decode_window(&self.tokenizer, token_ids, *n_emitted)?;
                match text.strip_prefix(&known) {
                    Some(piece) if !piece.is_empty() && !text.ends_with('\u{fffd}') => {
                        let piece = piece.to_string();
                        token_ids.drain(..*n_emitted);
                        *n_emitted = token_ids.len();
                        piece
                    }
                    _ => String::new(),
                }
            }
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Returns what is still held back and empties the stream. An unfinished character becomes U+FFFD.
    ///
    /// # Errors
    /// [`TextError::Decode`](crate::TextError::Decode) if the tokenizer's decoder fails.
    pub fn finish(&mut self) -> Result<Option<String>> {
        let text = match std::mem::replace(&mut self.held, Held::empty(&self.tokenizer)) {
            Held::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Held::Window { token_ids, n_emitted } => {
                let (known, text) = decode_window(&self.tokenizer, &token_ids, n_emitted)?;
                let n_common = known.chars().zip(text.chars()).take_while(|(a, b)| a == b).count();
                text.chars().skip(n_common).collect()
            }
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

impl Held {
    fn empty(tokenizer: &Tokenizer) -> Self {
        if tokenizer.is_byte_level() {
            return Self::Bytes(Vec::new());
        }
        Self::Window { token_ids: Vec::new(), n_emitted: 0 }
    }
}

/// Returns the text of the emitted tokens and the text of the whole window.
fn decode_window(tokenizer: &Tokenizer, token_ids: &[u32], n_emitted: usize) -> Result<(String, String)> {
    let emitted = token_ids.get(..n_emitted).unwrap_or(token_ids);
    Ok((tokenizer.decode(emitted, false)?, tokenizer.decode(token_ids, false)?))
}

/// Moves all but an incomplete character at the end out of `bytes`, replacing invalid bytes as Rust's lossy decoding does.
fn take_certain_text(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut rest = bytes.as_slice();
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                rest = &[];
                break;
            }
            Err(error) => {
                let (valid, invalid) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                rest = invalid;
                let Some(n_invalid) = error.error_len() else { break };
                text.push('\u{fffd}');
                rest = rest.split_at(n_invalid).1;
            }
        }
    }
    *bytes = rest.to_vec();
    text
}

/// Appends the bytes that a token of a byte-level tokenizer stands for.
///
/// A token with a character outside the byte alphabet is an added token and stands for its own UTF-8.
fn extend_with_token_bytes(bytes: &mut Vec<u8>, token: &str) {
    let n_before = bytes.len();
    for c in token.chars() {
        let Some(byte) = byte_of_char(c) else {
            bytes.truncate(n_before);
            bytes.extend_from_slice(token.as_bytes());
            return;
        };
        bytes.push(byte);
    }
}

/// The GPT-2 byte alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and what follows, in order.
fn byte_of_char(c: char) -> Option<u8> {
    let code = c as u32;
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,        // 0x00 to 0x20
        0x121..=0x142 => code - 0x121 + 0x7f, // 0x7f to 0xa0
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

fn is_byte_fallback(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}
