//! Model folders in another number format.
//!
//! [`convert_model`] reads a checkpoint matrix by matrix and writes a new folder that appears whole or not at all. What errors hurt most
//! keeps its type: norms, biases and everything else of one dimension, the router, the indexer's `weights_proj`, and matrices whose width
//! no group fills. In q4 the embedding, the head and the two matrices of the latent are q8; in FP8 embedding and head stay floats, as in
//! DeepSeek's checkpoints.

mod plan;
mod replacement;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    thread,
};

use serde_json::Map;
use sferic_shaders::kernel::{WeightFormat, Weights};

use self::{
    plan::{Item, Target},
    replacement::Replacement,
};
use crate::{
    Checkpoint, Dtype, Progress, Result, TensorMeta, WeightsError,
    folder::{CONFIG, INDEX, SINGLE},
    write::{
        files::{index_text, shard_name, split},
        placed::PlacedFile,
    },
};

/// How a model is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvertOptions {
    /// The number format of the matrices.
    pub format: WeightFormat,
    /// Most bytes of one safetensors file; a tensor larger than that gets one of its own.
    pub max_shard_bytes: u64,
    /// Whether a model folder that is there already is replaced.
    pub replace: bool,
}

impl ConvertOptions {
    /// Bytes of a shard where nothing else is asked for.
    pub const SHARD_BYTES: u64 = 4_000_000_000;

    /// Options that replace nothing.
    #[must_use]
    pub fn new(format: WeightFormat) -> ConvertOptions {
        ConvertOptions { format, max_shard_bytes: ConvertOptions::SHARD_BYTES, replace: false }
    }
}

/// A further file of the new folder: its name and its content.
pub type Companion<'a> = (String, Cow<'a, [u8]>);

/// What a conversion has written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conversion {
    /// Bytes of the source's tensors.
    pub source_bytes: u64,
    /// Bytes of the new tensors, scales included.
    pub size_bytes: u64,
    /// The new tensors without their scales by format, such as `q4`, and how many bytes they take with their scales.
    pub formats: BTreeMap<&'static str, (usize, u64)>,
    /// Names of the files in the new folder.
    pub files: Vec<String>,
}

/// Writes the model of `source` to the folder `out` in another number format.
///
/// `companions` are further files, such as `tokenizer.json`. The new folder is made under a temporary name beside `out`
/// and renamed when it is complete. `progress` is called after every matrix, with bytes of the source, and ends the conversion with
/// [`ControlFlow::Break`].
///
/// # Errors
/// [`WeightsError::NotEmpty`] and [`WeightsError::NotReplaced`] for `out`, [`WeightsError::NonFinite`] and [`WeightsError::OutOfRange`] for
/// a tensor, [`WeightsError::Cancelled`], [`WeightsError::Io`], and [`WeightsError::Unfit`] for tensors without their scales. None of them
/// changes anything.
pub fn convert_model(
    source: &Checkpoint,
    out: impl AsRef<Path>,
    companions: &[Companion<'_>],
    options: &ConvertOptions,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Conversion> {
    let replacement = Replacement::prepare(out.as_ref(), source.folder(), options.replace)?;
    let items = plan::items(source, options.format)?;
    let source_bytes = items.iter().map(|item| item.source_bytes).sum();
    let mut writer = Writer {
        source,
        folder: replacement.path().to_owned(),
        progress,
        state: Progress { done_bytes: 0, total_bytes: source_bytes },
        files: Vec::new(),
    };
    writer.write_weights(&items, options.max_shard_bytes)?;
    let config = plan::config(source.config_json(), options.format);
    writer.write_file(CONFIG, format!("{config:#}\n").as_bytes())?;
    for (name, content) in companions {
        writer.write_file(name, content)?;
    }
    let mut files = writer.files;
    files.sort();
    replacement.finish()?;
    let mut formats: BTreeMap<&'static str, (usize, u64)> = BTreeMap::new();
    for item in &items {
        let (n_tensors, n_bytes) = formats.entry(item.target.name(item.dtype)).or_default();
        *n_tensors += 1;
        *n_bytes += item.size_bytes();
    }
    Ok(Conversion { source_bytes, size_bytes: items.iter().map(Item::size_bytes).sum(), formats, files })
}

/// Writes into a folder that nobody reads yet.
struct Writer<'a> {
    source: &'a Checkpoint,
    folder: PathBuf,
    progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
    state: Progress,
    files: Vec<String>,
}

impl Writer<'_> {
    fn write_weights(&mut self, items: &[Item<'_>], max_shard_bytes: u64) -> Result<()> {
        let shards = split(items, Item::size_bytes, max_shard_bytes);
        let mut weight_map = Map::new();
        for (shard_idx, shard) in shards.iter().enumerate() {
            let name = if shards.len() == 1 { SINGLE.to_owned() } else { shard_name(shard_idx, shards.len()) };
            for meta in shard.iter().flat_map(|item| &item.metas) {
                weight_map.insert(meta.name.clone(), name.clone().into());
            }
            self.write_shard(&name, shard)?;
            self.files.push(name);
        }
        if shards.len() > 1 {
            let total_bytes = items.iter().map(Item::size_bytes).sum();
            self.write_file(INDEX, index_text(total_bytes, weight_map).as_bytes())?;
        }
        Ok(())
    }

    fn write_shard(&mut self, name: &str, items: &[Item<'_>]) -> Result<()> {
        let metas: Vec<TensorMeta> = items.iter().flat_map(|item| item.metas.iter().cloned()).collect();
        // Hugging Face's loader refuses files without this entry.
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let mut file = PlacedFile::create(&self.folder.join(name), &metas, &metadata)?;
        let mut first = 0;
        for item in items {
            self.write_item(&mut file, first, item)?;
            first += item.metas.len();
        }
        file.finish()
    }

    /// Writes a tensor, and its scales, of which the first is at `first` in the list of the file.
    fn write_item(&mut self, file: &mut PlacedFile, first: usize, item: &Item<'_>) -> Result<()> {
        let stored = &item.stored;
        let n_matrices = item.n_matrices();
        let [o, i] = item.matrix();
        let mut values = Vec::new();
        for nth in 0..n_matrices {
            if item.target != Target::Copy {
                values.clear();
                let n_odd = self.source.append_matrices(stored, nth, n_matrices, &mut values)?;
                self.check(item, &values, n_odd)?;
            }
            match item.target {
                Target::Copy => file.append(first, &stored.share(nth, n_matrices)?)?,
                Target::Float(dtype) => file.append(first, &crate::bytes_from_f32(&values, dtype).unwrap_or_default())?,
                Target::Quantized(format) => {
                    let weights = quantize(format, &values, o, i);
                    file.append(first, &weights.data)?;
                    file.append(first + 1, &weights.scales)?;
                }
            }
            for stored in std::iter::once(stored).chain(stored.scale.as_deref()) {
                let share = stored.share_range(nth, n_matrices);
                self.state.done_bytes += share.end - share.start;
                stored.release_share(nth, n_matrices);
            }
            if (self.progress)(self.state).is_break() {
                return Err(WeightsError::Cancelled);
            }
        }
        Ok(())
    }

    /// Checks that the new format can hold the values.
    fn check(&self, item: &Item<'_>, values: &[f32], n_odd: usize) -> Result<()> {
        let tensor = || item.stored.name.to_owned();
        if n_odd > 0 {
            return Err(WeightsError::NonFinite { tensor: tensor(), n_values: n_odd, path: self.source.path.clone() });
        }
        let Some(most) = item.target.most() else { return Ok(()) };
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        if largest > most {
            return Err(WeightsError::OutOfRange { tensor: tensor(), format: item.target.name(item.dtype), most, largest });
        }
        Ok(())
    }

    fn write_file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        crate::write_atomic(self.folder.join(name), content)?;
        self.files.push(name.to_owned());
        Ok(())
    }
}

/// Rows are rounded in pieces of whole FP8 blocks, one for each processor.
fn quantize(format: WeightFormat, values: &[f32], o: usize, i: usize) -> Weights {
    let round = |values: &[f32]| {
        let o = values.len() / i.max(1);
        match format {
            // With powers of two the values are exact in BF16, and other programs expect them.
            WeightFormat::Fp8 => WeightFormat::quantize_fp8_by_powers_of_two(values, o, i),
            _ => format.quantize(values, o, i),
        }
    };
    let n_threads = thread::available_parallelism().map_or(1, |n| n.get());
    let rows = o.div_ceil(n_threads).next_multiple_of(WeightFormat::BLOCK);
    let mut pieces: Vec<Weights> = thread::scope(|scope| {
        let threads: Vec<_> = values.chunks((rows * i).max(1)).map(|piece| (piece, scope.spawn(move || round(piece)))).collect();
        // A thread only fails where rounding panics; then it does so here, too.
        threads.into_iter().map(|(piece, thread)| thread.join().unwrap_or_else(|_| round(piece))).collect()
    });
    let mut all = if pieces.is_empty() { round(&[]) } else { pieces.remove(0) };
    for piece in pieces {
        all.data.extend(piece.data);
        all.scales.extend(piece.scales);
    }
    Weights { o, ..all }
}

/// Type of the scales of a format.
fn scale_dtype(format: WeightFormat) -> Dtype {
    if format == WeightFormat::Fp8 { Dtype::F32 } else { Dtype::F16 }
}
