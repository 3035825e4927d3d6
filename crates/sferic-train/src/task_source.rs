//! Conversations about verifiable tasks as documents of the corpus.

use serde::Deserialize;
use sferic_tasks::{Cell, Domain, Generator, Mode, PlainFiller, Sampler, Setting, Split, Task, TextFiller};

use crate::TrainError;
use crate::chat::Chat;
use crate::hash::{fnv1a, mix};

/// Which tasks are made, from `tasks` of a source.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskConfig {
    /// Conversations to make; fewer where the generators have no more different ones.
    pub n: usize,
    /// Seed of the problems.
    pub seed: u64,
    /// Domains; all when empty.
    pub domains: Vec<Domain>,
    /// Names of generators within the domains; all when empty.
    pub generators: Vec<String>,
    /// Levels of the generators; all when empty.
    pub levels: Vec<u8>,
    /// Longest document in characters.
    pub document_characters: usize,
    /// Share of the conversations without thoughts whose reply shows the steps to the answer, where the prompt does not ask for the answer alone.
    pub worked: f64,
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self {
            n: 10_000,
            seed: 0,
            domains: Vec::new(),
            generators: Vec::new(),
            levels: Vec::new(),
            document_characters: 2000,
            worked: 0.0,
        }
    }
}

impl TaskConfig {
    /// Checks the values; `key` is the table's path in the file.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] with the key.
    pub fn check(&self, key: &str) -> Result<(), TrainError> {
        for (name, value) in [("n", self.n), ("document_characters", self.document_characters)] {
            if value == 0 {
                return Err(TrainError::config(&format!("{key}.{name}"), "at least 1", "0"));
            }
        }
        if !(0.0..=1.0).contains(&self.worked) {
            return Err(TrainError::config(&format!("{key}.worked"), "0 to 1", self.worked.to_string()));
        }
        if let Some(name) = self.generators.iter().find(|name| Generator::named(name).is_err()) {
            let known: Vec<&str> = Generator::all().iter().map(|generator| generator.name).collect();
            return Err(TrainError::config(&format!("{key}.generators"), known.join(", "), name.as_str()));
        }
        if self.cells().is_empty() {
            return Err(TrainError::config(
                &format!("{key}.generators"),
                "generators of the domains, and levels that they have",
                "none",
            ));
        }
        Ok(())
    }

    /// Returns the levels of the generators that tasks are drawn from.
    fn cells(&self) -> Vec<Cell> {
        let is_wanted = |cell: &Cell| {
            let Generator { domain, name, .. } = cell.generator;
            (self.domains.is_empty() || self.domains.contains(&domain))
                && (self.generators.is_empty() || self.generators.iter().any(|wanted| wanted == name))
                && (self.levels.is_empty() || self.levels.contains(&cell.level))
        };
        Cell::all().into_iter().filter(is_wanted).collect()
    }

    /// Makes the conversations, from problems of the training split only.
    ///
    /// `filler` holds the texts that documents are made of; simple sentences when it is empty. In the share `thinking` of them
    /// the model thinks before it answers.
    ///
    /// # Errors
    /// [`TrainError::Tasks`] when a generator refuses.
    pub fn chats(&self, filler: &[&str], thinking: f64) -> Result<Vec<Chat>, TrainError> {
        let setting = if filler.is_empty() {
            Setting::characters(PlainFiller, self.document_characters)
        } else {
            Setting::characters(TextFiller::new(filler.iter().copied()), self.document_characters)
        };
        let tasks = Sampler::new(self.cells(), Split::Train, self.seed, &setting).take(self.n);
        tasks.map(|task| Ok(chat(&task?, thinking, self.worked))).collect()
    }
}

/// Returns the reference conversation of a task: thinking in the given share of all tasks, and with its steps in the reply in the share `worked` of
/// the others. Which ones follows from the task.
pub fn chat(task: &Task, thinking: f64, worked: f64) -> Chat {
    let hash = mix(fnv1a(task.id.as_bytes()));
    let draw = |hash: u64| hash as f64 / 2f64.powi(64);
    let thinks = draw(hash) < thinking;
    let messages = match thinks {
        true => task.conversation(Mode::Thinking),
        false if draw(mix(hash)) < worked => task.worked_conversation(),
        false => task.conversation(Mode::Direct),
    };
    Chat { messages, tools: task.tools.clone(), thinking: thinks }
}

#[cfg(test)]
#[path = "task_source_tests.rs"]
mod tests;
