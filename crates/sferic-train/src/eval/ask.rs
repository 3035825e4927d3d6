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

/// Whether one reply is all that there is to a task, so that [`ask_together`] can ask it.
pub(super) fn is_one_turn(task: &Task) -> bool {
    task.world.is_none()
}

/// Asks tasks of one turn, all with the same number of tokens, with the most likely token at every step.
///
/// A prompt that does not fit the context is a wrong answer, as it would be for a user.
pub(super) async fn ask_together(engine: &Engine, questions: &[(&Task, Manner)]) -> Result<Vec<Reply>, TrainError> {
    let (mut chats, mut fitting) = (Vec::new(), Vec::new());
    for (task, manner) in questions {
        let chat = engine.chat(conversation(task, manner.mode))?;
        let fits = chat.prompt_ids()?.len() <= engine.plan().context;
        fitting.push(fits);
        chats.extend(fits.then_some(chat));
    }
    let max_tokens = questions.first().map(|(_, manner)| manner.max_tokens);
    let params = SamplingParams { max_tokens, ..SamplingParams::greedy() };
    let seeds = vec![0; chats.len()];
    let replies = engine.reply_batch(&mut chats, &params, &seeds).await?;
    let mut said = replies.into_iter().zip(&chats).map(|(reply, chat)| Said {
        n_tokens: reply.token_ids.len(),
        stop: reply.reason.name().to_owned(),
        n_calls: 0,
        last: last_message(chat),
    });
    let answer = |(&(task, manner), fits): (&(&Task, Manner), bool)| {
        let said = if fits { said.next() } else { None }.unwrap_or_else(Said::nothing);
        reply(task, manner, score(task, said.last.text()), said)
    };
    Ok(questions.iter().zip(fitting).map(answer).collect())
}

/// Asks a task, whose tools answer until the model does, with the most likely token at every step.
///
/// A prompt that does not fit the context is a wrong answer, as it would be for a user.
pub(super) async fn ask(engine: &Engine, task: &Task, manner: Manner) -> Result<Reply, TrainError> {
    let mut chat = engine.chat(conversation(task, manner.mode))?;
    let mut said = Said { stop: String::new(), ..Said::nothing() };
    let turn = async |results: Vec<Message>| -> Result<Message, TrainError> {
        results.into_iter().for_each(|message| chat.push(message));
        let params = SamplingParams { max_tokens: Some(manner.max_tokens), ..SamplingParams::greedy() };
        let mut turn = match chat.reply(params) {
            Ok(turn) => turn,
            Err(EngineError::PromptTooLong { .. }) => {
                (said.stop, said.last) = ("too_long".to_owned(), Message::assistant(""));
                return Ok(said.last.clone());
            }
            Err(error) => return Err(error.into()),
        };
        while let Some(event) = turn.next().await {
            if let Event::Stop(end) = event? {
                said.n_tokens += end.stats.generated_tokens;
                said.stop = end.reason.name().to_owned();
            }
        }
        drop(turn);
        // A turn ends with a message of the model.
        said.last = last_message(&chat);
        Ok(said.last.clone())
    };
    let (outcome, n_calls) = play(task, turn).await?;
    said.n_calls = n_calls;
    Ok(reply(task, manner, outcome, said))
}

/// Lets `turn` answer, as often as it calls tools; it is given their results. Returns the outcome and the number of calls.
async fn play(
    task: &Task,
    mut turn: impl AsyncFnMut(Vec<Message>) -> Result<Message, TrainError>,
) -> Result<(Outcome, usize), TrainError> {
    if is_one_turn(task) {
        return Ok((score(task, turn(Vec::new()).await?.text()), 0));
    }
    let mut environment = Environment::new(task, Limits::default())?;
    let mut results = Vec::new();
    loop {
        match environment.step(completion(&turn(results).await?)) {
            Step::Done(outcome) => return Ok((outcome, environment.n_calls())),
            Step::Results(messages) => results = messages,
        }
    }
}

/// What the model did.
struct Said {
    n_tokens: usize,
    stop: String,
    n_calls: usize,
    last: Message,
}

impl Said {
    /// Where the prompt is too long.
    fn nothing() -> Self {
        Self { n_tokens: 0, stop: "too_long".to_owned(), n_calls: 0, last: Message::assistant("") }
    }
}

fn conversation(task: &Task, mode: Mode) -> ChatOptions {
    ChatOptions { messages: task.prompt(), tools: task.tools.clone(), thinking: mode == Mode::Thinking, ..ChatOptions::default() }
}

fn last_message(chat: &Chat) -> Message {
    chat.messages().last().cloned().unwrap_or_else(|| Message::assistant(""))
}

fn reply(task: &Task, manner: Manner, outcome: Outcome, said: Said) -> Reply {
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
        n_calls: said.n_calls,
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
        let turn = async |results: Vec<Message>| -> Result<Message, TrainError> {
            heard.extend(results);
            Ok(replies.next().unwrap().clone())
        };
        let (outcome, n_calls) = pollster::block_on(play(&task, turn)).unwrap();
        let expected: Vec<&Message> = task.reference.iter().filter(|message| message.role == Role::Tool).collect();
        assert!(outcome.correct && n_calls == expected.len() && n_calls >= 2, "{n_calls}");
        assert!(heard.iter().map(Message::text).eq(expected.iter().map(|message| message.text())));
    }

    #[test]
    fn a_task_without_tools_is_one_turn() {
        let task = Generator::named("addition").unwrap().task(1, 3, &Setting::default()).unwrap();
        for (reply, is_right) in [(task.reply(), true), ("I do not know.", false)] {
            let turn = async |_: Vec<Message>| -> Result<Message, TrainError> { Ok(Message::assistant(reply)) };
            let (outcome, n_calls) = pollster::block_on(play(&task, turn)).unwrap();
            assert_eq!((outcome.correct, n_calls), (is_right, 0));
        }
    }
}
