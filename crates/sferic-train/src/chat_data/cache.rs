//! Tokens of conversations on the disk, so that a stage which goes on need not make them again.

use std::path::{Path, PathBuf};

use sferic_weights::write_atomic;

use super::{ChatConfig, Talk};
use crate::TrainError;
use crate::chat_format::ChatFormat;
use crate::config::DataConfig;
use crate::corpus::{SourceConfig, load};
use crate::filter::Seen;
use crate::hash::{fnv1a, mix};

/// Goes up with every change of what a conversation becomes: its text, its tokens, what is learned of it, how documents are split and filtered.
const VERSION: u32 = 1;
/// Begins the file.
const MAGIC: &[u8; 16] = b"sferic talks 01\n";
const FILE: &str = "tokens.bin";
/// Files beside the tokenizer that tell its control tokens and the format of conversations.
const BESIDE: [&str; 4] = ["tokenizer_config.json", "generation_config.json", "config.json", "chat_template.jinja"];

/// The file of a folder of conversations, for what the configuration asks for.
///
/// The file: the magic bytes, the key, then for each source the number of its conversations, and for each of these the numbers of its tokens and of
/// its learned places, and both; at the end a hash of all before. Key and hash have 64 bits, everything else 32; little-endian.
pub(super) struct TalkCache {
    path: PathBuf,
    key: u64,
    n_sources: usize,
}

impl TalkCache {
    /// # Errors
    /// [`TrainError::Io`] when the tokenizer or a corpus file cannot be read, and those of [`load`].
    pub(super) fn of(config: &ChatConfig, data: &DataConfig) -> Result<Self, TrainError> {
        let mut key = mix(u64::from(VERSION));
        let mut add = |hash: u64| key = mix(key ^ hash);
        add(fnv1a(env!("CARGO_PKG_VERSION").as_bytes()));
        add(data.heldout_every);
        add(hash_of_file(&data.tokenizer, "read the tokenizer")?);
        for name in BESIDE {
            // A file that is not there tells nothing.
            add(std::fs::read(data.tokenizer.with_file_name(name)).map_or(0, |bytes| fnv1a(&bytes)));
        }
        let mut n_sources = 0;
        for source in config.drawn() {
            // The weight says how often conversations are drawn, not what they are.
            let settings = SourceConfig { weight: 1.0, ..source.clone() };
            add(fnv1a(format!("{settings:?}").as_bytes()));
            add(hash_of_content(source, &data.root)?);
            n_sources += 1;
        }
        Ok(Self { path: config.folder.join(FILE), key, n_sources })
    }

    /// Returns the conversations of each source from the file, or those that `make` returns, which the file has from then on.
    ///
    /// # Errors
    /// Those of `make`; [`TrainError::Io`] and [`TrainError::Weights`] when the file cannot be written.
    pub(super) fn read_or(
        &self,
        make: impl FnOnce() -> Result<Vec<Vec<Talk>>, TrainError>,
    ) -> Result<Vec<Vec<Talk>>, TrainError> {
        if let Some(talks) = std::fs::read(&self.path).ok().and_then(|bytes| self.decode(&bytes)) {
            return Ok(talks);
        }
        let talks = make()?;
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(TrainError::io("create the folder of conversations", folder))?;
        }
        write_atomic(&self.path, &self.encode(&talks))?;
        Ok(talks)
    }

    fn encode(&self, sources: &[Vec<Talk>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.key.to_le_bytes());
        let mut add = |number: u32| bytes.extend(number.to_le_bytes());
        for talks in sources {
            add(talks.len() as u32);
            for Talk { ids, learned } in talks {
                add(ids.len() as u32);
                add(learned.len() as u32);
                ids.iter().for_each(|&id| add(id));
                learned.iter().for_each(|&place| add(place));
            }
        }
        let hash = fnv1a(&bytes);
        bytes.extend(hash.to_le_bytes());
        bytes
    }

    /// Returns nothing where the file is another configuration's, or damaged.
    fn decode(&self, bytes: &[u8]) -> Option<Vec<Vec<Talk>>> {
        let (body, hash) = bytes.split_last_chunk::<8>()?;
        let (key, numbers) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        if u64::from_le_bytes(*key) != self.key || u64::from_le_bytes(*hash) != fnv1a(body) {
            return None;
        }
        let mut numbers = Numbers(numbers);
        let mut sources = Vec::new();
        for _ in 0..self.n_sources {
            let n_talks = numbers.next()?;
            sources.push((0..n_talks).map(|_| numbers.talk()).collect::<Option<_>>()?);
        }
        numbers.0.is_empty().then_some(sources)
    }
}

/// What is left of a file's numbers.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn talk(&mut self) -> Option<Talk> {
        let [n_ids, n_learned] = [self.next()?, self.next()?];
        let ids = (0..n_ids).map(|_| self.next()).collect::<Option<_>>()?;
        let learned = (0..n_learned).map(|_| self.next()).collect::<Option<_>>()?;
        Some(Talk { ids, learned })
    }
}

/// Returns the hash of what conversations are read from. Those that are made from no file follow from the program, so that they stand for it.
fn hash_of_content(source: &SourceConfig, root: &Path) -> Result<u64, TrainError> {
    if source.is_made() {
        let (documents, _) = load(source, root, &ChatFormat::own(), &mut Seen::default())?;
        return Ok(documents.iter().fold(0, |hash, document| mix(hash ^ fnv1a(document.as_bytes()))));
    }
    hash_of_file(&root.join(&source.path), "read the corpus file")
}

fn hash_of_file(path: &Path, action: &'static str) -> Result<u64, TrainError> {
    Ok(fnv1a(&std::fs::read(path).map_err(TrainError::io(action, path))?))
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
