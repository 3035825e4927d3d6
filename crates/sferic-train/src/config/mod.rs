//! The training configuration: one TOML file with every setting of a run through all its stages.
//!
//! Paths in the file are relative to the file itself. A stage that has no table does not take part.

mod stage;
mod steps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use stage::{Objective, PhaseConfig, Rule, Stage, StageConfig};
pub use steps::Step;

use crate::TrainError;
use crate::chat_data::ChatConfig;
use crate::corpus::SourceConfig;
pub use crate::eval::EvalConfig;
use crate::export::is_exported;
use crate::rl::{DistillConfig, GrpoConfig, SpecialistConfig};

/// A whole run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Seed of the initial weights, the data order and the text samples.
    #[serde(default)]
    pub seed: u64,
    /// Folder that holds a folder per stage, with its checkpoints, loss curve, samples and model.
    pub output: PathBuf,
    /// The config.json of the model that the first stage makes.
    pub model: PathBuf,
    /// A model folder that the first stage starts from instead of random weights; an MLA checkpoint without an indexer gets a random one.
    pub init_from: Option<PathBuf>,
    /// Standard deviation of the initial matrices.
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
    /// Corpus and prepared tokens.
    pub data: DataConfig,
    /// Tokenizer training.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// Texts to continue during training.
    #[serde(default)]
    pub samples: SampleConfig,
    /// Dense pretraining.
    pub pretrain: Option<StageConfig>,
    /// Context extension.
    pub extend: Option<StageConfig>,
    /// Dense warm-up of the indexer.
    pub warmup: Option<StageConfig>,
    /// Sparse training.
    pub sparse: Option<StageConfig>,
    /// The conversations of the stage `sft`.
    pub chats: Option<ChatConfig>,
    /// Conversations.
    pub sft: Option<StageConfig>,
    /// Reinforcement learning from one start, a model for each domain.
    #[serde(default)]
    pub specialists: Vec<SpecialistConfig>,
    /// One model of what the specialists say.
    pub distill: Option<DistillTable>,
    /// Reinforcement learning on all domains.
    pub grpo: Option<GrpoConfig>,
    /// What is measured of the models.
    pub eval: Option<EvalConfig>,
}

/// How the specialists become one model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillTable {
    /// What they are asked.
    pub collect: DistillConfig,
    /// The specialist that the model starts from; what all specialists started from when absent.
    pub from: Option<String>,
    /// How the model learns it.
    pub train: StageConfig,
    /// Share of the tokens that comes from `[chats]`, so that the model keeps what no specialist has said.
    #[serde(default = "default_chats_share")]
    pub chats_share: f64,
    /// Share of each source of `[chats]` in that; the sources' own weights when absent.
    pub chats_mix: Option<BTreeMap<String, f64>>,
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

fn default_initializer_range() -> f64 {
    0.02
}
fn default_chats_share() -> f64 {
    0.3
}
fn default_heldout_every() -> u64 {
    100
}

impl RunConfig {
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
    /// As [`RunConfig::open`], without [`TrainError::Io`].
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
        for grpo in config.grpo.iter_mut().chain(config.specialists.iter_mut().map(|one| &mut one.grpo)) {
            grpo.filler = grpo.filler.take().map(|file| base.join(file));
            if let Some(judge) = &mut grpo.judge {
                judge.model = base.join(&judge.model);
            }
        }
        config.init_from = config.init_from.map(|folder| base.join(folder));
        if let Some(chats) = &mut config.chats {
            chats.folder = base.join(&chats.folder);
        }
        config.check()?;
        Ok(config)
    }

    /// Returns the settings of a stage.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] where the file has no such table.
    pub fn stage(&self, stage: Stage) -> Result<&StageConfig, TrainError> {
        self.table(stage).ok_or_else(|| TrainError::config(stage.table(), "a table with the settings of the stage", "none"))
    }

    /// Returns the stages that the file has, in their order.
    pub fn stages(&self) -> Vec<Stage> {
        Stage::ALL.into_iter().filter(|stage| self.table(*stage).is_some()).collect()
    }

    /// Returns the folder of a step's files; a stage is a step.
    pub fn folder(&self, step: impl Into<Step>) -> PathBuf {
        self.output.join(step.into().name())
    }

    /// Whether a stage has left its model.
    pub fn is_finished(&self, stage: Stage) -> bool {
        is_exported(&self.folder(stage).join("model"))
    }

    /// Returns the stage that `stage` starts from; nothing for the first.
    pub fn before(&self, stage: Stage) -> Option<Stage> {
        let earlier = || self.stages().into_iter().take_while(|other| *other != stage);
        match self.table(stage).and_then(|config| config.from.as_deref()) {
            Some(from) => earlier().find(|other| other.name() == from),
            None => earlier().last(),
        }
    }

    fn table(&self, stage: Stage) -> Option<&StageConfig> {
        match stage {
            Stage::Pretrain => self.pretrain.as_ref(),
            Stage::Extend => self.extend.as_ref(),
            Stage::Warmup => self.warmup.as_ref(),
            Stage::Sparse => self.sparse.as_ref(),
            Stage::Sft => self.sft.as_ref(),
            Stage::Distill => self.distill.as_ref().map(|distill| &distill.train),
        }
    }

    fn check(&self) -> Result<(), TrainError> {
        if self.data.heldout_every == 0 {
            return Err(TrainError::config("data.heldout_every", "at least 1", "0"));
        }
        if self.data.sources.is_empty() {
            return Err(TrainError::config("data.sources", "at least one source", "none"));
        }
        if !(self.initializer_range.is_finite() && self.initializer_range > 0.0) {
            return Err(TrainError::config("initializer_range", "a number above 0", self.initializer_range.to_string()));
        }
        if !(self.samples.temperature.is_finite() && self.samples.temperature >= 0.0) {
            let found = self.samples.temperature.to_string();
            return Err(TrainError::config("samples.temperature", "a number of at least 0", found));
        }
        self.check_sources()?;
        match &self.chats {
            Some(chats) => chats.check("chats")?,
            None if self.sft.is_some() => {
                return Err(TrainError::config("chats", "a table with the conversations of the stage `sft`", "none"));
            }
            None => {}
        }
        let names: Vec<&str> = self.data.sources.iter().map(|source| source.name.as_str()).collect();
        for stage in self.stages() {
            let Some(config) = self.table(stage) else { continue };
            config.check(stage.table(), stage, &names)?;
            if let (Some(from), None) = (&config.from, self.before(stage)) {
                let expected = "a stage of this file that comes before";
                return Err(TrainError::config(&format!("{}.from", stage.table()), expected, from.as_str()));
            }
        }
        self.check_steps()
    }

    fn check_sources(&self) -> Result<(), TrainError> {
        for (source_idx, source) in self.data.sources.iter().enumerate() {
            let key = |field: &str| format!("data.sources.{}.{field}", source.name);
            if self.data.sources[..source_idx].iter().any(|other| other.name == source.name) {
                return Err(TrainError::config(&key("name"), "a name that no other source has", &*source.name));
            }
            source.check(&format!("data.sources.{}", source.name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
