//! The loop: replies, rewards, optimiser steps, resumable at every checkpoint.

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use sferic_engine::{EngineError, EngineOptions};
use sferic_model::{Config, Model, kernels};
use sferic_tasks::{Domain, Setting};
use sferic_text::Message;
use sferic_weights::Checkpoint;

use super::config::{GrpoConfig, SpecialistConfig};
use super::episode::{Episode, Speaker, play};
use super::learner::{Experience, Learned, Learner};
use super::mix::{Asked, Mix, setting};
use super::policy::Policy;
use super::report::{Report, Sample, StepRow};
use super::reward::{Rewarder, RuleRewarder};
use super::rollout::EngineRoller;
use crate::checkpoint;
use crate::export::{export, is_exported};
use crate::hash::mix;
use crate::init::FolderWeights;
use crate::optimizer::Optimizer;
use crate::{Outcome, RunOptions, TrainError};

/// Version of [`State`].
const VERSION: u32 = 1;
/// Replies of a round of samples.
const N_SAMPLES: usize = 8;

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Settings.
    pub config: &'a GrpoConfig,
    /// Seed of tasks and draws.
    pub seed: u64,
    /// Folder of the model to start from, which is the reference as well.
    pub start: &'a Path,
    /// Folder for checkpoints, curves, samples and the model.
    pub output: &'a Path,
}

/// Where it is run.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Device of the training, without autodiff, which is added here.
    pub device: &'a Device,
    /// Device and formats of the engine that draws the replies.
    pub engine: &'a EngineOptions,
}

/// What happens during a run, for progress displays.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The loop starts.
    Started {
        /// Completed steps.
        step: usize,
        /// Steps of the whole run.
        steps: usize,
        /// Parameters of the model.
        n_parameters: u64,
    },
    /// A batch of replies was learned from.
    Stepped(&'a StepRow),
    /// Samples were written.
    Sampled(&'a [Sample]),
    /// A checkpoint was written.
    Saved(&'a Path),
}

/// Trains as `job` says, with rewards by its rules and its judge.
///
/// Writes to the output folder: `checkpoints/step-…`, `grpo.csv`, `grpo.svg`, `samples.txt` and at the end `model/`.
///
/// # Errors
/// [`TrainError`] for bad files and settings; [`TrainError::PromptTooLong`] for a task that does not fit the model; [`TrainError::Diverged`] when
/// loss, gradient or logits leave the finite, with the last checkpoint from before kept; [`TrainError::Device`] and [`TrainError::Engine`] when
/// the device fails.
pub fn run(
    job: &Job<'_>,
    place: &Place<'_>,
    options: &RunOptions,
    observer: &mut dyn FnMut(&Event<'_>),
) -> Result<Outcome, TrainError> {
    let mut rewarder = RuleRewarder::open(job.config, &place.engine.device)?;
    run_with(job, place, options, &mut rewarder, observer)
}

/// As [`run`], with rewards of another kind.
///
/// # Errors
/// As [`run`], and those of the rewards.
pub fn run_with(
    job: &Job<'_>,
    place: &Place<'_>,
    options: &RunOptions,
    rewarder: &mut dyn Rewarder,
    observer: &mut dyn FnMut(&Event<'_>),
) -> Result<Outcome, TrainError> {
    let started = Instant::now();
    job.config.check("grpo")?;
    let _enabled = options.kernels.map(|capabilities| kernels::enable(place.device, capabilities));
    let mut run = Run::open(job, place, options, rewarder, observer)?;
    let steps = job.config.steps;
    while run.step < steps {
        run.train_step()?;
        let out_of_time = options.stop_after.is_some_and(|limit| started.elapsed() >= limit);
        let interval = job.config.checkpoint_interval;
        let due = interval > 0 && run.step.is_multiple_of(interval);
        if due || out_of_time || run.step == steps {
            run.save()?;
        }
        if out_of_time && run.step < steps {
            return Ok(Outcome { step: run.step, model: None });
        }
    }
    let folder = job.output.join("model");
    export(&run.learner.frozen(), &job.start.join("tokenizer.json"), &folder)?;
    Ok(Outcome { step: run.step, model: Some(folder) })
}

/// Trains a specialist for each domain, each from its own of the `starts`; each has a folder of its name in `output`. Finished ones are left alone
/// when the run is resumed. Returns the folders of their models, or fewer where time ran out.
///
/// # Errors
/// As [`run`].
pub fn specialists(
    list: &[SpecialistConfig],
    (seed, starts, output): (u64, &[PathBuf], &Path),
    place: &Place<'_>,
    options: &RunOptions,
    observer: &mut dyn FnMut(&str, &Event<'_>),
) -> Result<Vec<PathBuf>, TrainError> {
    let started = Instant::now();
    let mut models = Vec::new();
    for (specialist, start) in list.iter().zip(starts) {
        specialist.check()?;
        let folder = output.join(&specialist.name);
        let model = folder.join("model");
        if !(options.resume && is_exported(&model)) {
            let job = Job { config: &specialist.grpo, seed, start, output: &folder };
            let stop_after = options.stop_after.map(|limit| limit.saturating_sub(started.elapsed()));
            let options = RunOptions { stop_after, ..*options };
            let outcome = run(&job, place, &options, &mut |event| observer(&specialist.name, event))?;
            if outcome.model.is_none() {
                break;
            }
        }
        models.push(model);
    }
    Ok(models)
}

/// What a run needs besides weights and moments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct State {
    version: u32,
    step: usize,
    seed: u64,
    prompts_per_step: usize,
    group_size: usize,
    updates: usize,
    passes: usize,
}

impl State {
    fn new(job: &Job<'_>, step: usize) -> Self {
        let GrpoConfig { prompts_per_step, group_size, updates, passes, .. } = *job.config;
        Self { version: VERSION, step, seed: job.seed, prompts_per_step, group_size, updates, passes }
    }

    /// Checks that `job` may continue from here.
    fn check(&self, job: &Job<'_>, path: &Path) -> Result<(), TrainError> {
        let expected = Self::new(job, self.step);
        if *self == expected {
            return Ok(());
        }
        Err(TrainError::Checkpoint {
            what: "the run's settings".to_owned(),
            expected: format!("{expected:?}"),
            found: format!("{self:?}"),
            path: path.to_path_buf(),
        })
    }
}

struct Run<'a> {
    job: &'a Job<'a>,
    learner: Learner,
    /// The model of the start, where the divergence from it has a weight.
    reference: Option<Model>,
    policy: Policy,
    speaker: Speaker,
    setting: Setting,
    mix: Mix,
    rewarder: &'a mut dyn Rewarder,
    report: Report,
    step: usize,
    saved_step: usize,
    observer: &'a mut dyn FnMut(&Event<'_>),
}

impl<'a> Run<'a> {
    fn open(
        job: &'a Job<'a>,
        place: &Place<'_>,
        options: &RunOptions,
        rewarder: &'a mut dyn Rewarder,
        observer: &'a mut dyn FnMut(&Event<'_>),
    ) -> Result<Self, TrainError> {
        let (config, device) = (job.config, place.device.clone().autodiff());
        let start = Checkpoint::open(job.start)?;
        let model_config = Config::from_json(start.config_json())
            .map_err(|source| TrainError::ModelConfig { source, path: job.start.join("config.json") })?;
        // Where kernels round to f16, gradients have to lie in its range.
        let rounds = options.kernels.is_some_and(|capabilities| capabilities.features.coopmat);
        let optimizer = Optimizer::adamw(config.betas, config.eps, config.weight_decay, config.max_grad_norm);
        let mut optimizer = optimizer.with_loss_scale(if rounds { config.loss_scale } else { 1.0 });
        let newest = if options.resume { checkpoint::latest(&job.output.join("checkpoints"))? } else { None };
        let (model, step) = match &newest {
            Some(path) => {
                let state: State = checkpoint::read_json(path)?;
                state.check(job, path)?;
                let model = Model::load(&model_config, &mut FolderWeights(&Checkpoint::open(path)?), &device)?;
                checkpoint::read_optimizer(path, &model, &mut optimizer)?;
                (model, state.step)
            }
            None => (Model::load(&model_config, &mut FolderWeights(&start), &device)?, 0),
        };
        let needs_reference = config.kl_weight > 0.0 || config.tasks.iter().any(|share| share.kl_weight > Some(0.0));
        let reference = match needs_reference {
            true => Some(Model::load(&model_config, &mut FolderWeights(&start), place.device)?),
            false => None,
        };
        let learner = Learner { model, optimizer, device };
        let mut policy = Policy::new(job.start, place.engine.clone());
        let speaker = Speaker::new(&policy.engine(&learner.frozen())?)?;
        observer(&Event::Started { step, steps: config.steps, n_parameters: model_config.n_parameters() });
        Ok(Self {
            setting: setting(config, speaker.tokenizer())?,
            mix: Mix::new(config, job.seed)?,
            report: Report::open(job.output, step)?,
            job,
            learner,
            reference,
            policy,
            speaker,
            rewarder,
            step,
            saved_step: step,
            observer,
        })
    }

    /// Draws a batch of replies and learns from it.
    fn train_step(&mut self) -> Result<(), TrainError> {
        let (config, started) = (self.job.config, Instant::now());
        let first = self.step as u64 * config.prompts_per_step as u64;
        let tasks = first..first + config.prompts_per_step as u64;
        let asked: Vec<Asked> = tasks.map(|task_idx| self.mix.task(task_idx, &self.setting)).collect::<Result<_, _>>()?;
        let episodes = self.episodes(&asked)?;
        let of_task = || asked.iter().flat_map(|asked| std::iter::repeat_n(asked, config.group_size));
        let pairs: Vec<(&Asked, &Episode)> = of_task().zip(&episodes).collect();
        let rewards = self.rewarder.rewards(&pairs)?;
        let mut row = self.row(&pairs, &rewards);
        if config.sample_interval > 0 && self.step.is_multiple_of(config.sample_interval) {
            self.sample(&pairs, &rewards)?;
        }
        row.rollout_secs = started.elapsed().as_secs_f64();
        let reference = self.reference.as_ref();
        let experience = Experience::new(&asked, episodes, &rewards, config, reference, self.step)?;
        let learned = self.learner.learn(&experience, config, mix(self.job.seed ^ 1), self.step)?;
        row.train_secs = started.elapsed().as_secs_f64() - row.rollout_secs;
        self.step += 1;
        row.take(&learned);
        self.report.log(row)?;
        (self.observer)(&Event::Stepped(&row));
        if learned.has_diverged {
            let what = format!("loss {}, divergence {}, gradient norm {}", learned.loss, learned.kl, learned.grad_norm);
            return Err(self.diverged(what));
        }
        Ok(())
    }

    /// Has the model as it is now reply to every task.
    fn episodes(&mut self, asked: &[Asked]) -> Result<Vec<Episode>, TrainError> {
        let config = self.job.config;
        let mut roller = EngineRoller(self.policy.engine(&self.learner.frozen())?);
        let seed = mix(mix(self.job.seed ^ 2) ^ self.step as u64);
        match play(&mut roller, &self.speaker, asked, config.group_size, &config.sampling(), seed) {
            Err(TrainError::Engine(error @ EngineError::BadLogits { .. })) => Err(self.diverged(error.to_string())),
            other => other,
        }
    }

    fn diverged(&self, what: String) -> TrainError {
        TrainError::Diverged { stage: "grpo", step: self.step, what, last_good_step: self.saved_step }
    }

    /// What the replies say, before anything is learned.
    fn row(&self, pairs: &[(&Asked, &Episode)], rewards: &[f64]) -> StepRow {
        let n = pairs.len().max(1) as f64;
        let share = |holds: &dyn Fn(&Episode) -> bool| pairs.iter().filter(|(_, episode)| holds(episode)).count() as f64 / n;
        let n_tokens: usize = pairs.iter().map(|(_, episode)| episode.draws.len()).sum();
        let draws = pairs.iter().flat_map(|(_, episode)| &episode.draws);
        let surprise: f64 = draws.map(|draw| -f64::from(draw.logprob)).sum();
        let domains = Domain::ALL.map(|domain| {
            let of_domain = pairs.iter().zip(rewards).filter(|((asked, _), _)| asked.task.domain == domain);
            let values: Vec<f64> = of_domain.map(|(_, &reward)| reward).collect();
            values.iter().sum::<f64>() / values.len() as f64
        });
        StepRow {
            step: self.step + 1,
            n_tokens,
            lr: self.job.config.schedule().rate(self.step),
            reward: rewards.iter().sum::<f64>() / n,
            correct: share(&|episode| episode.outcome.correct),
            ended: share(&|episode| episode.ended),
            length: n_tokens as f64 / n,
            entropy: surprise / n_tokens.max(1) as f64,
            loss: f64::NAN,
            kl: f64::NAN,
            clipped: f64::NAN,
            left_out: f64::NAN,
            rerouted: f64::NAN,
            indexer_kl: f64::NAN,
            grad_norm: f64::NAN,
            domains,
            rollout_secs: 0.0,
            train_secs: 0.0,
        }
    }

    /// Writes the first reply to some of the tasks.
    fn sample(&mut self, pairs: &[(&Asked, &Episode)], rewards: &[f64]) -> Result<(), TrainError> {
        let of_groups = pairs.iter().zip(rewards).step_by(self.job.config.group_size).take(N_SAMPLES);
        let samples: Vec<Sample> = of_groups
            .map(|((asked, episode), &reward)| {
                let prompt = asked.task.prompt();
                let (thoughts, words) = episode.said(prompt.len());
                let reply = if thoughts.is_empty() { words } else { format!("({thoughts})\n{words}") };
                let question = asked.task.messages.last().map(Message::text).unwrap_or_default();
                Sample { task: asked.task.id.clone(), prompt: question.to_owned(), reply, reward }
            })
            .collect();
        self.report.samples(self.step, &samples)?;
        (self.observer)(&Event::Sampled(&samples));
        Ok(())
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let (root, keep) = (self.job.output.join("checkpoints"), self.job.config.keep_checkpoints);
        let state = State::new(self.job, self.step);
        let path = checkpoint::save_as(&root, &self.learner.frozen(), &self.learner.optimizer, (self.step, &state), keep)?;
        self.saved_step = self.step;
        self.report.plot()?;
        (self.observer)(&Event::Saved(&path));
        Ok(())
    }
}

impl StepRow {
    fn take(&mut self, learned: &Learned) {
        let Learned { loss, kl, clipped, left_out, rerouted, indexer_kl, grad_norm, .. } = *learned;
        (self.loss, self.kl, self.clipped, self.left_out) = (loss, kl, clipped, left_out);
        (self.rerouted, self.indexer_kl, self.grad_norm) = (rerouted, indexer_kl, grad_norm);
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
