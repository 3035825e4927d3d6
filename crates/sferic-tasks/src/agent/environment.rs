//! Playing a task with tools, step by step.

use sferic_text::{Completion, Message, ToolCall};

use crate::error::{Result, TaskError};
use crate::score::{Outcome, score};
use crate::task::Task;

use super::world::World;

/// What a player may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls in all; one more ends the task as failed.
    pub n_calls: usize,
    /// Characters of one result; what is longer is cut, and says so.
    pub result_length: usize,
}

impl Default for Limits {
    /// Twice as many calls as the longest reference has, results as long as a page.
    fn default() -> Self {
        Self { n_calls: 6, result_length: 2000 }
    }
}

/// What a step led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The model called tools: these messages answer it, one for each call, and it is its turn again.
    Results(Vec<Message>),
    /// The model answered, or used up its calls.
    Done(Outcome),
}

/// A task with tools while it is played.
///
/// The model's turns come in with [`step`](Self::step), taken apart by the prompt format; what a model has to see next is
/// [`transcript`](Self::transcript) with the task's tools on offer.
///
/// ```
/// use sferic_tasks::{Environment, Generator, Limits, Setting, Step};
/// use sferic_text::Completion;
///
/// let task = Generator::named("search")?.task(1, 3, &Setting::default())?;
/// let mut environment = Environment::new(&task, Limits::default())?;
/// for turn in task.reference.iter().filter(|message| message.role == sferic_text::Role::Assistant) {
///     let completion = Completion {
///         reasoning: turn.reasoning_content.clone(),
///         content: turn.text().to_owned(),
///         tool_calls: turn.tool_calls.clone(),
///     };
///     match environment.step(completion) {
///         Step::Results(messages) => assert_eq!(messages.len(), 1),
///         Step::Done(outcome) => assert!(outcome.correct),
///     }
/// }
/// # Ok::<(), sferic_tasks::TaskError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Environment<'a> {
    task: &'a Task,
    world: &'a World,
    limits: Limits,
    n_calls: usize,
    transcript: Vec<Message>,
    outcome: Option<Outcome>,
}

impl<'a> Environment<'a> {
    /// Opens the environment of a task.
    ///
    /// # Errors
    /// [`TaskError::NoTools`].
    pub fn new(task: &'a Task, limits: Limits) -> Result<Self> {
        let world = task.world.as_ref().ok_or_else(|| TaskError::NoTools { id: task.id.clone() })?;
        Ok(Self { task, world, limits, n_calls: 0, transcript: task.prompt(), outcome: None })
    }

    /// Takes a turn of the model. After the end nothing happens any more, and the outcome stays what it is.
    pub fn step(&mut self, completion: Completion) -> Step {
        if let Some(outcome) = &self.outcome {
            return Step::Done(outcome.clone());
        }
        let (content, calls) = (completion.content.clone(), completion.tool_calls.clone());
        self.transcript.push(completion.into_message());
        if calls.is_empty() {
            return self.done(score(self.task, &content));
        }
        self.n_calls += calls.len();
        if self.n_calls > self.limits.n_calls {
            return self.done(Outcome { correct: false, in_form: false, answer: String::new(), rules: Vec::new() });
        }
        let answer =
            |call: &ToolCall| Message { tool_call_id: call.id.clone(), ..Message::tool(self.cut(self.world.call(call))) };
        let results: Vec<Message> = calls.iter().map(answer).collect();
        self.transcript.extend(results.iter().cloned());
        Step::Results(results)
    }

    /// The prompt and all turns and results so far.
    pub fn transcript(&self) -> &[Message] {
        &self.transcript
    }

    /// How many calls were made.
    pub fn n_calls(&self) -> usize {
        self.n_calls
    }

    /// The outcome, once there is one.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    fn done(&mut self, outcome: Outcome) -> Step {
        self.outcome = Some(outcome.clone());
        Step::Done(outcome)
    }

    fn cut(&self, result: String) -> String {
        match result.char_indices().nth(self.limits.result_length) {
            None => result,
            Some((end, _)) => format!("{} [cut]", result.get(..end).unwrap_or_default()),
        }
    }
}
