//! How much of dense attention the indexer's selection holds.
//!
//! The figure that says whether an indexer is ready for sparse attention: the share of the probability, summed over heads, that lies on
//! its `k` best tokens. The `k` most attended tokens bound it from above, the last `k` tokens are what an indexer has to beat.
//!
//! # Source
//! spec/dsa.md §6.6.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use sferic_model::select::top_k_row;
use sferic_model::{Model, Observation};

use crate::TrainError;

/// How recall is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallOptions {
    /// Sizes of the selection, ascending.
    pub ks: Vec<usize>,
    /// Tokens that are looked at in each text, spread evenly over where something has to be left out.
    pub n_queries: usize,
}

/// What selections hold, over some texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    /// Tokens of the longest text.
    pub length: usize,
    /// Texts.
    pub n_texts: usize,
    /// Tokens that were looked at, in all texts together.
    pub n_queries: usize,
    /// The layers that have an indexer.
    pub layers: Vec<LayerRecall>,
}

/// One layer; means over the tokens that were looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerRecall {
    /// The layer.
    pub layer: usize,
    /// Divergence of the indexer's distribution from attention's, in nats.
    pub kl: f64,
    /// Entropy of the indexer's distribution, in nats.
    pub entropy: f64,
    /// Share of index scores that are exactly zero.
    pub zeros: f64,
    /// What selections of each size hold.
    pub at: Vec<RecallAt>,
}

/// Shares of the attention probability for one size of the selection, from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RecallAt {
    /// Selected tokens.
    pub k: usize,
    /// On the indexer's best tokens.
    pub indexer: f64,
    /// On the most attended tokens: no selection holds more.
    pub oracle: f64,
    /// On the last tokens.
    pub window: f64,
    /// Share of a selection that the token before selected as well.
    pub overlap: f64,
}

impl Recall {
    /// Returns the mean over layers for selections of `k` tokens; nothing when that was not measured.
    pub fn mean(&self, k: usize) -> Option<RecallAt> {
        let found: Vec<&RecallAt> = self.layers.iter().filter_map(|layer| layer.at.iter().find(|at| at.k == k)).collect();
        let mean = |value: fn(&RecallAt) -> f64| found.iter().map(|at| value(at)).sum::<f64>() / found.len() as f64;
        (!found.is_empty()).then(|| RecallAt {
            k,
            indexer: mean(|at| at.indexer),
            oracle: mean(|at| at.oracle),
            window: mean(|at| at.window),
            overlap: mean(|at| at.overlap),
        })
    }

    /// Returns the mean divergence over layers, in nats.
    pub fn kl(&self) -> f64 {
        self.layers.iter().map(|layer| layer.kl).sum::<f64>() / self.layers.len() as f64
    }
}

/// Measures a model on texts, with dense attention below every layer. A model without an indexer has no layers in the result.
///
/// Memory is that of one dense pass in chunks, so texts may be as long as the context. Texts of less than two tokens are left out.
///
/// # Errors
/// [`TrainError::ReadBack`] when the device cannot deliver.
pub fn recall(model: &Model, texts: &[&[u32]], options: &RecallOptions) -> Result<Recall, TrainError> {
    let mut sums: Vec<Sums> = Vec::new();
    let mut recall = Recall { length: 0, n_texts: 0, n_queries: 0, layers: Vec::new() };
    for text in texts.iter().filter(|text| text.len() >= 2) {
        let queries = queries(text.len(), options);
        let mut positions: Vec<usize> = queries.iter().flat_map(|&position| [position - 1, position]).collect();
        positions.dedup();
        let mut found = Ok(());
        model.observe(text, &positions, &mut |layer_idx, observation| {
            if found.is_ok() {
                found = add_layer(&mut sums, layer_idx, observation, &positions, &queries, &options.ks);
            }
        });
        found?;
        recall.length = recall.length.max(text.len());
        recall.n_texts += 1;
        recall.n_queries += queries.len();
    }
    recall.layers = sums.iter().map(Sums::mean).collect();
    Ok(recall)
}

/// Where a text is looked at: evenly from where the largest selection leaves something out.
fn queries(n_tokens: usize, options: &RecallOptions) -> Vec<usize> {
    let first = options.ks.iter().copied().filter(|&k| k < n_tokens).max().unwrap_or(1).max(1);
    let n_places = n_tokens - first;
    let n_queries = options.n_queries.clamp(1, n_places);
    (0..n_queries).map(|nth| first + (2 * nth + 1) * n_places / (2 * n_queries)).collect()
}

/// Sums over tokens of one layer.
#[derive(Debug, Clone)]
struct Sums {
    layer: usize,
    n: f64,
    kl: f64,
    entropy: f64,
    zeros: f64,
    at: Vec<RecallAt>,
}

impl Sums {
    fn new(layer: usize, ks: &[usize]) -> Self {
        let at = ks.iter().map(|&k| RecallAt { k, ..RecallAt::default() }).collect();
        Self { layer, n: 0.0, kl: 0.0, entropy: 0.0, zeros: 0.0, at }
    }

    /// Adds a token at position `attention.len() - 1`; `before` are the scores at the position before it.
    fn add(&mut self, attention: &[f32], scores: &[f32], before: &[f32]) {
        let total: f64 = attention.iter().map(|&p| f64::from(p)).sum();
        let share = |selected: &[u32]| selected.iter().map(|&s| f64::from(attention[s as usize])).sum::<f64>() / total;
        for at in &mut self.at {
            let selected = top_k_row(scores, at.k);
            let earlier = top_k_row(before, at.k);
            let first = attention.len().saturating_sub(at.k) as u32;
            let last: Vec<u32> = (first..attention.len() as u32).collect();
            at.indexer += share(&selected);
            at.oracle += share(&top_k_row(attention, at.k));
            at.window += share(&last);
            at.overlap += selected.iter().filter(|s| earlier.binary_search(s).is_ok()).count() as f64 / selected.len() as f64;
        }
        let log_pi = log_softmax(scores);
        let terms = attention.iter().map(|&p| f64::from(p) / total).zip(&log_pi).filter(|(p, _)| *p > 0.0);
        self.kl += terms.map(|(p, log_pi)| p * (p.ln() - log_pi)).sum::<f64>();
        self.entropy -= log_pi.iter().map(|log_pi| log_pi.exp() * log_pi).sum::<f64>();
        self.zeros += scores.iter().filter(|&&score| score == 0.0).count() as f64 / scores.len() as f64;
        self.n += 1.0;
    }

    fn mean(&self) -> LayerRecall {
        let mean = |sum: f64| sum / self.n;
        let at = |at: &RecallAt| RecallAt {
            k: at.k,
            indexer: mean(at.indexer),
            oracle: mean(at.oracle),
            window: mean(at.window),
            overlap: mean(at.overlap),
        };
        LayerRecall {
            layer: self.layer,
            kl: mean(self.kl),
            entropy: mean(self.entropy),
            zeros: mean(self.zeros),
            at: self.at.iter().map(at).collect(),
        }
    }
}

/// Adds what was observed in a layer; layers without an indexer are passed over.
fn add_layer(
    sums: &mut Vec<Sums>,
    layer_idx: usize,
    observation: Observation,
    positions: &[usize],
    queries: &[usize],
    ks: &[usize],
) -> Result<(), TrainError> {
    let Some(scores) = observation.scores else { return Ok(()) };
    let n_context = scores.dims()[1];
    let (attention, scores) = (read(observation.attention)?, read(scores)?);
    let sum_idx = sums.iter().position(|sum| sum.layer == layer_idx).unwrap_or_else(|| {
        sums.push(Sums::new(layer_idx, ks));
        sums.len() - 1
    });
    for &position in queries {
        // Both it and the one before it are among the positions, which ascend.
        let Ok(row) = positions.binary_search(&position) else { continue };
        let seen = |values: &[f32], row: usize, n: usize| values[row * n_context..row * n_context + n].to_vec();
        let (attention, own) = (seen(&attention, row, position + 1), seen(&scores, row, position + 1));
        sums[sum_idx].add(&attention, &own, &seen(&scores, row - 1, position));
    }
    Ok(())
}

fn read(tensor: Tensor<2>) -> Result<Vec<f32>, TrainError> {
    tensor
        .try_into_vec_as::<f32>()
        .map_err(|error| TrainError::ReadBack { what: "attention and index scores", message: error.to_string() })
}

fn log_softmax(scores: &[f32]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted: Vec<f64> = scores.iter().map(|&score| f64::from(score) - f64::from(largest)).collect();
    let log_total = shifted.iter().map(|score| score.exp()).sum::<f64>().ln();
    shifted.into_iter().map(|score| score - log_total).collect()
}

#[cfg(test)]
#[path = "recall_tests.rs"]
mod tests;
