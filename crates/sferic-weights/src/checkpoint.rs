//! A model folder: its configuration and its tensors as `f32`.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use sferic_shaders::kernel::Weights;

use crate::{
    Dtype, Result, SafeFile, WeightsError, convert, encoding,
    encoding::Encoding,
    fit::Fitted,
    fp8,
    sanitize::{self, Names},
};

/// Stands for the folder of an embedded model in messages.
const IN_MEMORY: &str = "(embedded model)";

/// A Hugging Face model folder, or an embedded model, that is open for reading.
///
/// Opening reads the configuration and the headers; tensors are read one at a time, from a memory map, so that a load holds no more
/// than the one tensor in host memory. A `Checkpoint` can be shared between threads.
///
/// Call [`Checkpoint::check`] before the first [`Checkpoint::read_f32`]: it finds everything that is wrong at once.
pub struct Checkpoint {
    pub(crate) path: PathBuf,
    on_disk: bool,
    config: Value,
    pub(crate) files: Vec<SafeFile>,
    /// Index into `files` of each tensor.
    pub(crate) file_of: HashMap<String, usize>,
    /// Rows and columns of an FP8 weight that share one scale.
    pub(crate) block: [usize; 2],
    /// Whether the configuration says that bytes are codes of q8 and q4.
    pub(crate) is_grouped: bool,
    loading: Mutex<Option<Loading>>,
    warnings: Mutex<Vec<Warning>>,
}

/// How far a load has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Stored bytes that have been read.
    pub done_bytes: u64,
    /// Stored bytes that the load will read, as its caller announced.
    pub total_bytes: u64,
}

/// Something about a checkpoint that does not stop a load but should be shown to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A tensor holds values that are not numbers: the model will not write sense.
    NonFinite {
        /// The tensor.
        tensor: String,
        /// How many of its values are NaN or infinite.
        n_values: usize,
        /// Name of the file.
        file: String,
    },
    /// Scales of an FP8 tensor are not powers of two, so its weights are not exact in BF16 (spec/dsa.md §1.3).
    ScaleNotPowerOfTwo {
        /// The scales.
        tensor: String,
        /// How many of them.
        n_scales: usize,
        /// Name of the file.
        file: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NonFinite { tensor, n_values, file } => {
                write!(f, "tensor `{tensor}` holds {n_values} values that are NaN or infinite (in {file}); download it again")
            }
            Warning::ScaleNotPowerOfTwo { tensor, n_scales, file } => {
                write!(f, "{n_scales} of the scales `{tensor}` are not positive powers of two (in {file})")
            }
        }
    }
}

/// The listener of a load.
struct Loading {
    progress: Progress,
    listener: Box<dyn FnMut(Progress) + Send>,
}

impl Checkpoint {
    /// Opens a model folder: `config.json` and `model.safetensors`, or `model.safetensors.index.json` with its shards.
    ///
    /// # Errors
    /// Every variant of [`WeightsError`] that concerns folders, indexes and headers.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(folder: impl AsRef<Path>) -> Result<Checkpoint> {
        let folder = folder.as_ref();
        let config = crate::folder::read_config(folder)?;
        let files = crate::folder::open_files(folder)?;
        Checkpoint::new(folder.to_owned(), true, config, files)
    }

    /// Opens a model from the text of its `config.json` and the bytes of its one safetensors file.
    ///
    /// # Errors
    /// [`WeightsError::ConfigJson`], [`WeightsError::ConfigValue`] and every way in which a header can be wrong.
    pub fn from_parts(config: &str, safetensors: impl Into<Cow<'static, [u8]>>) -> Result<Checkpoint> {
        let file = SafeFile::from_bytes(PathBuf::from(IN_MEMORY).join("model.safetensors"), safetensors)?;
        Checkpoint::from_files(config, vec![file])
    }

    /// Opens a model from the text of its `config.json` and its safetensors files: one, or all shards.
    ///
    /// # Errors
    /// [`WeightsError::ConfigJson`], [`WeightsError::ConfigValue`] and [`WeightsError::DuplicateTensor`].
    pub fn from_files(config: &str, files: Vec<SafeFile>) -> Result<Checkpoint> {
        let path = PathBuf::from(IN_MEMORY);
        let config =
            serde_json::from_str(config).map_err(|reason| WeightsError::ConfigJson { reason, path: path.join("config.json") })?;
        Checkpoint::new(path, false, config, files)
    }

    fn new(path: PathBuf, on_disk: bool, config: Value, files: Vec<SafeFile>) -> Result<Checkpoint> {
        let block = weight_block(&config, &path)?;
        let is_grouped = encoding::is_grouped(&config, &path)?;
        let mut file_of: HashMap<String, usize> = HashMap::new();
        for (file_idx, file) in files.iter().enumerate() {
            for name in file.names() {
                if let Some(first) = file_of.insert(name.to_owned(), file_idx).and_then(|idx| files.get(idx)) {
                    let (first, second) = (first.file_name(), file.file_name());
                    return Err(WeightsError::DuplicateTensor { tensor: name.into(), first, second, path });
                }
            }
        }
        let (loading, warnings) = (Mutex::new(None), Mutex::new(Vec::new()));
        Ok(Checkpoint { path, on_disk, config, files, file_of, block, is_grouped, loading, warnings })
    }

    /// Returns the parsed `config.json`, an object.
    #[must_use]
    pub fn config_json(&self) -> &Value {
        &self.config
    }

    /// Returns the folder, where `tokenizer.json` and other files lie; `None` for an embedded model.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.on_disk.then_some(self.path.as_path())
    }

    /// Iterates over the names of all stored tensors, in no particular order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.file_of.keys().map(String::as_str)
    }

    /// Reads a tensor as `f32`, row-major, from `BF16`, `F16`, `F32`, block-scaled `F8_E4M3`, q8 or q4.
    ///
    /// `name` and `shape` are what the model wants; the checkpoint may omit the prefix `model.` and may store experts one by one
    /// where the stacked tensor is asked for.
    ///
    /// # Errors
    /// [`WeightsError::Unfit`] if the tensor or a part of it is missing or has another shape or type; [`WeightsError::Io`].
    pub fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let parts = self.fitted_parts(name, shape)?;
        // Each part has the shape of a stored tensor, so what is reserved is bounded by the size of the files.
        let n_values = parts.iter().map(Fitted::n_values).sum();
        let mut values = Vec::with_capacity(n_values);
        for part in &parts {
            let n_odd = self.append(part, &mut values)?;
            if n_odd > 0 {
                self.warn(Warning::NonFinite { tensor: part.name.to_owned(), n_values: n_odd, file: part.file.file_name() });
            }
        }
        Ok(values)
    }

    /// Reads codes and scales of a matrix, or of stacked matrices, as they are stored in q8 or q4; `None` for other encodings.
    ///
    /// [`Checkpoint::read_f32`] gives the same values, and rounding those to the same format gives the same codes; this is the shorter way.
    /// The rows of stacked matrices lie one after the other.
    ///
    /// # Errors
    /// Those of [`Checkpoint::read_f32`].
    pub fn read_quantized(&self, name: &str, shape: &[usize]) -> Result<Option<Weights>> {
        let parts = self.fitted_parts(name, shape)?;
        let (Some(format), Some(&i)) = (parts.first().and_then(|part| part.encoding.grouped()), shape.last()) else {
            return Ok(None);
        };
        if parts.iter().any(|part| part.encoding.grouped() != Some(format)) {
            return Ok(None);
        }
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        for part in &parts {
            for (stored, out) in std::iter::once((part, &mut data)).chain(part.scale.as_deref().map(|scale| (scale, &mut scales)))
            {
                out.extend_from_slice(&stored.file.bytes_of(stored.entry)?);
                self.advance(stored.entry.n_bytes() as usize);
                stored.file.release(&stored.entry.range);
            }
        }
        let o = data.len() / (i / format.values_per_vector() as usize * 16).max(1);
        Ok(Some(Weights { format, o, i, data, scales }))
    }

    /// Finds the stored tensors that a wanted one consists of.
    fn fitted_parts(&self, name: &str, shape: &[usize]) -> Result<Vec<Fitted<'_>>> {
        let (mut fitted, mut problems) = (Vec::new(), Vec::new());
        for part in &sanitize::parts(name, shape, self) {
            match self.fit(part) {
                Ok(part) => fitted.push(part),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(fitted) } else { Err(WeightsError::Unfit { problems, path: self.path.clone() }) }
    }

    /// Sends the progress of all further reads to `listener`; `total_bytes` is [`crate::Report::load_bytes`] for a whole model.
    ///
    /// The listener must not call into the checkpoint's progress again.
    pub fn on_progress(&self, total_bytes: u64, listener: impl FnMut(Progress) + Send + 'static) {
        let progress = Progress { done_bytes: 0, total_bytes };
        *lock(&self.loading) = Some(Loading { progress, listener: Box::new(listener) });
    }

    /// Drops the listener of [`Checkpoint::on_progress`].
    pub fn end_progress(&self) {
        *lock(&self.loading) = None;
    }

    /// Returns what the reads so far have found odd, each finding once.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        lock(&self.warnings).clone()
    }

    /// Appends the values of one stored tensor; returns how many are not finite.
    fn append(&self, part: &Fitted<'_>, values: &mut Vec<f32>) -> Result<usize> {
        let n_odd = self.append_matrices(part, 0, 1, values)?;
        part.file.release(&part.entry.range);
        Ok(n_odd)
    }

    /// Appends the values of a part of a stored tensor, the `nth` of `n_parts` along its leading dimensions.
    pub(crate) fn append_matrices(&self, part: &Fitted<'_>, nth: usize, n_parts: usize, values: &mut Vec<f32>) -> Result<usize> {
        let bytes = part.share(nth, n_parts)?;
        let mut n_odd = 0;
        let mut piece_done = |piece: &[f32], n_bytes: usize| {
            n_odd += piece.iter().filter(|value| !value.is_finite()).count();
            self.advance(n_bytes);
        };
        match (part.encoding, &part.scale, part.entry.shape.last_chunk::<2>()) {
            (Encoding::Blocks, Some(scale), Some(matrix)) => {
                let scales = self.read_scales(scale, &scale.share(nth, n_parts)?);
                fp8::dequantize_blocks(&bytes, &scales, *matrix, self.block, values, &mut piece_done);
            }
            (Encoding::Q8 | Encoding::Q4, Some(scale), Some(&[_, width])) => {
                if let (Some(format), Some(&[width])) = (part.encoding.grouped(), part.encoding.value_shape(&[width]).as_deref())
                {
                    encoding::dequantize_groups(format, &bytes, &scale.share(nth, n_parts)?, width, values, &mut piece_done);
                }
            }
            _ => {
                convert::append_f32(&bytes, part.entry.dtype, values, &mut piece_done);
            }
        }
        Ok(n_odd)
    }

    /// Reads the scales of an FP8 tensor.
    fn read_scales(&self, scale: &Fitted<'_>, bytes: &[u8]) -> Vec<f32> {
        let mut scales = Vec::with_capacity(bytes.len() / Dtype::F32.size_bytes());
        convert::append_f32(bytes, Dtype::F32, &mut scales, |_, n_bytes| self.advance(n_bytes));
        let n_scales = scales.iter().filter(|value| !is_power_of_two(**value)).count();
        if n_scales > 0 {
            self.warn(Warning::ScaleNotPowerOfTwo { tensor: scale.name.to_owned(), n_scales, file: scale.file.file_name() });
        }
        scales
    }

    fn warn(&self, warning: Warning) {
        let mut warnings = lock(&self.warnings);
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    fn advance(&self, n_bytes: usize) {
        if let Some(loading) = lock(&self.loading).as_mut() {
            loading.progress.done_bytes += n_bytes as u64;
            (loading.listener)(loading.progress);
        }
    }
}

impl Names for Checkpoint {
    fn contains(&self, name: &str) -> bool {
        self.file_of.contains_key(name)
    }

    fn count(&self) -> usize {
        self.file_of.len()
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("path", &self.path).field("n_tensors", &self.file_of.len()).finish_non_exhaustive()
    }
}

/// Locks, also after a listener has panicked: what the locks guard is valid at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether a scale is a positive, normal power of two.
fn is_power_of_two(scale: f32) -> bool {
    scale.is_normal() && scale > 0.0 && scale.to_bits() & 0x7F_FFFF == 0
}

/// Returns a value as JSON, cut where a message would become unreadable.
pub(crate) fn shortened(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > 80 {
        text = format!("{}…", text.chars().take(80).collect::<String>());
    }
    text
}

/// Returns `quantization_config.weight_block_size`, or DeepSeek's 128×128.
fn weight_block(config: &Value, path: &Path) -> Result<[usize; 2]> {
    let error = |key, expected, found: &Value| WeightsError::ConfigValue {
        key,
        expected,
        found: shortened(found),
        path: path.join("config.json"),
    };
    if !config.is_object() {
        return Err(error("the whole file", "an object", config));
    }
    let value = config.get("quantization_config").and_then(|quantization| quantization.get("weight_block_size"));
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok([fp8::BLOCK; 2]);
    };
    let side = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    match value.as_array().map(Vec::as_slice) {
        Some([rows, cols]) => side(rows).zip(side(cols)).map(|(rows, cols)| [rows, cols]),
        _ => None,
    }
    .ok_or_else(|| error("quantization_config.weight_block_size", "two positive integers", value))
}
