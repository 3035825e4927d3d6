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
use super::episode::{Episode, Speaker, play_seeded, seed_of};
use super::mix::{Asked, Mix, setting};
use super::rollout::{EngineRoller, Roller, Sampling};
use crate::TrainError;
use crate::hash::{fnv1a, mix};

/// Prompts of a part. Where many replies are drawn at a time, several parts are asked together, which is what is done again at most when a collection
/// was cut short.
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
            let part = part_path(&folder, part_idx);
            if !part.exists() {
                let n_parts = n_parts(&collected, wanted, roller.wants());
                let parts = part_idx..most_prompts.div_ceil(PART_PROMPTS).min(part_idx + n_parts);
                let missing: Vec<usize> = parts.filter(|&part_idx| !part_path(&folder, part_idx).exists()).collect();
                for (part_idx, kept) in missing.iter().zip(self.parts(&missing, most_prompts, roller)?) {
                    write_atomic(part_path(&folder, *part_idx), text(&kept).as_bytes())?;
                }
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

    /// Asks the prompts of parts together, those without a right reply up to `tries` times. Returns the conversations of each part.
    ///
    /// What a part says does not depend on those beside it.
    fn parts(&self, parts: &[usize], most_prompts: usize, roller: &mut dyn Roller) -> Result<Vec<Vec<String>>, TrainError> {
        let DistillConfig { temperature, top_p, max_tokens, tries, .. } = *self.config;
        let sampling = Sampling { temperature, top_p, top_k: 0, max_tokens, record_draws: false, record_experts: false };
        let mut parts = parts.iter().map(|&part_idx| self.part(part_idx, most_prompts)).collect::<Result<Vec<Part>, _>>()?;
        for try_idx in 0..tries {
            let open: Vec<Vec<usize>> = parts.iter().map(Part::open).collect();
            let mut seeded = Vec::new();
            for (part, open) in parts.iter().zip(&open) {
                let seed = mix(self.seed ^ mix(((part.idx as u64) << 16) ^ try_idx as u64));
                seeded.extend(open.iter().enumerate().map(|(n, &at)| (&part.asked[at], seed_of(seed, n, 0))));
            }
            let mut episodes = play_seeded(roller, &self.speaker, &seeded, &sampling)?.into_iter();
            for (part, open) in parts.iter_mut().zip(open) {
                for (at, episode) in open.into_iter().zip(&mut episodes) {
                    part.kept[at] = is_example(&part.asked[at], &episode).then(|| line(&part.asked[at], &episode));
                }
            }
        }
        Ok(parts.into_iter().map(|part| part.kept.into_iter().flatten().collect()).collect())
    }

    fn part(&self, idx: usize, most_prompts: usize) -> Result<Part, TrainError> {
        let tasks = idx * PART_PROMPTS..most_prompts.min((idx + 1) * PART_PROMPTS);
        let asked: Vec<Asked> = tasks.map(|task_idx| self.mix.task(task_idx as u64, &self.setting)).collect::<Result<_, _>>()?;
        Ok(Part { idx, kept: vec![None; asked.len()], asked })
    }
}

/// Prompts with what is kept of the replies to them.
struct Part {
    idx: usize,
    asked: Vec<Asked>,
    kept: Vec<Option<String>>,
}

impl Part {
    /// The places of prompts without a right reply.
    fn open(&self) -> Vec<usize> {
        (0..self.asked.len()).filter(|&at| self.kept[at].is_none()).collect()
    }
}

fn part_path(folder: &Path, part_idx: usize) -> PathBuf {
    folder.join(format!("part-{part_idx:06}.jsonl"))
}

/// Parts to ask together: enough for a roller that wants so many prompts, and no more than are needed if replies go on to be as good as they were.
fn n_parts(collected: &Collected, wanted: usize, prompts_together: usize) -> usize {
    let Collected { n_conversations, n_prompts, .. } = *collected;
    let missing = wanted - n_conversations;
    let needed = if n_prompts == 0 { missing } else { missing.saturating_mul(n_prompts) / n_conversations.max(1) };
    prompts_together.min(needed).div_ceil(PART_PROMPTS).max(1)
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
