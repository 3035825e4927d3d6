//! A look at what tokens attend to, layer by layer.

use burn::tensor::{Int, Tensor, TensorData};

use super::{AttentionMode, Model, Options};
use crate::attention::{Observation, Step};
use crate::cache::LayerCache;

/// Tokens that go through a layer at a time.
const CHUNK: usize = 512;

impl Model {
    /// Runs a text with dense attention and shows what the tokens at `positions` attend to in every layer.
    ///
    /// The caller has checked that every id is below `vocab_size`, and that there is a position and all are below the text's length.
    ///
    /// # Cost
    /// One dense pass over the text; the hidden states of one layer are held whole.
    pub fn observe(&self, token_ids: &[u32], positions: &[usize], each: &mut dyn FnMut(usize, Observation)) {
        let options = Options { attention: AttentionMode::Dense, ..Options::default() };
        let n_tokens = token_ids.len();
        let ids: Vec<i32> = token_ids.iter().map(|&id| id as i32).collect();
        let mut h = self.embed(Tensor::<2, Int>::from_data(TensorData::new(ids, [1, n_tokens]), &self.device()));
        let whole = self.step(&h, 0, n_tokens, &options);
        let starts: Vec<usize> = (0..n_tokens).step_by(CHUNK).collect();
        let chunk = |h: &Tensor<3>, start: usize| h.clone().narrow(1, start, CHUNK.min(n_tokens - start));
        let steps: Vec<_> = starts.iter().map(|&start| self.step(&chunk(&h, start), start, n_tokens, &options)).collect();
        for (layer_idx, layer) in self.layers.iter().enumerate() {
            each(layer_idx, layer.self_attn.observe(layer.input_layernorm.forward(h.clone()), positions, &whole));
            // Nobody looks at what the last layer makes of it.
            if layer_idx + 1 == self.layers.len() {
                break;
            }
            let mut cache = LayerCache::default();
            let run = |(&start, step): (&usize, &Step)| layer.prefill(chunk(&h, start), step, &mut cache, &mut None).0;
            let outputs = starts.iter().zip(&steps).map(run).collect();
            h = Tensor::cat(outputs, 1);
        }
    }
}
