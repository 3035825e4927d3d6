//! A task from its prompt to its outcome, over all turns and calls of tools.

use std::collections::BTreeSet;

use sferic_engine::Engine;
use sferic_tasks::{Environment, Limits, Mode, Outcome, Step, Task, score};
use sferic_text::{Completion, Message, PromptFormat, Tokenizer, ToolCall};

use super::mix::Asked;
use super::rollout::{Experts, Reply, Request, Roller, Sampling};
use crate::TrainError;
use crate::hash::mix;

/// A played task.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// All tokens: the prompt, what the model drew, and results of tools between its turns.
    pub tokens: Vec<u32>,
    /// The tokens that the model drew, in order; all others are given to it. Empty where draws are not recorded.
    pub draws: Vec<Drawn>,
    /// The conversation, prompt included.
    pub messages: Vec<Message>,
    /// What the rules say of it.
    pub outcome: Outcome,
    /// Whether the model ended each of its turns; else the last one was cut off.
    pub ended: bool,
    /// The experts that the tokens went to when they were drawn, all but the last one; empty where that is not recorded.
    pub experts: Experts,
}

/// A token that the model drew.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// Its place among the episode's tokens.
    pub position: usize,
    /// Natural logarithm of its probability in the distribution that it was drawn from.
    pub logprob: f32,
    /// The tokens that could have been drawn, ascending; empty where all could.
    pub kept: Vec<u32>,
}

/// Turns conversations into tokens and tokens into turns.
#[derive(Debug, Clone)]
pub struct Speaker {
    tokenizer: Tokenizer,
    format: PromptFormat,
    end_tokens: BTreeSet<u32>,
    context: usize,
}

/// An episode in the making.
struct Play<'a> {
    asked: &'a Asked,
    environment: Option<Environment<'a>>,
    episode: Episode,
    seed: u64,
    n_turns: u64,
    is_over: bool,
}

impl Episode {
    /// Counts the tokens whose experts are known, the sum over mixture layers.
    pub fn n_routed(&self) -> usize {
        self.experts.values().map(|matrix| matrix.n_rows).sum()
    }

    /// What the model wrote: its thoughts, and its words after them.
    pub fn said(&self, n_prompt: usize) -> (String, String) {
        let turns = || self.messages.iter().skip(n_prompt).filter(|message| message.role == sferic_text::Role::Assistant);
        let thoughts: Vec<&str> = turns().filter_map(|message| message.reasoning_content.as_deref()).collect();
        let words: Vec<&str> = turns().map(Message::text).collect();
        (thoughts.join("\n"), words.join("\n"))
    }
}

impl Speaker {
    /// Speaks as a model's engine does.
    ///
    /// # Errors
    /// [`TrainError::Engine`] for a model without a tokenizer.
    pub fn new(engine: &Engine) -> Result<Self, TrainError> {
        Ok(Self {
            tokenizer: engine.tokenizer()?.clone(),
            format: engine.prompt_format()?.clone(),
            end_tokens: engine.end_tokens().clone(),
            context: engine.plan().context,
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns the tokens of a task's prompt.
    ///
    /// # Errors
    /// [`TrainError::PromptTooLong`] where no room for a reply is left, [`TrainError::Text`] where the format refuses the messages.
    pub fn prompt(&self, task: &Task, mode: Mode) -> Result<Vec<u32>, TrainError> {
        let text = self.format.render(&task.prompt(), &task.tools, mode == Mode::Thinking, false)?;
        let ids = self.tokenizer.encode(&text, self.format.add_special_tokens())?;
        if ids.len() >= self.context {
            return Err(TrainError::PromptTooLong { task: task.id.clone(), n_tokens: ids.len(), context: self.context });
        }
        Ok(ids)
    }

    /// Takes a turn apart.
    pub fn completion(&self, tokens: &[u32], mode: Mode) -> Result<Completion, TrainError> {
        let n_end = tokens.iter().rev().take_while(|token| self.end_tokens.contains(token)).count();
        let text = self.tokenizer.decode(&tokens[..tokens.len() - n_end], false)?;
        Ok(self.format.parse(&text, mode == Mode::Thinking))
    }

    /// Returns the tokens between a turn with calls and the model's next one: the results, and what lets the model speak.
    ///
    /// They follow the drawn tokens as they are, so that the model is trained on what it saw. They depend on the results alone.
    fn results(&self, results: &[Message], mode: Mode) -> Result<Vec<u32>, TrainError> {
        let calls = results.iter().map(|_| ToolCall::new("f", "{}")).collect();
        let mut messages = vec![Message::user(""), Message { tool_calls: calls, ..Message::assistant("") }];
        let render = |messages: &[Message]| self.format.render(messages, &[], mode == Mode::Thinking, true);
        let before = render(&messages)?;
        messages.extend(results.iter().cloned());
        let after = render(&messages)?;
        let added = after.strip_prefix(&before).ok_or(TrainError::NoToolResults)?;
        Ok(self.tokenizer.encode(added, false)?)
    }
}

/// Plays each task `group_size` times; the episodes of a task stand together.
///
/// The seed of a draw follows from `seed` and the places of task, episode and turn.
///
/// # Errors
/// Those of [`Speaker::prompt`] and [`Roller::roll`].
pub fn play(
    roller: &mut dyn Roller,
    speaker: &Speaker,
    asked: &[Asked],
    group_size: usize,
    sampling: &Sampling,
    seed: u64,
) -> Result<Vec<Episode>, TrainError> {
    let group = |(task_idx, asked)| (0..group_size).map(move |reply_idx| (asked, seed_of(seed, task_idx, reply_idx)));
    let seeded: Vec<(&Asked, u64)> = asked.iter().enumerate().flat_map(group).collect();
    play_seeded(roller, speaker, &seeded, sampling)
}

/// The seed of an episode that [`play`] plays with `seed`.
pub(super) fn seed_of(seed: u64, task_idx: usize, reply_idx: usize) -> u64 {
    mix(seed ^ mix(((task_idx as u64) << 32) | reply_idx as u64))
}

/// Plays each task with a seed of its own. All episodes that go on take their next turns together, with the results of their tools before them.
pub(super) fn play_seeded(
    roller: &mut dyn Roller,
    speaker: &Speaker,
    seeded: &[(&Asked, u64)],
    sampling: &Sampling,
) -> Result<Vec<Episode>, TrainError> {
    let mut plays = Vec::with_capacity(seeded.len());
    let mut last: Option<(&Asked, Vec<u32>)> = None;
    for &(asked, seed) in seeded {
        let tokens = match last.take().filter(|(before, _)| std::ptr::eq(*before, asked)) {
            Some((_, tokens)) => tokens,
            None => speaker.prompt(&asked.task, asked.mode)?,
        };
        plays.push(Play::new(asked, tokens.clone(), seed)?);
        last = Some((asked, tokens));
    }
    loop {
        let mut active: Vec<&mut Play<'_>> = plays.iter_mut().filter(|play| !play.is_over).collect();
        if active.is_empty() {
            break;
        }
        let requests: Vec<Request> = active.iter().map(|play| play.request()).collect();
        for (play, reply) in active.iter_mut().zip(roller.roll(&requests, sampling)?) {
            play.take(reply, speaker)?;
        }
    }
    Ok(plays.into_iter().map(|play| play.episode).collect())
}

impl<'a> Play<'a> {
    fn new(asked: &'a Asked, tokens: Vec<u32>, seed: u64) -> Result<Self, TrainError> {
        let task = &asked.task;
        let environment = if task.world.is_some() { Some(Environment::new(task, Limits::default())?) } else { None };
        let episode = Episode {
            tokens,
            draws: Vec::new(),
            messages: task.prompt(),
            outcome: failed(),
            ended: false,
            experts: Experts::new(),
        };
        Ok(Self { asked, environment, episode, seed, n_turns: 0, is_over: false })
    }

    fn request(&self) -> Request {
        Request { prompt: self.episode.tokens.clone(), seed: mix(self.seed ^ mix(self.n_turns)) }
    }

    /// Takes a turn of the model. One that was cut off is the last and wrong: a model has to learn to come to an end.
    fn take(&mut self, reply: Reply, speaker: &Speaker) -> Result<(), TrainError> {
        let mode = self.asked.mode;
        let completion = speaker.completion(&reply.tokens, mode)?;
        let start = self.episode.tokens.len();
        let kept = reply.kept.into_iter().chain(std::iter::repeat(Vec::new()));
        let draws = reply.logprobs.iter().zip(kept).enumerate();
        self.episode.draws.extend(draws.map(|(at, (&logprob, kept))| Drawn { position: start + at, logprob, kept }));
        self.episode.tokens.extend(reply.tokens);
        self.episode.ended = reply.ended;
        // The last turn's are those of everything before it as well.
        self.episode.experts = reply.experts;
        self.n_turns += 1;
        self.is_over = true;
        self.episode.messages.push(completion.clone().into_message());
        if !reply.ended {
            return Ok(());
        }
        match self.environment.as_mut().map(|environment| environment.step(completion.clone())) {
            None => self.episode.outcome = score(&self.asked.task, &completion.content),
            Some(Step::Done(outcome)) => self.episode.outcome = outcome,
            Some(Step::Results(results)) => {
                let tokens = speaker.results(&results, mode)?;
                self.episode.tokens.extend(tokens);
                self.episode.messages.extend(results);
                // Results that leave no room for a turn end the task.
                self.is_over = self.episode.tokens.len() >= speaker.context;
            }
        }
        Ok(())
    }
}

/// The outcome of a task that came to no end.
fn failed() -> Outcome {
    Outcome { correct: false, in_form: false, answer: String::new(), rules: Vec::new() }
}

#[cfg(test)]
#[path = "episode_tests.rs"]
mod tests;
