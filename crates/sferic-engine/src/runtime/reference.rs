//! The reference path: Burn's stock operations.

use super::{Computed, Feed, Wanted};
use crate::EngineError;
use crate::read_back::{read_f32, read_i32, wait_for};
use burn::tensor::{Int, Tensor};
use sferic_model::{Cache, Model, NoProbe, Options, Probe};

pub(super) async fn compute(
    model: &Model,
    options: &Options,
    cache: &mut Cache,
    ids: &[u32],
    feed: Feed,
    wanted: Wanted,
    experts: bool,
) -> Result<Computed, EngineError> {
    let mut recorder = Recorder { wanted, hidden: Vec::new(), selection: Vec::new(), scores: Vec::new(), experts: Vec::new() };
    let is_watched = matches!(wanted, Wanted::Everything | Wanted::Selections) || experts;
    let probe: &mut dyn Probe = if is_watched { &mut recorder } else { &mut NoProbe };
    let hidden = match (feed, ids) {
        (Feed::Decode, [token_id]) => model.decode(*token_id, cache, options, probe),
        _ => model.prefill(ids, cache, options, probe),
    };
    let doing = if feed == Feed::Decode { "computing a token" } else { "computing the prompt" };
    let last = || hidden.clone().narrow(1, ids.len() - 1, 1);
    let logits = match wanted {
        // A GPU queues work faster than it does it: without this wait, progress would be a promise and cancelling would come late.
        Wanted::Nothing | Wanted::Selections => {
            wait_for(last(), doing).await?;
            Vec::new()
        }
        Wanted::Last => read_f32(model.logits(last()), doing).await?,
        Wanted::Logits | Wanted::Everything => read_f32(model.logits(hidden.clone()), doing).await?,
    };
    let mut computed = Computed { logits, ..Computed::default() };
    for hidden in recorder.hidden {
        computed.hidden.push(read_f32(hidden, doing).await?);
    }
    for (layer_idx, indices) in recorder.selection {
        let width = indices.dims()[2].max(1);
        let values = read_i32(indices, doing).await?;
        computed.selected.insert(layer_idx, values.chunks(width).map(<[i32]>::to_vec).collect());
    }
    for (layer_idx, scores) in recorder.scores {
        let width = scores.dims()[2].max(1);
        let values = read_f32(scores, doing).await?;
        computed.scores.insert(layer_idx, values.chunks(width).map(<[f32]>::to_vec).collect());
    }
    for (layer_idx, experts) in recorder.experts {
        let width = experts.dims()[1].max(1);
        let values = read_i32(experts, doing).await?;
        computed.experts.insert(layer_idx, values.chunks(width).map(<[i32]>::to_vec).collect());
    }
    Ok(computed)
}

/// Keeps handles of what the model shows; nothing is read before the chunk is submitted.
struct Recorder {
    /// What is kept beside experts.
    wanted: Wanted,
    hidden: Vec<Tensor<3>>,
    selection: Vec<(usize, Tensor<3, Int>)>,
    scores: Vec<(usize, Tensor<3>)>,
    experts: Vec<(usize, Tensor<2, Int>)>,
}

impl Probe for Recorder {
    fn hidden(&mut self, _layer_idx: usize, hidden: &Tensor<3>) {
        if self.wanted == Wanted::Everything {
            self.hidden.push(hidden.clone());
        }
    }

    fn selection(&mut self, layer_idx: usize, indices: &Tensor<3, Int>) {
        if matches!(self.wanted, Wanted::Everything | Wanted::Selections) {
            self.selection.push((layer_idx, indices.clone()));
        }
    }

    fn wants_scores(&self) -> bool {
        self.wanted == Wanted::Selections
    }

    fn scores(&mut self, layer_idx: usize, scores: &Tensor<3>) {
        self.scores.push((layer_idx, scores.clone()));
    }

    fn experts(&mut self, layer_idx: usize, experts: &Tensor<2, Int>) {
        self.experts.push((layer_idx, experts.clone()));
    }
}
