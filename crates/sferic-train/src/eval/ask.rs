//! Asks a model about a task and holds its reply against the hidden answer.

use sferic_engine::{Chat, ChatOptions, Engine, EngineError, Event, PromptFormat, SamplingParams};
use sferic_tasks::{Environment, Limits, Mode, Outcome, Step, Task, score};
use sferic_text::{Completion, Message};

use super::config::Attention;
use super::record::{Place, Reply};
use crate::TrainError;

/// How a task is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) mode: Mode,
    pub(super) attention: Attention,
    pub(super) place: Option<Place>,
    /// Tokens of a turn.
    pub(super) max_tokens: usize,
}

/// Whether the model's prompt format can ask it: tools need one that has calls.
pub(super) fn can_ask(engine: &Engine, task: &Task) -> Result<bool, TrainError> {
    Ok(task.tools.is_empty() || matches!(engine.prompt_format()?, PromptFormat::V32))
}

/// Whether one reply is all that there is to a task; else its tools answer in between.
pub(super) fn is_one_turn(task: &Task) -> bool {
    task.world.is_none()
}

/// Asks tasks, all with the same number of tokens, with the most likely token at every step. The next turns of all those whose tools have answered
/// are computed together.
///
/// A prompt that does not fit the context is a wrong answer, as it would be for a user.
pub(super) async fn ask_together(engine: &Engine, questions: &[(&Task, Manner)]) -> Result<Vec<Reply>, TrainError> {
    let start = |(task, manner): &(&Task, Manner)| engine.chat(conversation(task, manner.mode)).map(Some);
    let mut chats = questions.iter().map(start).collect::<Result<Vec<Option<Chat>>, _>>()?;
    let mut said: Vec<Said> = questions.iter().map(|_| Said::nothing()).collect();
    let max_tokens = questions.first().map(|(_, manner)| manner.max_tokens);
    let params = SamplingParams { max_tokens, ..SamplingParams::greedy() };
    let turns = async |heard: Vec<Heard>| -> Result<Vec<Message>, TrainError> {
        let places: Vec<usize> = heard.iter().map(|(place, _)| *place).collect();
        let (mut fitting, mut fitting_chats) = (Vec::new(), Vec::new());
        for (place, results) in heard {
            let Some(mut chat) = chats[place].take() else { continue };
            results.into_iter().for_each(|message| chat.push(message));
            if chat.prompt_ids()?.len() <= engine.plan().context {
                fitting.push(place);
                fitting_chats.push(chat);
            } else {
                said[place].take_too_long();
            }
        }
        let replies = engine.reply_batch(&mut fitting_chats, &params, &vec![0; fitting.len()]).await?;
        for ((place, chat), reply) in fitting.into_iter().zip(fitting_chats).zip(replies) {
            said[place].take(reply.token_ids.len(), reply.reason.name(), last_message(&chat));
            chats[place] = Some(chat);
        }
        Ok(places.into_iter().map(|place| said[place].last.clone()).collect())
    };
    let tasks: Vec<&Task> = questions.iter().map(|(task, _)| *task).collect();
    let played = play(&tasks, turns).await?;
    let replies = questions.iter().zip(played).zip(said);
    Ok(replies.map(|((&(task, manner), played), said)| reply(task, manner, played, said)).collect())
}

/// Asks a task, whose tools answer until the model does, with the most likely token at every step. What a turn shares with the one before is not
/// computed again.
///
/// A prompt that does not fit the context is a wrong answer, as it would be for a user.
pub(super) async fn ask(engine: &Engine, task: &Task, manner: Manner) -> Result<Reply, TrainError> {
    let mut chat = engine.chat(conversation(task, manner.mode))?;
    let mut said = Said::nothing();
    let turn = async |heard: Vec<Heard>| -> Result<Vec<Message>, TrainError> {
        heard.into_iter().flat_map(|(_, results)| results).for_each(|message| chat.push(message));
        let params = SamplingParams { max_tokens: Some(manner.max_tokens), ..SamplingParams::greedy() };
        let mut turn = match chat.reply(params) {
            Ok(turn) => turn,
            Err(EngineError::PromptTooLong { .. }) => {
                said.take_too_long();
                return Ok(vec![said.last.clone()]);
            }
            Err(error) => return Err(error.into()),
        };
        let (mut n_tokens, mut stop) = (0, "");
        while let Some(event) = turn.next().await {
            if let Event::Stop(end) = event? {
                (n_tokens, stop) = (end.stats.generated_tokens, end.reason.name());
            }
        }
        drop(turn);
        // A turn ends with a message of the model.
        said.take(n_tokens, stop, last_message(&chat));
        Ok(vec![said.last.clone()])
    };
    let played = play(&[task], turn).await?.pop().unwrap_or_else(|| (score(task, ""), 0));
    Ok(reply(task, manner, played, said))
}

/// The place of a task among those that are played, and what its tools answer; nothing at first.
type Heard = (usize, Vec<Message>);

/// A task that is played.
struct Play<'a> {
    task: &'a Task,
    environment: Option<Environment<'a>>,
    outcome: Outcome,
}

/// How it ended: the outcome, and the number of calls.
type Played = (Outcome, usize);

impl<'a> Play<'a> {
    fn new(task: &'a Task) -> Result<Self, TrainError> {
        let environment = if is_one_turn(task) { None } else { Some(Environment::new(task, Limits::default())?) };
        Ok(Self { task, environment, outcome: score(task, "") })
    }

    /// Takes a turn of the model; returns what its tools answer, nothing where it was the last one.
    fn take(&mut self, turn: &Message) -> Option<Vec<Message>> {
        let step = match &mut self.environment {
            None => Step::Done(score(self.task, turn.text())),
            Some(environment) => environment.step(completion(turn)),
        };
        match step {
            Step::Results(results) => Some(results),
            Step::Done(outcome) => {
                self.outcome = outcome;
                None
            }
        }
    }
}

/// Lets `turns` answer for all tasks that go on, as often as they call tools; it is given their results.
async fn play(
    tasks: &[&Task],
    mut turns: impl AsyncFnMut(Vec<Heard>) -> Result<Vec<Message>, TrainError>,
) -> Result<Vec<Played>, TrainError> {
    let mut plays = tasks.iter().map(|task| Play::new(task)).collect::<Result<Vec<_>, _>>()?;
    let mut open: Vec<Heard> = (0..plays.len()).map(|place| (place, Vec::new())).collect();
    while !open.is_empty() {
        let places: Vec<usize> = open.iter().map(|(place, _)| *place).collect();
        let said = turns(open).await?;
        open = places.into_iter().zip(&said).filter_map(|(place, turn)| Some((place, plays[place].take(turn)?))).collect();
    }
    let played = |play: Play<'_>| (play.outcome, play.environment.map_or(0, |environment| environment.n_calls()));
    Ok(plays.into_iter().map(played).collect())
}

/// What the model said.
struct Said {
    /// Tokens of all its turns.
    n_tokens: usize,
    /// How the last turn ended.
    stop: String,
    last: Message,
}

impl Said {
    fn nothing() -> Self {
        Self { n_tokens: 0, stop: String::new(), last: Message::assistant("") }
    }

    fn take(&mut self, n_tokens: usize, stop: &str, turn: Message) {
        self.n_tokens += n_tokens;
        (self.stop, self.last) = (stop.to_owned(), turn);
    }

    /// There was no room for a turn.
    fn take_too_long(&mut self) {
        self.take(0, "too_long", Message::assistant(""));
    }
}

fn conversation(task: &Task, mode: Mode) -> ChatOptions {
    ChatOptions { messages: task.prompt(), tools: task.tools.clone(), thinking: mode == Mode::Thinking, ..ChatOptions::default() }
}

fn last_message(chat: &Chat) -> Message {
    chat.messages().last().cloned().unwrap_or_else(|| Message::assistant(""))
}

fn reply(task: &Task, manner: Manner, (outcome, n_calls): Played, said: Said) -> Reply {
    Reply {
        task: task.id.clone(),
        domain: task.domain,
        generator: task.name.clone(),
        level: task.level,
        place: manner.place,
        mode: manner.mode,
        attention: manner.attention,
        correct: outcome.correct,
        in_form: outcome.in_form,
        expected: task.check.answer(),
        answer: outcome.answer,
        n_tokens: said.n_tokens,
        stop: said.stop,
        n_calls,
        thinking: said.last.reasoning_content.clone().unwrap_or_default(),
        reply: said.last.text().to_owned(),
    }
}

fn completion(message: &Message) -> Completion {
    Completion {
        reasoning: message.reasoning_content.clone(),
        content: message.text().to_owned(),
        tool_calls: message.tool_calls.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sferic_tasks::{Generator, Setting};
    use sferic_text::Role;

    use super::*;

    #[test]
    fn tools_answer_until_the_model_does() {
        let task = Generator::named("search_table").unwrap().task(1, 3, &Setting::default()).unwrap();
        let mut replies = task.reference.iter().filter(|message| message.role == Role::Assistant);
        let mut heard = Vec::new();
        let turns = async |round: Vec<Heard>| -> Result<Vec<Message>, TrainError> {
            heard.extend(round.into_iter().flat_map(|(_, results)| results));
            Ok(vec![replies.next().unwrap().clone()])
        };
        let (outcome, n_calls) = pollster::block_on(play(&[&task], turns)).unwrap().remove(0);
        let expected: Vec<&Message> = task.reference.iter().filter(|message| message.role == Role::Tool).collect();
        assert!(outcome.correct && n_calls == expected.len() && n_calls >= 2, "{n_calls}");
        assert!(heard.iter().map(Message::text).eq(expected.iter().map(|message| message.text())));
    }

    #[test]
    fn a_task_without_tools_is_one_turn() {
        let task = Generator::named("addition").unwrap().task(1, 3, &Setting::default()).unwrap();
        for (reply, is_right) in [(task.reply(), true), ("I do not know.", false)] {
            let turns = async |_: Vec<Heard>| -> Result<Vec<Message>, TrainError> { Ok(vec![Message::assistant(reply)]) };
            let (outcome, n_calls) = pollster::block_on(play(&[&task], turns)).unwrap().remove(0);
            assert_eq!((outcome.correct, n_calls), (is_right, 0));
        }
    }

    /// Each task hears its own tools, and those that have ended are not asked again.
    #[test]
    fn tasks_of_several_lengths_are_played_together() {
        let named = |name: &str, seed| Generator::named(name).unwrap().task(1, seed, &Setting::default()).unwrap();
        let tasks = [named("search_table", 3), named("addition", 3), named("search", 5), named("search_table", 4)];
        let of_role = |task: &Task, role: Role| -> Vec<Message> {
            task.reference.iter().filter(|message| message.role == role).cloned().collect()
        };
        let (mut n_turns, mut heard, mut n_rounds) = ([0; 4], [const { Vec::new() }; 4], 0);
        let turns = async |round: Vec<Heard>| -> Result<Vec<Message>, TrainError> {
            n_rounds += 1;
            let mut said = Vec::new();
            for (place, results) in round {
                heard[place].extend(results);
                said.push(of_role(&tasks[place], Role::Assistant)[n_turns[place]].clone());
                n_turns[place] += 1;
            }
            Ok(said)
        };
        let played = pollster::block_on(play(&tasks.each_ref(), turns)).unwrap();
        let expected = tasks.each_ref().map(|task| of_role(task, Role::Assistant).len());
        assert_eq!((n_turns, n_rounds), (expected, *expected.iter().max().unwrap()));
        assert!(expected[1] == 1 && expected[0] > expected[2], "{expected:?}");
        for ((task, (outcome, n_calls)), heard) in tasks.iter().zip(played).zip(heard) {
            let results = of_role(task, Role::Tool);
            assert!(outcome.correct && n_calls == results.len(), "{}", task.name);
            assert!(heard.iter().map(Message::text).eq(results.iter().map(Message::text)), "{}", task.name);
        }
    }
}
