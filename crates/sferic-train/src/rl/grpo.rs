//! The objective of group relative policy optimisation, with the stabilisers of DeepSeek-V3.2.
//!
//! A prompt gets a group of `G` replies. A reply's advantage is its reward minus the mean of its group; every token of it is pushed up or down by
//! that much, within a trust region, and held near a reference model.
//!
//! Source: spec §§7.2, 7.3 (DeepSeek-V3.2 report, section on scaling GRPO); Shao et al. 2024, <https://arxiv.org/abs/2402.03300>.

use burn::tensor::{Int, Tensor, TensorData, activation};

/// What is added to logits that fill a list of tokens up: far below any real one, and finite.
const OUTSIDE: f32 = -1.0e30;

/// Settings of the objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// How far below and above 1 the ratio of probabilities may count, `ε`.
    pub clip: [f64; 2],
    /// Weighs the divergence by the ratio of probabilities, which makes its estimate and its gradient unbiased for replies of an older policy.
    pub unbiased_kl: bool,
    /// Leaves out replies of negative advantage whose tokens have become less likely by this much in the mean, `δ` in nats; `None` keeps all.
    pub off_policy_threshold: Option<f64>,
}

/// Replies with what the objective needs to know of them. `N` replies of up to `T` tokens.
#[derive(Debug, Clone)]
pub struct Replies {
    /// `[N, T]`: 1 for tokens of the reply, 0 for padding.
    pub valid: Tensor<2>,
    /// `[N, T]`: log-probabilities under the policy that drew them, as the sampler gave them.
    pub old: Tensor<2>,
    /// `[N, T]`: log-probabilities under the reference; without them the divergence is left out.
    pub reference: Option<Tensor<2>>,
    /// `[N]`: see [`advantages`].
    pub advantages: Tensor<1>,
    /// `[N]`: weight of the divergence from the reference for each reply, `β`.
    pub kl_weights: Tensor<1>,
}

/// The objective's value and what to watch of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The loss, on the graph: the negative objective, the mean over replies of the mean over their tokens; `[1]`.
    pub loss: Tensor<1>,
    /// The estimated divergence from the reference without its weights, off the graph; `[1]`.
    pub kl: Tensor<1>,
    /// Share of tokens whose ratio is outside the clipping range, off the graph; `[1]`.
    pub clipped: Tensor<1>,
    /// Share of replies left out, off the graph; `[1]`.
    pub left_out: Tensor<1>,
}

/// Returns `A_i = R_i − mean_j R_j` for each group of `group_size` rewards: mean-centred, not divided by the deviation.
pub fn advantages(rewards: &[f32], group_size: usize) -> Vec<f32> {
    let mut all = Vec::with_capacity(rewards.len());
    for group in rewards.chunks(group_size.max(1)) {
        let mean = group.iter().map(|&reward| f64::from(reward)).sum::<f64>() / group.len() as f64;
        all.extend(group.iter().map(|&reward| (f64::from(reward) - mean) as f32));
    }
    all
}

/// Returns the log-probability of each target among the tokens that its draw could have given.
///
/// With top-p or top-k the sampler's distribution is cut; the trained policy's is cut alike, so that both have one support. Only the logits of
/// the kept tokens are gathered, so that the lists cost what they hold and not the vocabulary.
///
/// # Shapes
/// - logits: `[R, V]`, divided by the temperature of the draws
/// - targets: `[R]`
/// - kept: for each row the tokens that the sampler kept, the target among them; empty where it kept all
/// - returns: `[R]`
pub fn log_probs(logits: Tensor<2>, targets: Tensor<1, Int>, kept: Option<&[Vec<u32>]>) -> Tensor<1> {
    let [n_rows, n_tokens] = logits.dims();
    let targets = targets.reshape([n_rows, 1]);
    let Some(kept) = kept else {
        return activation::log_softmax(logits, 1).gather(1, targets).reshape([n_rows]);
    };
    let width = kept.iter().map(|row| if row.is_empty() { n_tokens } else { row.len() }).max().unwrap_or(1);
    let (mut ids, mut bias) = (Vec::with_capacity(n_rows * width), Vec::with_capacity(n_rows * width));
    for row in kept {
        let n_kept = if row.is_empty() { n_tokens } else { row.len() };
        ids.extend((0..width).map(|at| if row.is_empty() { at as i32 } else { row[at.min(n_kept - 1)] as i32 }));
        bias.extend((0..width).map(|at| if at < n_kept { 0.0 } else { OUTSIDE }));
    }
    let device = logits.device();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [n_rows, width]), &device);
    let bias = Tensor::<2>::from_data(TensorData::new(bias, [n_rows, width]), &device);
    let among = logits.clone().gather(1, ids).add(bias);
    let largest = among.clone().detach().max_dim(1);
    let total = among.sub(largest.clone()).exp().sum_dim(1).log().add(largest);
    logits.gather(1, targets).sub(total).reshape([n_rows])
}

impl Objective {
    /// Returns the loss of replies whose tokens have the log-probabilities `current` `[N, T]` under the policy that is trained.
    pub fn loss(&self, current: Tensor<2>, replies: &Replies) -> Outcome {
        let Replies { valid, old, reference, advantages, kl_weights } = replies;
        let [n_replies, n_tokens] = valid.dims();
        let lengths = valid.clone().sum_dim(1).clamp_min(1.0); // [N, 1]
        let log_ratio = current.clone().sub(old.clone()).mul(valid.clone());
        let ratio = log_ratio.clone().exp();
        let advantage = advantages.clone().reshape([n_replies, 1]);
        let clipped = ratio.clone().clamp(1.0 - self.clip[0], 1.0 + self.clip[1]);
        let surrogate = ratio.clone().mul(advantage.clone()).min_pair(clipped.mul(advantage.clone()));
        let kept = self.kept(log_ratio.detach().div(lengths.clone()).sum_dim(1), advantage); // [N, 1]
        let mut value = surrogate.mul(kept.clone());
        let mut kl = Tensor::zeros([1], &valid.device());
        if let Some(reference) = reference {
            let log_ratio = reference.clone().sub(current).mul(valid.clone());
            // ρ − ln ρ − 1, never negative.
            let mut estimate = log_ratio.clone().exp().sub(log_ratio).sub_scalar(1.0);
            if self.unbiased_kl {
                estimate = estimate.mul(ratio.clone());
            }
            kl = estimate.clone().detach().mul(valid.clone()).div(lengths.clone()).sum_dim(1).mean();
            value = value.sub(estimate.mul(kl_weights.clone().reshape([n_replies, 1])));
        }
        let loss = value.mul(valid.clone()).div(lengths).sum_dim(1).mean().neg();
        let ratio = ratio.detach();
        let outside = ratio.clone().lower_elem(1.0 - self.clip[0]).bool_or(ratio.greater_elem(1.0 + self.clip[1]));
        debug_assert_eq!(outside.dims(), [n_replies, n_tokens]);
        let clipped = outside.float().mul(valid.clone()).sum().div(valid.clone().sum().clamp_min(1.0));
        Outcome { loss, kl, clipped, left_out: kept.neg().add_scalar(1.0).mean() }
    }

    /// 1 for replies that count, 0 for those that are left out, `[N, 1]`; from each reply's mean of `ln π_θ/π_old`.
    fn kept(&self, mean_log_ratio: Tensor<2>, advantage: Tensor<2>) -> Tensor<2> {
        let Some(threshold) = self.off_policy_threshold else { return advantage.ones_like() };
        let strayed = mean_log_ratio.neg().greater_elem(threshold);
        advantage.lower_elem(0.0).bool_and(strayed).bool_not().float()
    }
}

#[cfg(test)]
#[path = "grpo_tests.rs"]
mod tests;
