//! The errors of this crate.

use std::{fmt, io, path::PathBuf};

use crate::Dtype;

/// How many problems an error spells out before it only counts the rest.
const LISTED_PROBLEMS: usize = 5;

/// Everything that can go wrong while a model folder is read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// Occurs when the operating system refuses to read or write a file.
    #[error("cannot {action}: {reason}: {path}")]
    Io {
        /// What was tried, such as `open the file`.
        action: &'static str,
        /// The operating system's answer.
        reason: io::Error,
        /// The file or folder.
        path: PathBuf,
    },
    /// Occurs when the path of a model folder does not exist.
    #[error("no such model folder; check the path: {path}")]
    NoFolder {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Occurs when a file was passed where a model folder is wanted.
    #[error("expected a model folder, found a file; pass the folder that holds config.json and the safetensors files: {path}")]
    NotAFolder {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Occurs when a folder holds no `config.json`.
    #[error("config.json is missing, found {found}; pass a Hugging Face model folder: {path}")]
    NoConfig {
        /// What the folder holds instead.
        found: String,
        /// The folder.
        path: PathBuf,
    },
    /// Occurs when `config.json` is not JSON.
    #[error("config.json is not valid JSON ({reason}); download it again: {path}")]
    ConfigJson {
        /// The parser's answer.
        reason: serde_json::Error,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when a value of `config.json` that this crate needs has the wrong form.
    #[error("config.json: expected {expected} for `{key}`, found {found}; correct it: {path}")]
    ConfigValue {
        /// The key, with dots between levels.
        key: &'static str,
        /// What would be right.
        expected: &'static str,
        /// The value, as JSON.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when a folder holds neither a safetensors file nor an index.
    #[error("expected model.safetensors or model.safetensors.index.json, found {found}; {hint}: {path}")]
    NoWeights {
        /// What the folder holds instead.
        found: String,
        /// What the user can do about it.
        hint: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// Occurs when a file is shorter than what its own header says, an interrupted download in most cases.
    #[error("the file is truncated: {what} needs {needed_bytes} bytes, found {file_bytes}; download it again: {path}")]
    Truncated {
        /// The header, or the tensor that reaches furthest.
        what: String,
        /// The length that the file would need.
        needed_bytes: u64,
        /// The length that it has.
        file_bytes: u64,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when the first eight bytes claim a header of absurd length.
    #[error(
        "the header claims {header_bytes} bytes, expected at most {limit_bytes}; this is not a safetensors file or it is damaged, download it again: {path}"
    )]
    HeaderTooLong {
        /// The claimed length.
        header_bytes: u64,
        /// The largest length that is accepted.
        limit_bytes: u64,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when a header is not the JSON of a safetensors header.
    #[error("the safetensors header is damaged ({reason}); download the file again: {path}")]
    HeaderJson {
        /// The parser's answer.
        reason: serde_json::Error,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when a tensor has an element type that this crate has no name for.
    #[error(
        "tensor `{tensor}` has the unknown element type {dtype:?}; use a checkpoint in BF16, F16, F32 or block-scaled F8_E4M3: {path}"
    )]
    UnknownDtype {
        /// The tensor.
        tensor: String,
        /// The type's name in the header.
        dtype: String,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when a tensor's byte range does not fit its shape and element type.
    #[error(
        "tensor `{tensor}` of shape {shape:?} and type {dtype} has the byte range {begin}..{end}, which does not fit; the file is damaged, download it again: {path}"
    )]
    TensorRange {
        /// The tensor.
        tensor: String,
        /// Its shape in the header.
        shape: Vec<u64>,
        /// Its element type.
        dtype: Dtype,
        /// First byte, counted from the end of the header.
        begin: u64,
        /// End of the range.
        end: u64,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when two tensors of a file share bytes.
    #[error("tensors `{first}` and `{second}` overlap by {n_bytes} bytes; the file is damaged, download it again: {path}")]
    Overlap {
        /// The tensor that starts first.
        first: String,
        /// The tensor that starts before the first one ends.
        second: String,
        /// Shared bytes.
        n_bytes: u64,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when bytes of a file belong to no tensor, which the format forbids.
    #[error("{n_bytes} bytes after {after} belong to no tensor; the file is damaged, download it again: {path}")]
    Gap {
        /// The tensor before the gap, or the header.
        after: String,
        /// Length of the gap.
        n_bytes: u64,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when `model.safetensors.index.json` is not the JSON of an index.
    #[error("the index is not valid ({reason}); download it again: {path}")]
    IndexJson {
        /// The parser's answer.
        reason: serde_json::Error,
        /// The index file.
        path: PathBuf,
    },
    /// Occurs when an index names a shard by something else than a file name of its own folder.
    #[error(
        "the index names the shard {shard:?}, expected the name of a file in the same folder; download the index again: {path}"
    )]
    ShardName {
        /// The name in the index.
        shard: String,
        /// The index file.
        path: PathBuf,
    },
    /// Occurs when an index names a shard that is not in the folder.
    #[error(
        "shard {shard} is missing: the index expects tensor `{tensor}` and {n_others} others in it; download the shard: {path}"
    )]
    MissingShard {
        /// The shard's file name.
        shard: String,
        /// The first tensor that should be in it.
        tensor: String,
        /// How many more should be in it.
        n_others: usize,
        /// The index file.
        path: PathBuf,
    },
    /// Occurs when a shard lacks a tensor that the index places in it.
    #[error(
        "tensor `{tensor}` is not in shard {shard}, where the index expects it; index and shards are of different versions, download both again: {path}"
    )]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard's file name.
        shard: String,
        /// The index file.
        path: PathBuf,
    },
    /// Occurs when a tensor name occurs twice, in one file or in two shards.
    #[error("tensor `{tensor}` is stored twice, in {first} and in {second}; remove one of them: {path}")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
        /// File name of the first copy.
        first: String,
        /// File name of the second copy.
        second: String,
        /// The folder or file.
        path: PathBuf,
    },
    /// Occurs when the tensors of a checkpoint are not those that the model wants.
    #[error("{}; check that config.json belongs to these weights: {path}", ProblemList(problems))]
    Unfit {
        /// Everything that is wrong, in the order in which the model asks.
        problems: Vec<Problem>,
        /// The model folder.
        path: PathBuf,
    },
    /// Occurs when a single file is asked for a tensor that it does not hold.
    #[error("tensor `{tensor}` is missing, the file holds {found}: {path}")]
    NoTensor {
        /// The tensor.
        tensor: String,
        /// What the file holds.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when a tensor of a single file has an element type that cannot be read as the wanted one.
    #[error("tensor `{tensor}` has type {found}, expected {expected}: {path}")]
    WrongDtype {
        /// The tensor.
        tensor: String,
        /// The types that can be read.
        expected: &'static str,
        /// The type in the file.
        found: Dtype,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when a tensor that is to be written does not have the bytes that its shape and type need.
    #[error("cannot write tensor `{tensor}`: its shape and type need {expected_bytes} bytes, found {found_bytes}")]
    ByteCount {
        /// The tensor.
        tensor: String,
        /// Bytes by shape and type; `u64::MAX` stands for more than any file holds.
        expected_bytes: u64,
        /// Bytes that were given.
        found_bytes: u64,
    },
    /// Occurs when a tensor that is to be converted holds values that are not numbers.
    #[error("cannot convert tensor `{tensor}`: {n_values} of its values are NaN or infinite; download it again: {path}")]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// How many of its values.
        n_values: usize,
        /// The model folder.
        path: PathBuf,
    },
    /// Occurs when a tensor that is to be converted holds values beyond the range of the new format.
    #[error(
        "cannot convert tensor `{tensor}` to {format}: expected magnitudes up to {most}, found {largest}; take another format"
    )]
    OutOfRange {
        /// The tensor.
        tensor: String,
        /// The new format.
        format: &'static str,
        /// The largest magnitude that it can hold.
        most: f32,
        /// The largest magnitude of the tensor.
        largest: f32,
    },
    /// Occurs when a model is to be written into a folder that holds something, and may not be replaced.
    #[error(
        "expected a new or an empty folder to write into, found {found}; choose another or allow replacing (--force): {path}"
    )]
    NotEmpty {
        /// What the folder holds.
        found: String,
        /// The folder.
        path: PathBuf,
    },
    /// Occurs when a folder that is to be replaced is not a model folder, or is the one that is read.
    #[error("the folder is not replaced: {why}; choose another: {path}")]
    NotReplaced {
        /// Why it had better stay.
        why: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// Occurs when the caller ends a conversion before it is done; nothing of it is left.
    #[error("cancelled: nothing was written")]
    Cancelled,
    /// Occurs when two tensors of one name, or one with a reserved name, are to be written.
    #[error("cannot write tensor `{tensor}`: the name is {why}; rename it")]
    TensorName {
        /// The tensor.
        tensor: String,
        /// `used twice` or `reserved`.
        why: &'static str,
    },
}

/// One way in which a checkpoint differs from what the model wants.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A wanted tensor is in no file.
    Missing {
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than wanted.
    Shape {
        /// The tensor.
        tensor: String,
        /// The wanted shape.
        expected: Vec<usize>,
        /// The stored shape.
        found: Vec<usize>,
        /// Name of the file.
        file: String,
    },
    /// A tensor has an element type that cannot hold weights.
    Dtype {
        /// The tensor.
        tensor: String,
        /// The stored type.
        found: Dtype,
        /// Name of the file.
        file: String,
    },
    /// A quantised tensor has no companion with its scales.
    MissingScale {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: Dtype,
        /// The name that the companion should have.
        scale: String,
        /// Name of the file.
        file: String,
    },
    /// The companion of a quantised tensor has another shape or type than the blocks or groups need.
    Scale {
        /// The companion.
        tensor: String,
        /// The shape that is needed.
        expected: Vec<usize>,
        /// The type that is needed.
        expected_dtype: Dtype,
        /// The stored shape.
        found: Vec<usize>,
        /// The stored type.
        dtype: Dtype,
        /// Name of the file.
        file: String,
    },
    /// A stored tensor that the model does not want and that is not known to be harmless.
    Extra {
        /// The tensor.
        tensor: String,
        /// Name of the file.
        file: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Missing { tensor } => write!(f, "tensor `{tensor}` is missing"),
            Problem::Shape { tensor, expected, found, file } => {
                write!(f, "tensor `{tensor}` has shape {found:?}, expected {expected:?} (in {file})")
            }
            Problem::Dtype { tensor, found, file } => {
                write!(f, "tensor `{tensor}` has type {found}, expected BF16, F16, F32 or block-scaled F8_E4M3 (in {file})")
            }
            Problem::MissingScale { tensor, dtype, scale, file } => {
                write!(f, "tensor `{tensor}` is {dtype} but its scales `{scale}` are missing (in {file})")
            }
            Problem::Scale { tensor, expected, expected_dtype, found, dtype, file } => {
                write!(f, "scales `{tensor}` are {dtype} {found:?}, expected {expected_dtype} {expected:?} (in {file})")
            }
            Problem::Extra { tensor, file } => write!(f, "tensor `{tensor}` is not part of the configured model (in {file})"),
        }
    }
}

/// Displays the first few problems and the number of the others.
struct ProblemList<'a>(&'a [Problem]);

impl fmt::Display for ProblemList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() > 1 {
            write!(f, "{} tensors do not fit: ", self.0.len())?;
        }
        for (problem_idx, problem) in self.0.iter().take(LISTED_PROBLEMS).enumerate() {
            let separator = if problem_idx == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        match self.0.len().saturating_sub(LISTED_PROBLEMS) {
            0 => Ok(()),
            n_others => write!(f, "; and {n_others} more"),
        }
    }
}
