//! Episodes as padded rows of a forward pass, and the log-probabilities of what was drawn in them.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use sferic_model::{IndexerTraining, Model, TrainInput};

use super::config::GrpoConfig;
use super::episode::{Drawn, Episode};
use super::grpo::log_probs;

/// Rows are filled up to a multiple of this, so that few lengths occur.
const ROW_MULTIPLE: usize = 32;
/// Logits in one tensor at most: 1 GiB, as devices have a largest buffer.
#[cfg(not(test))]
const LOGITS_AT_ONCE: usize = 1 << 28;
/// A few draws of a test's model, so that tests have several tensors.
#[cfg(test)]
const LOGITS_AT_ONCE: usize = 1 << 10;

/// Some episodes in one batch: `N` rows of `L` tokens, in which up to `T` tokens were drawn.
pub(super) struct Rows {
    /// `[N, L]`, without the last token, after which nothing is predicted.
    token_ids: Tensor<2, Int>,
    /// `[N]`: tokens of each row that are not padding.
    lengths: Vec<usize>,
    /// `[N·T]`: where the hidden state before each draw stands among the `N·L`.
    places: Tensor<1, Int>,
    /// `[N·T]`
    targets: Tensor<1, Int>,
    /// For each of the `N·T` draws the tokens that it could have given.
    kept: Option<Vec<Vec<u32>>>,
    /// The experts that tokens went to when they were drawn, by mixture layer, `[N·L, A]`; −1 in rows of padding.
    experts: BTreeMap<usize, Tensor<2, Int>>,
    /// Whether tokens go to those experts again.
    keep_routing: bool,
    /// `[N, T]`: 1 for draws, 0 for padding.
    pub(super) valid: Tensor<2>,
    shape: [usize; 2],
}

/// What a forward pass says of the draws.
pub(super) struct Pass {
    /// Their log-probabilities, `[N, T]`.
    pub(super) logprobs: Tensor<2>,
    /// The indexer's divergence, `[1]`.
    pub(super) indexer_kl: Option<Tensor<1>>,
    /// How many tokens went to other experts than when they were drawn, the sum over mixture layers, off the graph; `[1]`.
    pub(super) n_rerouted: Tensor<1>,
}

/// Groups rows of similar length into batches of at most `batch_tokens` tokens, padding included; a row that is longer is a batch of its own.
pub(super) fn batches(lengths: &[usize], batch_tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    // Longest first, so that the first row of a batch is its length.
    order.sort_by_key(|&row_idx| std::cmp::Reverse(lengths[row_idx]));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for row_idx in order {
        match batches.last_mut().filter(|_| room > 0) {
            Some(batch) => batch.push(row_idx),
            None => {
                room = (batch_tokens / padded(lengths[row_idx])).max(1);
                batches.push(vec![row_idx]);
            }
        }
        room -= 1;
    }
    batches
}

/// Lengths of the rows that episodes take.
pub(super) fn row_length(episode: &Episode) -> usize {
    episode.tokens.len().saturating_sub(1)
}

impl Rows {
    /// Pads episodes. With `keep_sampling_mask` their log-probabilities are those among the tokens that could have been drawn; with `keep_routing`
    /// tokens go to the experts that they went to when they were drawn.
    pub(super) fn new(episodes: &[&Episode], config: &GrpoConfig, device: &Device) -> Self {
        let n_rows = episodes.len();
        let length = padded(episodes.iter().map(|episode| row_length(episode)).max().unwrap_or(0));
        let n_draws = episodes.iter().map(|episode| episode.draws.len()).max().unwrap_or(0).max(1);
        let (mut ids, mut valid) = (vec![0i32; n_rows * length], vec![0.0f32; n_rows * n_draws]);
        let (mut places, mut targets) = (vec![0i32; n_rows * n_draws], vec![0i32; n_rows * n_draws]);
        let is_cut = |draw: &Drawn| !draw.kept.is_empty();
        let has_cuts = config.keep_sampling_mask && episodes.iter().any(|episode| episode.draws.iter().any(is_cut));
        // Padding keeps one token, so that it has a distribution.
        let mut kept = has_cuts.then(|| vec![vec![0u32]; n_rows * n_draws]);
        for (row_idx, episode) in episodes.iter().enumerate() {
            for (id, token) in ids[row_idx * length..].iter_mut().zip(&episode.tokens[..row_length(episode)]) {
                *id = *token as i32;
            }
            for (draw_idx, draw) in episode.draws.iter().enumerate() {
                let at = row_idx * n_draws + draw_idx;
                valid[at] = 1.0;
                // A prompt has a token at least, so a draw is never the first.
                places[at] = (row_idx * length + draw.position.saturating_sub(1)) as i32;
                targets[at] = episode.tokens[draw.position] as i32;
                if let Some(kept) = &mut kept {
                    kept[at] = draw.kept.clone();
                }
            }
        }
        let flat = |values: Vec<i32>| Tensor::from_data(TensorData::new(values, [n_rows * n_draws]), device);
        Self {
            token_ids: Tensor::from_data(TensorData::new(ids, [n_rows, length]), device),
            lengths: episodes.iter().map(|episode| row_length(episode)).collect(),
            places: flat(places),
            targets: flat(targets),
            kept,
            experts: experts(episodes, length, device),
            keep_routing: config.keep_routing,
            valid: Tensor::from_data(TensorData::new(valid, [n_rows, n_draws]), device),
            shape: [n_rows, n_draws],
        }
    }

    /// Runs the model as it was trained.
    pub(super) fn pass(&self, model: &Model, temperature: f64) -> Pass {
        let indexer = if model.config().indexer.is_some() { IndexerTraining::Sparse } else { IndexerTraining::Off };
        let experts = if self.keep_routing { self.experts.clone() } else { BTreeMap::new() };
        let input = TrainInput { lengths: Some(self.lengths.clone()), experts, ..self.token_ids.clone().into() };
        let forward = model.forward_train(input, indexer);
        let [n_rows, length, width] = forward.hidden.dims();
        let before = forward.hidden.reshape([n_rows * length, width]).select(0, self.places.clone());
        let n_draws = before.dims()[0];
        let vocab_size = model.config().vocab_size;
        let n_chunk = (LOGITS_AT_ONCE / vocab_size).max(1);
        let chunks = (0..n_draws).step_by(n_chunk).map(|start| {
            let draws = start..n_draws.min(start + n_chunk);
            let logits = model.logits(before.clone().slice([draws.clone(), 0..width]).unsqueeze());
            let logits = logits.reshape([draws.len(), vocab_size]).div_scalar(temperature);
            let kept = self.kept.as_ref().map(|kept| &kept[draws.clone()]);
            log_probs(logits, self.targets.clone().slice(draws), kept)
        });
        let logprobs = Tensor::cat(chunks.collect(), 0);
        Pass {
            logprobs: logprobs.reshape(self.shape),
            indexer_kl: forward.indexer_kl,
            n_rerouted: self.n_rerouted(&forward.experts),
        }
    }

    /// Counts the tokens of which `chosen` does not have the experts of the draw.
    fn n_rerouted(&self, chosen: &BTreeMap<usize, Tensor<2, Int>>) -> Tensor<1> {
        let pairs = self.experts.iter().filter_map(|(layer_idx, drawn)| Some((drawn.clone(), chosen.get(layer_idx)?.clone())));
        let of_layer = |(drawn, chosen): (Tensor<2, Int>, Tensor<2, Int>)| {
            let [n_tokens, n_experts] = drawn.dims();
            let is_known = drawn.clone().slice([0..n_tokens, 0..1]).greater_equal_elem(0);
            // Each expert of the draw against each of now, so that their order does not matter.
            let is_same = drawn.reshape([n_tokens, n_experts, 1]).equal(chosen.reshape([n_tokens, 1, n_experts]));
            let n_same = is_same.int().sum_dim(2).reshape([n_tokens, n_experts]).sum_dim(1);
            n_same.lower_elem(n_experts as i64).bool_and(is_known).float().sum()
        };
        let none = || Tensor::zeros([1], &self.valid.device());
        if self.keep_routing { none() } else { pairs.map(of_layer).reduce(Tensor::add).unwrap_or_else(none) }
    }

    /// Puts a number per draw of each episode into the form of the rows, `[N, T]`.
    pub(super) fn matrix<'a>(&self, rows: impl Iterator<Item = Box<dyn Iterator<Item = f32> + 'a>>) -> Tensor<2> {
        let [n_rows, n_draws] = self.shape;
        let mut values = vec![0.0f32; n_rows * n_draws];
        for (row_idx, row) in rows.enumerate() {
            for (place, value) in values[row_idx * n_draws..(row_idx + 1) * n_draws].iter_mut().zip(row) {
                *place = value;
            }
        }
        Tensor::from_data(TensorData::new(values, self.shape), &self.valid.device())
    }
}

/// The experts that tokens keep (spec §7.3 (3)): padding, and episodes of which nothing is known, choose by themselves.
fn experts(episodes: &[&Episode], length: usize, device: &Device) -> BTreeMap<usize, Tensor<2, Int>> {
    let known = episodes.iter().flat_map(|episode| &episode.experts);
    let widths: BTreeMap<usize, usize> = known.map(|(&layer_idx, matrix)| (layer_idx, matrix.n_cols)).collect();
    let of_layer = |(layer_idx, n_experts): (usize, usize)| {
        let mut ids = vec![-1i32; episodes.len() * length * n_experts];
        for (row, episode) in ids.chunks_mut(length * n_experts).zip(episodes) {
            let given = episode.experts.get(&layer_idx).map_or(&[][..], |matrix| &matrix.values);
            let n_given = given.len().min(row_length(episode) * n_experts);
            row[..n_given].copy_from_slice(&given[..n_given]);
        }
        let shape = [episodes.len() * length, n_experts];
        (layer_idx, Tensor::from_data(TensorData::new(ids, shape), device))
    };
    widths.into_iter().filter(|(_, n_experts)| *n_experts > 0).map(of_layer).collect()
}

fn padded(length: usize) -> usize {
    length.max(1).next_multiple_of(ROW_MULTIPLE)
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
