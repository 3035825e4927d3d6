//! The sampler's part in draws that are made on the device.

use super::{DrawnFrom, Sampler};
use sferic_lightning::{Drawing, IN_PROMPT, Sampling};

impl Sampler {
    /// Whether a row of logits is needed on the host: for the most likely tokens, or for what a token was drawn from, of which the device only tells
    /// where it is the model's own distribution or the most likely token alone.
    pub(crate) fn needs_logits(&self) -> bool {
        let is_told = self.params.temperature == 0.0 || (self.params.is_plain() && self.unused.is_empty());
        self.params.top_logprobs > 0 || (self.params.record_draws && !is_told)
    }

    /// What a token that the device has drawn was drawn from.
    pub(crate) fn drawn_on_device(&self, token_id: u32, logprob: f32) -> Option<DrawnFrom> {
        let is_greedy = self.params.temperature == 0.0;
        let from =
            if is_greedy { DrawnFrom { logprob: 0.0, kept: vec![token_id] } } else { DrawnFrom { logprob, kept: Vec::new() } };
        self.params.record_draws.then_some(from)
    }

    /// What a device needs to draw as this sampler does, from its next draw on.
    pub(crate) fn drawing(&self, vocab_size: usize) -> Drawing {
        let params = &self.params;
        let settings = Sampling {
            // Of the two zeros the kernels take the positive one.
            temperature: params.temperature.abs(),
            top_k: u32::try_from(params.top_k).unwrap_or(0),
            top_p: params.top_p,
            min_p: params.min_p.abs(),
            repetition_penalty: params.repetition_penalty,
            presence_penalty: params.presence_penalty,
            frequency_penalty: params.frequency_penalty,
        };
        let is_plain = params.repetition_penalty == 1.0 && params.presence_penalty == 0.0 && params.frequency_penalty == 0.0;
        let is_biased = !params.logit_bias.is_empty() || !self.unused.is_empty();
        let adjustments = (!is_plain || is_biased).then(|| self.adjustments(vocab_size.next_multiple_of(4)));
        Drawing { settings, seed: self.seed, n_draws: self.n_draws, adjustments, dense: false, experts: false }
    }

    /// Counts and biases of all tokens.
    fn adjustments(&self, n: usize) -> (Vec<u32>, Vec<f32>) {
        let (mut counts, mut biases) = (vec![0; n], vec![0.0; n]);
        for &token_id in &self.seen {
            if let Some(count) = counts.get_mut(token_id as usize) {
                *count |= IN_PROMPT;
            }
        }
        for (&token_id, &count) in &self.generated {
            if let Some(place) = counts.get_mut(token_id as usize) {
                *place += count;
            }
        }
        let never = self.unused.iter().map(|&token_id| (token_id, f32::NEG_INFINITY));
        for (token_id, bias) in self.params.logit_bias.iter().map(|(&token_id, &bias)| (token_id, bias)).chain(never) {
            if let Some(place) = biases.get_mut(token_id as usize) {
                *place = bias;
            }
        }
        (counts, biases)
    }

    /// Counts a token that the device has drawn.
    pub(crate) fn took(&mut self, token_id: u32) {
        self.n_draws += u64::from(self.params.temperature != 0.0);
        *self.generated.entry(token_id).or_insert(0) += 1;
        if self.params.repetition_penalty != 1.0 {
            self.seen.insert(token_id);
        }
    }
}
