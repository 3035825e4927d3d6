//! Documents of the corpus as conversations.

use std::borrow::Cow;

use serde::Deserialize;
use sferic_text::{Message, Role};

use crate::TrainError;
use crate::chat::Chat;
use crate::corpus::{SourceConfig, Split, bad_line, tidy};
use crate::hash::{fnv1a, mix};

/// Cuts a titled document into title and body; `None` if it has no body.
fn title_and_body<'a>(document: &'a str, source: &SourceConfig) -> Option<(&'a str, &'a str)> {
    let separator = if source.split == Split::Lines { ": " } else { "\n" };
    let (title, body) = document.split_once(separator)?;
    let (title, body) = (title.trim().trim_start_matches('#').trim(), body.trim());
    (!title.is_empty() && !body.is_empty()).then_some((title, body))
}

/// Returns a titled document as text.
pub(crate) fn titled_text<'a>(document: &'a str, source: &SourceConfig) -> Cow<'a, str> {
    let Some((title, body)) = title_and_body(document, source) else { return tidy(document, source.reflow) };
    let separator = if source.split == Split::Lines { ": " } else { "\n\n" };
    Cow::Owned(format!("{title}{separator}{}", tidy(body, source.reflow)))
}

/// Returns a titled document as the answer to one of the source's prompts, where it is in the share of those.
///
/// The title of a line may list several words with one meaning; the prompt has the first.
pub(crate) fn about_title(document: &str, source: &SourceConfig) -> Option<Chat> {
    let (title, body) = title_and_body(document, source)?;
    let hash = fnv1a(document.as_bytes());
    if share(hash) >= source.chat_share || source.prompts.is_empty() {
        return None;
    }
    let title = if source.split == Split::Lines { title.split(", ").next().unwrap_or(title) } else { title };
    // Parts of the hash that the share does not depend on.
    let pick = |texts: &[String], bits: u64| texts[(bits & 0xffff) as usize % texts.len()].replace("{title}", title);
    let mut chat = Chat::exchange(pick(&source.prompts, hash), tidy(body, source.reflow));
    if thinks(hash, source) && !source.thoughts.is_empty() {
        chat = with_thought(chat, pick(&source.thoughts, hash >> 16));
    }
    Some(chat)
}

/// Returns the dialogue from its first question to its last answer, `None` if it has none.
pub(crate) fn dialogue(document: &str) -> Option<Chat> {
    let mut turns: Vec<Message> = Vec::new();
    for line in document.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (role, text) = if let Some(text) = line.strip_prefix("User:") {
            (Some(Role::User), text.trim())
        } else if let Some(text) = line.strip_prefix("Assistant:") {
            (Some(Role::Assistant), text.trim())
        } else {
            (None, line)
        };
        match (role, turns.last_mut()) {
            // A line without a speaker, or a second line of the same one, continues the turn.
            (role, Some(last)) if role.is_none_or(|role| role == last.role) => {
                let turn = last.content.get_or_insert_default();
                turn.push('\n');
                turn.push_str(text);
            }
            (Some(role), _) => turns.push(Message::new(role, text)),
            (None, _) => {}
        }
    }
    let first = turns.iter().position(|turn| turn.role == Role::User)?;
    let last = turns.iter().rposition(|turn| turn.role == Role::Assistant)?;
    (first < last).then(|| Chat::direct(turns.drain(first..=last).collect()))
}

/// Returns a question with its worked steps and its result; where the model thinks, the steps are its thought.
pub(crate) fn question(line: &str, source: &SourceConfig) -> Result<Chat, TrainError> {
    #[derive(Deserialize)]
    struct Record {
        question: String,
        answer: String,
    }
    let record: Record = serde_json::from_str(line)
        .map_err(|error| bad_line(source, "JSON lines with the strings `question` and `answer`", line, &error))?;
    let (question, answer) = (record.question.trim(), without_calculator_marks(&record.answer));
    let Some((steps, result)) = answer.split_once("\n#### ") else { return Ok(Chat::exchange(question, answer)) };
    let (steps, result) = (steps.trim(), format!("The answer is {}.", result.trim()));
    Ok(if thinks(fnv1a(line.as_bytes()), source) {
        with_thought(Chat::exchange(question, result), steps.to_owned())
    } else {
        Chat::exchange(question, format!("{steps}\n{result}"))
    })
}

/// Removes the `<<48/2=24>>` marks of GSM8K answers, which are input for a calculator tool and no prose.
fn without_calculator_marks(answer: &str) -> String {
    let mut rest = answer;
    let mut clean = String::with_capacity(answer.len());
    while let Some((before, after)) = rest.split_once("<<") {
        clean.push_str(before);
        rest = after.split_once(">>").map_or("", |(_, tail)| tail);
    }
    clean.push_str(rest);
    clean
}

fn with_thought(mut chat: Chat, thought: String) -> Chat {
    if let Some(answer) = chat.messages.last_mut() {
        answer.reasoning_content = Some(thought);
    }
    Chat { thinking: true, ..chat }
}

/// Whether the model thinks in the conversation made of a document with this hash.
fn thinks(hash: u64, source: &SourceConfig) -> bool {
    share(mix(hash)) < source.thinking
}

/// Maps the upper half of a hash to 0 to below 1.
fn share(hash: u64) -> f64 {
    (hash >> 32) as f64 / 2f64.powi(32)
}
