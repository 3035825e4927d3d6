//! The training configuration: a TOML file with every setting of a run.
//!
//! Paths in the file are relative to the file itself.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::TrainError;
use crate::corpus::{Format, SourceConfig};
use crate::schedule::Schedule;

/// A whole run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Seed of the initial weights, the data order and the text samples.
    #[serde(default)]
    pub seed: u64,
    /// Folder for checkpoints, loss curve and samples.
    pub output: PathBuf,
    /// The model's config.json.
    pub model: PathBuf,
    /// A model folder to start from instead of random weights.
    pub init_from: Option<PathBuf>,
    /// Standard deviation of the initial matrices.
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
    /// Corpus and prepared tokens.
    pub data: DataConfig,
    /// Tokenizer training.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// Optimisation.
    pub train: TrainConfig,
    /// Texts to continue during training.
    #[serde(default)]
    pub samples: SampleConfig,
}

/// Corpus files and where their tokens go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Folder of the corpus files.
    pub root: PathBuf,
    /// Folder of the token files and their manifest.
    pub folder: PathBuf,
    /// The tokenizer.json.
    pub tokenizer: PathBuf,
    /// One document in this many is held out.
    #[serde(default = "default_heldout_every")]
    pub heldout_every: u64,
    /// The corpus files.
    pub sources: Vec<SourceConfig>,
}

/// How the tokenizer is trained.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerConfig {
    /// Tokens, specials included.
    pub vocab_size: usize,
    /// Bytes of text to learn from, divided by the sources' weights.
    pub sample_bytes: usize,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self { vocab_size: 8192, sample_bytes: 60_000_000 }
    }
}

/// Batches, optimiser, schedule and reports.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps of the whole run.
    pub steps: usize,
    /// Tokens per row.
    pub seq_len: usize,
    /// Rows per forward pass.
    pub batch_size: usize,
    /// Forward passes per step; their gradients are averaged.
    #[serde(default = "one")]
    pub gradient_accumulation: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Learning rate at the last step.
    pub min_lr: f64,
    /// Steps of linear warm-up.
    #[serde(default)]
    pub warmup_steps: usize,
    /// Decoupled weight decay of matrices; norms and biases have none.
    #[serde(default = "default_weight_decay")]
    pub weight_decay: f64,
    /// Decay rates of AdamW's first and second moment.
    #[serde(default = "default_betas")]
    pub betas: [f64; 2],
    /// AdamW's denominator offset.
    #[serde(default = "default_eps")]
    pub eps: f64,
    /// Largest global norm of the gradient.
    #[serde(default = "default_max_grad_norm")]
    pub max_grad_norm: f64,
    /// Weight of the indexer's divergence in the loss. Its inputs and target are detached, so that it trains the indexer alone.
    #[serde(default = "default_indexer_kl_weight")]
    pub indexer_kl_weight: f64,
    /// First step at which the indexer is trained, on dense attention.
    #[serde(default)]
    pub indexer_from_step: usize,
    /// First step at which attention is sparse; never when absent.
    pub sparse_from_step: Option<usize>,
    /// First step of the final phase, which draws by `final_weight`; never when absent.
    pub final_phase_step: Option<usize>,
    /// Factor on gradients where products round to f16, a power of two; it is halved when they overflow. Elsewhere there is none.
    #[serde(default = "default_loss_scale")]
    pub loss_scale: f64,
    /// Rows of logits held at once in the loss.
    #[serde(default = "default_loss_chunk_rows")]
    pub loss_chunk_rows: usize,
    /// Steps between two reads of the loss from the device.
    #[serde(default = "default_log_interval")]
    pub log_interval: usize,
    /// Steps between two evaluations; only at the end when 0.
    #[serde(default)]
    pub eval_interval: usize,
    /// Held-out rows per source in each evaluation.
    #[serde(default = "default_eval_rows")]
    pub eval_rows: usize,
    /// Steps between two rounds of text samples; only at the end when 0.
    #[serde(default)]
    pub sample_interval: usize,
    /// Steps between two checkpoints; only at the end when 0.
    #[serde(default)]
    pub checkpoint_interval: usize,
    /// Newest checkpoints to keep.
    #[serde(default = "default_keep_checkpoints")]
    pub keep_checkpoints: usize,
}

/// Texts that the model continues during training.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleConfig {
    /// Beginnings of plain text.
    pub prompts: Vec<String>,
    /// User turns.
    pub chats: Vec<String>,
    /// Tokens per sample.
    pub max_tokens: usize,
    /// Sampling temperature; 0 takes the likeliest token.
    pub temperature: f64,
    /// Candidates per token.
    pub top_k: usize,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self { prompts: Vec::new(), chats: Vec::new(), max_tokens: 100, temperature: 0.7, top_k: 40 }
    }
}

fn one() -> usize {
    1
}
fn default_initializer_range() -> f64 {
    0.02
}
fn default_heldout_every() -> u64 {
    100
}
fn default_weight_decay() -> f64 {
    0.1
}
fn default_betas() -> [f64; 2] {
    [0.9, 0.95]
}
fn default_eps() -> f64 {
    1e-8
}
fn default_max_grad_norm() -> f64 {
    1.0
}
fn default_indexer_kl_weight() -> f64 {
    1.0
}
fn default_loss_scale() -> f64 {
    65_536.0
}
fn default_loss_chunk_rows() -> usize {
    8192
}
fn default_log_interval() -> usize {
    20
}
fn default_eval_rows() -> usize {
    16
}
fn default_keep_checkpoints() -> usize {
    2
}

impl PretrainConfig {
    /// Reads and checks a configuration file; relative paths become relative to its folder.
    ///
    /// # Errors
    /// [`TrainError::Io`] when it cannot be read, [`TrainError::ConfigSyntax`] when it is not valid TOML or holds unknown keys,
    /// [`TrainError::ConfigValue`] when a value is out of range.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io("read the training configuration", path))?;
        Self::parse(&text, path)
    }

    /// Parses and checks the text of a configuration file that lies at `path`.
    ///
    /// # Errors
    /// As [`PretrainConfig::open`], without [`TrainError::Io`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, TrainError> {
        let syntax = |error: toml::de::Error| TrainError::ConfigSyntax {
            message: error.to_string().trim().replace('\n', " "),
            path: path.to_path_buf(),
        };
        let mut config: Self = toml::from_str(text).map_err(syntax)?;
        let base = path.parent().unwrap_or(Path::new(""));
        for path in
            [&mut config.output, &mut config.model, &mut config.data.root, &mut config.data.folder, &mut config.data.tokenizer]
        {
            *path = base.join(&*path);
        }
        config.init_from = config.init_from.map(|folder| base.join(folder));
        config.check()?;
        Ok(config)
    }

    /// Returns the learning-rate schedule.
    pub fn schedule(&self) -> Schedule {
        let train = &self.train;
        Schedule { lr: train.lr, min_lr: train.min_lr, warmup_steps: train.warmup_steps, steps: train.steps }
    }

    fn check(&self) -> Result<(), TrainError> {
        let train = &self.train;
        let counts = [
            ("train.steps", train.steps),
            ("train.seq_len", train.seq_len),
            ("train.batch_size", train.batch_size),
            ("train.gradient_accumulation", train.gradient_accumulation),
            ("train.loss_chunk_rows", train.loss_chunk_rows),
            ("train.log_interval", train.log_interval),
            ("train.keep_checkpoints", train.keep_checkpoints),
            ("data.heldout_every", usize::try_from(self.data.heldout_every).unwrap_or(usize::MAX)),
            ("data.sources", self.data.sources.len()),
        ];
        for (key, value) in counts {
            if value == 0 {
                return Err(TrainError::config(key, "at least 1", "0"));
            }
        }
        let positive = [
            ("train.lr", train.lr),
            ("train.eps", train.eps),
            ("train.max_grad_norm", train.max_grad_norm),
            ("initializer_range", self.initializer_range),
        ];
        for (key, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(TrainError::config(key, "a number above 0", value.to_string()));
            }
        }
        let not_negative = [
            ("train.weight_decay", train.weight_decay),
            ("train.indexer_kl_weight", train.indexer_kl_weight),
            ("samples.temperature", self.samples.temperature),
        ];
        for (key, value) in not_negative {
            if !(value.is_finite() && value >= 0.0) {
                return Err(TrainError::config(key, "a number of at least 0", value.to_string()));
            }
        }
        if !(0.0..=train.lr).contains(&train.min_lr) {
            let expected = format!("0 to train.lr ({})", train.lr);
            return Err(TrainError::config("train.min_lr", expected, train.min_lr.to_string()));
        }
        if train.warmup_steps >= train.steps {
            let expected = format!("fewer than train.steps ({})", train.steps);
            return Err(TrainError::config("train.warmup_steps", expected, train.warmup_steps.to_string()));
        }
        if train.loss_scale < 1.0 || train.loss_scale.log2().fract() != 0.0 {
            return Err(TrainError::config("train.loss_scale", "a power of two of at least 1", train.loss_scale.to_string()));
        }
        if let Some(beta) = train.betas.iter().find(|beta| !(0.0..1.0).contains(*beta)) {
            return Err(TrainError::config("train.betas", "two numbers from 0 to below 1", beta.to_string()));
        }
        self.check_sources()
    }

    fn check_sources(&self) -> Result<(), TrainError> {
        for (source_idx, source) in self.data.sources.iter().enumerate() {
            let key = |field: &str| format!("data.sources.{}.{field}", source.name);
            if self.data.sources[..source_idx].iter().any(|other| other.name == source.name) {
                return Err(TrainError::config(&key("name"), "a name that no other source has", &*source.name));
            }
            if !(0.0..=1.0).contains(&source.chat_share) {
                return Err(TrainError::config(&key("chat_share"), "0 to 1", source.chat_share.to_string()));
            }
            if source.chat_share > 0.0 && source.format != Format::Titled {
                return Err(TrainError::config(&key("chat_share"), "format `titled` with it", "another format"));
            }
            if source.chat_share > 0.0 && source.prompts.is_empty() {
                return Err(TrainError::config(&key("prompts"), "at least one prompt for a chat_share above 0", "none"));
            }
            for weight in [Some(source.weight), source.final_weight].into_iter().flatten() {
                if !(weight.is_finite() && weight >= 0.0) {
                    return Err(TrainError::config(&key("weight"), "a number of at least 0", weight.to_string()));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
