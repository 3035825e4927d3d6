//! What has been measured so far, line by line in one file, so that an interruption loses no more than what was being measured.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sferic_tasks::{Domain, Mode};
use sferic_weights::write_atomic;

use super::config::{Attention, EvalConfig};
use super::recall::Recall;
use super::results::ModelFacts;
use crate::TrainError;

/// The version of records and results.
pub(super) const VERSION: u32 = 1;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// What the file is of; the first line.
    Header(Box<Header>),
    /// The likelihood of a source.
    Likelihood(LikelihoodRecord),
    /// Recall of attention on texts of a length.
    Recall(Recall),
    /// A reply.
    Reply(Box<Reply>),
}

/// What records belong to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format.
    pub version: u32,
    /// The model's name in reports.
    pub name: String,
    /// Hash of the model's files, in hexadecimal.
    pub model_hash: String,
    /// The seed of tasks and texts.
    pub seed: u64,
    /// The settings.
    pub config: EvalConfig,
    /// What the model is and where it runs.
    pub facts: ModelFacts,
}

/// The likelihood of a source with one kind of attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LikelihoodRecord {
    /// The source.
    pub source: String,
    /// The attention.
    pub attention: Attention,
    /// Documents that were read.
    pub n_documents: usize,
    /// Predicted tokens and their summed negative log-likelihood in nats, for each stretch of positions.
    pub stretches: Vec<(usize, f64)>,
}

/// A cell of a grid of lengths and depths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Tokens of prompt and reply.
    pub length: usize,
    /// Which part of the document answers, counted from its beginning.
    pub depth: usize,
}

/// A reply to a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The task's id.
    pub task: String,
    /// Its domain.
    pub domain: Domain,
    /// Its generator.
    pub generator: String,
    /// Its level.
    pub level: u8,
    /// Where in a grid it belongs; absent for other tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Whether the model was asked to think.
    pub mode: Mode,
    /// The attention.
    pub attention: Attention,
    /// Whether the answer is right.
    pub correct: bool,
    /// Whether it has the form that was asked for.
    pub in_form: bool,
    /// The right answer.
    pub expected: String,
    /// What was understood as the answer.
    pub answer: String,
    /// Tokens that the model wrote, in all turns.
    pub n_tokens: usize,
    /// Why it ended: the engine's word, or `too_long` where the prompt left no room.
    pub stop: String,
    /// Calls of tools.
    pub n_calls: usize,
    /// What the model thought in its last turn.
    pub thinking: String,
    /// What it said there.
    pub reply: String,
}

impl Record {
    /// Returns the name of the measurement, which no other has.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Header(_) => "header".to_owned(),
            Self::Likelihood(record) => likelihood_key(&record.source, record.attention),
            Self::Recall(recall) => recall_key(recall.length),
            Self::Reply(reply) => reply_key(&reply.task, reply.place, reply.mode, reply.attention),
        }
    }
}

pub(super) fn likelihood_key(source: &str, attention: Attention) -> String {
    format!("likelihood {source} {}", attention.name())
}

pub(super) fn recall_key(length: usize) -> String {
    format!("recall {length}")
}

pub(super) fn reply_key(task: &str, place: Option<Place>, mode: Mode, attention: Attention) -> String {
    let place = place.map(|place| format!(" {} {}", place.length, place.depth)).unwrap_or_default();
    format!("reply {task} {mode:?} {}{place}", attention.name())
}

/// The file of records.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    records: Vec<Record>,
    keys: HashSet<String>,
}

impl Journal {
    /// Opens the records of an evaluation, or begins them.
    ///
    /// # Errors
    /// [`TrainError::Records`] for records of another model, of other settings, or that cannot be understood; [`TrainError::Io`].
    pub(super) fn open(path: &Path, header: &Header) -> Result<Self, TrainError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(TrainError::io("read the records", path)(error)),
        };
        // A line without its end was being written when the program stopped.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut records = Vec::new();
        for (line_idx, line) in whole.lines().enumerate() {
            let record: Record = serde_json::from_str(line).map_err(|error| TrainError::Records {
                what: format!("line {}", line_idx + 1),
                expected: format!("a record of version {VERSION}"),
                found: error.to_string(),
                path: path.to_path_buf(),
            })?;
            records.push(record);
        }
        if records.is_empty() {
            let record = Record::Header(Box::new(header.clone()));
            write_atomic(path, line(&record).as_bytes())?;
            records.push(record);
        } else if whole.len() < text.len() {
            write_atomic(path, whole.as_bytes())?;
        }
        check_header(records.first(), header, path)?;
        let file = OpenOptions::new().append(true).open(path).map_err(TrainError::io("open the records", path))?;
        let keys = records.iter().map(Record::key).collect();
        Ok(Self { path: path.to_path_buf(), file, records, keys })
    }

    /// Whether a measurement has been made.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Keeps a measurement.
    pub(super) fn add(&mut self, record: Record) -> Result<(), TrainError> {
        self.file.write_all(line(&record).as_bytes()).map_err(TrainError::io("write a record", &self.path))?;
        self.keys.insert(record.key());
        self.records.push(record);
        Ok(())
    }

    /// Returns all measurements.
    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }
}

fn line(record: &Record) -> String {
    // Numbers, texts and lists have JSON.
    serde_json::to_string(record).unwrap_or_default() + "\n"
}

fn check_header(found: Option<&Record>, expected: &Header, path: &Path) -> Result<(), TrainError> {
    let differs = |what: &str, expected: String, found: String| {
        Err(TrainError::Records { what: what.to_owned(), expected, found, path: path.to_path_buf() })
    };
    let Some(Record::Header(found)) = found else {
        return differs("first line", "a header".to_owned(), "another record".to_owned());
    };
    let names = [
        ("version", expected.version.to_string(), found.version.to_string()),
        ("name", expected.name.clone(), found.name.clone()),
        ("model", expected.model_hash.clone(), found.model_hash.clone()),
        ("seed", expected.seed.to_string(), found.seed.to_string()),
        ("device", expected.facts.device.clone(), found.facts.device.clone()),
    ];
    for (what, expected, found) in names {
        if expected != found {
            return differs(what, expected, found);
        }
    }
    if expected.config != found.config {
        let json = |config: &EvalConfig| serde_json::to_string(config).unwrap_or_default();
        return differs("settings", json(&expected.config), json(&found.config));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn header() -> Header {
        Header {
            version: VERSION,
            name: "sft".to_owned(),
            model_hash: "12".to_owned(),
            seed: 3,
            config: EvalConfig::default(),
            facts: ModelFacts::default(),
        }
    }

    fn likelihood(source: &str) -> Record {
        let stretches = vec![(3, 0.375)];
        Record::Likelihood(LikelihoodRecord {
            source: source.to_owned(),
            attention: Attention::Sparse,
            n_documents: 1,
            stretches,
        })
    }

    #[test]
    fn a_line_that_was_cut_off_is_measured_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        let mut journal = Journal::open(&path, &header()).unwrap();
        journal.add(likelihood("books")).unwrap();
        journal.add(likelihood("stories")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        let mut journal = Journal::open(&path, &header()).unwrap();
        assert!(journal.has("likelihood books sparse") && !journal.has("likelihood stories sparse"));
        journal.add(likelihood("stories")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(Journal::open(&path, &header()).unwrap().records()[1..], [likelihood("books"), likelihood("stories")]);
    }

    #[test]
    fn every_manner_of_asking_is_a_measurement_of_its_own() {
        let place = |depth| Some(Place { length: 1024, depth });
        let keys = [
            reply_key("a", None, Mode::Direct, Attention::Dense),
            reply_key("a", None, Mode::Direct, Attention::Sparse),
            reply_key("a", None, Mode::Thinking, Attention::Dense),
            reply_key("a", place(0), Mode::Direct, Attention::Dense),
            reply_key("a", place(1), Mode::Direct, Attention::Dense),
            reply_key("b", None, Mode::Direct, Attention::Dense),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "{keys:?}");
    }

    #[test]
    fn records_of_something_else_are_refused_by_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        Journal::open(&path, &header()).unwrap();
        let mut settings = header();
        settings.config.grid.n_tasks += 1;
        let others = [
            ("model", Header { model_hash: "13".to_owned(), ..header() }),
            ("seed", Header { seed: 4, ..header() }),
            ("settings", settings),
        ];
        for (what, other) in others {
            let error = Journal::open(&path, &other).unwrap_err();
            assert!(matches!(&error, TrainError::Records { what: found, .. } if found == what), "{error}");
        }
        std::fs::write(&path, "{}\n").unwrap();
        let error = Journal::open(&path, &header()).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("records.jsonl"), "{error}");
    }
}
