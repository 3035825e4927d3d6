//! One evaluation from its settings to its report.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sferic_engine::{DeviceChoice, Engine, EngineOptions, ModelOptions, resolve_device};
use sferic_model::{AttentionMode, Model};
use sferic_tasks::{Sampler, Split, Task};
use sferic_weights::{Checkpoint, write_atomic};

use super::ask::can_ask;
use super::config::{Attention, EvalConfig, RecallConfig};
use super::page::write_report;
use super::recall::{RecallOptions, recall};
use super::record::{Header, Journal, Record, VERSION, likelihood_key, recall_key};
use super::results::{ModelFacts, Results};
use super::texts::{documents, setting};
use super::{grid, likelihood::likelihood};
use crate::TrainError;
use crate::hash::fnv1a;
use crate::init::FolderWeights;
use crate::token_set::TokenSet;

/// What is evaluated, and where the results go.
#[derive(Debug, Clone)]
pub struct Evaluation<'a> {
    /// The model's name in reports, the stage's for example.
    pub name: String,
    /// The model's folder.
    pub model: PathBuf,
    /// The folder for `records.jsonl`, `results.json`, `report.md` and its drawings.
    pub output: PathBuf,
    /// Seed of texts and tasks.
    pub seed: u64,
    /// Held-out documents, tokenised as the model reads them.
    pub heldout: &'a TokenSet,
    /// The settings.
    pub config: &'a EvalConfig,
    /// The device.
    pub device: DeviceChoice,
    /// Stops once this much time has passed; what is measured by then is kept.
    pub stop_after: Option<Duration>,
}

/// What happens during an evaluation, for progress displays.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The model is loaded.
    Started(&'a ModelFacts),
    /// A part has come so far; what an earlier call measured counts as done.
    Progress {
        /// `likelihood`, `recall`, the generator of a grid, or `tasks`.
        part: &'a str,
        /// Measurements done.
        done: usize,
        /// Measurements of the part.
        total: usize,
    },
    /// Something was measured.
    Measured(&'a Record),
}

/// Evaluates a model and writes its results and its report; goes on where an earlier call with the same settings stopped.
///
/// Returns the results so far, [`Results::complete`] or not.
///
/// # Errors
/// [`TrainError::ConfigValue`] for settings that do not fit the model or the data; [`TrainError::Records`] where the output folder has records of
/// something else; [`TrainError::Engine`], [`TrainError::ReadBack`], [`TrainError::Weights`] and [`TrainError::Io`] when something fails.
pub async fn evaluate_model(evaluation: &Evaluation<'_>, observer: &mut dyn FnMut(&Event<'_>)) -> Result<Results, TrainError> {
    evaluation.config.check()?;
    let output = &evaluation.output;
    std::fs::create_dir_all(output).map_err(TrainError::io("create the evaluation's folder", output))?;
    let mut run = Run::open(evaluation, observer).await?;
    let complete = run.likelihood().await? && run.recall().await? && run.grids().await? && run.tasks().await?;
    let results = Results::of(&run.header, run.journal.records(), complete);
    let json = serde_json::to_string_pretty(&results).unwrap_or_default();
    write_atomic(output.join("results.json"), (json + "\n").as_bytes())?;
    write_report(std::slice::from_ref(&results), output)?;
    Ok(results)
}

/// An evaluation that is under way.
pub(super) struct Run<'a> {
    evaluation: &'a Evaluation<'a>,
    header: Header,
    pub(super) engines: Vec<(Attention, Engine)>,
    pub(super) journal: Journal,
    started: Instant,
    pub(super) observer: &'a mut dyn FnMut(&Event<'_>),
}

impl<'a> Run<'a> {
    async fn open(evaluation: &'a Evaluation<'a>, observer: &'a mut dyn FnMut(&Event<'_>)) -> Result<Self, TrainError> {
        let started = Instant::now();
        let mut engines = Vec::new();
        for &attention in &evaluation.config.attention {
            let mode = if attention == Attention::Dense { AttentionMode::Dense } else { AttentionMode::Sparse };
            let model = ModelOptions { attention: mode, ..ModelOptions::default() };
            let options = EngineOptions { device: evaluation.device.clone(), model, ..EngineOptions::default() };
            let engine = Engine::open(&evaluation.model, options).await?;
            if attention == Attention::Dense || engine.config().indexer.is_some() {
                engines.push((attention, engine));
            }
        }
        let Some((_, engine)) = engines.first() else {
            return Err(TrainError::config("eval.attention", "dense for a model without an indexer", "sparse alone"));
        };
        let facts = facts(engine);
        check_lengths(evaluation.config, &facts)?;
        observer(&Event::Started(&facts));
        let header = Header {
            version: VERSION,
            name: evaluation.name.clone(),
            model_hash: hash_model(&evaluation.model)?,
            seed: evaluation.seed,
            config: evaluation.config.clone(),
            facts,
        };
        let journal = Journal::open(&evaluation.output.join("records.jsonl"), &header)?;
        Ok(Self { evaluation, header, engines, journal, started, observer })
    }

    pub(super) fn is_out_of_time(&self) -> bool {
        self.evaluation.stop_after.is_some_and(|limit| self.started.elapsed() >= limit)
    }

    pub(super) fn keep(&mut self, record: Record) -> Result<(), TrainError> {
        (self.observer)(&Event::Measured(&record));
        self.journal.add(record)
    }

    /// Reads every source; returns whether time was left for it, as the other parts do.
    async fn likelihood(&mut self) -> Result<bool, TrainError> {
        let Evaluation { heldout, config, seed, .. } = self.evaluation;
        let settings = &config.likelihood;
        if settings.edges.is_empty() || settings.max_tokens < 2 {
            return Ok(true);
        }
        let total = heldout.sources().len() * self.engines.len();
        let mut done = 0;
        for (source_idx, source) in heldout.sources().iter().enumerate() {
            for engine_idx in 0..self.engines.len() {
                let (attention, engine) = &self.engines[engine_idx];
                if !self.journal.has(&likelihood_key(&source.name, *attention)) {
                    if self.is_out_of_time() {
                        return Ok(false);
                    }
                    if let Some(record) = likelihood(engine, heldout, source_idx, *attention, (settings, *seed)).await? {
                        self.keep(Record::Likelihood(record))?;
                    }
                }
                done += 1;
                (self.observer)(&Event::Progress { part: "likelihood", done, total });
            }
        }
        Ok(true)
    }

    /// Measures recall on texts of every length, on the tensors of training.
    async fn recall(&mut self) -> Result<bool, TrainError> {
        let Evaluation { model: folder, heldout, config, seed, device, .. } = self.evaluation;
        let (Some(index_topk), RecallConfig { lengths, n_texts, n_queries, ks }) = (self.header.facts.index_topk, &config.recall)
        else {
            return Ok(true);
        };
        let mut loaded: Option<Model> = None;
        for (done, &length) in lengths.iter().enumerate() {
            if self.journal.has(&recall_key(length)) {
                continue;
            }
            if self.is_out_of_time() {
                return Ok(false);
            }
            let texts = long_texts(heldout, length, *n_texts, *seed);
            let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            if !texts.is_empty() {
                let model = match loaded.take() {
                    Some(model) => model,
                    None => {
                        let device = resolve_device(device).await?.burn_device();
                        let config = self.engines[0].1.config();
                        Model::load(config, &mut FolderWeights(&Checkpoint::open(folder)?), &device)?
                    }
                };
                let ks = if ks.is_empty() { own_sizes(index_topk) } else { ks.clone() };
                let found = recall(&model, &texts, &RecallOptions { ks, n_queries: *n_queries })?;
                loaded = Some(model);
                self.keep(Record::Recall(found))?;
            }
            (self.observer)(&Event::Progress { part: "recall", done: done + 1, total: lengths.len() });
        }
        Ok(true)
    }

    /// Asks about long documents.
    async fn grids(&mut self) -> Result<bool, TrainError> {
        let Evaluation { heldout, config, seed, .. } = self.evaluation;
        let settings = &config.grid;
        for name in &settings.generators {
            let mut asked = Vec::new();
            for &length in &settings.lengths {
                let room = grid::document_length(length, settings.max_tokens);
                let tokenizer = self.engines[0].1.tokenizer()?;
                let setting = setting(heldout, ("eval.grid.filler", &settings.filler), *seed, room, tokenizer)?;
                asked.extend(grid::tasks(name, length, [settings.n_depths, settings.n_tasks], *seed, &setting)?);
            }
            let asked: Vec<_> = asked.iter().map(|(place, task)| (Some(*place), task)).collect();
            if !self.ask_all(name, &asked, (&[settings.mode], settings.max_tokens)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks tasks of the test split.
    async fn tasks(&mut self) -> Result<bool, TrainError> {
        let Evaluation { heldout, config, seed, .. } = self.evaluation;
        let settings = &config.tasks;
        let cells = settings.cells();
        let n_tasks = cells.len() * settings.n_tasks;
        let engine = &self.engines[0].1;
        let filler = ("eval.tasks.filler", settings.filler.as_slice());
        let setting = setting(heldout, filler, *seed, settings.document_length, engine.tokenizer()?)?;
        let tasks = Sampler::new(cells, Split::Test, *seed, &setting).take(n_tasks).collect::<Result<Vec<Task>, _>>()?;
        let mut asked = Vec::new();
        for task in &tasks {
            if can_ask(engine, task)? {
                asked.push((None, task));
            }
        }
        self.ask_all("tasks", &asked, (&settings.modes, settings.max_tokens)).await
    }
}

fn facts(engine: &Engine) -> ModelFacts {
    let config = engine.config();
    ModelFacts {
        n_parameters: config.n_parameters(),
        n_layers: config.num_hidden_layers,
        context: engine.plan().context,
        index_topk: config.indexer.as_ref().map(|indexer| indexer.index_topk),
        device: engine.device().info.name.clone(),
        on_kernels: engine.runs_on_kernels(),
    }
}

/// Checks that the asked lengths fit the context.
fn check_lengths(config: &EvalConfig, facts: &ModelFacts) -> Result<(), TrainError> {
    for (key, lengths) in [("eval.recall.lengths", &config.recall.lengths), ("eval.grid.lengths", &config.grid.lengths)] {
        if let Some(length) = lengths.iter().find(|&&length| length > facts.context) {
            let expected = format!("at most the context of {} tokens", facts.context);
            return Err(TrainError::config(key, expected, length.to_string()));
        }
    }
    Ok(())
}

/// A quarter, half and all of the model's own selection.
fn own_sizes(index_topk: usize) -> Vec<usize> {
    let mut sizes = vec![(index_topk / 4).max(1), (index_topk / 2).max(1), index_topk];
    sizes.dedup();
    sizes
}

/// Returns up to `n_texts` beginnings of `length` tokens, source by source in turn, of documents that are as long.
fn long_texts(heldout: &TokenSet, length: usize, n_texts: usize, seed: u64) -> Vec<Vec<u32>> {
    let n_sources = heldout.sources().len();
    let long = |source_idx| -> Vec<Range<usize>> {
        documents(heldout, source_idx, seed).into_iter().filter(|document| document.len() >= length).collect()
    };
    let by_source: Vec<Vec<Range<usize>>> = (0..n_sources).map(long).collect();
    let n_rounds = by_source.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..n_rounds).flat_map(|round| by_source.iter().filter_map(move |documents| documents.get(round)));
    in_turn.take(n_texts).map(|document| heldout.ids(document.start..document.start + length)).collect()
}

/// Returns a hash of the configuration and the weights of a model folder.
fn hash_model(folder: &Path) -> Result<String, TrainError> {
    let entries = std::fs::read_dir(folder).map_err(TrainError::io("read the model's folder", folder))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors" || extension == "json"));
    paths.sort();
    let mut hashes = Vec::new();
    for path in paths {
        let bytes = std::fs::read(&path).map_err(TrainError::io("read the model", &path))?;
        hashes.extend(fnv1a(&bytes).to_le_bytes());
    }
    Ok(format!("{:016x}", fnv1a(&hashes)))
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
