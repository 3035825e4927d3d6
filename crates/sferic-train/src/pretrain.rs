//! The training loop: batches in, a model folder out, resumable at every checkpoint.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::optim::GradientsAccumulator;
use burn::tensor::{Device, Int, Tensor, TensorData};
use sferic_model::kernels::{self, Capabilities};
use sferic_model::{AttentionMode, Config, IndexerTraining, Model};
use sferic_weights::Checkpoint;

use crate::TrainError;
use crate::checkpoint::{self, State};
use crate::config::PretrainConfig;
use crate::dataset::{self, TokenSet};
use crate::evaluate::{Score, evaluate};
use crate::export::export;
use crate::generate::samples;
use crate::init::{FolderWeights, RandomWeights};
use crate::loss::{LossOptions, LossParts, accumulate_gradients};
use crate::optimizer::Optimizer;
use crate::report::{LogRow, Report};
use crate::sampler::{Phase, Sampler};
use crate::tokenizer::Encoder;

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
        /// Completed steps.
        step: usize,
        /// Steps of the whole run.
        steps: usize,
        /// Parameters of the model.
        n_parameters: u64,
        /// Training rows per source: `(name, rows, share of the draws)`.
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

/// Trains as `config` says on `device` (without autodiff; it is added here).
///
/// Writes to `config.output`: `checkpoints/step-…`, `loss.csv`, `loss.svg`, `eval.csv`, `samples.txt` and at the end `model/`.
///
/// # Errors
/// [`TrainError`] for bad files and settings; [`TrainError::Diverged`] when loss or gradient leave the finite or the loss jumps,
/// with the last checkpoint from before kept; [`TrainError::Device`] when the device fails.
pub fn pretrain(
    config: &PretrainConfig,
    device: &Device,
    options: &RunOptions,
    observer: &mut dyn FnMut(&Event<'_>),
) -> Result<Outcome, TrainError> {
    let started = Instant::now();
    let _enabled = options.kernels.map(|capabilities| kernels::enable(device, capabilities));
    let mut run = Run::open(config, device, options, observer)?;
    while run.step < config.train.steps {
        run.train_step()?;
        let out_of_time = options.stop_after.is_some_and(|limit| started.elapsed() >= limit);
        let last = run.step == config.train.steps;
        let due = |interval: usize| interval > 0 && run.step.is_multiple_of(interval);
        let (evaluate, sample) = (due(config.train.eval_interval), due(config.train.sample_interval));
        let save = due(config.train.checkpoint_interval) || last || out_of_time;
        if save || due(config.train.log_interval) {
            run.log()?;
        }
        if evaluate || last {
            run.evaluate()?;
        }
        if sample || last {
            run.sample()?;
        }
        if save {
            run.save()?;
        }
        if out_of_time && !last {
            return Ok(Outcome { step: run.step, model: None });
        }
    }
    let folder = config.output.join("model");
    export(&run.model.valid(), &config.data.tokenizer, &folder)?;
    Ok(Outcome { step: run.step, model: Some(folder) })
}

/// Reads the model's config.json of a run.
///
/// # Errors
/// [`TrainError::Io`] or [`TrainError::ModelConfig`].
pub fn model_config(config: &PretrainConfig) -> Result<Config, TrainError> {
    let path = &config.model;
    let text = std::fs::read_to_string(path).map_err(TrainError::io("read the model configuration", path))?;
    let value = serde_json::from_str(&text)
        .map_err(|error| TrainError::ConfigSyntax { message: error.to_string(), path: path.clone() })?;
    Config::from_json(&value).map_err(|source| TrainError::ModelConfig { source, path: path.clone() })
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
        plus(&mut self.loss, loss.cross_entropy);
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
    config: &'a PretrainConfig,
    device: Device,
    model: Model,
    optimizer: Optimizer,
    train: TokenSet,
    heldout: TokenSet,
    sampler: Sampler,
    encoder: Encoder,
    report: Report,
    step: usize,
    saved_step: usize,
    best_loss: f64,
    interval: Interval,
    observer: &'a mut dyn FnMut(&Event<'_>),
}

impl<'a> Run<'a> {
    fn open(
        config: &'a PretrainConfig,
        device: &Device,
        options: &RunOptions,
        observer: &'a mut dyn FnMut(&Event<'_>),
    ) -> Result<Self, TrainError> {
        let model_config = model_config(config)?;
        check_lengths(config, &model_config)?;
        let (train, heldout) = dataset::open(&config.data, model_config.vocab_size, config.train.seq_len)?;
        let encoder = Encoder::open(&config.data.tokenizer)?;
        let sampler = sampler(config, &train)?;
        let checkpoint = if options.resume { checkpoint::latest(&config.output.join("checkpoints"))? } else { None };
        let device = device.clone().autodiff();
        // Where kernels round to f16, gradients have to lie in its range.
        let rounds = options.kernels.is_some_and(|capabilities| capabilities.features.coopmat);
        let mut optimizer = Optimizer::new(&config.train).with_loss_scale(if rounds { config.train.loss_scale } else { 1.0 });
        let (model, state) = match &checkpoint {
            Some(path) => {
                let state = checkpoint::read_state(path, config)?;
                let model = Model::load(&model_config, &mut FolderWeights(&Checkpoint::open(path)?), &device)?;
                checkpoint::read_optimizer(path, &model, &mut optimizer)?;
                (model, state)
            }
            None => (first_model(config, &model_config, &device)?, State::new(config, 0, f64::INFINITY)),
        };
        let report = Report::open(&config.output, state.step)?;
        let shares = sampler.shares(state.step);
        let sources: Vec<(String, usize, f64)> = train
            .sources()
            .iter()
            .zip(shares)
            .enumerate()
            .map(|(source_idx, (source, share))| (source.name.clone(), train.n_rows(source_idx), share))
            .collect();
        let n_parameters = model_config.n_parameters();
        observer(&Event::Started { step: state.step, steps: config.train.steps, n_parameters, sources: &sources });
        Ok(Self {
            config,
            device,
            model,
            optimizer,
            train,
            heldout,
            sampler,
            encoder,
            report,
            step: state.step,
            saved_step: state.step,
            best_loss: state.best_loss,
            interval: Interval::default(),
            observer,
        })
    }

    /// Runs one optimiser step; nothing is read from the device.
    fn train_step(&mut self) -> Result<(), TrainError> {
        let started = Instant::now();
        let train = &self.config.train;
        let rows = self.sampler.rows(self.step);
        let options = LossOptions {
            scale: 1.0 / train.gradient_accumulation as f64,
            indexer_kl_weight: train.indexer_kl_weight,
            chunk_rows: train.loss_chunk_rows,
            loss_scale: self.optimizer.loss_scale(),
        };
        let mode = indexer_training(self.config, self.model.config(), self.step);
        let mut gradients = GradientsAccumulator::new();
        let mut sum: Option<LossParts> = None;
        for micro_batch in rows.chunks(train.batch_size) {
            let (mut inputs, mut targets) = (Vec::new(), Vec::new());
            for row in micro_batch {
                let row = self.train.row(row.source_idx, row.row_idx);
                inputs.extend(row[..train.seq_len].iter().map(|&id| i32::from(id)));
                targets.extend(row[1..].iter().map(|&id| i32::from(id)));
            }
            let shape = [micro_batch.len(), train.seq_len];
            let inputs = Tensor::<2, Int>::from_data(TensorData::new(inputs, shape), &self.device);
            let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [shape[0] * shape[1]]), &self.device);
            let forward = self.model.forward_train(inputs, mode);
            let loss = accumulate_gradients(&self.model, forward, &targets, &options, &mut gradients);
            sum = Some(match sum {
                Some(sum) => LossParts {
                    cross_entropy: sum.cross_entropy.add(loss.cross_entropy),
                    indexer_kl: sum.indexer_kl.zip(loss.indexer_kl).map(|(sum, kl)| sum.add(kl)),
                },
                None => loss,
            });
        }
        let lr = self.config.schedule().rate(self.step);
        let (model, grad_norm) = self.optimizer.step(self.model.clone(), gradients.grads(), lr, self.step)?;
        self.model = model;
        self.step += 1;
        if let Some(sum) = sum {
            self.interval.add(sum, grad_norm);
        }
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
        let train = &self.config.train;
        let tokens_per_step = train.batch_size * train.gradient_accumulation * train.seq_len;
        let row = LogRow {
            step,
            tokens: step * tokens_per_step,
            lr: self.config.schedule().rate(step - 1),
            loss,
            kl,
            grad_norm,
            tokens_per_s: n_steps * tokens_per_step as f64 / seconds.max(1e-9),
        };
        self.report.log(row)?;
        (self.observer)(&Event::Logged(&row));
        if !(loss.is_finite() && grad_norm.is_finite()) || loss > self.best_loss + DIVERGENCE_NATS {
            let what = format!("loss {loss}, best so far {}, gradient norm {grad_norm}", self.best_loss);
            return Err(TrainError::Diverged { step, what, last_good_step: self.saved_step });
        }
        self.best_loss = self.best_loss.min(loss);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<(), TrainError> {
        let model = self.model.valid();
        for (name, attention) in [("dense", AttentionMode::Dense), ("sparse", AttentionMode::Sparse)] {
            if attention == AttentionMode::Sparse && model.config().indexer.is_none() {
                continue;
            }
            let scores = evaluate(&model, &self.heldout, self.config.train.eval_rows, attention, self.step)?;
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
        let state = State::new(self.config, self.step, self.best_loss);
        let root = self.config.output.join("checkpoints");
        let keep = self.config.train.keep_checkpoints;
        let path = checkpoint::save(&root, &self.model.valid(), &self.optimizer, &state, keep)?;
        self.saved_step = self.step;
        self.report.plot()?;
        (self.observer)(&Event::Saved(&path));
        Ok(())
    }
}

fn check_lengths(config: &PretrainConfig, model: &Config) -> Result<(), TrainError> {
    if config.train.seq_len > model.max_position_embeddings {
        let expected = format!("at most the model's max_position_embeddings ({})", model.max_position_embeddings);
        return Err(TrainError::config("train.seq_len", expected, config.train.seq_len.to_string()));
    }
    if config.train.sparse_from_step.is_some() && model.indexer.is_none() {
        return Err(TrainError::config("train.sparse_from_step", "a model with an indexer", "a dense model"));
    }
    Ok(())
}

fn first_model(config: &PretrainConfig, model_config: &Config, device: &Device) -> Result<Model, TrainError> {
    match &config.init_from {
        Some(folder) => Model::load(model_config, &mut FolderWeights(&Checkpoint::open(folder)?), device),
        None => {
            let mut source = RandomWeights::new(model_config, config.initializer_range, config.seed);
            Model::load(model_config, &mut source, device)
        }
    }
}

fn sampler(config: &PretrainConfig, train: &TokenSet) -> Result<Sampler, TrainError> {
    let sources = &config.data.sources;
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    let n_rows: Vec<usize> = (0..sources.len()).map(|source_idx| train.n_rows(source_idx)).collect();
    let mut phases = vec![Phase { from_step: 0, weights: sources.iter().map(|source| source.weight).collect() }];
    if let Some(from_step) = config.train.final_phase_step {
        let weights = sources.iter().map(|source| source.final_weight.unwrap_or(source.weight)).collect();
        phases.push(Phase { from_step, weights });
    }
    let rows_per_step = config.train.batch_size * config.train.gradient_accumulation;
    Sampler::new(config.seed, rows_per_step, &names, &n_rows, &phases)
}

/// Returns what the indexer does at `step`.
fn indexer_training(config: &PretrainConfig, model: &Config, step: usize) -> IndexerTraining {
    let train = &config.train;
    if model.indexer.is_none() {
        IndexerTraining::Off
    } else if train.sparse_from_step.is_some_and(|from_step| step >= from_step) {
        IndexerTraining::Sparse
    } else if step >= train.indexer_from_step {
        IndexerTraining::DenseWarmup
    } else {
        IndexerTraining::Off
    }
}

#[cfg(test)]
#[path = "pretrain_tests.rs"]
mod tests;
