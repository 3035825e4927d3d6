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
    let mut recorder = Recorder { experts_alone: wanted != Wanted::Everything, ..Recorder::default() };
    let probe: &mut dyn Probe = if wanted == Wanted::Everything || experts { &mut recorder } else { &mut NoProbe };
    let hidden = match (feed, ids) {
        (Feed::Decode, [token_id]) => model.decode(*token_id, cache, options, probe),
        _ => model.prefill(ids, cache, options, probe),
    };
    let doing = if feed == Feed::Decode { "computing a token" } else { "computing the prompt" };
    let last = || hidden.clone().narrow(1, ids.len() - 1, 1);
    let logits = match wanted {
        // A GPU queues work faster than it does it: without this wait, progress would be a promise and cancelling would come late.
        Wanted::Nothing => {
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
    for (layer_idx, experts) in recorder.experts {
        let width = experts.dims()[1].max(1);
        let values = read_i32(experts, doing).await?;
        computed.experts.insert(layer_idx, values.chunks(width).map(<[i32]>::to_vec).collect());
    }
    Ok(computed)
}

/// Keeps handles of what the model shows; nothing is read before the chunk is submitted.
#[derive(Default)]
struct Recorder {
    /// Whether nothing but experts is kept.
    experts_alone: bool,
    hidden: Vec<Tensor<3>>,
    selection: Vec<(usize, Tensor<3, Int>)>,
    experts: Vec<(usize, Tensor<2, Int>)>,
}

impl Probe for Recorder {
    fn hidden(&mut self, _layer_idx: usize, hidden: &Tensor<3>) {
        if !self.experts_alone {
            self.hidden.push(hidden.clone());
        }
    }

    fn selection(&mut self, layer_idx: usize, indices: &Tensor<3, Int>) {
        if !self.experts_alone {
            self.selection.push((layer_idx, indices.clone()));
        }
    }

    fn experts(&mut self, layer_idx: usize, experts: &Tensor<2, Int>) {
        self.experts.push((layer_idx, experts.clone()));
    }
}
