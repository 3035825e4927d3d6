//! Rendered documents become token ids, with any tokenizer that has a tokenizer.json.

use std::path::Path;
use std::sync::Arc;

use tokenizers::models::ModelWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{AddedToken, Model, PreTokenizerWrapper, Tokenizer};

use crate::TrainError;
use crate::chat_format::ChatFormat;
use crate::control::ControlTokens;
use crate::corpus::Part;
use crate::tokenizer::{library_error, pre_tokenizer};

/// Text pieces of about this many bytes are encoded at once where the tokenizer's words are known: the library's offset tables
/// take some hundred bytes per character.
const CHUNK_BYTES: usize = 16 * 1024;
/// Stands before a text that is not the first of its string; a character that no text should have.
const ANCHOR: char = '\u{10fffd}';

/// Encodes rendered documents to token ids.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// The tokenizer, blind for control tokens: a corpus that spells one must not produce it.
    closed: Tokenizer,
    /// The same with [`ANCHOR`] as a token, for tokenizers that put a blank before the first word of a string alone.
    anchored: Option<Tokenizer>,
    controls: Arc<ControlTokens>,
    chat_format: ChatFormat,
    /// What the tokenizer makes of letters that it does not know; often an added token.
    unknown: Option<u32>,
    vocab_size: usize,
    in_chunks: bool,
}

impl Encoder {
    /// Reads a `tokenizer.json` and what the files beside it say of its control tokens and of the model's conversations.
    ///
    /// # Errors
    /// [`TrainError::Tokenizer`] when a file is unreadable, [`TrainError::MissingToken`] when the files contradict each other.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let tokenizer = Tokenizer::from_file(path)
            .map_err(|error| TrainError::Tokenizer { message: format!("cannot be read: {error}: {}", path.display()) })?;
        Self::with_files(tokenizer, path, path.parent())
    }

    /// Wraps a tokenizer that has no files beside it.
    ///
    /// # Errors
    /// As [`Encoder::open`].
    pub fn new(tokenizer: Tokenizer) -> Result<Self, TrainError> {
        Self::with_files(tokenizer, Path::new("tokenizer.json in memory"), None)
    }

    fn with_files(mut closed: Tokenizer, path: &Path, folder: Option<&Path>) -> Result<Self, TrainError> {
        let controls = Arc::new(ControlTokens::find(&closed, path, folder)?);
        // A document is never cut or filled up in silence.
        closed.with_truncation(None).map_err(library_error)?;
        closed.with_padding(None);
        let vocab_size = closed.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        let unknown = match closed.get_model() {
            ModelWrapper::BPE(model) => model.unk_token.clone(),
            ModelWrapper::WordLevel(model) => Some(model.unk_token.clone()),
            ModelWrapper::WordPiece(model) => Some(model.unk_token.clone()),
            ModelWrapper::Unigram(_) => Some("<unk>".to_owned()),
        };
        let unknown = unknown.and_then(|token| closed.get_model().token_to_id(&token).or_else(|| closed.token_to_id(&token)));
        let words = |tokenizer: &Tokenizer| serde_json::to_value(tokenizer.get_pre_tokenizer()).ok();
        let in_chunks = closed.get_normalizer().is_none() && words(&closed) == serde_json::to_value(Some(pre_tokenizer()?)).ok();
        // The library passes over special tokens only, so here all control tokens are.
        let as_special = controls.all().iter().map(|control| AddedToken::from(&*control.text, true));
        closed.add_special_tokens(as_special.collect::<Vec<_>>()).map_err(library_error)?;
        closed.set_encode_special_tokens(true);
        let anchored = match closed.get_pre_tokenizer().is_some_and(minds_the_first) {
            true => {
                let mut anchored = closed.clone();
                let anchor = AddedToken::from(ANCHOR, false).normalized(false);
                anchored.add_tokens([anchor]).map_err(library_error)?;
                Some(anchored)
            }
            false => None,
        };
        let chat_format = ChatFormat::beside(folder, controls.clone());
        Ok(Self { closed, anchored, controls, chat_format, unknown, vocab_size, in_chunks })
    }

    /// Returns one more than the highest id, specials included: the number of tokens where none is left out.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Returns the control tokens.
    pub fn controls(&self) -> &ControlTokens {
        &self.controls
    }

    /// Returns how conversations are written for this tokenizer's model.
    pub fn chat_format(&self) -> &ChatFormat {
        &self.chat_format
    }

    /// Appends the ids of `parts` to `ids`.
    ///
    /// # Errors
    /// [`TrainError::Tokenizer`] when the library refuses a text, or the text cannot be encoded without a control token;
    /// [`TrainError::MissingToken`] for a part that the tokenizer has no token for.
    pub fn encode(&self, parts: &[Part<'_>], ids: &mut Vec<u32>) -> Result<(), TrainError> {
        self.encode_each(parts).map(|encoded| ids.extend(encoded.into_iter().flatten()))
    }

    /// Returns the ids of each part.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_each<'a>(&self, parts: impl IntoIterator<Item = &'a Part<'a>>) -> Result<Vec<Vec<u32>>, TrainError> {
        // The text right before, and whether a control token of the same string came before that.
        let (mut before, mut is_inner): (Option<&str>, bool) = (None, false);
        let mut encoded = Vec::new();
        for part in parts {
            encoded.push(match part {
                Part::Begin => self.controls.begin().into_iter().collect(),
                Part::End => vec![self.controls.end()?],
                Part::Token(text) => vec![self.controls.id(text)?],
                Part::Text(text) => match before {
                    Some(before) => self.continued(before, text, is_inner)?,
                    None => self.text(text, is_inner)?,
                },
            });
            match part {
                Part::Text(text) => before = Some(text),
                Part::Begin | Part::End => (before, is_inner) = (None, false),
                Part::Token(_) => (before, is_inner) = (None, true),
            }
        }
        Ok(encoded)
    }

    /// Returns the ids of a plain text that follows a begin token, or of one user turn that waits for a direct answer.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_prompt(&self, text: &str, as_chat: bool) -> Result<Vec<u32>, TrainError> {
        let parts = if as_chat { self.chat_format.question(text)? } else { vec![Part::Begin, Part::Text(text.into())] };
        let mut ids = Vec::new();
        self.encode(&parts, &mut ids)?;
        if ids.is_empty() {
            // A model continues something; what ends a document comes before the next.
            ids.push(self.controls.end()?);
        }
        Ok(ids)
    }

    /// Returns the text of `ids` without control tokens.
    ///
    /// # Errors
    /// [`TrainError::Tokenizer`] when the library refuses.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TrainError> {
        self.closed.decode(ids, true).map_err(library_error)
    }

    /// Returns the ids of a text that goes on after another, which the model has read as tokens of its own.
    ///
    /// Both together are what the tokenizer was made for, so their tokens are taken where none of them spans the border.
    fn continued(&self, before: &str, text: &str, is_inner: bool) -> Result<Vec<u32>, TrainError> {
        let (first, mut both) = (self.text(before, is_inner)?, self.text(&format!("{before}{text}"), is_inner)?);
        if both.starts_with(&first) {
            return Ok(both.split_off(first.len()));
        }
        self.text(text, true)
    }

    /// Returns the ids of a text, none of them a control token's.
    fn text(&self, text: &str, is_inner: bool) -> Result<Vec<u32>, TrainError> {
        let ids = self.ids(text, is_inner)?;
        let control = |ids: &[u32]| ids.iter().copied().find(|&id| self.controls.contains(id) && self.unknown != Some(id));
        if control(&ids).is_none() {
            return Ok(ids);
        }
        // Some models know the spelling of a control token as a word: it is taken apart.
        let mut ids = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let found = self.controls.first_in(rest);
            let cut = found.map_or(rest.len(), |(at, _)| at + rest[at..].chars().next().map_or(0, char::len_utf8));
            ids.extend(self.ids(&rest[..cut], is_inner || rest.len() < text.len())?);
            rest = &rest[cut..];
        }
        match control(&ids) {
            None => Ok(ids),
            Some(id) => Err(TrainError::Tokenizer {
                message: format!(
                    "expected no control token in text, found `{}` (id {id}), which the vocabulary makes of plain letters",
                    self.closed.id_to_token(id).unwrap_or_default()
                ),
            }),
        }
    }

    fn ids(&self, text: &str, is_inner: bool) -> Result<Vec<u32>, TrainError> {
        if let Some(anchored) = self.anchored.as_ref().filter(|_| is_inner && !text.is_empty() && !text.contains(ANCHOR)) {
            let encoding = anchored.encode_fast(format!("{ANCHOR}{text}"), false).map_err(library_error)?;
            return Ok(encoding.get_ids()[1..].to_vec());
        }
        let size_bytes = if self.in_chunks { CHUNK_BYTES } else { text.len() };
        let mut ids = Vec::with_capacity(text.len() / 3);
        for chunk in chunks(text, size_bytes) {
            ids.extend_from_slice(self.closed.encode_fast(chunk, false).map_err(library_error)?.get_ids());
        }
        Ok(ids)
    }
}

/// Whether a blank is put before the first word of a string and before no other.
fn minds_the_first(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::Metaspace(metaspace) => metaspace.get_prepend_scheme() == PrependScheme::First,
        PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref().iter().any(minds_the_first),
        _ => false,
    }
}

/// Cuts `text` into pieces of at least `size_bytes` that encode to the same tokens as the whole.
///
/// A cut lies between a paragraph end and a character that is no blank: there this crate's word pattern always ends a word.
fn chunks(text: &str, size_bytes: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut from = size_bytes;
        while !rest.is_char_boundary(from.min(rest.len())) {
            from += 1;
        }
        let cut = rest.get(from..).and_then(|tail| {
            tail.match_indices("\n\n")
                .map(|(at, _)| from + at + 2)
                .find(|&at| rest[at..].chars().next().is_some_and(|next| !next.is_whitespace()))
        });
        let (chunk, tail) = rest.split_at(cut.unwrap_or(rest.len()));
        rest = tail;
        Some(chunk)
    })
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
