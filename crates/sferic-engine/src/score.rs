//! How well a model predicts a text, and how far two models are apart on it.

use crate::runtime::{Attention, Feed, Wanted};
use crate::sampler::greedy;
use crate::session::check_prompt;
use crate::{Engine, EngineError, Matrix, TraceRequest};
use serde::Serialize;

/// What a model says about a text: the logits at each of its tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    windows: Vec<Window>,
}

/// A stretch of the text that was read without what is before it.
#[derive(Clone, Debug, PartialEq)]
struct Window {
    ids: Vec<u32>,
    logits: Matrix<f32>,
}

/// How far a model is from a reference on a text. Means are over all positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Positions at which the logits were compared.
    pub n_positions: usize,
    /// Tokens of the text that were predicted: all but the first of each window.
    pub n_predicted: usize,
    /// Mean magnitude of the difference of two logits.
    pub mean_logit_error: f64,
    /// Largest magnitude of the difference of two logits.
    pub max_logit_error: f64,
    /// Mean cosine of the two rows of logits.
    pub mean_cosine: f64,
    /// Smallest cosine of two rows of logits.
    pub min_cosine: f64,
    /// Mean Kullback-Leibler divergence of the distribution of the next token from the reference's, in nats.
    pub mean_kl: f64,
    /// The largest of them.
    pub max_kl: f64,
    /// Share of the positions at which both take the same token for the most likely one.
    pub top1_agreement: f64,
    /// Perplexity of the reference, `exp` of the mean negative log-likelihood of a token.
    pub reference_perplexity: f64,
    /// Perplexity of the model that is compared.
    pub perplexity: f64,
}

impl Prediction {
    /// Returns the number of positions.
    pub fn n_positions(&self) -> usize {
        self.windows.iter().map(|window| window.ids.len()).sum()
    }

    /// Returns the size of the vocabulary, 0 for an empty text.
    pub fn vocab_size(&self) -> usize {
        self.windows.first().map_or(0, |window| window.logits.n_cols)
    }
}

/// Rows of logits that are read at a time by [`Engine::token_nll`].
const NLL_ROWS: usize = 512;
/// Kernels record a step for each number of tokens: texts of many lengths are padded to multiples of this, behind what is asked for.
const STEP_UNIT: usize = 64;

impl Engine {
    /// Returns the negative log-likelihood of every token of a text but the first, in nats, with the attention that the engine was opened with.
    ///
    /// The text is computed in chunks whose logits are dropped at once, so that texts may be as long as the context.
    ///
    /// # Errors
    /// Those of [`Session::generate`](crate::Session::generate) for the text; [`EngineError::Device`], and [`EngineError::BadLogits`] for logits that
    /// are no numbers.
    pub async fn token_nll(&self, ids: &[u32]) -> Result<Vec<f64>, EngineError> {
        let (config, runtime) = (self.config(), self.runtime());
        check_prompt(ids, config.vocab_size, self.plan().context, config.max_position_embeddings)?;
        let context = self.plan().context;
        let n_rows = NLL_ROWS.min(self.plan().prefill_chunk).min(runtime.longest_step());
        // Nothing follows the last token.
        let n_predicted = ids.len() - 1;
        let unit = if self.runs_on_kernels() { STEP_UNIT } else { 1 };
        let mut inputs = ids[..n_predicted].to_vec();
        inputs.resize(n_predicted.next_multiple_of(unit).min(context), ids[n_predicted]);
        let mut cached = runtime.start(inputs.len());
        let mut found = Vec::with_capacity(n_predicted);
        for inputs in inputs.chunks(n_rows) {
            let computed =
                runtime.compute(&mut cached, inputs, Feed::Prefill, (Wanted::Logits, false), &Attention::Selected).await?;
            for row in computed.logits.chunks(config.vocab_size).take(n_predicted - found.len()) {
                let target = ids[found.len() + 1] as usize;
                greedy(row)?;
                found.push(log_sum_exp(row) - f64::from(row[target]));
            }
        }
        Ok(found)
    }

    /// Reads a text in windows of at most `window` tokens and keeps the logits at every token, `4 · V` bytes each.
    ///
    /// `progress` hears how many tokens have been read.
    ///
    /// # Errors
    /// Those of [`Engine::trace`], for a window longer than the context for example; [`EngineError::EmptyPrompt`] for no tokens, and
    /// [`EngineError::BadLogits`] for logits that are no numbers.
    pub async fn predict(&self, ids: &[u32], window: usize, progress: &mut dyn FnMut(usize)) -> Result<Prediction, EngineError> {
        if ids.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let mut windows = Vec::new();
        let mut n_read = 0;
        for ids in ids.chunks(window.max(1)) {
            let logits = self.logits(ids).await?;
            n_read += ids.len();
            progress(n_read);
            windows.push(Window { ids: ids.to_vec(), logits });
        }
        Ok(Prediction { windows })
    }

    /// Reads the text of `reference` in the same windows and compares.
    ///
    /// `progress` hears how many tokens have been read.
    ///
    /// # Errors
    /// Those of [`Engine::predict`]; [`EngineError::Reference`] when the two models have vocabularies of different sizes.
    pub async fn compare(&self, reference: &Prediction, progress: &mut dyn FnMut(usize)) -> Result<Comparison, EngineError> {
        let (found, expected) = (self.config().vocab_size, reference.vocab_size());
        if found != expected {
            return Err(EngineError::Reference {
                tensor: "logits".into(),
                expected: format!("a model with a vocabulary of {expected} tokens"),
                found: format!("one of {found}"),
            });
        }
        let mut sums = Sums { min_cosine: 1.0, ..Sums::default() };
        for window in &reference.windows {
            let logits = self.logits(&window.ids).await?;
            let targets = window.ids.iter().skip(1).map(Some).chain([None]);
            for ((expected, found), target) in window.logits.rows().zip(logits.rows()).zip(targets) {
                sums.add(expected, found, target.copied())?;
            }
            progress(sums.n_positions);
        }
        Ok(sums.comparison())
    }

    async fn logits(&self, ids: &[u32]) -> Result<Matrix<f32>, EngineError> {
        let request = TraceRequest { ids: ids.to_vec(), ..TraceRequest::default() };
        Ok(self.trace(&request).await?.logits)
    }
}

/// Sums over positions.
#[derive(Default)]
struct Sums {
    n_positions: usize,
    n_predicted: usize,
    n_logits: usize,
    n_agreed: usize,
    error: f64,
    max_error: f64,
    cosine: f64,
    min_cosine: f64,
    kl: f64,
    max_kl: f64,
    reference_nll: f64,
    nll: f64,
}

impl Sums {
    /// Adds a position: both rows of logits, and the token that follows in the text, if one does.
    fn add(&mut self, expected: &[f32], found: &[f32], target: Option<u32>) -> Result<(), EngineError> {
        self.n_agreed += usize::from(greedy(expected)? == greedy(found)?);
        let (expected_total, found_total) = (log_sum_exp(expected), log_sum_exp(found));
        let (mut dot, mut square, mut found_square, mut kl) = (0.0, 0.0, 0.0, 0.0);
        for (&e, &f) in expected.iter().zip(found) {
            let (e, f) = (f64::from(e), f64::from(f));
            self.error += (e - f).abs();
            self.max_error = self.max_error.max((e - f).abs());
            (dot, square, found_square) = (dot + e * f, square + e * e, found_square + f * f);
            let log_p = e - expected_total;
            kl += log_p.exp() * (log_p - (f - found_total));
        }
        // Rounding can leave a little less than nothing of the divergence of equals, and rows of zeros point nowhere.
        let kl = kl.max(0.0);
        let length = (square * found_square).sqrt();
        let cosine = if length > 0.0 { dot / length } else { f64::from(square == found_square) };
        self.n_positions += 1;
        self.n_logits += expected.len();
        (self.cosine, self.min_cosine) = (self.cosine + cosine, self.min_cosine.min(cosine));
        (self.kl, self.max_kl) = (self.kl + kl, self.max_kl.max(kl));
        if let Some(target_idx) = target.and_then(|target| usize::try_from(target).ok())
            && let (Some(&e), Some(&f)) = (expected.get(target_idx), found.get(target_idx))
        {
            self.n_predicted += 1;
            self.reference_nll += expected_total - f64::from(e);
            self.nll += found_total - f64::from(f);
        }
        Ok(())
    }

    fn comparison(&self) -> Comparison {
        let mean = |sum: f64, n: usize| if n == 0 { 0.0 } else { sum / n as f64 };
        Comparison {
            n_positions: self.n_positions,
            n_predicted: self.n_predicted,
            mean_logit_error: mean(self.error, self.n_logits),
            max_logit_error: self.max_error,
            mean_cosine: mean(self.cosine, self.n_positions),
            min_cosine: self.min_cosine,
            mean_kl: mean(self.kl, self.n_positions),
            max_kl: self.max_kl,
            top1_agreement: mean(self.n_agreed as f64, self.n_positions),
            reference_perplexity: mean(self.reference_nll, self.n_predicted).exp(),
            perplexity: mean(self.nll, self.n_predicted).exp(),
        }
    }
}

/// `ln Σ exp`, without overflow.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit));
    let largest = f64::from(largest);
    largest + logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests;
