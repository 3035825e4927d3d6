//! What specialists can say, as conversations for one model to learn from.
//!
//! A specialist replies to tasks of its own domain, in thinking and in direct mode; only right replies in the right form are kept (rejection sampling).
//! A file has one conversation a line: `{"messages": […], "tools": […], "thinking": true}`, with `tools` where there are some.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sferic_engine::{Engine, EngineOptions};
use sferic_tasks::Mode;
use sferic_text::Message;
use sferic_weights::write_atomic;

use super::config::{DistillConfig, SpecialistConfig};
use super::episode::{Episode, Speaker, play};
use super::mix::{Asked, Mix, setting};
use super::rollout::{EngineRoller, Roller, Sampling};
use crate::TrainError;
use crate::hash::{fnv1a, mix};

/// Prompts of a part: what is done again at most when a collection was cut short.
const PART_PROMPTS: usize = 64;

/// What was collected of one specialist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The specialist's name.
    pub name: String,
    /// Conversations that were kept.
    pub n_conversations: usize,
    /// Prompts that were asked.
    pub n_prompts: usize,
    /// The file.
    pub path: PathBuf,
}

/// Collects conversations of a specialist whose model lies in `model`; writes `NAME.jsonl` into `output`.
///
/// Parts are kept in `output/NAME/` until the file is whole, so that a collection that was cut short goes on where it was.
///
/// # Errors
/// [`TrainError::Engine`] when the model cannot be loaded or fails, [`TrainError::PromptTooLong`], and [`TrainError::Io`].
pub fn distill(
    specialist: &SpecialistConfig,
    config: &DistillConfig,
    (seed, model, output): (u64, &Path, &Path),
    engine: &EngineOptions,
    progress: &mut dyn FnMut(&Collected),
) -> Result<Collected, TrainError> {
    config.check()?;
    let engine = pollster::block_on(Engine::open(model, engine.clone()))?;
    let speaker = Speaker::new(&engine)?;
    let seed = mix(seed ^ fnv1a(specialist.name.as_bytes()));
    let collector = Collector {
        mix: Mix::new(&specialist.grpo, seed)?.with_thinking(config.thinking),
        setting: setting(&specialist.grpo, speaker.tokenizer())?,
        speaker,
        config,
        seed,
    };
    collector.collect(&specialist.name, output, &mut EngineRoller(engine), progress)
}

struct Collector<'a> {
    mix: Mix,
    setting: sferic_tasks::Setting,
    speaker: Speaker,
    config: &'a DistillConfig,
    seed: u64,
}

impl Collector<'_> {
    fn collect(
        &self,
        name: &str,
        output: &Path,
        roller: &mut dyn Roller,
        progress: &mut dyn FnMut(&Collected),
    ) -> Result<Collected, TrainError> {
        let (folder, path) = (output.join(name), output.join(format!("{name}.jsonl")));
        std::fs::create_dir_all(&folder).map_err(TrainError::io("create the folder of conversations", &folder))?;
        let wanted = self.config.n_conversations;
        let most_prompts = wanted.saturating_mul(self.config.prompts_per_conversation);
        let mut collected = Collected { name: name.to_owned(), n_conversations: 0, n_prompts: 0, path: path.clone() };
        let mut lines: Vec<String> = Vec::new();
        for part_idx in 0.. {
            let n_prompts = PART_PROMPTS.min(most_prompts - collected.n_prompts);
            if lines.len() >= wanted || n_prompts == 0 {
                break;
            }
            let part = folder.join(format!("part-{part_idx:06}.jsonl"));
            if !part.exists() {
                let kept = self.part(part_idx, n_prompts, roller)?;
                write_atomic(&part, text(&kept).as_bytes())?;
            }
            let read = std::fs::read_to_string(&part).map_err(TrainError::io("read conversations", &part))?;
            lines.extend(read.lines().map(str::to_owned));
            lines.truncate(wanted);
            (collected.n_conversations, collected.n_prompts) = (lines.len(), collected.n_prompts + n_prompts);
            progress(&collected);
        }
        write_atomic(&path, text(&lines).as_bytes())?;
        std::fs::remove_dir_all(&folder).map_err(TrainError::io("remove the parts of", &folder))?;
        Ok(collected)
    }

    /// Asks the prompts of a part, those without a right reply up to `tries` times.
    fn part(&self, part_idx: usize, n_prompts: usize, roller: &mut dyn Roller) -> Result<Vec<String>, TrainError> {
        let first = part_idx * PART_PROMPTS;
        let tasks = first as u64..(first + n_prompts) as u64;
        let asked: Vec<Asked> = tasks.map(|task_idx| self.mix.task(task_idx, &self.setting)).collect::<Result<_, _>>()?;
        let DistillConfig { temperature, top_p, max_tokens, tries, .. } = *self.config;
        let sampling = Sampling { temperature, top_p, top_k: 0, max_tokens, record_draws: false, record_experts: false };
        let mut kept: Vec<Option<String>> = vec![None; asked.len()];
        for try_idx in 0..tries {
            let open: Vec<usize> = (0..asked.len()).filter(|&at| kept[at].is_none()).collect();
            let again: Vec<Asked> = open.iter().map(|&at| asked[at].clone()).collect();
            let seed = mix(self.seed ^ mix(((part_idx as u64) << 16) ^ try_idx as u64));
            for (at, episode) in open.into_iter().zip(play(roller, &self.speaker, &again, 1, &sampling, seed)?) {
                kept[at] = is_example(&asked[at], &episode).then(|| line(&asked[at], &episode));
            }
        }
        Ok(kept.into_iter().flatten().collect())
    }
}

/// Whether an episode is one to learn from: right, in form, and with thoughts in every turn where they are asked for and nowhere else.
fn is_example(asked: &Asked, episode: &Episode) -> bool {
    let turns = episode.messages.iter().skip(asked.task.prompt().len());
    let thinks = |message: &Message| message.reasoning_content.as_deref().is_some_and(|thought| !thought.trim().is_empty());
    let mut turns = turns.filter(|message| message.role == sferic_text::Role::Assistant);
    let in_mode = turns.all(|turn| thinks(turn) == (asked.mode == Mode::Thinking));
    episode.ended && episode.outcome.correct && episode.outcome.in_form && in_mode
}

fn line(asked: &Asked, episode: &Episode) -> String {
    let mut keys = Map::new();
    keys.insert("messages".to_owned(), json!(episode.messages));
    if !asked.task.tools.is_empty() {
        keys.insert("tools".to_owned(), json!(asked.task.tools));
    }
    keys.insert("thinking".to_owned(), json!(asked.mode == Mode::Thinking));
    Value::Object(keys).to_string()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
#[path = "distill_tests.rs"]
mod tests;
