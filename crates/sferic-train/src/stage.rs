//! The loop of a stage: batches in, a model folder out, resumable at every checkpoint.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::optim::GradientsAccumulator;
use burn::tensor::{Device, Tensor};
use sferic_model::kernels::{self, Capabilities};
use sferic_model::{AttentionMode, Config, IndexerTraining, Model};
use sferic_weights::Checkpoint;

use crate::TrainError;
use crate::balance::{Loads, balance};
use crate::batch::Batch;
use crate::checkpoint::{self, State};
use crate::config::{Objective, RunConfig, Stage, StageConfig};
use crate::dataset;
use crate::encoder::Encoder;
use crate::evaluate::{Score, evaluate};
use crate::export::export;
use crate::feed::Feed;
use crate::generate::samples;
use crate::init::FolderWeights;
use crate::loss::{LossOptions, LossParts, accumulate_gradients, accumulate_indexer_gradients};
use crate::optimizer::Optimizer;
use crate::report::{LogRow, Report};
use crate::start::{check_tokenizer, first_model, model_config};
use crate::token_set::TokenSet;

/// A loss this far above the best interval so far, in nats, counts as divergence: a perplexity twenty times as high.
const DIVERGENCE_NATS: f64 = 3.0;

/// Settings of one call, which do not belong to the run itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Continues from the newest checkpoint in the output folder; starts anew where there is none.
    pub resume: bool,
    /// Stops with a checkpoint once this much time has passed.
    pub stop_after: Option<Duration>,
    /// What kernels find on the device; stock tensor operations are used where this is absent.
    pub kernels: Option<Capabilities>,
}

/// What happens during a run, for progress displays.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The loop starts.
    Started {
        /// Which stage.
        stage: Stage,
        /// Completed steps.
        step: usize,
        /// Steps of the whole run.
        steps: usize,
        /// Parameters of the model.
        n_parameters: u64,
        /// Training rows or conversations per source: `(name, their number, share of the draws)`.
        sources: &'a [(String, usize, f64)],
    },
    /// A log interval ended.
    Logged(&'a LogRow),
    /// An evaluation ended.
    Evaluated {
        /// Completed steps.
        step: usize,
        /// `dense` or `sparse`.
        attention: &'static str,
        /// Scores per source.
        scores: &'a [Score],
    },
    /// Samples were written: `(prompt, continuation)`.
    Sampled(&'a [(String, String)]),
    /// A checkpoint was written.
    Saved(&'a PathBuf),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Completed steps.
    pub step: usize,
    /// The exported model folder when the run is complete, nothing when time ran out first.
    pub model: Option<PathBuf>,
}

/// Runs a stage on `device` (without autodiff; it is added here).
///
/// Writes to the stage's folder: `checkpoints/step-…`, `loss.csv`, `loss.svg`, `eval.csv`, `samples.txt` and at the end `model/`.
///
/// # Errors
/// [`TrainError`] for bad files and settings; [`TrainError::Diverged`] when loss or gradient leave the finite or the loss jumps,
/// with the last checkpoint from before kept; [`TrainError::Device`] when the device fails.
pub fn run_stage(
    config: &RunConfig,
    stage: Stage,
    device: &Device,
    options: &RunOptions,
    observer: &mut dyn FnMut(&Event<'_>),
) -> Result<Outcome, TrainError> {
    let started = Instant::now();
    let _enabled = options.kernels.map(|capabilities| kernels::enable(device, capabilities));
    let mut run = Run::open(config, stage, device, options, observer)?;
    let settings = run.settings;
    while run.step < settings.steps {
        run.train_step()?;
        let out_of_time = options.stop_after.is_some_and(|limit| started.elapsed() >= limit);
        let last = run.step == settings.steps;
        let due = |interval: usize| interval > 0 && run.step.is_multiple_of(interval);
        let (evaluate, sample) = (due(settings.eval_interval), due(settings.sample_interval));
        let save = due(settings.checkpoint_interval) || last || out_of_time;
        if save || due(settings.log_interval) {
            run.log()?;
        }
        // What has been learnt is on the disk before anything else is done with it.
        if save {
            run.save()?;
        }
        if evaluate && !last {
            run.evaluate()?;
        }
        if sample && !last {
            run.sample()?;
        }
        if out_of_time && !last {
            return Ok(Outcome { step: run.step, model: None });
        }
    }
    run.evaluate()?;
    run.sample()?;
    let folder = config.folder(stage).join("model");
    export(&run.model.valid(), &config.data.tokenizer, &folder)?;
    Ok(Outcome { step: run.step, model: Some(folder) })
}

/// Sums of a log interval, on the device until it ends.
#[derive(Default)]
struct Interval {
    n_steps: usize,
    n_norms: usize,
    elapsed: Duration,
    loss: Option<Tensor<1>>,
    kl: Option<Tensor<1>>,
    grad_norm: Option<Tensor<1>>,
}

impl Interval {
    fn add(&mut self, loss: LossParts, grad_norm: Option<Tensor<1>>) {
        let plus = |sum: &mut Option<Tensor<1>>, value: Tensor<1>| {
            *sum = Some(match sum.take() {
                Some(sum) => sum.add(value),
                None => value,
            });
        };
        self.n_steps += 1;
        if let Some(cross_entropy) = loss.cross_entropy {
            plus(&mut self.loss, cross_entropy);
        }
        if let Some(grad_norm) = grad_norm {
            self.n_norms += 1;
            plus(&mut self.grad_norm, grad_norm);
        }
        if let Some(kl) = loss.indexer_kl {
            plus(&mut self.kl, kl);
        }
    }
}

struct Run<'a> {
    config: &'a RunConfig,
    settings: &'a StageConfig,
    stage: Stage,
    device: Device,
    model: Model,
    optimizer: Optimizer,
    feed: Feed,
    heldout: TokenSet,
    encoder: Encoder,
    report: Report,
    step: usize,
    saved_step: usize,
    best_loss: f64,
    interval: Interval,
    /// Of the last step.
    loads: Loads,
    observer: &'a mut dyn FnMut(&Event<'_>),
}

impl<'a> Run<'a> {
    fn open(
        config: &'a RunConfig,
        stage: Stage,
        device: &Device,
        options: &RunOptions,
        observer: &'a mut dyn FnMut(&Event<'_>),
    ) -> Result<Self, TrainError> {
        let settings = config.stage(stage)?;
        let model_config = model_config(config, stage)?;
        check_model(settings, stage, &model_config)?;
        check_tokenizer(config, stage)?;
        let (train, heldout) = dataset::open(&config.data, model_config.vocab_size, settings.seq_len)?;
        let encoder = Encoder::open(&config.data.tokenizer)?;
        let feed = Feed::open(config, stage, &model_config, train)?;
        let folder = config.folder(stage);
        let checkpoint = if options.resume { checkpoint::latest(&folder.join("checkpoints"))? } else { None };
        let mut device = device.clone().autodiff();
        if settings.gradient_checkpointing {
            device = device.gradient_checkpointing();
        }
        // Where kernels round to f16, gradients have to lie in its range.
        let rounds = options.kernels.is_some_and(|capabilities| capabilities.features.coopmat);
        let mut optimizer = Optimizer::new(settings).with_loss_scale(if rounds { settings.loss_scale } else { 1.0 });
        let frozen = |model: Model| match stage.objective() {
            Objective::Language => model.with_frozen_indexers(),
            Objective::Indexer => model.with_frozen_trunk(),
            Objective::Both => model,
        };
        let (model, state) = match &checkpoint {
            Some(path) => {
                let state = checkpoint::read_state(path, config, stage)?;
                let model = frozen(Model::load(&model_config, &mut FolderWeights(&Checkpoint::open(path)?), &device)?);
                checkpoint::read_optimizer(path, &model, &mut optimizer)?;
                (model, state)
            }
            None => {
                let model = frozen(first_model(config, stage, &model_config, &device)?);
                (model, State::new(config.seed, settings, 0, f64::INFINITY))
            }
        };
        let report = Report::open(&folder, state.step)?;
        let sources = feed.sources(state.step);
        let n_parameters = model_config.n_parameters();
        observer(&Event::Started { stage, step: state.step, steps: settings.steps, n_parameters, sources: &sources });
        Ok(Self {
            config,
            settings,
            stage,
            device,
            model,
            optimizer,
            feed,
            heldout,
            encoder,
            report,
            step: state.step,
            saved_step: state.step,
            best_loss: state.best_loss,
            interval: Interval::default(),
            loads: Loads::default(),
            observer,
        })
    }

    /// Runs one optimiser step; nothing is read from the device while products do not round.
    fn train_step(&mut self) -> Result<(), TrainError> {
        let started = Instant::now();
        let batches = self.feed.batches(self.step);
        let n_targets: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        let n_tokens: usize = batches.iter().map(Batch::n_tokens).sum();
        let mut gradients = GradientsAccumulator::new();
        let mut sum = LossParts::default();
        let mut loads = Loads::default();
        for batch in &batches {
            let options = LossOptions {
                scale: batch.targets.len() as f64 / n_targets.max(1) as f64,
                indexer_scale: batch.n_tokens() as f64 / n_tokens.max(1) as f64,
                indexer_kl_weight: self.settings.indexer_kl_weight,
                chunk_rows: self.settings.loss_chunk_rows,
                loss_scale: self.optimizer.loss_scale(),
            };
            let mode = indexer_training(self.stage, self.model.config());
            let forward = self.model.forward_train(batch.input(&self.device), mode);
            loads.add(&self.model, &forward, None);
            let loss = match self.stage.objective() {
                Objective::Indexer => accumulate_indexer_gradients(&self.model, forward, &options, &mut gradients),
                Objective::Language | Objective::Both => {
                    accumulate_gradients(&self.model, forward, &batch.targets(&self.device), &options, &mut gradients)
                }
            };
            sum = sum.plus(loss);
        }
        let lr = self.settings.schedule().rate(self.step);
        let (model, grad_norm) = self.optimizer.step(self.model.clone(), gradients.grads(), lr, self.step)?;
        // The bias moves with the router, which the warm-up leaves alone.
        self.model = match self.stage.objective() {
            Objective::Indexer => model,
            Objective::Language | Objective::Both => balance(model, &loads, self.settings.bias_update_speed),
        };
        self.loads = loads;
        self.step += 1;
        self.interval.add(sum, grad_norm);
        self.interval.elapsed += started.elapsed();
        Ok(())
    }

    /// Reads the sums of the interval, adds a row to the report, and stops a run that has diverged.
    fn log(&mut self) -> Result<(), TrainError> {
        let started = Instant::now();
        let interval = std::mem::take(&mut self.interval);
        if interval.n_steps == 0 {
            return Ok(());
        }
        let n_steps = interval.n_steps as f64;
        let step = self.step;
        let mean = |sum: Option<Tensor<1>>, n: usize| -> Result<f64, TrainError> {
            let Some(sum) = sum else { return Ok(f64::NAN) };
            let sum = sum.try_into_scalar::<f32>().map_err(|error| TrainError::Device {
                step,
                action: "reading the loss",
                message: error.to_string(),
            })?;
            Ok(f64::from(sum) / n as f64)
        };
        let (loss, kl, grad_norm) = (
            mean(interval.loss, interval.n_steps)?,
            mean(interval.kl, interval.n_steps)?,
            mean(interval.grad_norm, interval.n_norms)?,
        );
        // The read waits for the device, so that launches which are still running count.
        let seconds = (interval.elapsed + started.elapsed()).as_secs_f64();
        let tokens_per_step = self.settings.rows_per_step() * self.settings.seq_len;
        let row = LogRow {
            step,
            tokens: step * tokens_per_step,
            lr: self.settings.schedule().rate(step - 1),
            loss,
            kl,
            grad_norm,
            tokens_per_s: n_steps * tokens_per_step as f64 / seconds.max(1e-9),
        };
        self.report.log(row)?;
        (self.observer)(&Event::Logged(&row));
        let (name, watched) = match self.stage.objective() {
            Objective::Indexer => ("indexer KL", kl),
            Objective::Language | Objective::Both => ("loss", loss),
        };
        if !(watched.is_finite() && grad_norm.is_finite()) || watched > self.best_loss + DIVERGENCE_NATS {
            let what = format!("{name} {watched}, best so far {}, gradient norm {grad_norm}", self.best_loss);
            return Err(TrainError::Diverged { stage: self.stage.name(), step, what, last_good_step: self.saved_step });
        }
        self.best_loss = self.best_loss.min(watched);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<(), TrainError> {
        // On the device of training, where kernels are in use; without gradients nothing is kept for a backward pass.
        let model = self.model.clone().no_grad();
        for (name, attention) in [("dense", AttentionMode::Dense), ("sparse", AttentionMode::Sparse)] {
            if attention == AttentionMode::Sparse && model.config().indexer.is_none() {
                continue;
            }
            let scores = evaluate(&model, &self.heldout, self.settings.eval_rows, attention, self.step)?;
            self.report.evaluation(self.step, name, &scores)?;
            (self.observer)(&Event::Evaluated { step: self.step, attention: name, scores: &scores });
        }
        Ok(())
    }

    fn sample(&mut self) -> Result<(), TrainError> {
        let model = self.model.valid();
        let texts = samples(&model, &self.encoder, &self.config.samples, self.config.seed, self.step)?;
        self.report.samples(self.step, &texts)?;
        (self.observer)(&Event::Sampled(&texts));
        Ok(())
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let state = State::new(self.config.seed, self.settings, self.step, self.best_loss);
        let root = self.config.folder(self.stage).join("checkpoints");
        let keep = self.settings.keep_checkpoints;
        let path = checkpoint::save(&root, &self.model.valid(), &self.optimizer, &state, keep)?;
        self.saved_step = self.step;
        self.report.plot()?;
        (self.observer)(&Event::Saved(&path));
        Ok(())
    }
}

fn check_model(settings: &StageConfig, stage: Stage, model: &Config) -> Result<(), TrainError> {
    if settings.seq_len > model.max_position_embeddings {
        let expected = format!("at most the model's max_position_embeddings ({})", model.max_position_embeddings);
        return Err(TrainError::config(&format!("{}.seq_len", stage.name()), expected, settings.seq_len.to_string()));
    }
    if stage == Stage::Warmup || stage == Stage::Sparse {
        let expected = "a model with an indexer: index_n_heads, index_head_dim and index_topk in its config.json";
        if model.indexer.is_none() {
            return Err(TrainError::config(stage.name(), expected, "a dense model"));
        }
    }
    Ok(())
}

/// Returns what the indexer does in a stage.
fn indexer_training(stage: Stage, model: &Config) -> IndexerTraining {
    match stage.objective() {
        _ if model.indexer.is_none() => IndexerTraining::Off,
        Objective::Language => IndexerTraining::Off,
        Objective::Indexer => IndexerTraining::DenseWarmup,
        Objective::Both => IndexerTraining::Sparse,
    }
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
