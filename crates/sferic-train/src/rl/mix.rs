//! Which tasks a step asks: a pure function of seed and step, so that a resumed run asks the same.

use sferic_tasks::{Cell, Generator, Mode, PlainFiller, Setting, Split, Task, TextFiller};
use sferic_text::Tokenizer;

use super::config::{GrpoConfig, TaskShare};
use crate::TrainError;
use crate::hash::mix;

/// Draws for one task before the share is said to have none.
const MOST_TRIES: u64 = 32;

/// A task and how it is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The task.
    pub task: Task,
    /// Whether a thought is asked for.
    pub mode: Mode,
    /// Weight of the divergence from the reference for its replies.
    pub kl_weight: f64,
}

/// Shares of tasks that can be drawn from.
#[derive(Debug, Clone)]
pub struct Mix {
    shares: Vec<Share>,
    seed: u64,
}

#[derive(Debug, Clone)]
struct Share {
    cells: Vec<Cell>,
    /// Sum of the weights up to and with this one, from 0 to 1.
    upto: f64,
    thinking: f64,
    kl_weight: f64,
}

impl Mix {
    /// Takes the shares of a run, for draws of the seed.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] for a share without a task or shares without a weight, [`TrainError::Tasks`] for an unknown generator.
    pub fn new(config: &GrpoConfig, seed: u64) -> Result<Self, TrainError> {
        let everything = [TaskShare {
            domain: None,
            generators: Vec::new(),
            levels: Vec::new(),
            weight: 1.0,
            kl_weight: None,
            thinking: None,
        }];
        let listed = if config.tasks.is_empty() { &everything[..] } else { &config.tasks };
        let total: f64 = listed.iter().map(|share| share.weight).sum();
        if total <= 0.0 {
            return Err(TrainError::config("tasks.weight", "a share with a weight above 0", "none"));
        }
        let mut shares: Vec<Share> = Vec::new();
        for share in listed {
            let before = shares.last().map_or(0.0, |share| share.upto);
            shares.push(Share {
                cells: cells(share)?,
                upto: before + share.weight / total,
                thinking: share.thinking.unwrap_or(config.thinking),
                kl_weight: share.kl_weight.unwrap_or(config.kl_weight),
            });
        }
        Ok(Self { shares, seed })
    }

    /// The same shares with another share of thoughts.
    #[must_use]
    pub fn with_thinking(mut self, thinking: f64) -> Self {
        self.shares.iter_mut().for_each(|share| share.thinking = thinking);
        self
    }

    /// Draws task `task_idx` of the training problems.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] when no draw gives a task.
    pub fn task(&self, task_idx: u64, setting: &Setting) -> Result<Asked, TrainError> {
        for try_idx in 0..MOST_TRIES {
            let key = mix(self.seed ^ mix(task_idx ^ mix(try_idx)));
            let place = unit(key);
            let Some(share) = self.shares.iter().find(|share| place < share.upto).or(self.shares.last()) else { break };
            let cell_idx = (unit(mix(key ^ 1)) * share.cells.len() as f64) as usize;
            let Some(cell) = share.cells.get(cell_idx) else { continue };
            let Some(task) = cell.generator.task_in(Split::Train, cell.level, mix(key ^ 2), setting)? else { continue };
            let mode = if unit(mix(key ^ 3)) < share.thinking { Mode::Thinking } else { Mode::Direct };
            return Ok(Asked { task, mode, kl_weight: share.kl_weight });
        }
        Err(TrainError::config("tasks", "shares with tasks for training", "none"))
    }
}

/// Returns what generators of documents are given: lengths in tokens, and the filler of the configuration.
///
/// # Errors
/// [`TrainError::Io`] when the filler cannot be read.
pub fn setting(config: &GrpoConfig, tokenizer: &Tokenizer) -> Result<Setting, TrainError> {
    let tokenizer = tokenizer.clone();
    // A text that cannot be encoded is refused with its prompt.
    let measure = move |text: &str| tokenizer.encode(text, false).map_or(0, |ids| ids.len());
    match &config.filler {
        None => Ok(Setting::measured(PlainFiller, config.document_tokens, measure)),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(TrainError::io("read the filler of documents", path))?;
            Ok(Setting::measured(TextFiller::new([text.as_str()]), config.document_tokens, measure))
        }
    }
}

fn cells(share: &TaskShare) -> Result<Vec<Cell>, TrainError> {
    for name in &share.generators {
        Generator::named(name)?;
    }
    let is_meant = |cell: &Cell| {
        let generator = &cell.generator;
        let is_named = share.generators.is_empty() || share.generators.iter().any(|name| name == generator.name);
        is_named
            && share.domain.is_none_or(|domain| domain == generator.domain)
            && (share.levels.is_empty() || share.levels.contains(&cell.level))
    };
    let cells: Vec<Cell> = Cell::all().into_iter().filter(is_meant).collect();
    if cells.is_empty() {
        let found = format!("domain {:?}, generators {:?}, levels {:?}", share.domain, share.generators, share.levels);
        return Err(TrainError::config("tasks", "a share that some generator and level belong to", found));
    }
    Ok(cells)
}

/// 53 bits as a number from 0 to below 1.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sferic_tasks::Domain;

    use super::*;

    fn config(tasks: &str) -> GrpoConfig {
        toml::from_str(&format!("steps = 1\nlr = 1.0\n{tasks}")).unwrap()
    }

    #[test]
    fn tasks_follow_the_shares_and_the_seed() {
        let text = "thinking = 0.25\n[[tasks]]\ndomain = \"math\"\nlevels = [1]\nweight = 3.0\nthinking = 1.0\n\
                    [[tasks]]\ngenerators = [\"polite\"]\nkl_weight = 0.5";
        let (config, setting) = (config(text), Setting::default());
        let mix = Mix::new(&config, 7).unwrap();
        let asked: Vec<Asked> = (0..400).map(|task_idx| mix.task(task_idx, &setting).unwrap()).collect();
        let of = |holds: &dyn Fn(&Asked) -> bool| asked.iter().filter(|asked| holds(asked)).count();
        let n_math = of(&|asked| asked.task.domain == Domain::Math);
        // 300 expected of 400, standard deviation 8.7; five of them either way.
        assert!((257..=343).contains(&n_math), "{n_math}");
        assert_eq!(of(&|asked| asked.task.name == "polite" && asked.kl_weight == 0.5), 400 - n_math);
        assert!(asked.iter().all(|asked| Split::of(&asked.task) == Split::Train));
        assert!(
            asked
                .iter()
                .all(|asked| asked.task.domain != Domain::Math || (asked.task.level == 1 && asked.mode == Mode::Thinking))
        );
        let n_direct = of(&|asked| asked.mode == Mode::Direct);
        assert!(n_direct > 0 && n_direct < 400 - n_math);
        assert_eq!(mix.task(17, &setting).unwrap(), asked[17], "a task does not depend on those before it");
        assert_ne!(Mix::new(&config, 8).unwrap().task(17, &setting).unwrap(), asked[17]);
        assert!(mix.with_thinking(0.0).task(17, &setting).unwrap().mode == Mode::Direct);
    }

    #[test]
    fn shares_without_tasks_are_refused() {
        for (text, name) in [
            ("[[tasks]]\ngenerators = [\"juggling\"]", "juggling"),
            ("[[tasks]]\ndomain = \"math\"\nlevels = [99]", "99"),
            ("[[tasks]]\nweight = 0.0", "tasks.weight"),
        ] {
            let error = Mix::new(&config(text), 1).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
