//! From a row of logits to the next token.
//!
//! The order of operations is fixed and is the one of vLLM and Hugging Face transformers:
//!
//! 1. repetition penalty (tokens of the prompt and of the reply): `l > 0 ? l / r : l * r`;
//! 2. presence and frequency penalties (tokens of the reply only): `l - presence - frequency * count`;
//! 3. logit bias: `l + bias[token]`;
//! 4. temperature: `l / temperature`; a temperature of 0 takes the largest logit here, the lowest token id among equals;
//! 5. top-k: the `k` largest logits, the lower token id first among equals;
//! 6. top-p: the smallest set of most likely tokens whose mass, after top-k, reaches `p`;
//! 7. min-p: tokens at least `min_p` times as likely as the most likely one;
//! 8. one draw from what is left, by inverting the cumulative distribution in the order of token ids. A filter that removes
//!    nothing therefore changes nothing.
//!
//! Log-probabilities are those of the model: the log-softmax of the logits before step 1. What is left in step 8, which a policy that is trained on
//! its own replies has to know, comes with [`SamplingParams::record_draws`].
//!
//! Arithmetic is in f64. Draws come from a counter-based generator ([`uniform`]): draw `n` of a seed depends on the seed and `n`
//! alone, so a reply can be continued or repeated from any point, on any device.

mod device;
mod params;

pub use params::SamplingParams;

use crate::EngineError;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// A token with its log-probability.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct TokenLogprob {
    /// The token.
    pub token_id: u32,
    /// Natural logarithm of the model's probability, before penalties, bias and temperature.
    pub logprob: f32,
}

/// The outcome of one sampling step.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// The token drawn.
    pub token_id: u32,
    /// Natural logarithm of the model's probability of `token_id`, before penalties, bias and temperature.
    pub logprob: f32,
    /// The `top_logprobs` most likely tokens of the model, most likely first, the lower token id first among equals.
    pub top_logprobs: Vec<TokenLogprob>,
    /// What the token was drawn from, with [`SamplingParams::record_draws`].
    pub drawn_from: Option<DrawnFrom>,
}

/// The distribution that a token was drawn from: after penalties, bias, temperature and filters.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct DrawnFrom {
    /// Natural logarithm of the token's probability in it.
    pub logprob: f32,
    /// The tokens that top-k, top-p and min-p left, ascending; empty where no filter was on.
    pub kept: Vec<u32>,
}

/// Draws the tokens of one reply.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    seed: u64,
    n_draws: u64,
    /// Tokens of the prompt and of the reply.
    seen: BTreeSet<u32>,
    /// How often each token is in the reply.
    generated: BTreeMap<u32, u32>,
    unused: Vec<u32>,
}

/// A candidate: its token and its logit after steps 1 to 4.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    token_id: u32,
    logit: f64,
}

impl Sampler {
    /// Returns a sampler for a reply to `prompt_ids`.
    ///
    /// `seed` is used where `params.seed` is `None`.
    ///
    /// # Errors
    /// [`EngineError::InvalidSampling`] when a field of `params` is out of range for a vocabulary of `vocab_size` tokens.
    pub fn new(params: SamplingParams, vocab_size: usize, prompt_ids: &[u32], seed: u64) -> Result<Self, EngineError> {
        params.validate(vocab_size)?;
        Ok(Self {
            seed: params.seed.unwrap_or(seed),
            n_draws: 0,
            // Only the repetition penalty looks at the prompt.
            seen: if params.repetition_penalty == 1.0 { BTreeSet::new() } else { prompt_ids.iter().copied().collect() },
            generated: BTreeMap::new(),
            unused: Vec::new(),
            params,
        })
    }

    /// Returns the sampler with tokens that are never drawn: rows of the model's head that stand for no token.
    pub fn without(mut self, unused_token_ids: &[u32]) -> Self {
        self.unused = unused_token_ids.to_vec();
        self
    }

    /// Returns the seed in use.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Draws the next token from `logits` and counts it for the penalties.
    ///
    /// # Shapes
    /// - logits: `[V]` f32, one row of the model's output; may hold −∞, not NaN or +∞
    ///
    /// # Errors
    /// [`EngineError::BadLogits`] when a logit is NaN or +∞, or when none is finite; the sampler is unchanged then.
    pub fn sample(&mut self, logits: &[f32]) -> Result<Sampled, EngineError> {
        check(logits)?;
        let adjusted = self.adjusted(logits);
        if !adjusted.iter().any(|candidate| candidate.logit.is_finite()) {
            return Err(EngineError::BadLogits {
                n_bad: logits.len(),
                n_logits: logits.len(),
                first_token_id: 0,
                first_value: f32::NEG_INFINITY,
            });
        }
        let survivors = if self.params.temperature == 0.0 {
            let token_id = argmax(&adjusted);
            vec![Candidate { token_id, logit: 0.0 }]
        } else {
            self.survivors(adjusted)
        };
        let token_id = draw(&survivors, uniform(self.seed, self.n_draws));
        self.n_draws += u64::from(self.params.temperature != 0.0);
        let log_normaliser = log_sum_exp(logits.iter().map(|&logit| f64::from(logit)));
        let sampled = Sampled {
            token_id,
            logprob: (f64::from(logits[token_id as usize]) - log_normaliser) as f32,
            top_logprobs: top_logprobs(logits, self.params.top_logprobs, log_normaliser),
            drawn_from: self.params.record_draws.then(|| drawn_from(&survivors, token_id, self.params.is_filtered())),
        };
        *self.generated.entry(token_id).or_insert(0) += 1;
        if self.params.repetition_penalty != 1.0 {
            self.seen.insert(token_id);
        }
        Ok(sampled)
    }

    /// Steps 1 to 4: penalties, bias, temperature.
    fn adjusted(&self, logits: &[f32]) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> =
            (0u32..).zip(logits).map(|(token_id, &logit)| Candidate { token_id, logit: f64::from(logit) }).collect();
        let repetition = f64::from(self.params.repetition_penalty);
        for &token_id in &self.seen {
            if let Some(candidate) = candidates.get_mut(token_id as usize) {
                candidate.logit = if candidate.logit > 0.0 { candidate.logit / repetition } else { candidate.logit * repetition };
            }
        }
        let (presence, frequency) = (f64::from(self.params.presence_penalty), f64::from(self.params.frequency_penalty));
        for (&token_id, &count) in &self.generated {
            if let Some(candidate) = candidates.get_mut(token_id as usize) {
                candidate.logit -= presence + frequency * f64::from(count);
            }
        }
        for (&token_id, &bias) in &self.params.logit_bias {
            if let Some(candidate) = candidates.get_mut(token_id as usize) {
                candidate.logit += f64::from(bias);
            }
        }
        for &token_id in &self.unused {
            if let Some(candidate) = candidates.get_mut(token_id as usize) {
                candidate.logit = f64::NEG_INFINITY;
            }
        }
        let temperature = f64::from(self.params.temperature);
        if temperature != 0.0 {
            candidates.iter_mut().for_each(|candidate| candidate.logit /= temperature);
        }
        candidates
    }

    /// Steps 5 to 7; the survivors come back in the order of token ids.
    fn survivors(&self, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        keep_top_k(&mut candidates, self.params.top_k);
        keep_top_p(&mut candidates, f64::from(self.params.top_p));
        keep_min_p(&mut candidates, f64::from(self.params.min_p));
        candidates.sort_unstable_by_key(|candidate| candidate.token_id);
        candidates
    }
}

/// Returns draw `n` of the stream `seed`: uniform in [0, 1), a multiple of 2⁻⁵³.
///
/// Counter-based: SplitMix64's finaliser over a mixed key plus `n` steps of its increment (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", 2014). The key is mixed first, so that neighbouring seeds are not shifted copies of one stream.
pub fn uniform(seed: u64, n: u64) -> f64 {
    const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;
    let key = mix(seed.wrapping_add(INCREMENT));
    let bits = mix(key.wrapping_add(n.wrapping_add(1).wrapping_mul(INCREMENT)));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// Returns the index of the largest logit, the lowest index among equals.
///
/// # Errors
/// [`EngineError::BadLogits`] as [`Sampler::sample`].
pub fn greedy(logits: &[f32]) -> Result<u32, EngineError> {
    check(logits)?;
    let mut best = (0u32, f32::NEG_INFINITY);
    for (token_id, &logit) in (0u32..).zip(logits) {
        if logit > best.1 {
            best = (token_id, logit);
        }
    }
    Ok(best.0)
}

/// SplitMix64's finaliser.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Refuses rows from which nothing can be drawn.
fn check(logits: &[f32]) -> Result<(), EngineError> {
    let is_bad = |logit: f32| logit.is_nan() || logit == f32::INFINITY;
    let mut bad = (0u32..).zip(logits).filter(|&(_, &logit)| is_bad(logit));
    if let Some((first_token_id, &first_value)) = bad.next() {
        return Err(EngineError::BadLogits { n_bad: 1 + bad.count(), n_logits: logits.len(), first_token_id, first_value });
    }
    if !logits.iter().any(|logit| logit.is_finite()) {
        let first_value = f32::NEG_INFINITY;
        return Err(EngineError::BadLogits { n_bad: logits.len(), n_logits: logits.len(), first_token_id: 0, first_value });
    }
    Ok(())
}

fn argmax(candidates: &[Candidate]) -> u32 {
    candidates.iter().copied().min_by(by_likelihood).map_or(0, |candidate| candidate.token_id)
}

/// Most likely first, the lower token id first among equals.
fn by_likelihood(a: &Candidate, b: &Candidate) -> Ordering {
    // The logits are not NaN here; −0.0 and +0.0 must tie, so `total_cmp` alone is not enough.
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.token_id.cmp(&b.token_id))
}

fn keep_top_k(candidates: &mut Vec<Candidate>, top_k: usize) {
    if top_k > 0 && top_k < candidates.len() {
        candidates.select_nth_unstable_by(top_k - 1, by_likelihood);
        candidates.truncate(top_k);
    }
}

fn keep_top_p(candidates: &mut Vec<Candidate>, top_p: f64) {
    if top_p >= 1.0 {
        return;
    }
    let log_normaliser = log_sum_exp(candidates.iter().map(|candidate| candidate.logit));
    // The head of the distribution is nearly always short, so it is sorted in growing pieces and not the whole vocabulary at once.
    let (mut n_sorted, mut mass) = (0, 0.0);
    while n_sorted < candidates.len() {
        let rest = &mut candidates[n_sorted..];
        let n_piece = (n_sorted * 7).max(256).min(rest.len());
        if n_piece < rest.len() {
            rest.select_nth_unstable_by(n_piece - 1, by_likelihood);
        }
        rest[..n_piece].sort_unstable_by(by_likelihood);
        for candidate in &rest[..n_piece] {
            n_sorted += 1;
            mass += (candidate.logit - log_normaliser).exp();
            if mass >= top_p {
                candidates.truncate(n_sorted);
                return;
            }
        }
    }
}

fn keep_min_p(candidates: &mut Vec<Candidate>, min_p: f64) {
    if min_p <= 0.0 {
        return;
    }
    let largest = candidates.iter().map(|candidate| candidate.logit).fold(f64::NEG_INFINITY, f64::max);
    candidates.retain(|candidate| (candidate.logit - largest).exp() >= min_p);
}

/// The token at which the cumulative distribution passes `position` (in [0, 1)); `survivors` in any fixed order, one finite at least.
fn draw(survivors: &[Candidate], position: f64) -> u32 {
    let largest = survivors.iter().map(|candidate| candidate.logit).fold(f64::NEG_INFINITY, f64::max);
    let weight = |candidate: &Candidate| (candidate.logit - largest).exp();
    let target = position * survivors.iter().map(weight).sum::<f64>();
    let (mut cumulative, mut last) = (0.0, 0);
    for candidate in survivors {
        let weight = weight(candidate);
        if weight > 0.0 {
            cumulative += weight;
            last = candidate.token_id;
            if cumulative > target {
                break;
            }
        }
    }
    last
}

/// What `token_id` was drawn from.
fn drawn_from(survivors: &[Candidate], token_id: u32, is_filtered: bool) -> DrawnFrom {
    let logit = survivors.iter().find(|candidate| candidate.token_id == token_id).map_or(f64::NAN, |candidate| candidate.logit);
    let logprob = (logit - log_sum_exp(survivors.iter().map(|candidate| candidate.logit))) as f32;
    let can_be_drawn = survivors.iter().filter(|candidate| candidate.logit > f64::NEG_INFINITY);
    let kept = if is_filtered { can_be_drawn.map(|candidate| candidate.token_id).collect() } else { Vec::new() };
    DrawnFrom { logprob, kept }
}

fn log_sum_exp(logits: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + logits.map(|logit| (logit - largest).exp()).sum::<f64>().ln()
}

fn top_logprobs(logits: &[f32], n: usize, log_normaliser: f64) -> Vec<TokenLogprob> {
    if n == 0 {
        return Vec::new();
    }
    let mut candidates: Vec<Candidate> =
        (0u32..).zip(logits).map(|(token_id, &logit)| Candidate { token_id, logit: f64::from(logit) }).collect();
    keep_top_k(&mut candidates, n);
    candidates.sort_unstable_by(by_likelihood);
    candidates
        .iter()
        .map(|&Candidate { token_id, logit }| TokenLogprob { token_id, logprob: (logit - log_normaliser) as f32 })
        .collect()
}

#[cfg(test)]
mod tests;
