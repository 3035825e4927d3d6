//! Perplexity on held-out documents during training, through the pass that trains, without its gradients.

use burn::tensor::{Int, Tensor};
use sferic_model::{AttentionMode, IndexerTraining, Model};

use crate::TrainError;
use crate::batch::Batch;
use crate::loss::cross_entropy_sum;
use crate::token_set::{Row, TokenSet};

/// Rows of logits held at once.
const CHUNK_ROWS: usize = 4096;

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
    let mode = match attention {
        AttentionMode::Dense => IndexerTraining::Off,
        AttentionMode::Sparse => IndexerTraining::Sparse,
    };
    let mut scores = Vec::new();
    for (source_idx, source) in heldout.sources().iter().enumerate() {
        let available = heldout.n_rows(source_idx);
        let n_rows = available.min(max_rows);
        let (mut total, mut n_tokens): (Option<Tensor<1>>, usize) = (None, 0);
        for nth in 0..n_rows {
            let row = heldout.row(source_idx, nth * available / n_rows);
            n_tokens += row.ids.len().saturating_sub(1);
            let nll = row_nll(model, row, mode);
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
fn row_nll(model: &Model, row: Row, mode: IndexerTraining) -> Tensor<1> {
    let batch = Batch::of_rows([row], false);
    let device = model.device();
    let hidden = model.forward_train(batch.input(&device), mode).hidden;
    let [_, n_tokens, width] = hidden.dims();
    let targets: Tensor<1, Int> = batch.targets(&device).token_ids;
    let chunk = |from: usize| {
        let n_rows = CHUNK_ROWS.min(n_tokens - from);
        let logits = model.logits(hidden.clone().slice([0..1, from..from + n_rows, 0..width]));
        let vocab_size = logits.dims()[2];
        cross_entropy_sum(logits.reshape([n_rows, vocab_size]), targets.clone().narrow(0, from, n_rows))
    };
    (0..n_tokens).step_by(CHUNK_ROWS).map(chunk).reduce(Tensor::add).unwrap_or_else(|| Tensor::zeros([1], &device))
}
