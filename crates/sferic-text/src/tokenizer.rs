//! `tokenizer.json` files: text to token ids and back.

use std::path::Path;
use std::sync::Arc;

use tokenizers::DecoderWrapper;

use crate::error::{Result, TextError};

/// A tokenizer as a checkpoint ships it. Cheap to clone.
///
/// Truncation and padding, which some files switch on, are ignored: a prompt is never cut in silence.
/// As in Hugging Face's own libraries, added tokens outside the vocabulary are numbered from its end, whatever ids the file states.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tokenizer: tokenizers::Tokenizer,
    id_bound: u32,
}

impl Tokenizer {
    /// Reads a tokenizer from the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError::InvalidTokenizer`] if the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::from_named_bytes(bytes, "tokenizer.json in memory")
    }

    /// Reads a tokenizer from a `tokenizer.json` file.
    ///
    /// # Errors
    /// [`TextError::ReadFile`] if there is no such file, [`TextError::InvalidTokenizer`] if it holds something else.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| TextError::ReadFile { path: path.into(), source })?;
        Self::from_named_bytes(&bytes, &path.display().to_string())
    }

    /// Returns the token ids of `text`.
    ///
    /// `add_special_tokens` adds what the file's post-processor says, a BOS token for instance. Chat prompts already have
    /// theirs ([`PromptFormat::add_special_tokens`](crate::PromptFormat::add_special_tokens)). Special tokens spelt out in
    /// the text are recognised either way.
    ///
    /// # Errors
    /// [`TextError::Encode`] if a part of the tokenizer fails.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        match self.inner.tokenizer.encode_fast(text, add_special_tokens) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(TextError::Encode { n_bytes: text.len(), reason: error.to_string() }),
        }
    }

    /// Returns the text of `token_ids`; bytes that form no character become U+FFFD.
    ///
    /// # Errors
    /// [`TextError::UnknownTokenId`] if an id has no token, [`TextError::Decode`] if the decoder fails.
    pub fn decode(&self, token_ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        for token_id in token_ids {
            self.token(*token_id)?;
        }
        self.inner
            .tokenizer
            .decode(token_ids, skip_special_tokens)
            .map_err(|error| TextError::Decode { n_tokens: token_ids.len(), reason: error.to_string() })
    }

    /// Returns the number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.tokenizer.get_vocab_size(true)
    }

    /// Returns one more than the highest id that has a token.
    ///
    /// A model may have more rows than that, for padding: they must never be sampled.
    pub fn id_bound(&self) -> u32 {
        self.inner.id_bound
    }

    /// Returns the id of a token, spelt as in the file.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.tokenizer.token_to_id(token)
    }

    /// Returns the token of an id, spelt as in the file: byte-level tokenizers write a space as `Ġ`.
    pub fn id_to_token(&self, token_id: u32) -> Option<String> {
        self.inner.tokenizer.id_to_token(token_id)
    }

    /// Returns the id of a token that must exist, `<think>` for instance.
    ///
    /// # Errors
    /// [`TextError::UnknownToken`] if it does not.
    pub fn require_token(&self, token: &str) -> Result<u32> {
        self.token_to_id(token).ok_or_else(|| TextError::UnknownToken { token: token.into() })
    }

    /// Whether the file marks this id as special: [`decode`](Self::decode) can leave it out.
    ///
    /// A control token need not be: DeepSeek's `<｜User｜>` is an added token, yet not special.
    pub fn is_special(&self, token_id: u32) -> bool {
        self.added_token(token_id).is_some_and(|token| token.special)
    }

    /// Whether this id is an added token: matched as a whole in the text and never split.
    pub fn is_added(&self, token_id: u32) -> bool {
        self.added_token(token_id).is_some()
    }

    /// Returns all tokens that the file marks as special, with their ids, in ascending order.
    pub fn special_tokens(&self) -> Vec<(u32, String)> {
        let added = self.inner.tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special);
        let mut tokens: Vec<_> = special.map(|(token_id, token)| (*token_id, token.content.clone())).collect();
        tokens.sort_unstable();
        tokens
    }

    /// Returns the token of an id as the file spells it, or the error that says which ids there are.
    pub(crate) fn token(&self, token_id: u32) -> Result<String> {
        self.id_to_token(token_id).ok_or(TextError::UnknownTokenId { token_id, id_bound: self.inner.id_bound })
    }

    /// Whether the decoder does nothing but map the GPT-2 byte alphabet back to bytes.
    pub(crate) fn is_byte_level(&self) -> bool {
        matches!(self.inner.tokenizer.get_decoder(), Some(DecoderWrapper::ByteLevel(_)))
    }

    fn added_token(&self, token_id: u32) -> Option<&tokenizers::AddedToken> {
        self.inner.tokenizer.get_added_vocabulary().get_added_tokens_decoder().get(&token_id)
    }

    fn from_named_bytes(bytes: &[u8], name: &str) -> Result<Self> {
        let invalid = |reason: String| TextError::InvalidTokenizer { name: name.into(), reason };
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| invalid(error.to_string()))?;
        tokenizer.with_truncation(None).map_err(|error| invalid(error.to_string()))?;
        tokenizer.with_padding(None);
        let id_bound = tokenizer.get_vocab(true).values().max().map_or(0, |token_id| token_id.saturating_add(1));
        if id_bound == 0 {
            return Err(invalid("the vocabulary is empty".into()));
        }
        Ok(Self { inner: Arc::new(Inner { tokenizer, id_bound }) })
    }
}
