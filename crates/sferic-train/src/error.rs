//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// Why training, or the preparation for it, stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Occurs when a configuration file is not valid TOML or holds an unknown key.
    #[error("the training configuration cannot be read: {message}; correct the file: {}", path.display())]
    ConfigSyntax {
        /// The parser's message, with line and key.
        message: String,
        /// The configuration file.
        path: PathBuf,
    },
    /// Occurs when a configuration value is outside its range or contradicts another.
    #[error("configuration key `{key}`: expected {expected}, found {found}")]
    ConfigValue {
        /// The key with its table, as written in the file.
        key: String,
        /// What the key may hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// Occurs when the model's config.json is not accepted.
    #[error("the model configuration is refused: {source}; correct the file: {}", path.display())]
    ModelConfig {
        /// The reason.
        source: sferic_model::ConfigError,
        /// The config.json.
        path: PathBuf,
    },
    /// Occurs when a file cannot be opened, read, written or renamed.
    #[error("cannot {action}: {source}: {}", path.display())]
    Io {
        /// What was tried, in words.
        action: &'static str,
        /// The operating system's reason.
        source: std::io::Error,
        /// The file or folder.
        path: PathBuf,
    },
    /// Occurs when a corpus file's content is not what its format says.
    #[error("source `{name}`: expected {expected}, found {found}: {}", path.display())]
    Corpus {
        /// The source's name in the configuration.
        name: String,
        /// What the format demands.
        expected: &'static str,
        /// What the file holds, with its place.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when a generator of tasks refuses what is asked of it.
    #[error("tasks: {0}")]
    Tasks(#[from] sferic_tasks::TaskError),
    /// Occurs when the tokenizer cannot be trained, read, written or applied.
    #[error("tokenizer: {message}")]
    Tokenizer {
        /// The reason and the file, in words.
        message: String,
    },
    /// Occurs when a tokenizer lacks a control token that its other files name, or that text or conversations need.
    #[error("tokenizer: {needed_by} needs {token}, found none; {remedy}: {}", path.display())]
    MissingToken {
        /// What asks for it.
        needed_by: &'static str,
        /// The token, in words.
        token: String,
        /// What to do.
        remedy: &'static str,
        /// The tokenizer.json.
        path: PathBuf,
    },
    /// Occurs when prepared token files and their manifest disagree, or were made for another model.
    #[error("prepared data: {what}: expected {expected}, found {found}; run the preparation again: {}", path.display())]
    Dataset {
        /// Which property disagrees.
        what: String,
        /// The value asked for.
        expected: String,
        /// The value found.
        found: String,
        /// The manifest or token file.
        path: PathBuf,
    },
    /// Occurs when a checkpoint is incomplete or belongs to another run.
    #[error("training checkpoint: {what}: expected {expected}, found {found}: {}", path.display())]
    Checkpoint {
        /// Which property disagrees.
        what: String,
        /// The value asked for.
        expected: String,
        /// The value found.
        found: String,
        /// The checkpoint's folder or file.
        path: PathBuf,
    },
    /// Occurs when the weights of a checkpoint or of the starting model cannot be read or written.
    #[error("model weights: {0}")]
    Weights(#[from] sferic_weights::WeightsError),
    /// Occurs when the loss or the gradient is not finite, or the loss rose far above where it had been.
    #[error(
        "training diverged by step {step}: {what}; the newest checkpoint is of step {last_good_step} (0: none); lower `{stage}.lr` or raise `{stage}.warmup_steps`"
    )]
    Diverged {
        /// The stage's name.
        stage: &'static str,
        /// The step at which the values were read.
        step: usize,
        /// The values that gave it away.
        what: String,
        /// The newest step with a checkpoint on disk, 0 when there is none.
        last_good_step: usize,
    },
    /// Occurs when the device fails during a computation or a read-back.
    #[error("the device failed at step {step} while {action}: {message}; resume from the last checkpoint")]
    Device {
        /// The training step.
        step: usize,
        /// What the device was doing.
        action: &'static str,
        /// The device's message.
        message: String,
    },
    /// Occurs when the engine cannot load a trained model or answer with it.
    #[error("the engine: {0}")]
    Engine(#[from] sferic_engine::EngineError),
    /// Occurs when a conversation cannot be written as a prompt, or tokens cannot be read as text.
    #[error("conversations: {0}")]
    Text(#[from] sferic_text::TextError),
    /// Occurs when a prompt leaves no room for a reply.
    #[error(
        "the prompt of task {task} has {n_tokens} tokens, the model's context holds {context}; ask for lower levels or set `document_tokens` lower"
    )]
    PromptTooLong {
        /// The task.
        task: String,
        /// Length of its prompt.
        n_tokens: usize,
        /// The model's context.
        context: usize,
    },
    /// Occurs when a task with tools is played by a model whose prompt format has no place for their results.
    #[error("the model's prompt format has no place for results of tools; leave out tasks of the domain `agent`")]
    NoToolResults,
    /// Occurs when a result cannot be read from the device.
    #[error("the device failed while delivering {what}: {message}")]
    ReadBack {
        /// What was to be read.
        what: &'static str,
        /// The device's message.
        message: String,
    },
    /// Occurs when the records or results of an evaluation cannot be understood, or are of another model or other settings.
    #[error("evaluation: {what}: expected {expected}, found {found}; remove the file or evaluate into another folder: {}", path.display())]
    Records {
        /// Which property disagrees.
        what: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when a loss curve cannot be drawn.
    #[error("cannot draw the loss curve: {message}: {}", path.display())]
    Plot {
        /// The drawing library's message.
        message: String,
        /// The SVG file.
        path: PathBuf,
    },
}

impl TrainError {
    /// Returns a closure that turns an I/O error on `path` into this type, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, source, path }
    }

    /// Returns the error of a step whose table the file does not have.
    pub fn missing_table(table: &str) -> Self {
        Self::config(table, "a table with the settings of the step", "none")
    }

    /// Returns the error of a step that needs a model of the run, whose folder is `output`.
    pub fn missing_models(output: &Path) -> Self {
        Self::config("output", "a run with a finished stage; run one first", format!("no model in {}", output.display()))
    }

    /// Returns a configuration error for `key`.
    pub(crate) fn config(key: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::ConfigValue { key: key.to_owned(), expected: expected.into(), found: found.into() }
    }
}
