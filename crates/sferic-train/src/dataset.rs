//! Prepared data: one 16-bit token file per split and a JSON manifest that says which source lies where.
//!
//! Rows are windows over a source's token stream. Documents follow one another without padding; a begin token marks each
//! boundary, so a row can start in the middle of a document.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::config::DataConfig;
use crate::corpus::{Part, SourceConfig, load, render};
use crate::filter::{FilterCounts, Seen};
use crate::hash::fnv1a;
use crate::parallel::in_parallel;
use crate::tokenizer::{Encoder, Special};

/// The manifest's name within the data folder.
const MANIFEST: &str = "manifest.json";
/// The version of the manifest and of the token files.
const VERSION: u32 = 2;

/// What the data folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version.
    pub version: u32,
    /// Tokens of the tokenizer, specials included.
    pub vocab_size: usize,
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

/// One token file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SplitManifest {
    /// File name within the data folder: token ids as little-endian 16-bit integers.
    pub file: String,
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
    let folder = &data.folder;
    std::fs::create_dir_all(folder).map_err(TrainError::io("create the data folder", folder))?;
    let (mut train, mut heldout) = (Vec::new(), Vec::new());
    let mut manifest = Manifest {
        version: VERSION,
        vocab_size: encoder.vocab_size(),
        tokenizer_hash: hash_file(&data.tokenizer)?,
        heldout_every: data.heldout_every,
        train: SplitManifest { file: "train.u16".to_owned(), sources: Vec::new() },
        heldout: SplitManifest { file: "heldout.u16".to_owned(), sources: Vec::new() },
        filtered: Vec::new(),
    };
    let mut seen = Seen::default();
    for source in &data.sources {
        let (documents, counts) = load(source, &data.root, &mut seen)?;
        if source.filter.is_some() {
            manifest.filtered.push((source.name.clone(), counts));
        }
        let (held, kept): (Vec<&str>, Vec<&str>) = documents
            .iter()
            .map(String::as_str)
            .partition(|document| fnv1a(document.as_bytes()).is_multiple_of(data.heldout_every));
        manifest.train.sources.push(append(&mut train, &kept, source, &encoder, progress)?);
        manifest.heldout.sources.push(append(&mut heldout, &held, source, &encoder, progress)?);
    }
    write_tokens(&folder.join(&manifest.train.file), &train)?;
    write_tokens(&folder.join(&manifest.heldout.file), &heldout)?;
    let path = folder.join(MANIFEST);
    let json = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    std::fs::write(&path, json + "\n").map_err(TrainError::io("write the manifest", &path))?;
    Ok(manifest)
}

/// Encodes `documents` in parallel and appends their tokens in order.
fn append(
    tokens: &mut Vec<u16>,
    documents: &[&str],
    source: &SourceConfig,
    encoder: &Encoder,
    progress: &(dyn Fn(&str, usize, usize) + Sync),
) -> Result<SourceManifest, TrainError> {
    let n_done = AtomicUsize::new(0);
    let encode = |document: &&str| -> Result<Option<(Vec<u16>, usize)>, TrainError> {
        let encoded = render(document, source)?.map(|parts| {
            let mut ids = Vec::with_capacity(document.len() / 3);
            let texts = parts.iter().map(|part| if let Part::Text(text) = part { text.len() } else { 0 });
            encoder.encode(&parts, &mut ids).map(|()| (ids, texts.sum()))
        });
        progress(&source.name, n_done.fetch_add(1, Ordering::Relaxed) + 1, documents.len());
        encoded.transpose()
    };
    let mut manifest = SourceManifest { name: source.name.clone(), offset: tokens.len(), ..SourceManifest::default() };
    for (ids, n_bytes) in in_parallel(documents, encode)?.into_iter().flatten() {
        tokens.extend(ids);
        manifest.n_documents += 1;
        manifest.n_bytes += n_bytes;
    }
    manifest.n_tokens = tokens.len() - manifest.offset;
    Ok(manifest)
}

fn write_tokens(path: &Path, tokens: &[u16]) -> Result<(), TrainError> {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    std::fs::write(path, bytes).map_err(TrainError::io("write the token file", path))
}

fn hash_file(path: &Path) -> Result<String, TrainError> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read the tokenizer", path))?;
    Ok(format!("{:016x}", fnv1a(&bytes)))
}

/// One split in memory.
#[derive(Debug, Clone)]
pub struct TokenSet {
    tokens: Vec<u16>,
    sources: Vec<SourceManifest>,
    seq_len: usize,
}

impl TokenSet {
    /// Wraps a token stream and its sources, to be read in rows of `seq_len + 1` tokens.
    pub fn new(tokens: Vec<u16>, sources: Vec<SourceManifest>, seq_len: usize) -> Self {
        Self { tokens, sources, seq_len }
    }

    /// Returns the sources, in the order of the configuration.
    pub fn sources(&self) -> &[SourceManifest] {
        &self.sources
    }

    /// Returns all tokens of a source, documents one after the other.
    pub fn tokens(&self, source_idx: usize) -> &[u16] {
        self.sources.get(source_idx).map_or(&[], |source| &self.tokens[source.offset..source.offset + source.n_tokens])
    }

    /// Returns the number of rows of a source.
    ///
    /// Neighbouring rows share one token: the last target of one is the first input of the next.
    pub fn n_rows(&self, source_idx: usize) -> usize {
        self.sources.get(source_idx).map_or(0, |source| source.n_tokens.saturating_sub(1) / self.seq_len)
    }

    /// Returns the `seq_len + 1` tokens of a row: inputs are all but the last, targets all but the first.
    ///
    /// `row_idx` must be below [`TokenSet::n_rows`].
    pub fn row(&self, source_idx: usize, row_idx: usize) -> &[u16] {
        let first = self.sources[source_idx].offset + row_idx * self.seq_len;
        &self.tokens[first..first + self.seq_len + 1]
    }
}

/// Returns the positions in `row` at which a document begins.
pub fn document_starts(row: &[u16]) -> Vec<usize> {
    let is_start = |&(_, &token): &(usize, &u16)| token == Special::Bos as u16;
    row.iter().enumerate().filter(is_start).map(|(token_idx, _)| token_idx).collect()
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
    let manifest: Manifest = serde_json::from_str(&text)
        .map_err(|error| differs("manifest", format!("JSON of version {VERSION}"), error.to_string()))?;
    if manifest.version != VERSION {
        return Err(differs("version", VERSION.to_string(), manifest.version.to_string()));
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
    let train = read_split(&data.folder, manifest.train, manifest.vocab_size, seq_len)?;
    let heldout = read_split(&data.folder, manifest.heldout, manifest.vocab_size, seq_len)?;
    Ok((train, heldout))
}

fn read_split(folder: &Path, split: SplitManifest, vocab_size: usize, seq_len: usize) -> Result<TokenSet, TrainError> {
    let path: PathBuf = folder.join(&split.file);
    let bytes = std::fs::read(&path).map_err(TrainError::io("read the token file", &path))?;
    let mut offset = 0;
    for source in &split.sources {
        if source.offset != offset {
            let what = format!("offset of source `{}`", source.name);
            return Err(TrainError::Dataset { what, expected: offset.to_string(), found: source.offset.to_string(), path });
        }
        offset += source.n_tokens;
    }
    if bytes.len() != offset * 2 {
        let expected = format!("{} bytes", offset * 2);
        let found = format!("{} bytes", bytes.len());
        return Err(TrainError::Dataset { what: "token file size".to_owned(), expected, found, path });
    }
    let tokens: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    if let Some(token) = tokens.iter().find(|&&token| usize::from(token) >= vocab_size) {
        let (what, expected) = ("token id".to_owned(), format!("less than {vocab_size}"));
        return Err(TrainError::Dataset { what, expected, found: token.to_string(), path });
    }
    Ok(TokenSet::new(tokens, split.sources, seq_len))
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
