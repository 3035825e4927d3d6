//! Trains a byte-level BPE tokenizer and encodes rendered documents with it.
//!
//! The result is a `tokenizer.json` with the control tokens of DeepSeek-V3.2's prompt format, and a `tokenizer_config.json`
//! without a chat template: a folder of `model_type` `deepseek_v32` that has none is prompted in that format
//! ([`sferic_text::PromptFormat::choose`]).

use std::path::Path;

use serde_json::json;
use sferic_text::dsv32;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};

use crate::TrainError;
use crate::config::RunConfig;
use crate::corpus::{Part, load, render};
use crate::filter::Seen;

/// Splits text into words before BPE: English contractions, words with the space before them, single digits, runs of
/// punctuation with following line ends, line ends, other blanks.
///
/// Single digits keep the numbers of a small vocabulary regular; the rest follows the usual byte-level BPE splits.
const WORD_PATTERN: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Text pieces of about this many bytes are encoded at once: the tokenizer's offset tables take some hundred bytes per character.
const ENCODE_CHUNK_BYTES: usize = 16 * 1024;

/// Tokens of more bytes are not made: they would be rules and ornaments, no words.
const MAX_TOKEN_BYTES: usize = 24;

/// A control token. The discriminant is its id.
///
/// Text that a person sees is decoded without the tokens that tokenizer.json marks as special. As in DeepSeek's own file these are
/// those of [`Special::is_hidden`]; the others stay in the text, because they are what
/// [`PromptFormat::parse`](sferic_text::PromptFormat::parse) takes an answer apart at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Special {
    /// Begin of a document.
    Bos = 0,
    /// End of a document or of an assistant turn.
    Eos = 1,
    /// Padding; never trained on.
    Pad = 2,
    /// Begin of a user turn.
    User = 3,
    /// Begin of an assistant turn.
    Assistant = 4,
    /// Begin of a reasoning block.
    Think = 5,
    /// End of a reasoning block; alone it says that there is none.
    EndThink = 6,
    /// Part of every tag around tool calls.
    Dsml = 7,
}

impl Special {
    /// All of them, by id.
    pub const ALL: [Self; 8] =
        [Self::Bos, Self::Eos, Self::Pad, Self::User, Self::Assistant, Self::Think, Self::EndThink, Self::Dsml];

    /// Returns the token's spelling in tokenizer.json, DeepSeek's own.
    pub fn text(self) -> &'static str {
        match self {
            Self::Bos => dsv32::BOS,
            Self::Eos => dsv32::EOS,
            Self::Pad => "<｜▁pad▁｜>",
            Self::User => dsv32::USER,
            Self::Assistant => dsv32::ASSISTANT,
            Self::Think => dsv32::THINK_START,
            Self::EndThink => dsv32::THINK_END,
            Self::Dsml => "｜DSML｜",
        }
    }

    /// Whether decoding may leave it out.
    pub fn is_hidden(self) -> bool {
        matches!(self, Self::Bos | Self::Eos | Self::Pad)
    }
}

/// Tokens after those of [`Special`] that leave room for later stages without a new vocabulary.
const N_RESERVED: usize = 8;
/// Control tokens and reserved ones: the ids below the alphabet.
const N_SPECIALS: usize = Special::ALL.len() + N_RESERVED;

/// Returns the control tokens and the reserved ones as tokenizer.json lists them, by id.
fn added_tokens() -> Vec<AddedToken> {
    let used = Special::ALL.iter().map(|special| AddedToken::from(special.text(), special.is_hidden()));
    let reserved = (0..N_RESERVED).map(|n| AddedToken::from(format!("<｜reserved▁{n}｜>"), true));
    used.chain(reserved).map(|token| token.normalized(false)).collect()
}

/// Returns a tokenizer with `vocab_size` tokens learned from `texts`; fewer when the texts do not hold that many merges.
///
/// The alphabet is all 256 bytes, so every text can be encoded. There is no normaliser: decoding returns the exact text.
///
/// # Errors
/// [`TrainError::Tokenizer`] when the library refuses; [`TrainError::ConfigValue`] when `vocab_size` leaves no room for merges
/// or does not fit the 16-bit token files.
pub fn train_tokenizer<'a>(texts: impl Iterator<Item = &'a str> + Send, vocab_size: usize) -> Result<Tokenizer, TrainError> {
    let smallest = N_SPECIALS + 256;
    if !(smallest..=1 << 16).contains(&vocab_size) {
        let expected = format!("{smallest} (specials and bytes) to 65536 (token files are 16-bit)");
        return Err(TrainError::config("tokenizer.vocab_size", expected, vocab_size.to_string()));
    }
    let words = SplitPattern::Regex(WORD_PATTERN.to_owned());
    let split = Split::new(words, SplitDelimiterBehavior::Isolated, false).map_err(library_error)?;
    let byte_level = ByteLevel::new(false, false, false);
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
        PreTokenizerWrapper::Split(split),
        PreTokenizerWrapper::ByteLevel(byte_level),
    ])));
    tokenizer.with_decoder(Some(byte_level));
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(added_tokens())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .max_token_length(Some(MAX_TOKEN_BYTES))
        .build();
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), texts).map_err(library_error)?;
    tokenizer.with_post_processor(Some(first_token()?));
    Ok(tokenizer)
}

/// Returns the rule that puts the beginning-of-sequence token before a text, where a caller asks for special tokens.
fn first_token() -> Result<TemplateProcessing, TrainError> {
    let bos = Special::Bos;
    TemplateProcessing::builder()
        .try_single(format!("{} $A", bos.text()))
        .map_err(library_error)?
        .special_tokens(vec![(bos.text(), bos as u32)])
        .build()
        .map_err(library_error)
}

/// Trains a tokenizer on an even sample of every source, in the proportion of the weights, as `[tokenizer]` says.
///
/// # Errors
/// Those of [`load`], [`render`] and [`train_tokenizer`].
pub fn train_from_corpus(config: &RunConfig) -> Result<Tokenizer, TrainError> {
    let total: f64 = config.data.sources.iter().map(|source| source.weight).sum();
    let mut sample = Vec::new();
    let mut seen = Seen::default();
    for source in config.data.sources.iter().filter(|source| source.weight > 0.0) {
        let (documents, _) = load(source, &config.data.root, &mut seen)?;
        let n_bytes: usize = documents.iter().map(String::len).sum();
        let budget = config.tokenizer.sample_bytes as f64 * source.weight / total;
        let share = (budget / n_bytes.max(1) as f64).min(1.0);
        let mut paragraph_idx = 0;
        for document in &documents {
            for part in render(document, source)?.unwrap_or_default() {
                let Part::Text(text) = part else { continue };
                for paragraph in text.split_inclusive("\n\n") {
                    // Taken whenever the running share passes a whole number: evenly spread, `share` of them all.
                    if ((paragraph_idx + 1) as f64 * share).floor() > (paragraph_idx as f64 * share).floor() {
                        sample.push(paragraph.to_owned());
                    }
                    paragraph_idx += 1;
                }
            }
        }
    }
    train_tokenizer(sample.iter().map(String::as_str), config.tokenizer.vocab_size)
}

/// Writes `tokenizer.json` and `tokenizer_config.json` into `folder`.
///
/// # Errors
/// [`TrainError::Io`] or [`TrainError::Tokenizer`] when a file cannot be written.
pub fn save_tokenizer(tokenizer: &Tokenizer, max_length: usize, folder: &Path) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder).map_err(TrainError::io("create the tokenizer's folder", folder))?;
    let json = tokenizer.to_string(true).map_err(library_error)?;
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, json + "\n").map_err(TrainError::io("write the tokenizer", &path))?;
    let path = folder.join("tokenizer_config.json");
    let text = format!("{:#}\n", tokenizer_config(max_length));
    std::fs::write(&path, text).map_err(TrainError::io("write the tokenizer's configuration", &path))
}

fn tokenizer_config(max_length: usize) -> serde_json::Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": true,
        "add_eos_token": false,
        "bos_token": Special::Bos.text(),
        "eos_token": Special::Eos.text(),
        "pad_token": Special::Pad.text(),
        "unk_token": null,
        "clean_up_tokenization_spaces": false,
        "model_max_length": max_length,
    })
}

/// Encodes rendered documents to 16-bit token ids.
#[derive(Debug, Clone)]
pub struct Encoder {
    tokenizer: Tokenizer,
    vocab_size: usize,
}

impl Encoder {
    /// Reads a `tokenizer.json` and checks that the special tokens have the ids of [`Special`].
    ///
    /// # Errors
    /// [`TrainError::Tokenizer`] when the file is unreadable, has other special tokens, or more than 65536 tokens.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let tokenizer = Tokenizer::from_file(path)
            .map_err(|error| TrainError::Tokenizer { message: format!("cannot be read: {error}: {}", path.display()) })?;
        Self::new(tokenizer)
    }

    /// Wraps a tokenizer after the checks of [`Encoder::open`].
    ///
    /// # Errors
    /// As [`Encoder::open`].
    pub fn new(mut tokenizer: Tokenizer) -> Result<Self, TrainError> {
        for special in Special::ALL {
            let (id, text) = (special as u32, special.text());
            if tokenizer.token_to_id(text) != Some(id) {
                let found = tokenizer.token_to_id(text);
                return Err(TrainError::Tokenizer { message: format!("expected `{text}` with id {id}, found {found:?}") });
            }
        }
        let vocab_size = tokenizer.get_vocab_size(true);
        if vocab_size > 1 << 16 {
            let message = format!("expected at most 65536 tokens for 16-bit token files, found {vocab_size}");
            return Err(TrainError::Tokenizer { message });
        }
        // A corpus that spells a control token must not produce one. The library passes over special tokens only, so here all are.
        let all = added_tokens().into_iter().map(|token| AddedToken { special: true, ..token });
        tokenizer.add_special_tokens(all).map_err(library_error)?;
        tokenizer.set_encode_special_tokens(true);
        Ok(Self { tokenizer, vocab_size })
    }

    /// Returns the number of tokens, specials included.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Appends the ids of `parts` to `ids`.
    ///
    /// # Errors
    /// [`TrainError::Tokenizer`] when the library refuses a text.
    pub fn encode(&self, parts: &[Part<'_>], ids: &mut Vec<u16>) -> Result<(), TrainError> {
        for part in parts {
            match part {
                Part::Token(special) => ids.push(*special as u16),
                Part::Text(text) => {
                    for chunk in chunks(text, ENCODE_CHUNK_BYTES) {
                        let encoding = self.tokenizer.encode_fast(chunk, false).map_err(library_error)?;
                        // The vocabulary has at most 65536 entries.
                        ids.extend(encoding.get_ids().iter().map(|&id| id as u16));
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the ids of a plain text that follows a begin token, or of one user turn that waits for a direct answer.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_prompt(&self, text: &str, as_chat: bool) -> Result<Vec<u32>, TrainError> {
        let text = Part::Text(text.into());
        let bos = Part::Token(Special::Bos);
        let [user, assistant, end_think] = [Special::User, Special::Assistant, Special::EndThink].map(Part::Token);
        let parts = if as_chat { vec![bos, user, text, assistant, end_think] } else { vec![bos, text] };
        let mut ids = Vec::new();
        self.encode(&parts, &mut ids)?;
        Ok(ids.into_iter().map(u32::from).collect())
    }

    /// Returns the text of `ids` without control tokens.
    ///
    /// # Errors
    /// [`TrainError::Tokenizer`] when the library refuses.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TrainError> {
        self.tokenizer.decode(ids, true).map_err(library_error)
    }
}

/// Cuts `text` into pieces of at least `size_bytes` that encode to the same tokens as the whole.
///
/// A cut lies between a paragraph end and a character that is no blank: there the word pattern always ends a word.
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

fn library_error(error: impl std::fmt::Display) -> TrainError {
    TrainError::Tokenizer { message: error.to_string() }
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
