//! Rules for the form of a reply that a program can verify.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::answer::{plain, spoken, words};

/// One rule; it holds or it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// So many sentences, no two alike: a sentence ends with `.`, `!` or `?` before white space or the end, and the last one must end so.
    Sentences(usize),
    /// So many lines that begin with `- ` or `* `, and no other lines but one before them that ends with a colon.
    Bullets(usize),
    /// Lines that begin with `1.` (or `1)`), `2.`, … up to this number, and no other lines but one before them that ends with a colon.
    Numbered(usize),
    /// At most so many words.
    MaxWords(usize),
    /// At least so many words.
    MinWords(usize),
    /// Exactly so many words.
    Words(usize),
    /// No capital letter, and at least one small one.
    NoCapitals,
    /// No small letter, and at least one capital.
    AllCapitals,
    /// No comma.
    NoComma,
    /// Begins with this text.
    BeginsWith(String),
    /// Ends with this text.
    EndsWith(String),
    /// Has one of these texts as whole words, capitals aside.
    Mentions(Vec<String>),
    /// Has this many of these texts as whole words.
    MentionsSeveral(usize, Vec<String>),
    /// Does not have this word.
    Avoids(String),
    /// Has a phrase of politeness; see [`POLITE`].
    Polite,
    /// Says that it does not or cannot know; see [`UNKNOWING`].
    AdmitsNotKnowing,
    /// Is one JSON object with exactly these keys, in any order, whose values are not empty.
    JsonKeys(Vec<String>),
}

/// Phrases of politeness: one of them has to occur, capitals aside.
pub const POLITE: &[&str] = &[
    "please",
    "thank you",
    "thanks",
    "you are welcome",
    "you're welcome",
    "my pleasure",
    "glad to",
    "happy to",
    "sorry",
    "of course",
    "with pleasure",
    "i hope",
    "good luck",
    "have a nice",
    "have a good",
    "have a great",
    "take care",
];

/// Ways to say that one does not know: one of them has to occur, capitals aside.
pub const UNKNOWING: &[&str] = &[
    "i do not know",
    "i don't know",
    "i cannot know",
    "i can't know",
    "i cannot tell",
    "i can't tell",
    "i have no way",
    "i cannot see",
    "i can't see",
    "i do not have",
    "i don't have",
    "i cannot say",
    "i can't say",
    "i am not able to",
];

impl Rule {
    /// Whether a reply follows the rule; thoughts that end with `</think>` are no part of it. Never fails.
    pub fn holds(&self, reply: &str) -> bool {
        let reply = plain(spoken(reply));
        let reply = reply.as_str();
        let lower = || reply.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        let n_words = || reply.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
        match self {
            Self::Sentences(n) => n_sentences(reply) == Some(*n),
            Self::Bullets(n) => items_behind_head(reply, |line, _| is_item(line, &["- ", "* "])) == Some(*n),
            Self::Numbered(n) => {
                let is_numbered = |line: &str, idx: usize| is_item(line, &[&format!("{}. ", idx + 1), &format!("{}) ", idx + 1)]);
                items_behind_head(reply, is_numbered) == Some(*n)
            }
            Self::MaxWords(n) => (1..=*n).contains(&n_words()),
            Self::MinWords(n) => n_words() >= *n,
            Self::Words(n) => n_words() == *n,
            Self::NoCapitals => !reply.contains(char::is_uppercase) && reply.contains(char::is_lowercase),
            Self::AllCapitals => !reply.contains(char::is_lowercase) && reply.contains(char::is_uppercase),
            Self::NoComma => !reply.is_empty() && !reply.contains(','),
            Self::BeginsWith(text) => reply.starts_with(text.as_str()),
            Self::EndsWith(text) => reply.ends_with(text.as_str()),
            Self::Mentions(texts) => n_mentioned(reply, texts) > 0,
            Self::MentionsSeveral(n, texts) => n_mentioned(reply, texts) == *n,
            Self::Avoids(word) => !reply.is_empty() && n_mentioned(reply, std::slice::from_ref(word)) == 0,
            Self::Polite => POLITE.iter().any(|phrase| lower().contains(phrase)),
            Self::AdmitsNotKnowing => UNKNOWING.iter().any(|phrase| lower().contains(phrase)),
            Self::JsonKeys(keys) => has_json_keys(reply, keys),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sentences(n) => write!(f, "{n} sentences"),
            Self::Bullets(n) => write!(f, "{n} bullets"),
            Self::Numbered(n) => write!(f, "{n} numbered lines"),
            Self::MaxWords(n) => write!(f, "at most {n} words"),
            Self::MinWords(n) => write!(f, "at least {n} words"),
            Self::Words(n) => write!(f, "{n} words"),
            Self::NoCapitals => write!(f, "no capital letters"),
            Self::AllCapitals => write!(f, "capital letters alone"),
            Self::NoComma => write!(f, "no comma"),
            Self::BeginsWith(text) => write!(f, "begins with `{text}`"),
            Self::EndsWith(text) => write!(f, "ends with `{text}`"),
            Self::Mentions(texts) => write!(f, "mentions one of {}", texts.join(", ")),
            Self::MentionsSeveral(n, texts) => write!(f, "mentions {n} of {}", texts.join(", ")),
            Self::Avoids(word) => write!(f, "avoids `{word}`"),
            Self::Polite => write!(f, "polite"),
            Self::AdmitsNotKnowing => write!(f, "admits not knowing"),
            Self::JsonKeys(keys) => write!(f, "JSON with {}", keys.join(", ")),
        }
    }
}

/// Counts sentences; `None` if the last one has no end or two are alike.
fn n_sentences(text: &str) -> Option<usize> {
    let closes = |word: &str| word.trim_end_matches(['"', '\'', ')']).ends_with(['.', '!', '?']);
    let (mut sentences, mut current) = (HashSet::new(), Vec::new());
    for word in text.split_whitespace() {
        current.push(word);
        if closes(word) && !sentences.insert(std::mem::take(&mut current)) {
            return None;
        }
    }
    current.is_empty().then_some(sentences.len())
}

/// Counts the items of a list that is the whole reply but for a line before it that ends with a colon; `None` if it is not.
fn items_behind_head(text: &str, is_item: impl Fn(&str, usize) -> bool) -> Option<usize> {
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.first().is_some_and(|line| line.ends_with(':') && !is_item(line, 0)) {
        lines.remove(0);
    }
    lines.iter().enumerate().all(|(line_idx, line)| is_item(line, line_idx)).then_some(lines.len())
}

fn is_item(line: &str, marks: &[&str]) -> bool {
    marks.iter().any(|mark| line.strip_prefix(mark).is_some_and(|item| item.contains(char::is_alphanumeric)))
}

/// Counts how many of the texts occur as whole words; `-s` and `-es` of a plural may follow.
fn n_mentioned(reply: &str, texts: &[String]) -> usize {
    let said = words(reply);
    let is_form =
        |word: &String, of: &String| word.strip_prefix(of.as_str()).is_some_and(|ending| matches!(ending, "" | "s" | "es"));
    texts
        .iter()
        .filter(|text| {
            let sequence = words(text);
            !sequence.is_empty()
                && said.windows(sequence.len()).any(|window| window.iter().zip(&sequence).all(|(word, of)| is_form(word, of)))
        })
        .count()
}

fn has_json_keys(reply: &str, keys: &[String]) -> bool {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(reply) else { return false };
    let is_filled = |value: &serde_json::Value| match value {
        serde_json::Value::Null => false,
        serde_json::Value::String(text) => !text.trim().is_empty(),
        serde_json::Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    object.len() == keys.len() && keys.iter().all(|key| object.get(key).is_some_and(is_filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_can_hold_and_fail() {
        let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (rule, good, bad) in [
            (Rule::Sentences(2), "It is. Is it?", "It is. Is it"),
            (Rule::Sentences(2), "It is. It was.", "It is. It is."),
            (Rule::Sentences(1), "It cost 3.50 pounds.", "It is. Yes."),
            (Rule::Bullets(2), "Here:\n- a\n\n- b", "- a\n- b\nThat is all."),
            (Rule::Bullets(2), "* a\n* b", "- a\n- "),
            (Rule::Numbered(2), "1. a\n2) b", "1. a\n1. b"),
            (Rule::MaxWords(3), "a - b c", "a b c d"),
            (Rule::MaxWords(3), "a", ""),
            (Rule::MinWords(2), "a b c", "a -"),
            (Rule::Words(2), "a b.", "a"),
            (Rule::NoCapitals, "so it is", "So it is"),
            (Rule::NoCapitals, "a", "1"),
            (Rule::AllCapitals, "SO 1", "SO it is"),
            (Rule::NoComma, "a", "a, b"),
            (Rule::BeginsWith("Well".into()), "<think> x</think>Well, a", "well a"),
            (Rule::EndsWith("Over.".into()), "a Over.\n", "Over. a"),
            (Rule::Mentions(texts(&["red box", "cat"])), "Two cats.", "The red and the box: catfish"),
            (Rule::MentionsSeveral(2, texts(&["cat", "dog", "owl"])), "cat, dog", "cat, dog, owl"),
            (Rule::Avoids("dog".into()), "a doghouse", "Dogs bark."),
            (Rule::Polite, "You’re welcome!", "Right."),
            (Rule::AdmitsNotKnowing, "Sorry, I don't know that.", "It was soup."),
            (Rule::JsonKeys(texts(&["a", "b"])), "{\"b\": 1, \"a\": \"x\"}", "{\"a\": 1, \"b\": \"\"}"),
            (Rule::JsonKeys(texts(&["a"])), "{\"a\": 1}", "{\"a\": 1} x"),
            (Rule::JsonKeys(texts(&["a"])), "{\"a\": [0]}", "{\"a\": [0], \"b\": 1}"),
        ] {
            assert!(rule.holds(good), "{rule}: {good}");
            assert!(!rule.holds(bad), "{rule}: {bad}");
        }
    }
}
