//! The results of an evaluation: one JSON document.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sferic_tasks::{Domain, Mode};

use super::config::Attention;
use super::recall::Recall;
use super::record::{Header, Record, Reply, VERSION};
use super::share::Share;
use crate::TrainError;

/// All results of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Version of this document; 1.
    pub version: u32,
    /// The model's name in reports.
    pub name: String,
    /// What the model is and where it ran.
    pub facts: ModelFacts,
    /// Hash of its files, in hexadecimal.
    pub model_hash: String,
    /// Seed of tasks and texts.
    pub seed: u64,
    /// Whether everything that was asked for has been measured.
    pub complete: bool,
    /// Likelihood of held-out documents.
    pub likelihood: Vec<Likelihood>,
    /// Recall of attention, by length of the texts.
    pub recall: Vec<Recall>,
    /// Questions about long documents.
    pub grid: Vec<GridScore>,
    /// Verifiable tasks.
    pub tasks: Vec<TaskScore>,
    /// Domains that were to be asked and could not: tools need a prompt format that has calls.
    pub not_asked: Vec<Domain>,
}

/// What a model is, and where it ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Parameters.
    pub n_parameters: u64,
    /// Layers.
    pub n_layers: usize,
    /// Tokens of its context.
    pub context: usize,
    /// Tokens that a layer selects; absent in dense models.
    pub index_topk: Option<usize>,
    /// The device.
    pub device: String,
    /// Whether our kernels computed it.
    pub on_kernels: bool,
}

/// The likelihood of a source's documents in a stretch of positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// The source.
    pub source: String,
    /// The attention.
    pub attention: Attention,
    /// First position of the stretch.
    pub start: usize,
    /// The position after it.
    pub end: usize,
    /// Predicted tokens.
    pub n_tokens: usize,
    /// Mean negative log-likelihood, in nats per token.
    pub nll: f64,
}

/// Answers in a cell of a grid of lengths and depths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GridScore {
    /// The generator: `needle` or `pairs`.
    pub generator: String,
    /// The attention.
    pub attention: Attention,
    /// Tokens of prompt and reply.
    pub length: usize,
    /// Which part of the document answers, from its beginning.
    pub depth: usize,
    /// Parts of the document.
    pub n_depths: usize,
    /// Right answers.
    pub share: Share,
}

/// Answers to a level of a generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// The domain.
    pub domain: Domain,
    /// The generator.
    pub generator: String,
    /// The level.
    pub level: u8,
    /// Whether the model was asked to think.
    pub mode: Mode,
    /// The attention.
    pub attention: Attention,
    /// Right answers.
    pub share: Share,
    /// Replies in the form that was asked for.
    pub n_in_form: usize,
    /// Tokens that were written.
    pub n_tokens: usize,
}

impl Results {
    /// Puts records together.
    pub(super) fn of(header: &Header, records: &[Record], complete: bool) -> Self {
        let (mut likelihood, mut recall, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        let edges = &header.config.likelihood.edges;
        for record in records {
            match record {
                Record::Header(_) => {}
                Record::Likelihood(record) => {
                    let starts = [0].iter().chain(edges);
                    for ((&start, &end), &(n_tokens, sum)) in starts.zip(edges).zip(&record.stretches) {
                        if n_tokens > 0 {
                            let (source, attention) = (record.source.clone(), record.attention);
                            likelihood.push(Likelihood { source, attention, start, end, n_tokens, nll: sum / n_tokens as f64 });
                        }
                    }
                }
                Record::Recall(found) => recall.push(found.clone()),
                Record::Reply(reply) => replies.push(&**reply),
            }
        }
        recall.sort_by_key(|recall: &Recall| recall.length);
        Self {
            version: VERSION,
            name: header.name.clone(),
            facts: header.facts.clone(),
            model_hash: header.model_hash.clone(),
            seed: header.seed,
            complete,
            likelihood,
            recall,
            grid: grid(&replies, header.config.grid.n_depths),
            not_asked: not_asked(header, &replies, complete),
            tasks: tasks(&replies),
        }
    }

    /// Reads the results of an evaluation.
    ///
    /// # Errors
    /// [`TrainError::Io`] when the file cannot be read, [`TrainError::Records`] when it is of another version or no such document.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io("read the results", path))?;
        let other = |found: String| TrainError::Records {
            what: "results".to_owned(),
            expected: format!("JSON of version {VERSION}"),
            found,
            path: path.to_path_buf(),
        };
        let results: Self = serde_json::from_str(&text).map_err(|error| other(error.to_string()))?;
        if results.version == VERSION { Ok(results) } else { Err(other(format!("version {}", results.version))) }
    }

    /// Returns the mean negative log-likelihood of some stretches, all tokens together, in nats; nothing where none was read.
    pub fn nll(&self, attention: Attention, is_meant: impl Fn(&Likelihood) -> bool) -> Option<f64> {
        let found: Vec<&Likelihood> =
            self.likelihood.iter().filter(|found| found.attention == attention && is_meant(found)).collect();
        let n_tokens: usize = found.iter().map(|found| found.n_tokens).sum();
        let sum: f64 = found.iter().map(|found| found.nll * found.n_tokens as f64).sum();
        (n_tokens > 0).then(|| sum / n_tokens as f64)
    }

    /// Returns what sparse attention adds to the loss of dense attention, as a share of it.
    pub fn loss_gap(&self, is_meant: impl Fn(&Likelihood) -> bool + Copy) -> Option<f64> {
        let (dense, sparse) = (self.nll(Attention::Dense, is_meant)?, self.nll(Attention::Sparse, is_meant)?);
        Some(sparse / dense - 1.0)
    }

    /// Returns the right answers among some tasks.
    pub fn accuracy(&self, is_meant: impl Fn(&TaskScore) -> bool) -> Share {
        self.tasks.iter().filter(|score| is_meant(score)).fold(Share::default(), |sum, score| sum.and(score.share))
    }

    /// Returns the right answers in some cells of the grids.
    pub fn found(&self, is_meant: impl Fn(&GridScore) -> bool) -> Share {
        self.grid.iter().filter(|score| is_meant(score)).fold(Share::default(), |sum, score| sum.and(score.share))
    }
}

fn grid(replies: &[&Reply], n_depths: usize) -> Vec<GridScore> {
    let mut cells: BTreeMap<_, Share> = BTreeMap::new();
    for reply in replies {
        if let Some(place) = reply.place {
            cells.entry((&reply.generator, reply.attention, place)).or_default().add(reply.correct);
        }
    }
    let score = |((generator, attention, place), share): ((&String, Attention, super::record::Place), Share)| GridScore {
        generator: generator.clone(),
        attention,
        length: place.length,
        depth: place.depth,
        n_depths,
        share,
    };
    cells.into_iter().map(score).collect()
}

fn not_asked(header: &Header, replies: &[&Reply], complete: bool) -> Vec<Domain> {
    let settings = &header.config.tasks;
    if !complete || settings.n_tasks == 0 || settings.modes.is_empty() {
        return Vec::new();
    }
    let has_replies = |domain: Domain| replies.iter().any(|reply| reply.place.is_none() && reply.domain == domain);
    let mut domains: Vec<Domain> = settings.cells().iter().map(|cell| cell.generator.domain).collect();
    domains.dedup();
    domains.into_iter().filter(|&domain| !has_replies(domain)).collect()
}

fn tasks(replies: &[&Reply]) -> Vec<TaskScore> {
    let mut cells: BTreeMap<_, TaskScore> = BTreeMap::new();
    for reply in replies.iter().filter(|reply| reply.place.is_none()) {
        let key = (reply.domain, &reply.generator, reply.level, reply.mode == Mode::Thinking, reply.attention);
        let score = cells.entry(key).or_insert_with(|| TaskScore {
            domain: reply.domain,
            generator: reply.generator.clone(),
            level: reply.level,
            mode: reply.mode,
            attention: reply.attention,
            share: Share::default(),
            n_in_form: 0,
            n_tokens: 0,
        });
        score.share.add(reply.correct);
        score.n_in_form += usize::from(reply.in_form);
        score.n_tokens += reply.n_tokens;
    }
    cells.into_values().collect()
}
