//! Every intermediate value that can be compared with a reference.

use crate::runtime::{Attention, Cached, Feed, Wanted};
use crate::sampler::greedy;
use crate::session::check_prompt;
use crate::{Engine, EngineError};
#[cfg(not(target_family = "wasm"))]
use sferic_weights::{Dtype, SafeFile, TensorMeta, bytes_from_f32, bytes_from_i32, bytes_from_i64};
use std::collections::BTreeMap;
#[cfg(not(target_family = "wasm"))]
use std::{borrow::Cow, path::Path};

/// What to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceRequest {
    /// The prompt.
    pub ids: Vec<u32>,
    /// Tokens per prefill chunk, at least 1; `None` takes the engine's.
    pub chunk: Option<usize>,
    /// Prefills this many tokens and feeds the rest one at a time, 1 to the length of the prompt; `None` prefills all.
    pub decode_from: Option<usize>,
    /// Attends to every token instead of the selected ones.
    pub dense: bool,
    /// Positions that each layer attends to, `[T, K]` with −1 in unfilled slots, instead of what it selects; on the kernels' path alone. What it
    /// would have selected is shown all the same. It tells rounding apart from selections that rounding has changed.
    pub replay: BTreeMap<usize, Matrix<i32>>,
    /// Number of tokens to continue with, the most likely one at every step.
    pub generate: usize,
}

#[cfg(not(target_family = "wasm"))]
impl TraceRequest {
    /// Reads the prompt from the tensor `input_ids` (`[T]`, I64 or I32) of a safetensors file; everything else is the default.
    ///
    /// # Errors
    /// [`EngineError::Weights`] when the file cannot be read or lacks the tensor, [`EngineError::Reference`] when it holds no token ids.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, EngineError> {
        let ids = crate::verify::read_ids(&SafeFile::open(path)?, "input_ids")?;
        Ok(Self { ids, ..Self::default() })
    }
}

/// A table of numbers in row-major order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix<T> {
    /// Rows.
    pub n_rows: usize,
    /// Columns.
    pub n_cols: usize,
    /// `n_rows * n_cols` values.
    pub values: Vec<T>,
}

impl<T> Matrix<T> {
    /// Returns a row, or nothing when `row_idx` is beyond the last.
    pub fn row(&self, row_idx: usize) -> &[T] {
        self.values.get(row_idx * self.n_cols..(row_idx + 1) * self.n_cols).unwrap_or_default()
    }

    /// Adds rows, which are as wide as those that are there.
    pub(crate) fn extend(&mut self, rows: Vec<Vec<T>>) {
        self.n_cols = rows.first().map_or(self.n_cols, Vec::len);
        self.n_rows += rows.len();
        self.values.extend(rows.into_iter().flatten());
    }

    /// Keeps the first `n_rows` rows.
    pub(crate) fn truncate(&mut self, n_rows: usize) {
        self.n_rows = self.n_rows.min(n_rows);
        self.values.truncate(self.n_rows * self.n_cols);
    }

    /// Returns the rows in order.
    pub fn rows(&self) -> impl Iterator<Item = &[T]> {
        (0..self.n_rows).map(|row_idx| self.row(row_idx))
    }
}

/// The values of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Logits at every position of the prompt, `[T, V]`.
    pub logits: Matrix<f32>,
    /// Output of each layer, `[T, D]`.
    pub hidden: Vec<Matrix<f32>>,
    /// For each layer with a selection the selected positions, `[T, K]`: descending, −1 in the unfilled slots at the end of a row.
    pub topk: BTreeMap<usize, Matrix<i32>>,
    /// For each mixture layer the routed experts of every token, `[T, A]`, ascending.
    pub experts: BTreeMap<usize, Matrix<i32>>,
    /// The greedy continuation.
    pub next_ids: Vec<u32>,
}

#[cfg(not(target_family = "wasm"))]
impl Trace {
    /// Writes a safetensors file: `logits` `[T, V]` and `hidden.{layer}` `[T, D]` in F32, `topk.{layer}` `[T, K]` in I32 and, where there is a
    /// continuation, `next_ids` `[N]` in I64.
    ///
    /// # Errors
    /// [`EngineError::Weights`] when the file cannot be written; an older file is untouched then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), EngineError> {
        let float = |name: String, matrix: &Matrix<f32>| {
            let bytes = bytes_from_f32(&matrix.values, Dtype::F32).unwrap_or_default();
            (TensorMeta::new(name, Dtype::F32, [matrix.n_rows, matrix.n_cols]), Cow::<[u8]>::Owned(bytes))
        };
        let mut tensors = vec![float("logits".into(), &self.logits)];
        for (layer_idx, hidden) in self.hidden.iter().enumerate() {
            tensors.push(float(format!("hidden.{layer_idx}"), hidden));
        }
        for (layer_idx, topk) in &self.topk {
            let meta = TensorMeta::new(format!("topk.{layer_idx}"), Dtype::I32, [topk.n_rows, topk.n_cols]);
            tensors.push((meta, bytes_from_i32(&topk.values).into()));
        }
        if !self.next_ids.is_empty() {
            let ids: Vec<i64> = self.next_ids.iter().map(|&token_id| i64::from(token_id)).collect();
            tensors.push((TensorMeta::new("next_ids", Dtype::I64, [ids.len()]), bytes_from_i64(&ids).into()));
        }
        Ok(sferic_weights::write_safetensors(path, tensors, &BTreeMap::new())?)
    }
}

impl Engine {
    /// Runs the prompt of `request` in a cache of its own and reads every intermediate value.
    ///
    /// # Errors
    /// - those of [`Session::generate`](crate::Session::generate) for the prompt, with the continuation counted in its length;
    /// - [`EngineError::InvalidTrace`] for impossible settings;
    /// - [`EngineError::Device`] and [`EngineError::BadLogits`] when the device or the model fails.
    pub async fn trace(&self, request: &TraceRequest) -> Result<Trace, EngineError> {
        let n_tokens = request.ids.len();
        let config = self.config();
        let (context, model_context) = (self.plan().context, config.max_position_embeddings);
        check_prompt(&request.ids, config.vocab_size, context, model_context)?;
        let n_computed = n_tokens + request.generate.saturating_sub(1);
        if n_computed > context {
            return Err(EngineError::PromptTooLong { n_tokens: n_computed, context, model_context });
        }
        let chunk = request.chunk.unwrap_or(self.plan().prefill_chunk);
        if chunk == 0 {
            return Err(EngineError::InvalidTrace { field: "chunk", allowed: "1 or more".into(), found: "0".into() });
        }
        let n_prefill = request.decode_from.unwrap_or(n_tokens);
        if n_prefill == 0 || n_prefill > n_tokens {
            let allowed = format!("1 to {n_tokens}, the length of the prompt");
            return Err(EngineError::InvalidTrace { field: "decode_from", allowed, found: n_prefill.to_string() });
        }
        if !request.replay.is_empty() && (request.dense || !self.runs_on_kernels()) {
            let allowed = "none on the reference path and in dense attention".into();
            return Err(EngineError::InvalidTrace {
                field: "replay",
                allowed,
                found: format!("{} layers", request.replay.len()),
            });
        }
        let mut run = Run::new(self, request, n_tokens + request.generate);
        let chunk = chunk.min(self.runtime().longest_step());
        for ids in request.ids[..n_prefill].chunks(chunk) {
            run.step(ids, Feed::Prefill).await?;
        }
        for ids in request.ids[n_prefill..].chunks(1) {
            run.step(ids, Feed::Decode).await?;
        }
        run.finish(request.generate).await
    }
}

/// A run in progress: its cache and the values read so far.
struct Run<'e> {
    engine: &'e Engine,
    request: &'e TraceRequest,
    cached: Cached,
    trace: Trace,
    /// Rows of `trace.topk` as they were read; padded to one width at the end.
    selected: BTreeMap<usize, Vec<Vec<i32>>>,
}

impl<'e> Run<'e> {
    fn new(engine: &'e Engine, request: &'e TraceRequest, capacity: usize) -> Self {
        let config = engine.config();
        let trace = Trace {
            logits: Matrix { n_cols: config.vocab_size, ..Matrix::default() },
            hidden: vec![Matrix { n_cols: config.hidden_size, ..Matrix::default() }; config.num_hidden_layers],
            ..Trace::default()
        };
        Self { engine, request, cached: engine.runtime().start(capacity), trace, selected: BTreeMap::new() }
    }

    /// Computes `ids`, one token for [`Feed::Decode`], and keeps what is shown.
    async fn step(&mut self, ids: &[u32], feed: Feed) -> Result<(), EngineError> {
        let runtime = self.engine.runtime();
        let rows = self.cached.len()..self.cached.len() + ids.len();
        let attention = if self.request.dense {
            Attention::Dense
        } else {
            let of_step = |matrix: &Matrix<i32>| rows.clone().map(|row| matrix.row(row).to_vec()).collect();
            Attention::Replayed(self.request.replay.iter().map(|(&layer_idx, matrix)| (layer_idx, of_step(matrix))).collect())
        };
        let computed = runtime.compute(&mut self.cached, ids, feed, (Wanted::Everything, true), &attention).await?;
        self.trace.logits.n_rows += ids.len();
        self.trace.logits.values.extend(computed.logits);
        for (matrix, values) in self.trace.hidden.iter_mut().zip(computed.hidden) {
            matrix.n_rows += ids.len();
            matrix.values.extend(values);
        }
        for (layer_idx, rows) in computed.experts {
            self.trace.experts.entry(layer_idx).or_default().extend(rows);
        }
        for (layer_idx, rows) in computed.selected {
            self.selected.entry(layer_idx).or_default().extend(rows.iter().map(|row| descending(row)));
        }
        Ok(())
    }

    async fn finish(mut self, n_generate: usize) -> Result<Trace, EngineError> {
        let n_rows = self.trace.logits.n_rows;
        for (layer_idx, rows) in std::mem::take(&mut self.selected) {
            self.trace.topk.insert(layer_idx, padded(&rows, -1));
        }
        let mut next_ids = Vec::with_capacity(n_generate);
        if n_generate > 0 {
            next_ids.push(greedy(self.trace.logits.row(n_rows - 1))?);
        }
        while next_ids.len() < n_generate {
            let Some(&last) = next_ids.last() else { break };
            let runtime = self.engine.runtime();
            let computed =
                runtime.compute(&mut self.cached, &[last], Feed::Decode, (Wanted::Last, false), &Attention::Selected).await?;
            next_ids.push(greedy(&computed.logits)?);
        }
        self.trace.next_ids = next_ids;
        Ok(self.trace)
    }
}

/// The selected positions of one row, descending, without the unfilled slots.
pub(crate) fn descending(row: &[i32]) -> Vec<i32> {
    let mut row: Vec<i32> = row.iter().copied().filter(|&position| position >= 0).collect();
    row.sort_unstable_by(|a, b| b.cmp(a));
    row
}

/// One width for all rows: the longest.
pub(crate) fn padded<T: Copy>(rows: &[Vec<T>], empty: T) -> Matrix<T> {
    let n_cols = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut values = Vec::with_capacity(rows.len() * n_cols);
    for row in rows {
        values.extend_from_slice(row);
        values.extend(std::iter::repeat_n(empty, n_cols - row.len()));
    }
    Matrix { n_rows: rows.len(), n_cols, values }
}

#[cfg(test)]
mod tests;
