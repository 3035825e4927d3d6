//! The steps of a run in their order, and where each finds and leaves its model.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::stage::check_mix;
use super::{DistillTable, RunConfig, Stage};
use crate::TrainError;
use crate::chat_data::ChatConfig;
use crate::corpus::SourceConfig;
use crate::export::is_exported;
use crate::rl::SpecialistConfig;

/// A step of a run after the data is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A stage that trains on data.
    Stage(Stage),
    /// Reinforcement learning of a model for each domain.
    Specialists,
    /// Conversations of the specialists.
    Collect,
    /// Reinforcement learning on all domains.
    Grpo,
    /// Evaluation of the models.
    Eval,
}

impl From<Stage> for Step {
    fn from(stage: Stage) -> Self {
        Self::Stage(stage)
    }
}

impl Step {
    /// The step's name, which is that of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stage(stage) => stage.name(),
            Self::Specialists => "specialists",
            Self::Collect => "collect",
            Self::Grpo => "grpo",
            Self::Eval => "eval",
        }
    }
}

impl RunConfig {
    /// Returns the steps that the file has, in their order.
    pub fn steps(&self) -> Vec<Step> {
        let stages = self.stages();
        let mut steps: Vec<Step> =
            stages.iter().filter(|stage| **stage != Stage::Distill).map(|stage| Step::Stage(*stage)).collect();
        if !self.specialists.is_empty() {
            steps.push(Step::Specialists);
        }
        if self.distill.is_some() {
            steps.extend([Step::Collect, Step::Stage(Stage::Distill)]);
        }
        if self.grpo.is_some() {
            steps.push(Step::Grpo);
        }
        if self.eval.is_some() {
            steps.push(Step::Eval);
        }
        steps
    }

    /// Whether a step has left what the next one needs. An evaluation never counts as finished: it sees by itself what is left to measure.
    pub fn is_done(&self, step: Step) -> bool {
        let folder = self.folder(step);
        match step {
            Step::Stage(stage) => self.is_finished(stage),
            Step::Grpo => is_exported(&folder.join("model")),
            Step::Specialists => {
                let is_done = |name: &str| is_exported(&folder.join(name).join("model"));
                self.specialists.iter().all(|specialist| is_done(&specialist.name))
            }
            Step::Collect => self.specialists.iter().all(|specialist| folder.join(format!("{}.jsonl", specialist.name)).exists()),
            Step::Eval => false,
        }
    }

    /// Returns the folder of the model that reinforcement learning starts from: the one before the specialists for them, the newest for `grpo`.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] where that model has not been made.
    pub fn start_of(&self, step: Step) -> Result<PathBuf, TrainError> {
        let stages = self.stages();
        let last = stages.into_iter().rfind(|stage| step == Step::Grpo || *stage != Stage::Distill);
        let (folder, what) = match (last, &self.init_from) {
            (Some(stage), _) if self.is_finished(stage) => return Ok(self.folder(stage).join("model")),
            (Some(stage), _) => {
                (self.folder(stage), format!("the finished stage `{0}`; run `sferic train {0}` first", stage.name()))
            }
            (None, Some(folder)) => return Ok(folder.clone()),
            (None, None) => (self.output.clone(), "an earlier stage, or `init_from`".to_owned()),
        };
        Err(TrainError::config(step.name(), what, format!("no model in {}", folder.display())))
    }

    /// Returns the run of one stage, `sft`, that a specialist begins with, in a folder of the specialist's; nothing where it has no such stage.
    ///
    /// # Errors
    /// As [`start_of`](Self::start_of).
    pub fn cold_start(&self, specialist: &SpecialistConfig) -> Result<Option<Self>, TrainError> {
        let (Some(sft), Some(chats)) = (&specialist.sft, &self.chats) else { return Ok(None) };
        let start = self.start_of(Step::Specialists)?;
        let output = self.folder(Step::Specialists).join(&specialist.name);
        let chats =
            ChatConfig { folder: output.join("chats"), sources: mixed(&chats.sources, sft.mix.as_ref()), ..chats.clone() };
        Ok(Some(Self {
            output,
            model: start.join("config.json"),
            init_from: Some(start),
            pretrain: None,
            extend: None,
            warmup: None,
            sparse: None,
            chats: Some(chats),
            sft: Some(sft.clone()),
            specialists: Vec::new(),
            distill: None,
            grpo: None,
            eval: None,
            ..self.clone()
        }))
    }

    /// Returns every model that the run has made, by name.
    pub fn models(&self) -> Vec<(String, PathBuf)> {
        let mut models = Vec::new();
        for step in self.steps() {
            let folder = self.folder(step);
            match step {
                Step::Specialists => {
                    let named = self.specialists.iter().flat_map(|one| {
                        let folder = folder.join(&one.name);
                        [(format!("{}-sft", one.name), folder.join("sft/model")), (one.name.clone(), folder.join("model"))]
                    });
                    models.extend(named.filter(|(_, model)| is_exported(model)));
                }
                Step::Stage(_) | Step::Grpo if self.is_done(step) => models.push((step.name().to_owned(), folder.join("model"))),
                Step::Stage(_) | Step::Grpo | Step::Collect | Step::Eval => {}
            }
        }
        models
    }

    /// Returns the conversations of a stage: those of the file, or in `distill` those of the specialists beside them.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] where there are none.
    pub(crate) fn chats_of(&self, stage: Stage) -> Result<ChatConfig, TrainError> {
        let missing =
            || TrainError::config("chats", format!("a table with the conversations of the stage `{}`", stage.name()), "none");
        let Some(distill) = self.distill.as_ref().filter(|_| stage == Stage::Distill) else {
            return self.chats.clone().ok_or_else(missing);
        };
        let folder = self.folder(Step::Collect);
        let mut files = Vec::new();
        for specialist in &self.specialists {
            let path = folder.join(format!("{}.jsonl", specialist.name));
            // The path is absolute, or relative to where the program runs, as the others are by now.
            let path = std::path::absolute(&path).map_err(TrainError::io("find the conversations", &path))?;
            let Ok(file) = std::fs::metadata(&path) else {
                let expected =
                    format!("the conversations of the specialist `{}`; run `sferic train collect` first", specialist.name);
                return Err(TrainError::config("distill", expected, format!("no {}", path.display())));
            };
            // A specialist that was never right has nothing to teach.
            if file.len() > 0 {
                files.push((&specialist.name, path));
            }
        }
        if files.is_empty() {
            let expected = "a specialist with a right reply; ask easier tasks in `specialists`, or train `sft` for longer";
            return Err(TrainError::config("distill", expected, format!("no conversation in {}", folder.display())));
        }
        let weight = (1.0 - distill.chats_share) / files.len() as f64;
        let mut sources = Vec::new();
        for (name, path) in files {
            let source = json!({ "name": format!("specialist-{name}"), "path": path, "format": "chats", "weight": weight });
            let source: SourceConfig = serde_json::from_value(source)
                .map_err(|error| TrainError::config("distill", "conversations", error.to_string()))?;
            sources.push(source);
        }
        let mut chats = ChatConfig { folder, packed_len: self.chats.as_ref().map_or(1024, |chats| chats.packed_len), sources };
        if let Some(others) = &self.chats {
            let others = mixed(&others.sources, distill.chats_mix.as_ref());
            let total: f64 = others.iter().map(|source| source.weight).sum();
            let weighed = |source: SourceConfig| SourceConfig { weight: source.weight / total * distill.chats_share, ..source };
            chats.sources.extend(others.into_iter().filter(|source| source.weight > 0.0).map(weighed));
        }
        Ok(chats)
    }

    /// Returns the specialist whose model a stage starts from, if there is one.
    pub(crate) fn specialist_before(&self, stage: Stage) -> Option<&str> {
        self.distill.as_ref().filter(|_| stage == Stage::Distill)?.from.as_deref()
    }

    fn check_cold_start(&self, specialist: &SpecialistConfig) -> Result<(), TrainError> {
        let Some(sft) = &specialist.sft else { return Ok(()) };
        let table = format!("specialists.{}.sft", specialist.name);
        let Some(chats) = &self.chats else {
            return Err(TrainError::config("chats", format!("a table with the conversations of `{table}`"), "none"));
        };
        sft.check(&table, Stage::Sft, &chats.names())?;
        check_some(&format!("{table}.mix"), sft.mix.as_ref())?;
        if !sft.phases.is_empty() || sft.context.is_some() || sft.from.is_some() {
            let expected = "a stage without `phases`, `context` and `from`: it starts where all specialists do, and its shares hold throughout";
            return Err(TrainError::config(&table, expected, "one of them"));
        }
        Ok(())
    }

    fn check_distilled(&self, distill: &DistillTable) -> Result<(), TrainError> {
        if let Some(from) = &distill.from {
            let names: Vec<&str> = self.specialists.iter().map(|specialist| specialist.name.as_str()).collect();
            if !names.contains(&from.as_str()) {
                return Err(TrainError::config("distill.from", format!("a specialist: {}", names.join(", ")), from.as_str()));
            }
            if distill.train.from.is_some() {
                return Err(TrainError::config("distill.train.from", "nothing beside `distill.from`", "a stage"));
            }
        }
        let Some(mix) = &distill.chats_mix else { return Ok(()) };
        let names = self.chats.as_ref().map_or_else(Vec::new, ChatConfig::names);
        check_mix("distill.chats_mix", mix, &names)?;
        check_some("distill.chats_mix", Some(mix))
    }

    pub(super) fn check_steps(&self) -> Result<(), TrainError> {
        for (one_idx, specialist) in self.specialists.iter().enumerate() {
            specialist.check()?;
            self.check_cold_start(specialist)?;
            if self.specialists[..one_idx].iter().any(|other| other.name == specialist.name) {
                return Err(TrainError::config("specialists.name", "a name that no other specialist has", &*specialist.name));
            }
        }
        if let Some(distill) = &self.distill {
            distill.collect.check()?;
            if self.specialists.is_empty() {
                return Err(TrainError::config("distill", "specialists to learn from, [[specialists]]", "none"));
            }
            if !(0.0..1.0).contains(&distill.chats_share) {
                let found = distill.chats_share.to_string();
                return Err(TrainError::config("distill.chats_share", "0 to below 1", found));
            }
            self.check_distilled(distill)?;
        }
        if let Some(grpo) = &self.grpo {
            grpo.check("grpo")?;
        }
        self.eval.as_ref().map_or(Ok(()), crate::eval::EvalConfig::check)
    }
}

/// Returns the sources with the shares of a mix, in which what is not named has none.
fn mixed(sources: &[SourceConfig], mix: Option<&BTreeMap<String, f64>>) -> Vec<SourceConfig> {
    let weight = |source: &SourceConfig| mix.map_or(source.weight, |mix| mix.get(&source.name).copied().unwrap_or(0.0));
    sources.iter().map(|source| SourceConfig { weight: weight(source), ..source.clone() }).collect()
}

fn check_some(key: &str, mix: Option<&BTreeMap<String, f64>>) -> Result<(), TrainError> {
    if mix.is_some_and(|mix| mix.values().all(|share| *share == 0.0)) {
        return Err(TrainError::config(key, "a source with a share above 0", "none"));
    }
    Ok(())
}
