//! Writes safetensors files, one tensor in memory at a time.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    Layout, TensorMeta,
    atomic::{AtomicFile, FinishedFile, sync_folder, write_atomic},
};
use crate::{
    Result, WeightsError,
    folder::{INDEX, SINGLE},
};

/// Writes a safetensors file, atomically: tensors with their little-endian, row-major bytes, and text metadata.
///
/// # Errors
/// [`WeightsError::Io`], [`WeightsError::ByteCount`], [`WeightsError::TensorName`]; an older file is then untouched.
pub fn write_safetensors<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (TensorMeta, Cow<'a, [u8]>)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let (metas, data): (Vec<TensorMeta>, Vec<Cow<'a, [u8]>>) = tensors.into_iter().unzip();
    let mut data: Vec<Option<Cow<'a, [u8]>>> = data.into_iter().map(Some).collect();
    let take = |tensor_idx: usize, _: &TensorMeta| Ok(data.get_mut(tensor_idx).and_then(Option::take).unwrap_or_default());
    write_temporary(path.as_ref(), &metas, metadata, take)?.rename()
}

/// Writes a safetensors file as [`write_safetensors`] does, but asks for the bytes of one tensor at a time.
///
/// `bytes_of` is called once for each tensor, in the order of the file: wide element types first.
///
/// # Errors
/// As [`write_safetensors`], and what `bytes_of` returns.
pub fn write_safetensors_with<'a>(
    path: impl AsRef<Path>,
    tensors: &[TensorMeta],
    metadata: &BTreeMap<String, String>,
    mut bytes_of: impl FnMut(&TensorMeta) -> Result<Cow<'a, [u8]>>,
) -> Result<()> {
    write_temporary(path.as_ref(), tensors, metadata, |_, meta| bytes_of(meta))?.rename()
}

/// Writes the weights of a model into a folder: `model.safetensors`, or shards of at most `max_shard_bytes` and their index.
///
/// A single tensor larger than that gets a shard of its own. Weights that the folder held before are replaced; if the process
/// stops in between, the folder holds the old model, the new one, or shards without an index, never a mixture that loads.
/// Returns the safetensors files. `bytes_of` is called once for each tensor.
///
/// # Errors
/// As [`write_safetensors`], and what `bytes_of` returns.
pub fn save_weights<'a>(
    folder: impl AsRef<Path>,
    tensors: &[TensorMeta],
    max_shard_bytes: u64,
    mut bytes_of: impl FnMut(&TensorMeta) -> Result<Cow<'a, [u8]>>,
) -> Result<Vec<PathBuf>> {
    let folder = folder.as_ref();
    let mut names = HashSet::new();
    // Within one shard the header's own check finds this; across shards nothing else would.
    if let Some(meta) = tensors.iter().find(|meta| !names.insert(&meta.name)) {
        return Err(WeightsError::TensorName { tensor: meta.name.clone(), why: "used twice" });
    }
    // Hugging Face's loader refuses files without this entry.
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
    let shards = split(tensors, TensorMeta::size_bytes, max_shard_bytes);
    if shards.len() <= 1 {
        write_safetensors_with(&single, tensors, &metadata, bytes_of)?;
        // The single file already wins over an old index; without it the folder is also free of doubt.
        remove(&index)?;
        return Ok(vec![single]);
    }
    let name_of = |shard_idx| shard_name(shard_idx, shards.len());
    let mut weight_map = Map::new();
    let mut written = Vec::with_capacity(shards.len());
    for (shard_idx, shard) in shards.iter().enumerate() {
        weight_map.extend(shard.iter().map(|meta| (meta.name.clone(), json!(name_of(shard_idx)))));
        let path = folder.join(name_of(shard_idx));
        written.push((write_temporary(&path, shard, &metadata, |_, meta| bytes_of(meta))?, path));
    }
    let total_bytes: u64 = tensors.iter().map(TensorMeta::size_bytes).sum();
    remove(&index)?;
    let mut paths = Vec::with_capacity(written.len());
    for (file, path) in written {
        file.rename()?;
        paths.push(path);
    }
    write_atomic(&index, index_text(total_bytes, weight_map).as_bytes())?;
    remove(&single)?;
    Ok(paths)
}

/// Returns the name of a shard.
pub(crate) fn shard_name(shard_idx: usize, n_shards: usize) -> String {
    format!("model-{:05}-of-{n_shards:05}.safetensors", shard_idx + 1)
}

/// Returns the text of the index of a sharded model.
pub(crate) fn index_text(total_bytes: u64, weight_map: Map<String, Value>) -> String {
    let content = json!({ "metadata": { "total_size": total_bytes }, "weight_map": Value::Object(weight_map) });
    format!("{content:#}\n")
}

/// Cuts a list into runs of at most `max_shard_bytes`.
pub(crate) fn split<T>(tensors: &[T], size_bytes: impl Fn(&T) -> u64, max_shard_bytes: u64) -> Vec<&[T]> {
    let mut shards = Vec::new();
    let (mut begin, mut shard_bytes) = (0, 0u64);
    for (tensor_idx, tensor) in tensors.iter().enumerate() {
        let with_this = shard_bytes.saturating_add(size_bytes(tensor));
        if with_this > max_shard_bytes && tensor_idx > begin {
            shards.extend(tensors.get(begin..tensor_idx));
            (begin, shard_bytes) = (tensor_idx, size_bytes(tensor));
        } else {
            shard_bytes = with_this;
        }
    }
    shards.extend(tensors.get(begin..).filter(|rest| !rest.is_empty()));
    shards
}

/// Writes a file under a temporary name.
fn write_temporary<'a>(
    path: &Path,
    metas: &[TensorMeta],
    metadata: &BTreeMap<String, String>,
    mut bytes_of: impl FnMut(usize, &TensorMeta) -> Result<Cow<'a, [u8]>>,
) -> Result<FinishedFile> {
    let layout = Layout::new(metas, metadata)?;
    let mut file = AtomicFile::create(path)?;
    file.write(&layout.header)?;
    for tensor_idx in layout.order {
        if let Some(meta) = metas.get(tensor_idx) {
            let bytes = bytes_of(tensor_idx, meta)?;
            meta.check_bytes(bytes.len())?;
            file.write(&bytes)?;
        }
    }
    file.finish()
}

/// Removes a file if it is there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path),
        Err(reason) if reason.kind() == ErrorKind::NotFound => Ok(()),
        Err(reason) => Err(WeightsError::Io { action: "remove the file", reason, path: path.into() }),
    }
}
