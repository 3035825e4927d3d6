//! The settings of one stage.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::TrainError;
use crate::schedule::Schedule;

/// A stage that trains the model on data; its name is that of its table in the file and of its folder under the run's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Dense attention on the language-model loss.
    Pretrain,
    /// The same on longer rows, with the positions stretched by YaRN.
    Extend,
    /// Stage 1 of spec §6: the indexer alone learns dense attention's distribution.
    Warmup,
    /// Stage 2 of spec §6: attention over the selected tokens; everything trains.
    Sparse,
    /// Conversations, with the loss on the assistant's tokens.
    Sft,
    /// What the specialists have said, in one model (spec §7.1).
    Distill,
}

impl Stage {
    /// All stages, in the order in which they follow one another.
    pub const ALL: [Self; 6] = [Self::Pretrain, Self::Extend, Self::Warmup, Self::Sparse, Self::Sft, Self::Distill];

    /// The stage's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Extend => "extend",
            Self::Warmup => "warmup",
            Self::Sparse => "sparse",
            Self::Sft => "sft",
            Self::Distill => "distill",
        }
    }

    /// The table of the stage's settings in the file.
    pub fn table(self) -> &'static str {
        match self {
            Self::Distill => "distill.train",
            _ => self.name(),
        }
    }

    /// What the stage trains.
    pub fn objective(self) -> Objective {
        match self {
            Self::Pretrain | Self::Extend => Objective::Language,
            Self::Warmup => Objective::Indexer,
            Self::Sparse | Self::Sft | Self::Distill => Objective::Both,
        }
    }
}

/// What is trained, and on which loss (spec §6.2, the table of parameter groups).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// Everything but the indexer, on the language-model loss, with dense attention.
    Language,
    /// The indexer, on its divergence from dense attention; everything else is frozen.
    Indexer,
    /// The indexer on its divergence from sparse attention, everything else on the language-model loss.
    Both,
}

/// How matrices between the embedding and the head are updated; everything else takes AdamW.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// AdamW.
    #[default]
    Adamw,
    /// Muon, with AdamW's learning rate and decay; routers, experts in one tensor and the indexer keep AdamW.
    Muon,
}

/// Shares of the sources that hold from a step on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseConfig {
    /// First step of the phase.
    pub from_step: usize,
    /// Share of each source in the rows.
    pub mix: BTreeMap<String, f64>,
}

/// Batches, optimiser, schedule and reports of a stage.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// The stage whose model this one starts from; the one before it in the file when absent.
    pub from: Option<String>,
    /// Positions that the model has from this stage on: YaRN stretches those it was trained on (spec §2.3).
    pub context: Option<usize>,
    /// Optimiser steps.
    pub steps: usize,
    /// Tokens per row.
    pub seq_len: usize,
    /// Rows per forward pass.
    pub batch_size: usize,
    /// Forward passes per step; their gradients are averaged.
    #[serde(default = "one")]
    pub gradient_accumulation: usize,
    /// Keeps only the results of products for the backward pass and computes the rest again: less memory, more time.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// Share of each source in the rows; the sources' own weights when absent.
    pub mix: Option<BTreeMap<String, f64>>,
    /// Other shares from later steps on.
    #[serde(default)]
    pub phases: Vec<PhaseConfig>,
    /// Whether attention stays within a document where a row holds several. Selections are made within rows, so that sparse attention does not.
    /// On when absent, where attention is dense.
    pub within_documents: Option<bool>,
    /// What updates matrices.
    #[serde(default)]
    pub optimizer: Rule,
    /// Highest learning rate.
    pub lr: f64,
    /// Learning rate at the last step.
    #[serde(default)]
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
    #[serde(default = "one_f64")]
    pub max_grad_norm: f64,
    /// Weight of the indexer's divergence in the loss. Its inputs and target are detached, so that it trains the indexer alone.
    #[serde(default = "one_f64")]
    pub indexer_kl_weight: f64,
    /// By how much the bias of an expert moves after each step, towards equal loads (DeepSeek-V3, section 2.1.2).
    #[serde(default = "default_bias_update_speed")]
    pub bias_update_speed: f64,
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
    /// Held-out rows per source in each evaluation; none when 0.
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

fn one() -> usize {
    1
}
fn one_f64() -> f64 {
    1.0
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
fn default_bias_update_speed() -> f64 {
    crate::balance::BIAS_UPDATE_SPEED
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

impl StageConfig {
    /// Returns the learning-rate schedule.
    pub fn schedule(&self) -> Schedule {
        Schedule { lr: self.lr, min_lr: self.min_lr, warmup_steps: self.warmup_steps, steps: self.steps }
    }

    /// Rows of a step.
    pub fn rows_per_step(&self) -> usize {
        self.batch_size * self.gradient_accumulation
    }

    /// Checks the values; `table` is the table's path in the file, `source_names` are those that `mix` may have.
    pub(super) fn check(&self, table: &str, stage: Stage, source_names: &[&str]) -> Result<(), TrainError> {
        let key = |field: &str| format!("{table}.{field}");
        let counts = [
            ("steps", self.steps),
            ("seq_len", self.seq_len),
            ("batch_size", self.batch_size),
            ("gradient_accumulation", self.gradient_accumulation),
            ("loss_chunk_rows", self.loss_chunk_rows),
            ("log_interval", self.log_interval),
            ("keep_checkpoints", self.keep_checkpoints),
        ];
        if let Some((field, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(TrainError::config(&key(field), "at least 1", "0"));
        }
        for (field, value) in [("lr", self.lr), ("eps", self.eps), ("max_grad_norm", self.max_grad_norm)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(TrainError::config(&key(field), "a number above 0", value.to_string()));
            }
        }
        for (field, value) in [("weight_decay", self.weight_decay), ("indexer_kl_weight", self.indexer_kl_weight)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(TrainError::config(&key(field), "a number of at least 0", value.to_string()));
            }
        }
        if !(0.0..=self.lr).contains(&self.min_lr) {
            return Err(TrainError::config(&key("min_lr"), format!("0 to lr ({})", self.lr), self.min_lr.to_string()));
        }
        if self.warmup_steps >= self.steps {
            let expected = format!("fewer than steps ({})", self.steps);
            return Err(TrainError::config(&key("warmup_steps"), expected, self.warmup_steps.to_string()));
        }
        crate::balance::check_speed(&key("bias_update_speed"), self.bias_update_speed)?;
        if self.loss_scale < 1.0 || self.loss_scale.log2().fract() != 0.0 {
            let found = self.loss_scale.to_string();
            return Err(TrainError::config(&key("loss_scale"), "a power of two of at least 1", found));
        }
        if let Some(beta) = self.betas.iter().find(|beta| !(0.0..1.0).contains(*beta)) {
            return Err(TrainError::config(&key("betas"), "two numbers from 0 to below 1", beta.to_string()));
        }
        if self.within_documents == Some(true) && stage.objective() == Objective::Both {
            let expected = "false, because a selection may take tokens of another document in the row";
            return Err(TrainError::config(&key("within_documents"), expected, "true"));
        }
        self.check_mixes(table, source_names)
    }

    fn check_mixes(&self, table: &str, source_names: &[&str]) -> Result<(), TrainError> {
        if let Some(mix) = &self.mix {
            check_mix(&format!("{table}.mix"), mix, source_names)?;
        }
        let mut first = 1;
        for (phase_idx, phase) in self.phases.iter().enumerate() {
            let key = format!("{table}.phases.{phase_idx}");
            if phase.from_step < first {
                let expected = format!("at least {first}: phases are listed in their order");
                return Err(TrainError::config(&format!("{key}.from_step"), expected, phase.from_step.to_string()));
            }
            first = phase.from_step + 1;
            check_mix(&format!("{key}.mix"), &phase.mix, source_names)?;
        }
        Ok(())
    }
}

pub(super) fn check_mix(key: &str, mix: &BTreeMap<String, f64>, source_names: &[&str]) -> Result<(), TrainError> {
    for (name, weight) in mix {
        let key = format!("{key}.{name}");
        if !source_names.contains(&name.as_str()) {
            return Err(TrainError::config(&key, format!("one of {}", source_names.join(", ")), name.as_str()));
        }
        if !(weight.is_finite() && *weight >= 0.0) {
            return Err(TrainError::config(&key, "a number of at least 0", weight.to_string()));
        }
    }
    Ok(())
}
