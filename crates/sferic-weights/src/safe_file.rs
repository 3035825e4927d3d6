//! One safetensors file.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{
    Dtype, Result, WeightsError, convert,
    header::{Entry, Header},
    storage::{ByteSource, Storage},
};

/// How many names an error lists as what a file holds.
const LISTED_NAMES: usize = 5;

/// A safetensors file of any content: golden values, token ids, training state. [`crate::Checkpoint`] reads models.
#[derive(Debug)]
pub struct SafeFile {
    path: PathBuf,
    storage: Storage,
    header: Header,
}

impl SafeFile {
    /// Maps a file and checks its header.
    ///
    /// # Errors
    /// [`WeightsError::Io`], and every way in which a header can be wrong.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: impl AsRef<Path>) -> Result<SafeFile> {
        let path = path.as_ref();
        SafeFile::new(path.to_owned(), Storage::map(path)?)
    }

    /// Reads a file that is already in memory; `label` stands for its path in messages.
    ///
    /// # Errors
    /// Every way in which a header can be wrong.
    pub fn from_bytes(label: impl Into<PathBuf>, bytes: impl Into<Cow<'static, [u8]>>) -> Result<SafeFile> {
        SafeFile::new(label.into(), Storage::Memory(bytes.into()))
    }

    /// Reads the header of a file whose bytes are read a range at a time; `label` stands for its path in messages.
    ///
    /// # Errors
    /// [`WeightsError::Io`], and every way in which a header can be wrong.
    pub fn from_source(label: impl Into<PathBuf>, source: Box<dyn ByteSource>) -> Result<SafeFile> {
        SafeFile::new(label.into(), Storage::Ranges(source))
    }

    fn new(path: PathBuf, storage: Storage) -> Result<SafeFile> {
        let header = Header::parse(&storage, &path)?;
        Ok(SafeFile { path, storage, header })
    }

    /// Returns the path of the file, or its label.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Iterates over the names of the tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.header.entries.keys().map(String::as_str)
    }

    /// Returns whether the file holds a tensor.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.header.entries.contains_key(name)
    }

    /// Returns the text metadata of the header.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// Returns the element type of a tensor.
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`].
    pub fn dtype(&self, name: &str) -> Result<Dtype> {
        Ok(self.entry(name)?.dtype)
    }

    /// Returns the shape of a tensor.
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`].
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.entry(name)?.shape)
    }

    /// Returns the stored bytes of a tensor, little-endian and without alignment.
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`], [`WeightsError::Io`].
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        self.bytes_of(self.entry(name)?)
    }

    /// Reads an `F32`, `F16` or `BF16` tensor, row-major. FP8 needs its scales: see [`crate::Checkpoint::read_f32`].
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`], [`WeightsError::WrongDtype`], [`WeightsError::Io`].
    pub fn f32(&self, name: &str) -> Result<Vec<f32>> {
        let entry = self.entry(name)?;
        let mut values = Vec::with_capacity(entry.n_bytes() as usize / entry.dtype.size_bytes());
        if convert::append_f32(&self.bytes_of(entry)?, entry.dtype, &mut values, |_, _| ()) {
            return Ok(values);
        }
        Err(self.wrong_dtype(name, entry, "F32, F16 or BF16"))
    }

    /// Reads an `I64` or `I32` tensor, row-major.
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`], [`WeightsError::WrongDtype`], [`WeightsError::Io`].
    pub fn i64(&self, name: &str) -> Result<Vec<i64>> {
        let entry = self.entry(name)?;
        match entry.dtype {
            Dtype::I64 => Ok(convert::elements(&self.bytes_of(entry)?, i64::from_le_bytes).collect()),
            Dtype::I32 => Ok(convert::elements(&self.bytes_of(entry)?, |b| i64::from(i32::from_le_bytes(b))).collect()),
            _ => Err(self.wrong_dtype(name, entry, "I64 or I32")),
        }
    }

    /// Reads an `I32` tensor, row-major.
    ///
    /// # Errors
    /// [`WeightsError::NoTensor`], [`WeightsError::WrongDtype`], [`WeightsError::Io`].
    pub fn i32(&self, name: &str) -> Result<Vec<i32>> {
        let entry = self.entry(name)?;
        match entry.dtype {
            Dtype::I32 => Ok(convert::elements(&self.bytes_of(entry)?, i32::from_le_bytes).collect()),
            _ => Err(self.wrong_dtype(name, entry, "I32")),
        }
    }

    /// Returns the file's name without its folder, for messages that name the folder elsewhere.
    pub(crate) fn file_name(&self) -> String {
        crate::header::file_name(&self.path)
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the bytes of an entry of this file's own header.
    pub(crate) fn bytes_of(&self, entry: &Entry) -> Result<Cow<'_, [u8]>> {
        self.read(&entry.range)
    }

    /// Returns the bytes of a range of the file, a tensor's or a part of one.
    pub(crate) fn read(&self, range: &Range<u64>) -> Result<Cow<'_, [u8]>> {
        let io = |reason| WeightsError::Io { action: "read the weights", reason, path: self.path.clone() };
        self.storage.read(range).map_err(io)
    }

    /// Tells the system that a range of the file, a tensor's or a part of one, has been used.
    pub(crate) fn release(&self, range: &Range<u64>) {
        self.storage.release(range);
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.header.entries.get(name).ok_or_else(|| {
            let mut found: Vec<&str> = self.names().take(LISTED_NAMES).collect();
            let others = match self.names().len().saturating_sub(LISTED_NAMES) {
                0 => String::new(),
                n_others => format!(" and {n_others} more"),
            };
            if found.is_empty() {
                found.push("nothing");
            }
            WeightsError::NoTensor { tensor: name.into(), found: found.join(", ") + &others, path: self.path.clone() }
        })
    }

    fn wrong_dtype(&self, name: &str, entry: &Entry, expected: &'static str) -> WeightsError {
        WeightsError::WrongDtype { tensor: name.into(), expected, found: entry.dtype, path: self.path.clone() }
    }
}
