//! A safetensors file whose tensors are written piece by piece, in any order.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{Layout, TensorMeta};
use crate::{Result, WeightsError};

/// A file under construction. It has no protection of its own: it belongs into a folder that nobody reads yet.
pub(crate) struct PlacedFile {
    file: File,
    path: PathBuf,
    /// Where each tensor goes on, and what it still lacks.
    places: Vec<Place>,
}

struct Place {
    meta: TensorMeta,
    next: u64,
    missing_bytes: u64,
}

impl PlacedFile {
    /// Creates a file and writes its header.
    pub(crate) fn create(path: &Path, metas: &[TensorMeta], metadata: &BTreeMap<String, String>) -> Result<PlacedFile> {
        let layout = Layout::new(metas, metadata)?;
        let created = OpenOptions::new().write(true).create_new(true).open(path);
        let mut file = created.map_err(|reason| error("create the file", reason, path))?;
        file.write_all(&layout.header).map_err(|reason| error("write the file", reason, path))?;
        let first = layout.header.len() as u64;
        let place = |(meta, begin): (&TensorMeta, &u64)| Place {
            meta: meta.clone(),
            next: first.saturating_add(*begin),
            missing_bytes: meta.size_bytes(),
        };
        Ok(PlacedFile { file, path: path.into(), places: metas.iter().zip(&layout.begins).map(place).collect() })
    }

    /// Appends bytes to the tensor at `tensor_idx` in the list that the file was created with.
    pub(crate) fn append(&mut self, tensor_idx: usize, bytes: &[u8]) -> Result<()> {
        let Some(place) = self.places.get_mut(tensor_idx) else { return Ok(()) };
        let n_bytes = bytes.len() as u64;
        if n_bytes > place.missing_bytes {
            let expected_bytes = place.meta.size_bytes();
            let found_bytes = expected_bytes.saturating_sub(place.missing_bytes).saturating_add(n_bytes);
            return Err(WeightsError::ByteCount { tensor: place.meta.name.clone(), expected_bytes, found_bytes });
        }
        let written = self.file.seek(SeekFrom::Start(place.next)).and_then(|_| self.file.write_all(bytes));
        written.map_err(|reason| error("write the file", reason, &self.path))?;
        place.next += n_bytes;
        place.missing_bytes -= n_bytes;
        Ok(())
    }

    /// Checks that every tensor is complete and brings the file to the disk.
    pub(crate) fn finish(self) -> Result<()> {
        if let Some(Place { meta, missing_bytes, .. }) = self.places.iter().find(|place| place.missing_bytes > 0) {
            let expected_bytes = meta.size_bytes();
            let found_bytes = expected_bytes - missing_bytes;
            return Err(WeightsError::ByteCount { tensor: meta.name.clone(), expected_bytes, found_bytes });
        }
        self.file.sync_all().map_err(|reason| error("write the file", reason, &self.path))
    }
}

fn error(action: &'static str, reason: std::io::Error, path: &Path) -> WeightsError {
    WeightsError::Io { action, reason, path: path.into() }
}
