//! Token streams in memory and on disk, and the rows that are cut from them.

use std::ops::Range;
use std::path::Path;

use crate::TrainError;
use crate::dataset::{SourceManifest, SplitManifest};

/// Token ids, in 16 bits each where the vocabulary allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tokens {
    /// For vocabularies of up to 65536 tokens.
    Short(Vec<u16>),
    /// For larger ones.
    Long(Vec<u32>),
}

impl Tokens {
    /// Returns an empty list for ids below `vocab_size`.
    pub fn of_vocabulary(vocab_size: usize) -> Self {
        if vocab_size <= 1 << 16 { Self::Short(Vec::new()) } else { Self::Long(Vec::new()) }
    }

    /// Returns the bits of a token.
    pub fn bits(&self) -> usize {
        match self {
            Self::Short(_) => 16,
            Self::Long(_) => 32,
        }
    }

    /// Returns the number of tokens.
    pub fn len(&self) -> usize {
        match self {
            Self::Short(ids) => ids.len(),
            Self::Long(ids) => ids.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends ids of the vocabulary.
    pub fn extend(&mut self, more: &[u32]) {
        match self {
            // Its vocabulary has at most 65536 entries.
            Self::Short(ids) => ids.extend(more.iter().map(|&id| id as u16)),
            Self::Long(ids) => ids.extend_from_slice(more),
        }
    }

    /// Returns some ids; the range must lie within [`len`](Self::len).
    pub fn ids(&self, range: Range<usize>) -> Vec<u32> {
        match self {
            Self::Short(ids) => ids[range].iter().map(|&id| u32::from(id)).collect(),
            Self::Long(ids) => ids[range].to_vec(),
        }
    }

    /// Returns the largest id.
    fn largest(&self) -> Option<u32> {
        match self {
            Self::Short(ids) => ids.iter().max().map(|&id| u32::from(id)),
            Self::Long(ids) => ids.iter().max().copied(),
        }
    }

    /// Returns the content of a token file: little-endian integers.
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Short(ids) => ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
            Self::Long(ids) => ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
        }
    }

    /// Fills an empty list from the content of a token file.
    fn with_bytes(self, bytes: &[u8]) -> Self {
        match self {
            Self::Short(_) => Self::Short(bytes.as_chunks().0.iter().map(|chunk| u16::from_le_bytes(*chunk)).collect()),
            Self::Long(_) => Self::Long(bytes.as_chunks().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect()),
        }
    }
}

/// Some tokens in a row, and where documents begin among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The tokens: inputs are all but the last, targets all but the first.
    pub ids: Vec<u32>,
    /// Places of the first tokens of documents, ascending.
    pub starts: Vec<usize>,
}

/// One split in memory.
#[derive(Debug, Clone)]
pub struct TokenSet {
    tokens: Tokens,
    /// The first token of every document, ascending.
    starts: Vec<usize>,
    sources: Vec<SourceManifest>,
    seq_len: usize,
}

impl TokenSet {
    /// Wraps a token stream, the first tokens of its documents and its sources, to be read in rows of `seq_len + 1` tokens.
    pub fn new(tokens: Tokens, starts: Vec<usize>, sources: Vec<SourceManifest>, seq_len: usize) -> Self {
        Self { tokens, starts, sources, seq_len }
    }

    /// Returns the sources, in the order of the configuration.
    pub fn sources(&self) -> &[SourceManifest] {
        &self.sources
    }

    /// Returns the places of a source's documents, one after the other.
    pub fn documents(&self, source_idx: usize) -> Vec<Range<usize>> {
        let Some(source) = self.sources.get(source_idx) else { return Vec::new() };
        let end = source.offset + source.n_tokens;
        let starts = self.starts_in(source.offset..end);
        let ends = starts.iter().skip(1).copied().chain([end]);
        starts.iter().zip(ends).map(|(&start, end)| start..end).collect()
    }

    /// Returns the tokens of a place, of a document for instance.
    pub fn ids(&self, range: Range<usize>) -> Vec<u32> {
        self.tokens.ids(range)
    }

    /// Returns the number of rows of a source.
    ///
    /// Neighbouring rows share one token: the last target of one is the first input of the next.
    pub fn n_rows(&self, source_idx: usize) -> usize {
        self.sources.get(source_idx).map_or(0, |source| source.n_tokens.saturating_sub(1) / self.seq_len)
    }

    /// Returns the `seq_len + 1` tokens of a row. It can start in the middle of a document.
    ///
    /// `row_idx` must be below [`TokenSet::n_rows`].
    pub fn row(&self, source_idx: usize, row_idx: usize) -> Row {
        let first = self.sources[source_idx].offset + row_idx * self.seq_len;
        let range = first..first + self.seq_len + 1;
        let starts = self.starts_in(range.clone()).iter().map(|start| start - first).collect();
        Row { ids: self.tokens.ids(range), starts }
    }

    fn starts_in(&self, range: Range<usize>) -> &[usize] {
        let at = |token_idx: usize| self.starts.partition_point(|&start| start < token_idx);
        &self.starts[at(range.start)..at(range.end)]
    }
}

/// Writes the two files of a split.
pub(crate) fn write(folder: &Path, split: &SplitManifest, tokens: &Tokens, starts: &[usize]) -> Result<(), TrainError> {
    let write = |name: &str, bytes: Vec<u8>| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(TrainError::io("write the token file", &path))
    };
    write(&split.file, tokens.to_bytes())?;
    write(&split.starts, starts.iter().flat_map(|&start| (start as u64).to_le_bytes()).collect())
}

/// Reads the two files of a split and checks them against its manifest.
pub(crate) fn read(folder: &Path, split: SplitManifest, vocab_size: usize, seq_len: usize) -> Result<TokenSet, TrainError> {
    let path = folder.join(&split.file);
    let differs = |what: &str, expected: String, found: String| TrainError::Dataset {
        what: what.to_owned(),
        expected,
        found,
        path: path.clone(),
    };
    let mut offset = 0;
    for source in &split.sources {
        if source.offset != offset {
            let what = format!("offset of source `{}`", source.name);
            return Err(differs(&what, offset.to_string(), source.offset.to_string()));
        }
        offset += source.n_tokens;
    }
    let tokens = Tokens::of_vocabulary(vocab_size);
    let bytes = read_file(&path, offset.saturating_mul(tokens.bits() / 8))?;
    let tokens = tokens.with_bytes(&bytes);
    if let Some(token) = tokens.largest().filter(|&token| token as usize >= vocab_size) {
        return Err(differs("token id", format!("less than {vocab_size}"), token.to_string()));
    }
    let starts = read_starts(&folder.join(&split.starts), &split.sources)?;
    Ok(TokenSet::new(tokens, starts, split.sources, seq_len))
}

/// Reads where documents begin: a source begins with one, and has as many as it says.
fn read_starts(path: &Path, sources: &[SourceManifest]) -> Result<Vec<usize>, TrainError> {
    let n_documents = sources.iter().fold(0usize, |n, source| n.saturating_add(source.n_documents));
    let bytes = read_file(path, n_documents.saturating_mul(8))?;
    let starts: Vec<usize> = bytes.as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk) as usize).collect();
    let mut rest = starts.as_slice();
    for source in sources {
        let (own, others) = rest.split_at(source.n_documents);
        let end = source.offset + source.n_tokens;
        let fits = own.first().is_none_or(|&first| first == source.offset)
            && own.last().is_none_or(|&last| last < end)
            && own.is_sorted_by(|a, b| a < b)
            && own.is_empty() == (source.n_tokens == 0);
        if !fits {
            return Err(TrainError::Dataset {
                what: format!("document starts of source `{}`", source.name),
                expected: format!("ascending places from {} to below {end}", source.offset),
                found: "others".to_owned(),
                path: path.to_path_buf(),
            });
        }
        rest = others;
    }
    Ok(starts)
}

fn read_file(path: &Path, size_bytes: usize) -> Result<Vec<u8>, TrainError> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read the token file", path))?;
    if bytes.len() == size_bytes {
        return Ok(bytes);
    }
    let (expected, found) = (format!("{size_bytes} bytes"), format!("{} bytes", bytes.len()));
    Err(TrainError::Dataset { what: "token file size".to_owned(), expected, found, path: path.to_path_buf() })
}
