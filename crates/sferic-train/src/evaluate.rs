//! Perplexity on held-out documents, through the same prefill that inference uses.

use burn::tensor::{Int, Tensor, TensorData};
use sferic_model::{AttentionMode, Model, NoProbe, Options};

use crate::TrainError;
use crate::dataset::TokenSet;
use crate::loss::cross_entropy_sum;

/// The score of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The source's name.
    pub source: String,
    /// Predicted tokens.
    pub n_tokens: usize,
    /// Mean negative log-likelihood in nats per token.
    pub nll: f64,
}

impl Score {
    /// Returns `exp(nll)`.
    pub fn perplexity(&self) -> f64 {
        self.nll.exp()
    }
}

/// Scores up to `max_rows` rows of every source, spread evenly over it; sources without a whole row are left out.
///
/// # Errors
/// [`TrainError::Device`] when the result cannot be read; `step` only goes into the message.
pub fn evaluate(
    model: &Model,
    heldout: &TokenSet,
    max_rows: usize,
    attention: AttentionMode,
    step: usize,
) -> Result<Vec<Score>, TrainError> {
    let options = Options { attention, ..Options::default() };
    let mut scores = Vec::new();
    for (source_idx, source) in heldout.sources().iter().enumerate() {
        let available = heldout.n_rows(source_idx);
        let n_rows = available.min(max_rows);
        let (mut total, mut n_tokens): (Option<Tensor<1>>, usize) = (None, 0);
        for nth in 0..n_rows {
            let row = heldout.row(source_idx, nth * available / n_rows);
            let nll = row_nll(model, row, &options);
            n_tokens += row.len() - 1;
            total = Some(match total {
                Some(total) => total.add(nll),
                None => nll,
            });
        }
        let Some(total) = total else { continue };
        let total = total.try_into_scalar::<f32>().map_err(|error| TrainError::Device {
            step,
            action: "reading an evaluation",
            message: error.to_string(),
        })?;
        scores.push(Score { source: source.name.clone(), n_tokens, nll: f64::from(total) / n_tokens as f64 });
    }
    Ok(scores)
}

/// Returns the summed negative log-likelihood of a row's targets, `[1]`.
fn row_nll(model: &Model, row: &[u16], options: &Options) -> Tensor<1> {
    let n_tokens = row.len() - 1;
    let inputs: Vec<u32> = row[..n_tokens].iter().map(|&id| u32::from(id)).collect();
    let targets: Vec<i32> = row[1..].iter().map(|&id| i32::from(id)).collect();
    let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [n_tokens]), &model.device());
    let mut cache = model.new_cache(n_tokens);
    let hidden = model.prefill(&inputs, &mut cache, options, &mut NoProbe);
    let logits = model.logits(hidden);
    let vocab_size = logits.dims()[2];
    cross_entropy_sum(logits.reshape([n_tokens, vocab_size]), targets)
}
