//! Trains a byte-level BPE tokenizer.
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
use crate::chat_format::ChatFormat;
use crate::config::RunConfig;
use crate::corpus::{Part, load, render};
use crate::filter::Seen;

/// Splits text into words before BPE: English contractions, words with the space before them, single digits, runs of
/// punctuation with following line ends, line ends, other blanks.
///
/// Single digits keep the numbers of a small vocabulary regular; the rest follows the usual byte-level BPE splits.
const WORD_PATTERN: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The padding token, in DeepSeek's spelling.
pub(crate) const PAD: &str = "<｜▁pad▁｜>";

/// Tokens of the largest vocabulary that is made: token files then have 16 bits a token.
const MAX_VOCAB_SIZE: usize = 1 << 16;

/// Tokens of more bytes are not made: they would be rules and ornaments, no words.
const MAX_TOKEN_BYTES: usize = 24;

/// A control token of the tokenizers that are made here. The discriminant is its id.
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
            Self::Pad => PAD,
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
/// or is above 65536.
pub fn train_tokenizer<'a>(texts: impl Iterator<Item = &'a str> + Send, vocab_size: usize) -> Result<Tokenizer, TrainError> {
    let smallest = N_SPECIALS + 256;
    if !(smallest..=MAX_VOCAB_SIZE).contains(&vocab_size) {
        let expected = format!("{smallest} (specials and bytes) to {MAX_VOCAB_SIZE}");
        return Err(TrainError::config("tokenizer.vocab_size", expected, vocab_size.to_string()));
    }
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer()?));
    tokenizer.with_decoder(Some(byte_level()));
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

/// Returns what cuts a text into words and writes them in the byte alphabet.
pub(crate) fn pre_tokenizer() -> Result<PreTokenizerWrapper, TrainError> {
    let words = SplitPattern::Regex(WORD_PATTERN.to_owned());
    let split = Split::new(words, SplitDelimiterBehavior::Isolated, false).map_err(library_error)?;
    let steps = vec![PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(byte_level())];
    Ok(PreTokenizerWrapper::Sequence(Sequence::new(steps)))
}

fn byte_level() -> ByteLevel {
    ByteLevel::new(false, false, false)
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
    let format = ChatFormat::own();
    let mut sample = Vec::new();
    let mut seen = Seen::default();
    for source in config.data.sources.iter().filter(|source| source.weight > 0.0) {
        let (documents, _) = load(source, &config.data.root, &format, &mut seen)?;
        let n_bytes: usize = documents.iter().map(String::len).sum();
        let budget = config.tokenizer.sample_bytes as f64 * source.weight / total;
        let share = (budget / n_bytes.max(1) as f64).min(1.0);
        let mut paragraph_idx = 0;
        for document in &documents {
            for part in render(document, source, &format)?.unwrap_or_default() {
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

pub(crate) fn library_error(error: impl std::fmt::Display) -> TrainError {
    TrainError::Tokenizer { message: error.to_string() }
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
