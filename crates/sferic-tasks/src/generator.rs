//! Generators: a name, levels, and a function from a seed to a task.

use std::collections::BTreeSet;

use serde_json::Value;
use sferic_text::Message;

use crate::agent::{self, World};
use crate::check::Check;
use crate::error::{Result, TaskError};
use crate::form::Form;
use crate::random::{Draws, fingerprint, seed_of};
use crate::setting::Setting;
use crate::split::Split;
use crate::task::{Domain, Task};
use crate::{alignment, document, math, program, reasoning};

/// How many seeds [`Generator::task_in`] tries before it says that a level has no such problem.
const MAX_TRIES: u64 = 400;

/// A source of tasks of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Generator {
    /// What its tasks are about.
    pub domain: Domain,
    /// Its name, which no other has.
    pub name: &'static str,
    /// Its levels are 1 to this.
    pub n_levels: u8,
    pub(crate) make: Make,
}

/// A function from draws and a level to a task without its name.
pub(crate) type Make = fn(&mut Draws, u8, &Setting) -> Draft;

/// What a generator makes.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) key: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) document: Option<String>,
    pub(crate) tools: Vec<Value>,
    pub(crate) world: Option<World>,
    pub(crate) form: Form,
    pub(crate) check: Check,
    pub(crate) reference: Vec<Message>,
}

/// A question with one answer, before a form is drawn for it.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    /// What makes it this problem, whatever the wording.
    pub(crate) key: String,
    pub(crate) question: String,
    /// A short thought that leads to the answer.
    pub(crate) thinking: String,
    /// A sentence that states the answer.
    pub(crate) sentence: String,
    pub(crate) check: Check,
}

impl Problem {
    /// Draws a form and makes the prompt and the reference.
    pub(crate) fn draft(self, draws: &mut Draws) -> Draft {
        let form = Form::draw(draws);
        let answer = self.check.answer();
        let reply = form.reply(&answer, &self.sentence);
        let prompt = form.ask(draws, &self.question);
        Draft { form, ..Draft::new(self.key, prompt, self.thinking, reply, self.check) }
    }
}

impl Draft {
    /// Makes a draft with one question and one reply, in free form.
    pub(crate) fn new(key: String, prompt: String, thinking: String, reply: String, check: Check) -> Self {
        Self {
            key,
            messages: vec![Message::user(prompt)],
            document: None,
            tools: Vec::new(),
            world: None,
            form: Form::Free,
            check,
            reference: vec![thought(thinking, reply)],
        }
    }
}

/// Makes an assistant's message with the thought before it.
pub(crate) fn thought(thinking: impl Into<String>, reply: impl Into<String>) -> Message {
    Message { reasoning_content: Some(thinking.into()), ..Message::assistant(reply) }
}

impl Generator {
    pub(crate) const fn new(domain: Domain, name: &'static str, n_levels: u8, make: Make) -> Self {
        Self { domain, name, n_levels, make }
    }

    /// Returns all generators, domain by domain.
    pub fn all() -> Vec<Self> {
        [
            math::GENERATORS,
            program::GENERATORS,
            reasoning::GENERATORS,
            document::GENERATORS,
            agent::GENERATORS,
            alignment::GENERATORS,
        ]
        .concat()
    }

    /// Returns the generator of a name.
    ///
    /// # Errors
    /// [`TaskError::UnknownGenerator`].
    pub fn named(name: &str) -> Result<Self> {
        let all = Self::all();
        all.iter().find(|generator| generator.name == name).copied().ok_or_else(|| TaskError::UnknownGenerator {
            name: name.to_owned(),
            known: all.iter().map(|generator| generator.name).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", "),
        })
    }

    /// Makes the task of a seed: the same generator, level, seed and setting give the same task.
    ///
    /// # Errors
    /// [`TaskError::UnknownLevel`].
    pub fn task(&self, level: u8, seed: u64, setting: &Setting) -> Result<Task> {
        if !(1..=self.n_levels).contains(&level) {
            return Err(TaskError::UnknownLevel { name: self.name, n_levels: self.n_levels, level });
        }
        // The name is part of it, so that one seed does not draw alike in all generators.
        let mut draws = Draws::new(seed_of(seed ^ fingerprint(&[self.name]), u64::from(level)));
        let draft = (self.make)(&mut draws, level, setting);
        Ok(Task {
            id: format!("{}/{}/{level}/{seed:016x}", self.domain, self.name),
            domain: self.domain,
            name: self.name.to_owned(),
            level,
            key: draft.key,
            messages: draft.messages,
            document: draft.document,
            tools: draft.tools,
            world: draft.world,
            form: draft.form,
            check: draft.check,
            reference: draft.reference,
        })
    }

    /// Makes the first task of a split among those of the seeds that follow from `seed`; `None` if 400 of them gave none.
    ///
    /// # Errors
    /// [`TaskError::UnknownLevel`].
    pub fn task_in(&self, split: Split, level: u8, seed: u64, setting: &Setting) -> Result<Option<Task>> {
        for try_idx in 0..MAX_TRIES {
            let task = self.task(level, seed_of(seed, try_idx), setting)?;
            if Split::of(&task) == split {
                return Ok(Some(task));
            }
        }
        Ok(None)
    }
}
