//! Finds and opens the files of a model folder.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Component, Path},
};

use serde::Deserialize;
use serde_json::Value;

use crate::{Result, SafeFile, WeightsError};

/// The configuration.
pub(crate) const CONFIG: &str = "config.json";

/// The one file of a model that is not sharded. Wins over an index, as it does in Hugging Face's loader.
pub(crate) const SINGLE: &str = "model.safetensors";

/// The index of a sharded model.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// How many file names an error lists as what a folder holds.
const LISTED_FILES: usize = 6;

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    /// Shard file of each tensor.
    weight_map: BTreeMap<String, String>,
}

/// Reads `config.json`, after checking that the path is a folder.
pub(crate) fn read_config(folder: &Path) -> Result<Value> {
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            return Err(WeightsError::NotAFolder { path: folder.into() });
        }
        Err(reason) if reason.kind() == ErrorKind::NotFound => {
            return Err(WeightsError::NoFolder { path: folder.into() });
        }
        Err(reason) => {
            return Err(WeightsError::Io { action: "open the folder", reason, path: folder.into() });
        }
    }
    let path = folder.join(CONFIG);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(reason) if reason.kind() == ErrorKind::NotFound => {
            return Err(WeightsError::NoConfig { found: Listing::read(folder)?.to_string(), path: folder.into() });
        }
        Err(reason) => {
            return Err(WeightsError::Io { action: "read the file", reason, path });
        }
    };
    serde_json::from_slice(&text).map_err(|reason| WeightsError::ConfigJson { reason, path })
}

/// Opens `model.safetensors`, or all shards that the index names.
pub(crate) fn open_files(folder: &Path) -> Result<Vec<SafeFile>> {
    let single = folder.join(SINGLE);
    if single.is_file() {
        return Ok(vec![SafeFile::open(single)?]);
    }
    let index_path = folder.join(INDEX);
    match fs::read(&index_path) {
        Ok(text) => {
            let index =
                serde_json::from_slice(&text).map_err(|reason| WeightsError::IndexJson { reason, path: index_path.clone() })?;
            open_shards(folder, &index_path, &index)
        }
        Err(reason) if reason.kind() == ErrorKind::NotFound => {
            let listing = Listing::read(folder)?;
            Err(WeightsError::NoWeights { found: listing.to_string(), hint: listing.hint(), path: folder.into() })
        }
        Err(reason) => Err(WeightsError::Io { action: "read the file", reason, path: index_path }),
    }
}

/// Opens each shard once and checks that it holds what the index promises.
fn open_shards(folder: &Path, index_path: &Path, index: &Index) -> Result<Vec<SafeFile>> {
    let mut tensors_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in &index.weight_map {
        tensors_of.entry(shard).or_default().push(tensor);
    }
    let mut files = Vec::with_capacity(tensors_of.len());
    for (shard, tensors) in tensors_of {
        let mut components = Path::new(shard).components();
        // A downloaded index must not make us open files elsewhere.
        if !matches!((components.next(), components.next()), (Some(Component::Normal(name)), None) if name == shard) {
            return Err(WeightsError::ShardName { shard: shard.into(), path: index_path.into() });
        }
        let path = folder.join(shard);
        if !path.is_file() {
            let tensor = tensors.first().copied().unwrap_or_default().to_owned();
            let n_others = tensors.len().saturating_sub(1);
            return Err(WeightsError::MissingShard { shard: shard.into(), tensor, n_others, path: index_path.into() });
        }
        let file = SafeFile::open(path)?;
        if let Some(tensor) = tensors.into_iter().find(|tensor| !file.contains(tensor)) {
            return Err(WeightsError::NotInShard { tensor: tensor.into(), shard: shard.into(), path: index_path.into() });
        }
        files.push(file);
    }
    Ok(files)
}

/// The files of a folder, for messages.
pub(crate) struct Listing(Vec<String>);

impl Listing {
    pub(crate) fn read(folder: &Path) -> Result<Listing> {
        let io = |reason| WeightsError::Io { action: "list the folder", reason, path: folder.into() };
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(io)? {
            names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(Listing(names))
    }

    /// Returns whether the folder holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Returns what to do about a folder with these files and no safetensors model.
    fn hint(&self) -> &'static str {
        let has = |extension: &str| self.0.iter().any(|name| name.ends_with(extension));
        if has(".gguf") {
            "GGUF files are not read, get the safetensors version of the model"
        } else if has(".bin") || has(".pt") || has(".pth") {
            "PyTorch files are not read, get the safetensors version of the model or convert them"
        } else {
            "download the weights into this folder"
        }
    }
}

impl std::fmt::Display for Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("an empty folder");
        }
        let listed: Vec<&str> = self.0.iter().take(LISTED_FILES).map(String::as_str).collect();
        f.write_str(&listed.join(", "))?;
        match self.0.len().saturating_sub(LISTED_FILES) {
            0 => Ok(()),
            n_others => write!(f, " and {n_others} more"),
        }
    }
}
