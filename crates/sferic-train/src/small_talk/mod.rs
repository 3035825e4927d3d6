//! Conversations about nothing but the assistant itself: greetings, thanks, who it is, what it can do and what it cannot.
//!
//! Our own, in templates: a person's words and the assistant's are drawn apart, and some conversations string several topics
//! together. `{me}` is the assistant's name, `{name}` the person's.

mod topics;

use serde::Deserialize;
use sferic_tasks::Draws;
use sferic_text::Message;

use crate::TrainError;
use crate::chat::Chat;

use topics::{CLOSINGS, NAMES, OPENINGS, TOPICS};

/// Which small talk is made, from `small_talk` of a source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmallTalkConfig {
    /// Conversations to make.
    pub n: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// The assistant's name.
    pub name: String,
}

impl Default for SmallTalkConfig {
    fn default() -> Self {
        Self { n: 2000, seed: 0, name: "Scout".to_owned() }
    }
}

/// What people say about one thing, and what the assistant says to it.
struct Topic {
    questions: &'static [&'static str],
    answers: &'static [&'static str],
    /// What the assistant thinks before it answers.
    thought: &'static str,
}

impl SmallTalkConfig {
    /// Checks the values; `key` is the table's path in the file.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] with the key.
    pub fn check(&self, key: &str) -> Result<(), TrainError> {
        if self.n == 0 {
            return Err(TrainError::config(&format!("{key}.n"), "at least 1", "0"));
        }
        if self.name.trim().is_empty() {
            return Err(TrainError::config(&format!("{key}.name"), "a name", "none"));
        }
        Ok(())
    }

    /// Makes the conversations; in the share `thinking` of them the assistant thinks before its last answer.
    pub fn chats(&self, thinking: f64) -> Vec<Chat> {
        let mut draws = Draws::new(self.seed);
        (0..self.n).map(|_| self.chat(thinking, &mut draws)).collect()
    }

    fn chat(&self, thinking: f64, draws: &mut Draws) -> Chat {
        let n_topics = [1, 1, 1, 2, 3][draws.below(5)];
        let mut topics: Vec<&Topic> = Vec::new();
        if n_topics > 1 || draws.chance(0.15) {
            topics.push(pick(OPENINGS, draws));
        }
        for _ in 0..n_topics {
            let topic = pick(TOPICS, draws);
            if !topics.iter().any(|known| std::ptr::eq(*known, topic)) {
                topics.push(topic);
            }
        }
        if topics.len() > 1 && draws.chance(0.4) {
            topics.push(pick(CLOSINGS, draws));
        }
        let name = *pick(NAMES, draws);
        let fill = |text: &str| text.replace("{me}", &self.name).replace("{name}", name);
        let mut messages = Vec::new();
        for topic in &topics {
            messages.push(Message::user(as_typed(&fill(pick::<&str>(topic.questions, draws)), draws)));
            messages.push(Message::assistant(fill(pick::<&str>(topic.answers, draws))));
        }
        let thinks = draws.chance(thinking);
        if let (Some(last), Some(topic), true) = (messages.last_mut(), topics.last(), thinks) {
            last.reasoning_content = Some(fill(topic.thought));
        }
        Chat { messages, tools: Vec::new(), thinking: thinks }
    }
}

/// Writes a sentence as people type it: sometimes without capitals, without the mark at the end, or with more of it.
fn as_typed(text: &str, draws: &mut Draws) -> String {
    let text = if draws.chance(0.35) { text.to_lowercase() } else { text.to_owned() };
    match draws.below(8) {
        0..2 => text.trim_end_matches(['.', '?', '!']).to_owned(),
        2 if text.ends_with(['?', '!']) => format!("{text}{}", &text[text.len() - 1..]),
        _ => text,
    }
}

fn pick<'a, T>(items: &'a [T], draws: &mut Draws) -> &'a T {
    &items[draws.below(items.len())]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn conversations_are_varied_filled_and_the_same_for_a_seed() {
        let config = SmallTalkConfig { n: 500, ..SmallTalkConfig::default() };
        let chats = config.chats(0.5);
        assert_eq!(chats, config.chats(0.5));
        let different: HashSet<String> = chats.iter().map(|chat| serde_json::to_string(chat).unwrap()).collect();
        assert!(different.len() > 450, "{}", different.len());
        for chat in &chats {
            let segments = crate::chat_format::ChatFormat::own().segments(chat).unwrap();
            assert!(segments.last().unwrap().is_models);
            let line = serde_json::to_string(&chat.messages).unwrap();
            assert!(!line.contains("{me}") && !line.contains("{name}"), "{line}");
        }
        let n_thinking = chats.iter().filter(|chat| chat.thinking).count();
        // Binomial(500, 1/2): mean 250, standard deviation 11; five of them either way.
        assert!((194..=306).contains(&n_thinking), "{n_thinking}");
        assert!(chats.iter().any(|chat| chat.messages.len() >= 6));
    }

    #[test]
    fn the_name_is_the_settings() {
        let config = SmallTalkConfig { n: 200, name: "Pilot".to_owned(), ..SmallTalkConfig::default() };
        let text = serde_json::to_string(&config.chats(0.5)).unwrap();
        assert!(text.contains("I am Pilot") && !text.contains("Scout"));
    }
}
