//! Prepared data: a file of tokens and one of document starts per split, and a JSON manifest that says which source lies where.
//!
//! Tokens have 16 bits where the vocabulary has at most 65536 of them, else 32. Rows are windows over a source's token stream, in
//! which documents follow one another without padding, so a row can start in the middle of a document.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::config::DataConfig;
use crate::corpus::{Part, SourceConfig, load, render};
use crate::encoder::Encoder;
use crate::filter::{FilterCounts, Seen};
use crate::hash::fnv1a;
use crate::parallel::in_parallel;
use crate::token_set::{self, TokenSet, Tokens};

/// The manifest's name within the data folder.
const MANIFEST: &str = "manifest.json";
/// The version of the manifest and of the token files.
const VERSION: u32 = 3;

/// What the data folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version.
    pub version: u32,
    /// One more than the highest id of the tokenizer, specials included.
    pub vocab_size: usize,
    /// Bits of a token in the token files: 16 for vocabularies of at most 65536 tokens, else 32.
    pub token_bits: usize,
    /// Hash of the tokenizer.json that made the tokens, in hexadecimal.
    pub tokenizer_hash: String,
    /// One document in this many is held out.
    pub heldout_every: u64,
    /// Training documents.
    pub train: SplitManifest,
    /// Held-out documents.
    pub heldout: SplitManifest,
    /// What was left out of each source that has a filter.
    pub filtered: Vec<(String, FilterCounts)>,
}

/// The files of one split.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SplitManifest {
    /// Name of the token file within the data folder: ids as little-endian integers.
    pub file: String,
    /// Name of the file of document starts: the place of each document's first token as a little-endian 64-bit integer.
    pub starts: String,
    /// Its sources, in file order and without gaps.
    pub sources: Vec<SourceManifest>,
}

/// The part of a token file that comes from one source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SourceManifest {
    /// The source's name in the configuration.
    pub name: String,
    /// First token.
    pub offset: usize,
    /// Tokens.
    pub n_tokens: usize,
    /// Documents.
    pub n_documents: usize,
    /// Bytes of text that the tokens stand for, control tokens not counted; for perplexities per byte.
    pub n_bytes: usize,
}

/// Tokenises all sources on all cores and writes token files and manifest to `data.folder`.
///
/// A document is held out when its hash is divisible by `heldout_every`: the split does not change when sources are added.
/// `progress` hears `(source name, documents done, documents)`.
///
/// # Errors
/// Those of [`load`], [`render`] and [`Encoder`], and [`TrainError::Io`].
pub fn prepare(data: &DataConfig, progress: &(dyn Fn(&str, usize, usize) + Sync)) -> Result<Manifest, TrainError> {
    let encoder = Encoder::open(&data.tokenizer)?;
    let tokens = Tokens::of_vocabulary(encoder.vocab_size());
    let split = |name: &str| SplitManifest {
        file: format!("{name}.u{}", tokens.bits()),
        starts: format!("{name}.starts"),
        sources: Vec::new(),
    };
    let folder = &data.folder;
    std::fs::create_dir_all(folder).map_err(TrainError::io("create the data folder", folder))?;
    let (mut train, mut heldout) = (Stream::new(&encoder), Stream::new(&encoder));
    let mut manifest = Manifest {
        version: VERSION,
        vocab_size: encoder.vocab_size(),
        token_bits: tokens.bits(),
        tokenizer_hash: hash_file(&data.tokenizer)?,
        heldout_every: data.heldout_every,
        train: split("train"),
        heldout: split("heldout"),
        filtered: Vec::new(),
    };
    let mut seen = Seen::default();
    for source in &data.sources {
        let (documents, counts) = load(source, &data.root, encoder.chat_format(), &mut seen)?;
        if source.filter.is_some() {
            manifest.filtered.push((source.name.clone(), counts));
        }
        let (held, kept): (Vec<&str>, Vec<&str>) = documents
            .iter()
            .map(String::as_str)
            .partition(|document| fnv1a(document.as_bytes()).is_multiple_of(data.heldout_every));
        manifest.train.sources.push(train.append(&kept, source, &encoder, progress)?);
        manifest.heldout.sources.push(heldout.append(&held, source, &encoder, progress)?);
    }
    token_set::write(folder, &manifest.train, &train.tokens, &train.starts)?;
    token_set::write(folder, &manifest.heldout, &heldout.tokens, &heldout.starts)?;
    let path = folder.join(MANIFEST);
    let json = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    std::fs::write(&path, json + "\n").map_err(TrainError::io("write the manifest", &path))?;
    Ok(manifest)
}

/// A split in the making.
struct Stream {
    tokens: Tokens,
    starts: Vec<usize>,
}

impl Stream {
    fn new(encoder: &Encoder) -> Self {
        Self { tokens: Tokens::of_vocabulary(encoder.vocab_size()), starts: Vec::new() }
    }

    /// Encodes `documents` in parallel and appends their tokens in order.
    fn append(
        &mut self,
        documents: &[&str],
        source: &SourceConfig,
        encoder: &Encoder,
        progress: &(dyn Fn(&str, usize, usize) + Sync),
    ) -> Result<SourceManifest, TrainError> {
        let n_done = AtomicUsize::new(0);
        let encode = |document: &&str| -> Result<Option<(Vec<u32>, usize)>, TrainError> {
            let encoded = render(document, source, encoder.chat_format())?.map(|parts| {
                let mut ids = Vec::with_capacity(document.len() / 3);
                let texts = parts.iter().map(|part| if let Part::Text(text) = part { text.len() } else { 0 });
                encoder.encode(&parts, &mut ids).map(|()| (ids, texts.sum()))
            });
            progress(&source.name, n_done.fetch_add(1, Ordering::Relaxed) + 1, documents.len());
            encoded.transpose()
        };
        let mut manifest = SourceManifest { name: source.name.clone(), offset: self.tokens.len(), ..SourceManifest::default() };
        let encoded = in_parallel(documents, encode)?.into_iter().flatten();
        // What a template writes nothing for is no document.
        for (ids, n_bytes) in encoded.filter(|(ids, _)| !ids.is_empty()) {
            self.starts.push(self.tokens.len());
            self.tokens.extend(&ids);
            manifest.n_documents += 1;
            manifest.n_bytes += n_bytes;
        }
        manifest.n_tokens = self.tokens.len() - manifest.offset;
        Ok(manifest)
    }
}

/// Returns the hash of a file, in hexadecimal.
pub(crate) fn hash_file(path: &Path) -> Result<String, TrainError> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read the tokenizer", path))?;
    Ok(format!("{:016x}", fnv1a(&bytes)))
}

/// Opens the prepared data: `(training split, held-out split)`.
///
/// # Errors
/// [`TrainError::Io`] when a file is missing; [`TrainError::Dataset`] when the manifest does not fit the files, the
/// configured sources, the tokenizer or the model's vocabulary.
pub fn open(data: &DataConfig, model_vocab_size: usize, seq_len: usize) -> Result<(TokenSet, TokenSet), TrainError> {
    let path = data.folder.join(MANIFEST);
    let text = std::fs::read_to_string(&path).map_err(TrainError::io("read the manifest", &path))?;
    let differs = |what: &str, expected: String, found: String| TrainError::Dataset {
        what: what.to_owned(),
        expected,
        found,
        path: path.clone(),
    };
    let unreadable = |error: serde_json::Error| differs("manifest", format!("JSON of version {VERSION}"), error.to_string());
    // Another version may have other keys.
    let value: serde_json::Value = serde_json::from_str(&text).map_err(unreadable)?;
    if value["version"] != VERSION {
        return Err(differs("version", VERSION.to_string(), value["version"].to_string()));
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(unreadable)?;
    let bits = Tokens::of_vocabulary(manifest.vocab_size).bits();
    if manifest.token_bits != bits {
        let expected = format!("{bits} for {} tokens", manifest.vocab_size);
        return Err(differs("token_bits", expected, manifest.token_bits.to_string()));
    }
    let tokenizer_hash = hash_file(&data.tokenizer)?;
    if manifest.tokenizer_hash != tokenizer_hash {
        return Err(differs("tokenizer hash", tokenizer_hash, manifest.tokenizer_hash));
    }
    if manifest.vocab_size > model_vocab_size {
        let expected = format!("at most the model's {model_vocab_size} tokens");
        return Err(differs("vocabulary", expected, manifest.vocab_size.to_string()));
    }
    let wanted: Vec<&str> = data.sources.iter().map(|source| source.name.as_str()).collect();
    for split in [&manifest.train, &manifest.heldout] {
        let found: Vec<&str> = split.sources.iter().map(|source| source.name.as_str()).collect();
        if wanted != found {
            return Err(differs("sources", wanted.join(", "), found.join(", ")));
        }
    }
    let train = token_set::read(&data.folder, manifest.train, manifest.vocab_size, seq_len)?;
    let heldout = token_set::read(&data.folder, manifest.heldout, manifest.vocab_size, seq_len)?;
    Ok((train, heldout))
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
