//! Settings of reinforcement learning and of the specialists' data.

use std::path::PathBuf;

use serde::Deserialize;
use sferic_tasks::{Domain, LengthPenalty, RewardRules};

use super::grpo::Objective;
use crate::TrainError;
use crate::config::StageConfig;
use crate::schedule::Schedule;

/// One run of reinforcement learning.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpoConfig {
    /// What is asked; every level of every generator alike where nothing is listed.
    #[serde(default)]
    pub tasks: Vec<TaskShare>,
    /// Batches of replies; each is learned from in `passes · updates` optimiser steps.
    pub steps: usize,
    /// Prompts of a batch.
    #[serde(default = "default_prompts_per_step")]
    pub prompts_per_step: usize,
    /// Replies to each prompt, `G`.
    #[serde(default = "default_group_size")]
    pub group_size: usize,
    /// How often a batch is gone through.
    #[serde(default = "one")]
    pub passes: usize,
    /// Optimiser steps of a pass; each sees as many replies, of whole groups or not.
    #[serde(default = "default_updates")]
    pub updates: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Learning rate at the last step; `lr` where it is absent.
    pub min_lr: Option<f64>,
    /// Steps of linear warm-up.
    #[serde(default)]
    pub warmup_steps: usize,
    /// Decoupled weight decay of matrices.
    #[serde(default)]
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
    /// How far below and above 1 the ratio of probabilities may count, `ε`.
    #[serde(default = "default_clip")]
    pub clip: [f64; 2],
    /// Weight of the divergence from the model that the run starts from, `β`; a share of the tasks may have its own.
    #[serde(default = "default_kl_weight")]
    pub kl_weight: f64,
    /// First stabiliser: weighs the divergence by the ratio of probabilities, which makes its estimate unbiased.
    #[serde(default = "yes")]
    pub unbiased_kl: bool,
    /// Second stabiliser: leaves out bad replies that have become less likely by so many nats per token; 0 keeps all.
    #[serde(default = "default_off_policy_threshold")]
    pub off_policy_threshold: f64,
    /// Third stabiliser: sends a token in training to the experts that it went to when it was drawn.
    #[serde(default = "yes")]
    pub keep_routing: bool,
    /// Fourth stabiliser: cuts the distribution in training as top-p and top-k cut it when the token was drawn.
    #[serde(default = "yes")]
    pub keep_sampling_mask: bool,
    /// Weight of the indexer's divergence, which keeps it in step with the attention that changes.
    #[serde(default = "default_indexer_kl_weight")]
    pub indexer_kl_weight: f64,
    /// Temperature of the draws.
    #[serde(default = "default_temperature")]
    pub temperature: f64,
    /// Mass of the likeliest tokens that are drawn from; 1 draws from all.
    #[serde(default = "default_top_p")]
    pub top_p: f64,
    /// Number of the likeliest tokens that are drawn from; 0 draws from all.
    #[serde(default)]
    pub top_k: usize,
    /// Most tokens of a turn.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
    /// Share of the prompts that ask for a thought first.
    #[serde(default = "default_thinking")]
    pub thinking: f64,
    /// Tokens of the longest document in a prompt.
    #[serde(default = "default_document_tokens")]
    pub document_tokens: usize,
    /// A text file that documents are filled with; simple sentences where it is absent.
    pub filler: Option<PathBuf>,
    /// What a reply is worth by rule.
    #[serde(default)]
    pub reward: RewardConfig,
    /// A model that scores replies.
    pub judge: Option<JudgeConfig>,
    /// Most tokens of a forward pass, padding included.
    #[serde(default = "default_batch_tokens")]
    pub batch_tokens: usize,
    /// Factor on gradients where products round to f16, a power of two; it is halved when they overflow. Elsewhere there is none.
    #[serde(default = "default_loss_scale")]
    pub loss_scale: f64,
    /// Steps between two checkpoints; only at the end when 0.
    #[serde(default)]
    pub checkpoint_interval: usize,
    /// Newest checkpoints to keep.
    #[serde(default = "default_keep_checkpoints")]
    pub keep_checkpoints: usize,
    /// Steps between two rounds of samples; none when 0.
    #[serde(default = "default_sample_interval")]
    pub sample_interval: usize,
}

/// A share of the prompts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskShare {
    /// Every generator of this domain; all domains where it is absent and no generator is named.
    pub domain: Option<Domain>,
    /// These generators alone.
    #[serde(default)]
    pub generators: Vec<String>,
    /// These levels alone.
    #[serde(default)]
    pub levels: Vec<u8>,
    /// How often, compared with the others.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// Weight of the divergence here.
    pub kl_weight: Option<f64>,
    /// Share of prompts here that ask for a thought first.
    pub thinking: Option<f64>,
}

/// What a reply is worth by rule: 1 for a right answer, and what follows.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    /// What a reply in the wrong form loses.
    pub wrong_form: f64,
    /// What a reply gains that stays in the language of its prompt.
    pub language: f64,
    /// What the longest replies lose.
    pub length: f64,
    /// Tokens that cost nothing.
    pub free_tokens: usize,
    /// Tokens from which on the loss does not grow.
    pub full_tokens: usize,
}

/// A model that scores replies by a rubric.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeConfig {
    /// Its folder.
    pub model: PathBuf,
    /// What it is asked, with `{prompt}` and `{reply}` where those belong; it has to answer with a digit from 1 to 5.
    #[serde(default = "default_rubric")]
    pub rubric: String,
    /// What the best score is worth.
    pub weight: f64,
    /// Domains whose replies it scores; all where none is listed.
    #[serde(default)]
    pub domains: Vec<Domain>,
}

/// A model of one domain.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecialistConfig {
    /// Name of its folder.
    pub name: String,
    /// Conversations of its domain that it learns first, from the start that all specialists share: a cold start. `mix` has the shares of the
    /// sources in `[chats]`.
    pub sft: Option<StageConfig>,
    /// Its run.
    pub grpo: GrpoConfig,
}

/// How conversations of the specialists are collected.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// Conversations of each specialist.
    pub n_conversations: usize,
    /// Prompts at most, as a multiple of the conversations: hard tasks may have no right reply.
    #[serde(default = "default_prompts_per_conversation")]
    pub prompts_per_conversation: usize,
    /// Replies to a prompt at most; the first right one is kept.
    #[serde(default = "default_tries")]
    pub tries: usize,
    /// Share of the prompts that ask for a thought first.
    #[serde(default = "default_thinking")]
    pub thinking: f64,
    /// Temperature of the draws.
    #[serde(default = "default_distill_temperature")]
    pub temperature: f64,
    /// Mass of the likeliest tokens that are drawn from.
    #[serde(default = "default_distill_top_p")]
    pub top_p: f64,
    /// Most tokens of a turn.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self { wrong_form: 0.1, language: 0.1, length: 0.1, free_tokens: 128, full_tokens: 512 }
    }
}

impl RewardConfig {
    /// Returns the rules.
    pub fn rules(&self) -> RewardRules {
        let length = LengthPenalty { n_free: self.free_tokens, n_full: self.full_tokens, max: self.length };
        RewardRules { wrong_form: self.wrong_form, length, language: self.language }
    }
}

impl GrpoConfig {
    /// Returns the objective.
    pub fn objective(&self) -> Objective {
        let off_policy_threshold = Some(self.off_policy_threshold).filter(|threshold| *threshold > 0.0);
        Objective { clip: self.clip, unbiased_kl: self.unbiased_kl, off_policy_threshold }
    }

    /// Returns the schedule of the learning rate over batches of replies.
    pub fn schedule(&self) -> Schedule {
        let min_lr = self.min_lr.unwrap_or(self.lr);
        Schedule { lr: self.lr, min_lr, warmup_steps: self.warmup_steps, steps: self.steps }
    }

    /// Replies of a batch.
    pub fn replies_per_step(&self) -> usize {
        self.prompts_per_step * self.group_size
    }

    /// Checks every value; `section` is the table's name in the file.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] for the first one that is out of range.
    pub fn check(&self, section: &str) -> Result<(), TrainError> {
        let checks = Checks { section };
        checks.counts(&[
            ("steps", self.steps),
            ("prompts_per_step", self.prompts_per_step),
            ("passes", self.passes),
            ("updates", self.updates),
            ("max_tokens", self.max_tokens),
            ("document_tokens", self.document_tokens),
            ("batch_tokens", self.batch_tokens),
            ("keep_checkpoints", self.keep_checkpoints),
        ])?;
        checks.positive(&[
            ("lr", self.lr),
            ("eps", self.eps),
            ("max_grad_norm", self.max_grad_norm),
            ("temperature", self.temperature),
        ])?;
        checks.not_negative(&[
            ("weight_decay", self.weight_decay),
            ("kl_weight", self.kl_weight),
            ("off_policy_threshold", self.off_policy_threshold),
            ("indexer_kl_weight", self.indexer_kl_weight),
            ("reward.wrong_form", self.reward.wrong_form),
            ("reward.language", self.reward.language),
            ("reward.length", self.reward.length),
            ("clip", self.clip[0]),
            ("clip", self.clip[1]),
        ])?;
        checks.shares(&[("thinking", self.thinking)])?;
        checks.is(
            "group_size",
            self.group_size >= 2,
            "at least 2: a reply is compared with the others of its group",
            self.group_size,
        )?;
        checks.is("clip", self.clip[0] < 1.0, "a lower range below 1", self.clip[0])?;
        checks.is("top_p", self.top_p > 0.0 && self.top_p <= 1.0, "above 0 to 1", self.top_p)?;
        let min_lr = self.min_lr.unwrap_or(self.lr);
        checks.is("min_lr", (0.0..=self.lr).contains(&min_lr), "0 to lr", min_lr)?;
        checks.is("warmup_steps", self.warmup_steps < self.steps, "fewer than steps", self.warmup_steps)?;
        let is_power = self.loss_scale >= 1.0 && self.loss_scale.log2().fract() == 0.0;
        checks.is("loss_scale", is_power, "a power of two of at least 1", self.loss_scale)?;
        let most = self.replies_per_step();
        checks.is("updates", self.updates <= most, "at most prompts_per_step · group_size", self.updates)?;
        for beta in self.betas {
            checks.is("betas", (0.0..1.0).contains(&beta), "two numbers from 0 to below 1", beta)?;
        }
        for share in &self.tasks {
            share.check(&checks)?;
        }
        self.judge.as_ref().map_or(Ok(()), |judge| judge.check(&checks))
    }
}

impl TaskShare {
    fn check(&self, checks: &Checks<'_>) -> Result<(), TrainError> {
        checks.not_negative(&[("tasks.weight", self.weight), ("tasks.kl_weight", self.kl_weight.unwrap_or(0.0))])?;
        checks.shares(&[("tasks.thinking", self.thinking.unwrap_or(0.0))])
    }
}

impl JudgeConfig {
    fn check(&self, checks: &Checks<'_>) -> Result<(), TrainError> {
        checks.positive(&[("judge.weight", self.weight)])?;
        let has_places = self.rubric.contains("{prompt}") && self.rubric.contains("{reply}");
        checks.is("judge.rubric", has_places, "a text with {prompt} and {reply}", &self.rubric)
    }
}

impl SpecialistConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// As [`GrpoConfig::check`].
    pub fn check(&self) -> Result<(), TrainError> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        let is_name = !self.name.is_empty() && self.name.chars().all(is_plain);
        Checks { section: "specialists" }.is("name", is_name, "letters, digits, - and _", &self.name)?;
        self.grpo.check(&format!("specialists.{}.grpo", self.name))
    }
}

impl DistillConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// As [`GrpoConfig::check`].
    pub fn check(&self) -> Result<(), TrainError> {
        let checks = Checks { section: "distill" };
        checks.counts(&[
            ("n_conversations", self.n_conversations),
            ("prompts_per_conversation", self.prompts_per_conversation),
            ("tries", self.tries),
            ("max_tokens", self.max_tokens),
        ])?;
        checks.positive(&[("temperature", self.temperature)])?;
        checks.shares(&[("thinking", self.thinking)])?;
        checks.is("top_p", self.top_p > 0.0 && self.top_p <= 1.0, "above 0 to 1", self.top_p)
    }
}

/// Checks of one table of the file.
struct Checks<'a> {
    section: &'a str,
}

impl Checks<'_> {
    fn is(&self, key: &str, holds: bool, expected: &str, found: impl ToString) -> Result<(), TrainError> {
        if holds { Ok(()) } else { Err(TrainError::config(&format!("{}.{key}", self.section), expected, found.to_string())) }
    }

    fn counts(&self, counts: &[(&str, usize)]) -> Result<(), TrainError> {
        counts.iter().try_for_each(|(key, count)| self.is(key, *count > 0, "at least 1", count))
    }

    fn positive(&self, values: &[(&str, f64)]) -> Result<(), TrainError> {
        values.iter().try_for_each(|(key, value)| self.is(key, value.is_finite() && *value > 0.0, "a number above 0", value))
    }

    fn not_negative(&self, values: &[(&str, f64)]) -> Result<(), TrainError> {
        let holds = |value: f64| value.is_finite() && value >= 0.0;
        values.iter().try_for_each(|(key, value)| self.is(key, holds(*value), "a number of at least 0", value))
    }

    fn shares(&self, values: &[(&str, f64)]) -> Result<(), TrainError> {
        values.iter().try_for_each(|(key, value)| self.is(key, (0.0..=1.0).contains(value), "0 to 1", value))
    }
}

fn one() -> usize {
    1
}
fn yes() -> bool {
    true
}
fn default_prompts_per_step() -> usize {
    16
}
fn default_group_size() -> usize {
    8
}
fn default_updates() -> usize {
    2
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
fn default_clip() -> [f64; 2] {
    [0.2, 0.2]
}
fn default_kl_weight() -> f64 {
    1e-3
}
fn default_off_policy_threshold() -> f64 {
    0.5
}
fn default_indexer_kl_weight() -> f64 {
    1.0
}
fn default_temperature() -> f64 {
    1.0
}
fn default_top_p() -> f64 {
    1.0
}
fn default_max_tokens() -> usize {
    256
}
fn default_thinking() -> f64 {
    0.5
}
fn default_document_tokens() -> usize {
    1024
}
fn default_batch_tokens() -> usize {
    16_384
}
fn default_loss_scale() -> f64 {
    65_536.0
}
fn default_keep_checkpoints() -> usize {
    2
}
fn default_sample_interval() -> usize {
    20
}
fn default_weight() -> f64 {
    1.0
}
fn default_prompts_per_conversation() -> usize {
    4
}
fn default_tries() -> usize {
    4
}
fn default_distill_temperature() -> f64 {
    0.7
}
fn default_distill_top_p() -> f64 {
    0.95
}
fn default_rubric() -> String {
    "Here is a request and a reply to it.\n\nRequest:\n{prompt}\n\nReply:\n{reply}\n\n\
     How good is the reply: does it do what was asked, is it true, clear and friendly? \
     Answer with one digit from 1 (useless) to 5 (excellent)."
        .to_owned()
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
