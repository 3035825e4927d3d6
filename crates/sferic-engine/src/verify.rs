//! Comparison of a run with reference values.

mod rounded;

use crate::device::DeviceClass;
use crate::trace::{Matrix, Trace, TraceRequest};
use crate::{Engine, EngineError};
use serde::Serialize;
use sferic_weights::SafeFile;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
#[cfg(not(target_family = "wasm"))]
use std::path::Path;

/// Largest difference allowed on the CPU: f32 rounding over the layers of the reference models, several times over.
pub const CPU_BOUND: f32 = 2e-4;

/// Largest difference allowed on a GPU in f32, where the order of sums is the driver's and fused multiply-adds occur.
pub const GPU_BOUND: f32 = 2e-3;

/// Largest distance of the cosine from 1 that 16-bit weights and caches may bring about.
pub const COSINE_BOUND: f32 = 1e-4;

/// Smallest share of selected positions that 16-bit weights and caches must have in common with the reference.
pub const SELECTION_BOUND: f64 = 0.99;

/// Smallest share of assignments of tokens to experts that 16-bit weights and caches must have in common with the reference.
pub const EXPERTS_BOUND: f64 = 0.99;

/// Reference values of one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// The prompt, `[T]`.
    pub input_ids: Vec<u32>,
    /// Logits at every position, `[T, V]`.
    pub logits: Matrix<f32>,
    /// The greedy continuation.
    pub next_ids: Vec<u32>,
    /// The smallest gap between the two best logits of the prompt and the continuation, where it is known: with errors of half of it the
    /// continuation may be another one.
    pub min_top2_margin: Option<f32>,
    /// Outputs of layers, `[T, D]`, by layer.
    pub hidden: BTreeMap<usize, Matrix<f32>>,
    /// Selected positions, `[T, K]`, by layer; −1 where the reference picked a future position to fill the row.
    pub topk: BTreeMap<usize, Matrix<i32>>,
    /// Routed experts, `[T, A]`, by layer, where they are known: a run with rounded weights is then compared on the rows that go to the same
    /// experts, and the others are counted. See [`Engine::experts_of`].
    pub experts: BTreeMap<usize, Matrix<i32>>,
}

impl Golden {
    /// Reads `golden.safetensors`, or the file of that name in a folder.
    ///
    /// # Errors
    /// [`EngineError::Weights`] when the file cannot be read or lacks a tensor, [`EngineError::Reference`] when a tensor has another form
    /// than expected.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, EngineError> {
        let path = path.as_ref();
        let file = if path.is_dir() { path.join("golden.safetensors") } else { path.to_owned() };
        let mut golden = Self::from_file(&SafeFile::open(&file)?)?;
        // What is written about the values stands beside them, and may be missing.
        let about = std::fs::read_to_string(file.with_extension("json")).unwrap_or_default();
        let about: serde_json::Value = serde_json::from_str(&about).unwrap_or_default();
        golden.min_top2_margin = about["min_top2_margin"].as_f64().map(|margin| margin as f32);
        Ok(golden)
    }

    /// Reads the bytes of a `golden.safetensors`.
    ///
    /// # Errors
    /// Those of [`Golden::open`].
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, EngineError> {
        Self::from_file(&SafeFile::from_bytes("golden.safetensors", bytes)?)
    }

    /// Reads reference values from a file of any origin.
    ///
    /// # Errors
    /// Those of [`Golden::open`].
    pub fn from_file(file: &SafeFile) -> Result<Self, EngineError> {
        let input_ids = read_ids(file, "input_ids")?;
        let n_tokens = input_ids.len();
        let numbered = |prefix: &str| -> Vec<(usize, String)> {
            let layer_of = |name: &str| name.strip_prefix(prefix)?.strip_prefix('.')?.parse().ok();
            file.names().filter_map(|name| Some((layer_of(name)?, name.to_owned()))).collect()
        };
        let mut hidden = BTreeMap::new();
        for (layer_idx, name) in numbered("hidden") {
            hidden.insert(layer_idx, matrix(file, &name, n_tokens, SafeFile::f32)?);
        }
        let mut topk = BTreeMap::new();
        for (layer_idx, name) in numbered("topk") {
            topk.insert(layer_idx, matrix(file, &name, n_tokens, SafeFile::i32)?);
        }
        let mut experts = BTreeMap::new();
        for (layer_idx, name) in numbered("experts") {
            experts.insert(layer_idx, matrix(file, &name, n_tokens, SafeFile::i32)?);
        }
        let logits = matrix(file, "logits", n_tokens, SafeFile::f32)?;
        let next_ids = if file.contains("next_ids") { read_ids(file, "next_ids")? } else { Vec::new() };
        Ok(Self { input_ids, logits, next_ids, min_top2_margin: None, hidden, topk, experts })
    }
}

/// Reads token ids, `[T]` I64 or I32.
pub(crate) fn read_ids(file: &SafeFile, name: &str) -> Result<Vec<u32>, EngineError> {
    let shape = file.shape(name)?;
    if shape.len() != 1 {
        return Err(reference(name, "one dimension".into(), format!("shape {shape:?}")));
    }
    let values = file.i64(name)?;
    let to_id = |&value: &i64| {
        u32::try_from(value).map_err(|_| reference(name, "token ids from 0 to 4294967295".into(), value.to_string()))
    };
    values.iter().map(to_id).collect()
}

fn matrix<T>(
    file: &SafeFile,
    name: &str,
    n_tokens: usize,
    read: impl Fn(&SafeFile, &str) -> sferic_weights::Result<Vec<T>>,
) -> Result<Matrix<T>, EngineError> {
    match file.shape(name)? {
        &[n_rows, n_cols] if n_rows == n_tokens => Ok(Matrix { n_rows, n_cols, values: read(file, name)? }),
        shape => Err(reference(name, format!("{n_tokens} rows, one for each of input_ids"), format!("shape {shape:?}"))),
    }
}

fn reference(tensor: &str, expected: String, found: String) -> EngineError {
    EngineError::Reference { tensor: tensor.into(), expected, found }
}

/// How the prompt is fed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// As [`TraceRequest::chunk`].
    pub chunk: Option<usize>,
    /// As [`TraceRequest::decode_from`].
    pub decode_from: Option<usize>,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// Largest difference allowed on the engine's device.
    pub bound: f32,
    /// One row for each tensor compared.
    pub rows: Vec<CheckRow>,
}

impl Verification {
    /// Whether every row passed.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.passed)
    }
}

/// The comparison of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckRow {
    /// Name of the tensor: `logits`, `hidden.3`, `topk.3` or `next_ids`; `experts` for those of all layers.
    pub check: String,
    /// What is measured.
    pub measure: String,
    /// What was found, for a reader.
    pub found: String,
    /// What is allowed, for a reader.
    pub bound: String,
    /// What was found: the difference, the number of unequal rows or tokens, or the share of what is not in common.
    pub value: f64,
    /// Whether it is allowed.
    pub passed: bool,
}

impl Engine {
    /// Runs the prompt of `golden` and compares everything that it holds.
    ///
    /// # Errors
    /// Those of [`Engine::trace`], and [`EngineError::Reference`] when a tensor's shape is not the model's. A difference is not an error.
    pub async fn verify(&self, golden: &Golden, options: VerifyOptions) -> Result<Verification, EngineError> {
        let request = TraceRequest {
            ids: golden.input_ids.clone(),
            chunk: options.chunk,
            decode_from: options.decode_from,
            dense: false,
            // With rounded weights a position that is selected by a hair may change places with one that is not. Arithmetic and selection are
            // judged apart: the layers attend to what the reference selected, and what they would have selected is compared with it.
            replay: if self.is_exact() { BTreeMap::new() } else { golden.topk.clone() },
            generate: golden.next_ids.len(),
        };
        let trace = self.trace(&request).await?;
        if self.is_exact() {
            let bound = self.exact_bound();
            return Ok(Verification { bound, rows: compare(golden, &trace, bound)? });
        }
        Ok(Verification { bound: COSINE_BOUND, rows: rounded::compare(golden, &trace)? })
    }

    /// Runs the prompt of `golden` and returns the experts of each token, for [`Golden::experts`]: reference files seldom have them.
    ///
    /// An f32 run that agrees with a reference in every value went to the reference's experts.
    ///
    /// # Errors
    /// Those of [`Engine::trace`], and [`EngineError::Reference`] where this run is not in f32 or does not agree with `golden`.
    pub async fn experts_of(&self, golden: &Golden) -> Result<BTreeMap<usize, Matrix<i32>>, EngineError> {
        if !self.is_exact() {
            return Err(reference("experts", "a run with weights and caches in f32".into(), "rounded ones".into()));
        }
        let generate = golden.next_ids.len();
        let trace = self.trace(&TraceRequest { ids: golden.input_ids.clone(), generate, ..TraceRequest::default() }).await?;
        let missed = compare(golden, &trace, self.exact_bound())?.into_iter().find(|row| !row.passed);
        match missed {
            None => Ok(trace.experts),
            Some(row) => Err(reference(&row.check, format!("{} of at most {} in an f32 run", row.measure, row.bound), row.found)),
        }
    }

    fn exact_bound(&self) -> f32 {
        if self.device().info.class == DeviceClass::Cpu { CPU_BOUND } else { GPU_BOUND }
    }
}

/// One row for each tensor of `golden`.
fn compare(golden: &Golden, trace: &Trace, bound: f32) -> Result<Vec<CheckRow>, EngineError> {
    let mut rows = Vec::new();
    let difference = max_difference("logits", &golden.logits, &trace.logits)?;
    rows.push(bounded("logits".into(), "max |Δ|", difference, bound));
    for (layer_idx, expected) in &golden.hidden {
        let name = format!("hidden.{layer_idx}");
        let Some(found) = trace.hidden.get(*layer_idx) else {
            return Err(reference(
                &name,
                format!("a model of {} layers or more", layer_idx + 1),
                format!("{} layers", trace.hidden.len()),
            ));
        };
        let largest = expected.values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let difference = max_difference(&name, expected, found)?;
        // References of nothing but zeros are compared absolutely.
        let relative = if largest > 0.0 { difference / largest } else { difference };
        rows.push(bounded(name, "max |Δ| / max |reference|", relative, bound));
    }
    for (layer_idx, expected) in &golden.topk {
        let n_equal = trace.topk.get(layer_idx).map_or(0, |found| n_equal_sets(expected, found));
        rows.push(counted(format!("topk.{layer_idx}"), "rows with equal sets", n_equal, expected.n_rows));
    }
    if !golden.next_ids.is_empty() {
        let n_equal = golden.next_ids.iter().zip(&trace.next_ids).filter(|(expected, found)| expected == found).count();
        rows.push(counted("next_ids".into(), "equal tokens", n_equal, golden.next_ids.len()));
    }
    Ok(rows)
}

fn max_difference(name: &str, expected: &Matrix<f32>, found: &Matrix<f32>) -> Result<f32, EngineError> {
    if (expected.n_rows, expected.n_cols) != (found.n_rows, found.n_cols) {
        let shape = |matrix: &Matrix<f32>| format!("shape [{}, {}]", matrix.n_rows, matrix.n_cols);
        return Err(reference(name, format!("the model's {}", shape(found)), shape(expected)));
    }
    let differences = expected.values.iter().zip(&found.values).map(|(expected, found)| (expected - found).abs());
    // `f32::max` would skip NaN, and a NaN is the largest difference there is.
    Ok(differences.fold(0.0, |largest, difference| if difference.is_nan() { f32::INFINITY } else { largest.max(difference) }))
}

fn n_equal_sets(expected: &Matrix<i32>, found: &Matrix<i32>) -> usize {
    let set = |row: &[i32]| -> BTreeSet<i32> { row.iter().copied().filter(|&position| position >= 0).collect() };
    expected.rows().zip(found.rows()).filter(|(expected, found)| set(expected) == set(found)).count()
}

fn bounded(check: String, measure: &str, value: f32, bound: f32) -> CheckRow {
    CheckRow {
        check,
        measure: measure.into(),
        found: format!("{value:.2e}"),
        bound: format!("{bound:.0e}"),
        value: f64::from(value),
        passed: value <= bound,
    }
}

fn counted(check: String, measure: &str, n_equal: usize, n_total: usize) -> CheckRow {
    CheckRow {
        check,
        measure: measure.into(),
        found: format!("{n_equal}/{n_total}"),
        bound: format!("{n_total}/{n_total}"),
        value: (n_total - n_equal.min(n_total)) as f64,
        passed: n_equal == n_total,
    }
}

#[cfg(test)]
mod tests;
