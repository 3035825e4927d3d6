//! Giving a sentence word for word.

use std::collections::HashMap;

use crate::check::Check;
use crate::form::Form;
use crate::generator::Draft;
use crate::phrases::Phrases;
use crate::random::Draws;
use crate::setting::Setting;

use super::facts::Kind;
use super::layout::{Plan, document, filler, joined};
use super::room;

const ASK_WORD: Phrases = Phrases::new(&[
    "quote the sentence that has the word \"{word}\".",
    "which sentence of the document mentions \"{word}\"? Give it word for word.",
    "find the sentence with the word \"{word}\" and write it out exactly.",
    "copy the sentence in which \"{word}\" occurs.",
    "one sentence contains the word \"{word}\". Quote it.",
    "give me the exact sentence where \"{word}\" is mentioned.",
]);
const ASK_FACT: Phrases = Phrases::new(&[
    "quote the sentence that answers this question: {question}",
    "which sentence of the document tells you this? {question} Give it word for word.",
    "{question} Answer with the exact sentence from the document.",
    "copy the sentence from which one can see this: {question}",
    "{question} Quote the document.",
    "find the sentence that gives the answer, and write it out exactly: {question}",
]);
const REPLY: Phrases = Phrases::new(&[
    "\"{sentence}\"",
    "{sentence}",
    "the document says: \"{sentence}\"",
    "the sentence is: \"{sentence}\"",
    "it says: \"{sentence}\"",
    "here it is: \"{sentence}\"",
]);

pub(super) fn quote(draws: &mut Draws, level: u8, setting: &Setting) -> Draft {
    let room = room(draws, level, setting);
    let from_filler = if draws.chance(0.7) { of_filler(draws, setting, room) } else { None };
    let (document, question, sentence, thinking) = match from_filler {
        Some(found) => found,
        None => of_fact(draws, setting, room, level),
    };
    let reply = REPLY.fill(draws, &[("sentence", &sentence)]);
    let key = sentence.clone();
    Draft { document: Some(document), form: Form::Free, ..Draft::new(key, question, thinking, reply, Check::Quote { sentence }) }
}

/// A sentence of the filler with a word that no other has; `None` if there is none that can be quoted well.
fn of_filler(draws: &mut Draws, setting: &Setting, room: usize) -> Option<(String, String, String, String)> {
    let pieces = filler(draws, setting, room, &[]);
    let mut n_with: HashMap<String, usize> = HashMap::new();
    let words_of = |text: &str| -> Vec<String> {
        let mut words: Vec<String> =
            text.to_lowercase().split(|letter: char| !letter.is_alphabetic()).map(str::to_owned).collect();
        words.sort_unstable();
        words.dedup();
        words
    };
    for piece in &pieces {
        for word in words_of(&piece.text) {
            *n_with.entry(word).or_default() += 1;
        }
    }
    let is_rare = |word: &str| {
        let lower = word.to_lowercase();
        // Not the beginning of another word either, so that looking for it finds one place.
        n_with.get(&lower) == Some(&1) && n_with.keys().filter(|other| other.contains(&lower)).count() == 1
    };
    let mut candidates: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).filter(|text| is_quotable(text)).collect();
    draws.shuffle(&mut candidates);
    for sentence in candidates.into_iter().take(20) {
        let mut words: Vec<&str> =
            sentence.split(|letter: char| !letter.is_alphabetic()).filter(|word| word.len() >= 5 && word.is_ascii()).collect();
        draws.shuffle(&mut words);
        if let Some(word) = words.into_iter().take(8).find(|word| is_rare(word)) {
            let question = ASK_WORD.fill(draws, &[("word", &word)]);
            let thinking = format!("I look for \"{word}\" and quote the whole sentence.");
            return Some((joined(&pieces), question, sentence.to_owned(), thinking));
        }
    }
    None
}

/// Whether a sentence has the length and the signs of a plain one.
fn is_quotable(text: &str) -> bool {
    (25..=220).contains(&text.chars().count())
        && text.starts_with(char::is_uppercase)
        && text.ends_with('.')
        && !text.contains(['"', '“', '”', '*', '|', '<', '>', '\n', '_', '{', '}'])
        && !text.contains("...")
}

fn of_fact(draws: &mut Draws, setting: &Setting, room: usize, level: u8) -> (String, String, String, String) {
    let facts = Kind::draw(draws).facts(draws, 1 + usize::from(level).min(4));
    let fact = &facts[0];
    let optional: Vec<String> = facts[1..].iter().map(|other| other.sentence.clone()).collect();
    let avoid: Vec<String> = facts.iter().map(|other| other.subject.clone()).collect();
    let required = [fact.sentence.clone()];
    let document = document(draws, setting, room, Plan { required: &required, optional: &optional, avoid: &avoid });
    let question = ASK_FACT.fill(draws, &[("question", &fact.question)]);
    let thinking = format!("I look for {} and quote the whole sentence.", fact.subject);
    (document, question, fact.sentence.clone(), thinking)
}
