//! Tiny model folders for the tests of this crate.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sferic_weights::{Checkpoint, Dtype, Result, TensorMeta, bytes_from_f32, serialize};

/// A tensor to be stored.
pub type Stored = (TensorMeta, Cow<'static, [u8]>);

/// Returns a tensor of the given values.
pub fn tensor(name: &str, dtype: Dtype, shape: &[usize], values: &[f32]) -> Stored {
    (TensorMeta::new(name, dtype, shape), bytes_from_f32(values, dtype).unwrap().into())
}

/// Returns a BF16 tensor that counts 0, 1, 2, … from `first`.
pub fn counting(name: &str, shape: &[usize], first: usize) -> Stored {
    let n_values: usize = shape.iter().product();
    tensor(name, Dtype::Bf16, shape, &(first..first + n_values).map(|i| i as f32).collect::<Vec<_>>())
}

/// Returns a tensor of raw bytes.
pub fn raw(name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Stored {
    (TensorMeta::new(name, dtype, shape), bytes.into())
}

/// Returns the bytes of a safetensors file.
pub fn file_bytes(tensors: Vec<Stored>) -> Vec<u8> {
    serialize(tensors, &BTreeMap::new()).unwrap()
}

/// Returns a safetensors file with the given header text and data.
pub fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A model folder that is removed at the end of its test.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// Makes an empty folder.
    pub fn empty() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// Makes a folder with a configuration of two layers and the given file as `model.safetensors`.
    pub fn with_model(model: &[u8]) -> Folder {
        Folder::empty().add("config.json", CONFIG).add("model.safetensors", model)
    }

    /// Adds a file.
    pub fn add(self, name: &str, content: impl AsRef<[u8]>) -> Folder {
        fs::write(self.path().join(name), content).unwrap();
        self
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Opens the folder as a checkpoint.
    pub fn open(&self) -> Result<Checkpoint> {
        Checkpoint::open(self.path())
    }

    /// Returns the message of the error that opening gives.
    pub fn open_error(&self) -> String {
        self.open().unwrap_err().to_string()
    }
}

/// A configuration of two layers.
pub const CONFIG: &str = r#"{"model_type": "deepseek_v32", "num_hidden_layers": 2}"#;

/// Opens a model in memory.
pub fn model(tensors: Vec<Stored>) -> Checkpoint {
    Checkpoint::from_parts(CONFIG, file_bytes(tensors)).unwrap()
}

/// Returns a list of wanted tensors.
pub fn wanted(tensors: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
    tensors.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
}

/// Asserts that a message holds each of the given parts.
#[track_caller]
pub fn assert_holds(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// Returns a golden folder: the shared one, or its copy among the fixtures; `None` for the large ones on a bare clone.
pub fn golden(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = [root.join("../shared/golden"), root.join("tests/fixtures/golden")];
    places.into_iter().map(|place| place.join(name)).find(|folder| folder.is_dir())
}
