//! Counting letters, words and items.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, joined};
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::{ANIMALS, COLOURS, FRUITS, PLAIN_WORDS, TOOLS};

const LETTERS: Phrases = Phrases::new(&[
    "how many times does the letter \"{letter}\" occur in \"{text}\"?",
    "count the letter \"{letter}\" in \"{text}\".",
    "how often do you find \"{letter}\" in \"{text}\"?",
    "in \"{text}\", how many letters are \"{letter}\"?",
    "how many \"{letter}\" are there in \"{text}\"?",
    "look at \"{text}\" and count every \"{letter}\".",
]);
const LENGTH: Phrases = Phrases::new(&[
    "how many letters does \"{text}\" have?",
    "count the letters of \"{text}\".",
    "how long is the word \"{text}\", in letters?",
    "what is the number of letters in \"{text}\"?",
    "tell me how many letters there are in \"{text}\".",
    "how many letters do you need to write \"{text}\"?",
]);
const WORDS: Phrases = Phrases::new(&[
    "how many words are in this line: {text}",
    "count the words: {text}",
    "how many words do you see here? {text}",
    "{text} - how many words is that?",
    "what is the number of words in the line \"{text}\"?",
    "count all words of \"{text}\".",
]);
const ITEMS: Phrases = Phrases::new(&[
    "how many times does \"{item}\" occur in this list: {list}?",
    "count \"{item}\" in the list {list}.",
    "here is a list: {list}. How often is \"{item}\" in it?",
    "how many of these are \"{item}\"? {list}",
    "in the list {list}, how many entries are \"{item}\"?",
    "look through {list}. How many times do you find \"{item}\"?",
]);
const KINDS: Phrases = Phrases::new(&[
    "how many of these words are {kind}: {list}?",
    "count the {kind} in this list: {list}.",
    "here are some words: {list}. How many of them name {kind}?",
    "how many {kind} do you find among these: {list}?",
    "{list}: how many are {kind}?",
    "look at the words {list}. How many {kind} are there?",
]);
const STATE: Phrases =
    Phrases::new(&["there are {x}.", "the count is {x}.", "it is {x}.", "I count {x}.", "the number is {x}.", "that makes {x}."]);

pub(super) fn count(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    match (level, draws.below(2)) {
        (1, 0) => length(draws),
        (1, _) => letters(draws, 1),
        (2, 0) => letters(draws, 2),
        (2, _) => words(draws),
        (_, 0) => items(draws),
        (_, _) => kinds(draws),
    }
}

fn problem(draws: &mut Draws, key: String, question: String, thinking: String, n: usize) -> Draft {
    let sentence = STATE.fill(draws, &[("x", &n)]);
    Problem { key, question, thinking, sentence, check: Check::number(n as i64) }.draft(draws)
}

/// Writes a text with a running count behind every place that counts: `b, a (1), n, a (2)`.
fn counted<T: std::fmt::Display>(parts: &[T], counts: impl Fn(&T) -> bool) -> String {
    let mut n = 0;
    let written = parts.iter().map(|part| {
        n += usize::from(counts(part));
        if counts(part) { format!("{part} ({n})") } else { part.to_string() }
    });
    format!("{}.", written.collect::<Vec<_>>().join(", "))
}

fn length(draws: &mut Draws) -> Draft {
    let word = draws.word(PLAIN_WORDS);
    let question = LENGTH.fill(draws, &[("text", &word)]);
    let letters: Vec<char> = word.chars().collect();
    problem(draws, format!("length {word}"), question, counted(&letters, |_| true), word.len())
}

fn letters(draws: &mut Draws, n_words: usize) -> Draft {
    let text = draws.several(PLAIN_WORDS, n_words).join(" ");
    let letters: Vec<char> = text.chars().filter(|letter| *letter != ' ').collect();
    let letter = *draws.pick(&letters);
    let n = letters.iter().filter(|other| **other == letter).count();
    let question = LETTERS.fill(draws, &[("letter", &letter), ("text", &text)]);
    problem(draws, format!("{letter} in {text}"), question, counted(&letters, |other| *other == letter), n)
}

fn words(draws: &mut Draws) -> Draft {
    let n = 4 + draws.below(7);
    let words = draws.several(PLAIN_WORDS, n);
    let text = words.join(" ");
    let question = WORDS.fill(draws, &[("text", &text)]);
    problem(draws, format!("words {text}"), question, counted(&words, |_| true), n)
}

fn items(draws: &mut Draws) -> Draft {
    let kinds = draws.several(COLOURS, 4);
    let n = 7 + draws.below(6);
    let list: Vec<&str> = (0..n).map(|_| draws.word(&kinds)).collect();
    let item = draws.word(&list);
    let n = list.iter().filter(|other| **other == item).count();
    let question = ITEMS.fill(draws, &[("item", &item), ("list", &list.join(", "))]);
    problem(draws, format!("{item} in {list:?}"), question, counted(&list, |other| *other == item), n)
}

fn kinds(draws: &mut Draws) -> Draft {
    let (kind, of_kind, others) =
        *draws.pick(&[("animals", ANIMALS, TOOLS), ("fruits", FRUITS, ANIMALS), ("tools", TOOLS, FRUITS)]);
    let (n, n_others) = (2 + draws.below(4), 2 + draws.below(4));
    let mut list = draws.several(of_kind, n);
    list.extend(draws.several(others, n_others));
    draws.shuffle(&mut list);
    let question = KINDS.fill(draws, &[("kind", &kind), ("list", &joined(&list, "and"))]);
    problem(draws, format!("{kind} in {list:?}"), question, counted(&list, |word| of_kind.contains(word)), n)
}
