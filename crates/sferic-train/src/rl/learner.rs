//! The optimiser steps on a batch of replies.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};
use sferic_model::Model;

use super::config::GrpoConfig;
use super::episode::Episode;
use super::grpo::{Replies, advantages};
use super::mix::Asked;
use super::rows::{Pass, Rows, batches, row_length};
use crate::TrainError;
use crate::hash::{mix, permute};
use crate::optimizer::Optimizer;

/// A batch of replies with what they are worth.
pub(super) struct Experience {
    pub(super) episodes: Vec<Episode>,
    /// See [`advantages`].
    pub(super) advantages: Vec<f32>,
    /// Weight of the divergence for each episode.
    pub(super) kl_weights: Vec<f32>,
    /// Log-probabilities of each episode's draws under the reference, where the divergence has a weight.
    pub(super) reference: Option<Vec<Vec<f32>>>,
}

/// Means over the optimiser steps of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Learned {
    pub(super) loss: f64,
    pub(super) kl: f64,
    pub(super) clipped: f64,
    pub(super) left_out: f64,
    /// NaN where nobody knows the experts of the draws.
    pub(super) rerouted: f64,
    pub(super) indexer_kl: f64,
    /// Over the steps that were not skipped; NaN where all were.
    pub(super) grad_norm: f64,
    /// Whether a loss or a norm was not finite; the norm of a skipped step is no such.
    pub(super) has_diverged: bool,
}

/// The model that is trained, and its optimiser.
pub(super) struct Learner {
    pub(super) model: Model,
    pub(super) optimizer: Optimizer,
    pub(super) device: Device,
}

impl Experience {
    /// Centres rewards and takes the reference's log-probabilities.
    pub(super) fn new(
        asked: &[Asked],
        episodes: Vec<Episode>,
        rewards: &[f64],
        config: &GrpoConfig,
        reference: Option<&Model>,
        step: usize,
    ) -> Result<Self, TrainError> {
        let rewards: Vec<f32> = rewards.iter().map(|&reward| reward as f32).collect();
        let weights = asked.iter().flat_map(|asked| std::iter::repeat_n(asked.kl_weight as f32, config.group_size));
        let reference = match reference {
            Some(model) => Some(reference_log_probs(model, &episodes, config, step)?),
            None => None,
        };
        Ok(Self { advantages: advantages(&rewards, config.group_size), kl_weights: weights.collect(), episodes, reference })
    }
}

/// Returns the log-probabilities of each episode's draws under a model that is not trained.
pub(super) fn reference_log_probs(
    model: &Model,
    episodes: &[Episode],
    config: &GrpoConfig,
    step: usize,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let lengths: Vec<usize> = episodes.iter().map(row_length).collect();
    let mut all = vec![Vec::new(); episodes.len()];
    for batch in batches(&lengths, config.batch_tokens) {
        let chosen: Vec<&Episode> = batch.iter().map(|&row_idx| &episodes[row_idx]).collect();
        let logprobs = Rows::new(&chosen, config, &model.device()).pass(model, config.temperature).logprobs;
        let n_draws = logprobs.dims()[1];
        let values = read(logprobs.reshape([chosen.len() * n_draws]), step, "reading the reference's log-probabilities")?;
        for (&row_idx, values) in batch.iter().zip(values.chunks(n_draws)) {
            all[row_idx] = values[..episodes[row_idx].draws.len()].to_vec();
        }
    }
    Ok(all)
}

impl Learner {
    /// Goes `passes` times through the replies, in another order each time, in `updates` optimiser steps each.
    pub(super) fn learn(
        &mut self,
        experience: &Experience,
        config: &GrpoConfig,
        seed: u64,
        step: usize,
    ) -> Result<Learned, TrainError> {
        let n_replies = experience.episodes.len();
        let lr = config.schedule().rate(step);
        let (mut learned, mut n_updates, mut n_norms) = (Learned::default(), 0.0, 0.0);
        for pass in 0..config.passes {
            let key = mix(seed ^ mix(((step as u64) << 16) ^ pass as u64));
            let order: Vec<usize> = (0..n_replies).map(|at| permute(at as u64, n_replies as u64, key) as usize).collect();
            for part in order.chunks(n_replies.div_ceil(config.updates)) {
                let (sums, grad_norm) = self.update(experience, part, config, lr, step)?;
                n_updates += 1.0;
                learned.add(&sums);
                learned.has_diverged |= !sums.iter().chain(&grad_norm.map(|norm| norm as f32)).all(|value| value.is_finite());
                if let Some(grad_norm) = grad_norm {
                    learned.grad_norm += grad_norm;
                    n_norms += 1.0;
                }
            }
        }
        let mean = learned.mean(n_updates, n_norms);
        let is_routed = experience.episodes.iter().any(|episode| episode.n_routed() > 0);
        Ok(Learned { rerouted: if is_routed { mean.rerouted } else { f64::NAN }, ..mean })
    }

    /// Takes one optimiser step on some replies; returns loss, divergence, clipped share, share left out, share rerouted and the indexer's
    /// divergence, and the norm of the gradient unless the step was skipped because products overflowed.
    fn update(
        &mut self,
        experience: &Experience,
        part: &[usize],
        config: &GrpoConfig,
        lr: f64,
        step: usize,
    ) -> Result<(Vec<f32>, Option<f64>), TrainError> {
        let lengths: Vec<usize> = part.iter().map(|&row_idx| row_length(&experience.episodes[row_idx])).collect();
        let n_draws_of = |rows: &[usize]| rows.iter().map(|&row_idx| experience.episodes[row_idx].draws.len()).sum::<usize>();
        let n_routed_of = |rows: &[usize]| rows.iter().map(|&row_idx| experience.episodes[row_idx].n_routed()).sum::<usize>();
        let (n_draws, n_routed) = (n_draws_of(part).max(1) as f64, n_routed_of(part).max(1) as f64);
        let n_tokens = lengths.iter().sum::<usize>().max(1) as f64;
        let loss_scale = self.optimizer.loss_scale();
        let mut gradients = GradientsAccumulator::new();
        let mut sums: Option<Tensor<1>> = None;
        for batch in batches(&lengths, config.batch_tokens) {
            // The indexer's divergence is a mean over tokens, all others are over replies.
            let share_of_tokens = batch.iter().map(|&at| lengths[at]).sum::<usize>() as f64 / n_tokens;
            let share = batch.len() as f64 / part.len() as f64;
            let batch: Vec<usize> = batch.iter().map(|&at| part[at]).collect();
            let (outcome, pass) = self.forward(experience, &batch, config);
            let indexer_kl = pass.indexer_kl.unwrap_or_else(|| Tensor::zeros([1], &self.device)).mul_scalar(share_of_tokens);
            let mut loss = outcome.loss.clone().mul_scalar(share * loss_scale);
            if config.indexer_kl_weight > 0.0 {
                loss = loss.add(indexer_kl.clone().mul_scalar(config.indexer_kl_weight * loss_scale));
            }
            let mut grads = loss.backward();
            gradients.accumulate(&self.model, GradientsParams::from_module(&mut grads, &self.model));
            // The shares of clipped and of rerouted tokens are of tokens, all others are of replies.
            let clipped = outcome.clipped.mul_scalar(n_draws_of(&batch) as f64 / n_draws / share);
            let rerouted = pass.n_rerouted.div_scalar(n_routed * share);
            let indexer_kl = indexer_kl.div_scalar(share);
            let parts = vec![outcome.loss, outcome.kl, clipped, outcome.left_out, rerouted, indexer_kl];
            let parts = Tensor::cat(parts, 0).detach().inner().mul_scalar(share);
            sums = Some(match sums {
                Some(sums) => sums.add(parts),
                None => parts,
            });
        }
        let (model, norm) = self.optimizer.step(self.model.clone(), gradients.grads(), lr, step)?;
        self.model = model;
        let sums = sums.map_or(Ok(Vec::new()), |sums| read(sums, step, "reading the loss"))?;
        let norm = norm.map(|norm| read(norm, step, "reading the gradient's norm")).transpose()?;
        Ok((sums, norm.and_then(|norm| norm.first().copied()).map(f64::from)))
    }

    fn forward(&self, experience: &Experience, batch: &[usize], config: &GrpoConfig) -> (super::grpo::Outcome, Pass) {
        let episodes: Vec<&Episode> = batch.iter().map(|&row_idx| &experience.episodes[row_idx]).collect();
        let rows = Rows::new(&episodes, config, &self.device);
        let pass = rows.pass(&self.model, config.temperature);
        let old = rows.matrix(
            episodes
                .iter()
                .map(|episode| -> Box<dyn Iterator<Item = f32>> { Box::new(episode.draws.iter().map(|draw| draw.logprob)) }),
        );
        let reference = experience.reference.as_ref().map(|all| {
            rows.matrix(batch.iter().map(|&row_idx| -> Box<dyn Iterator<Item = f32>> { Box::new(all[row_idx].iter().copied()) }))
        });
        let vector = |values: &[f32]| {
            let values: Vec<f32> = batch.iter().map(|&row_idx| values[row_idx]).collect();
            Tensor::<1>::from_data(TensorData::new(values, [batch.len()]), &self.device)
        };
        let replies = Replies {
            valid: rows.valid.clone(),
            old,
            reference,
            advantages: vector(&experience.advantages),
            kl_weights: vector(&experience.kl_weights),
        };
        (config.objective().loss(pass.logprobs.clone(), &replies), pass)
    }

    /// The model off the graph, for all that does not train it.
    pub(super) fn frozen(&self) -> Model {
        self.model.valid()
    }
}

impl Learned {
    fn add(&mut self, sums: &[f32]) {
        let Self { loss, kl, clipped, left_out, rerouted, indexer_kl, .. } = self;
        let parts = [loss, kl, clipped, left_out, rerouted, indexer_kl];
        for (part, sum) in parts.into_iter().zip(sums) {
            *part += f64::from(*sum);
        }
    }

    fn mean(self, n_updates: f64, n_norms: f64) -> Self {
        Self {
            loss: self.loss / n_updates,
            kl: self.kl / n_updates,
            clipped: self.clipped / n_updates,
            left_out: self.left_out / n_updates,
            rerouted: self.rerouted / n_updates,
            indexer_kl: self.indexer_kl / n_updates,
            grad_norm: self.grad_norm / n_norms,
            has_diverged: self.has_diverged,
        }
    }
}

fn read(values: Tensor<1>, step: usize, action: &'static str) -> Result<Vec<f32>, TrainError> {
    values.try_into_vec_as::<f32>().map_err(|error| TrainError::Device { step, action, message: error.to_string() })
}
