//! Long lists of names and values.

use std::collections::HashSet;

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, capitalised};
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::{JOBS, NAMES, PLAIN_WORDS, TOWNS};

use super::{not_there, room};

const VALUE_OF: Phrases = Phrases::new(&[
    "what is the {value} of {key}?",
    "which {value} belongs to {key}?",
    "find the {value} of {key}.",
    "look for {key} in the list. What is the {value}?",
    "tell me the {value} next to {key}.",
    "I need the {value} of {key}.",
]);
const KEY_OF: Phrases = Phrases::new(&[
    "which {kind} has the {value} {v}?",
    "to which {kind} does the {value} {v} belong?",
    "look for the {value} {v}. Which {kind} is it?",
    "what {kind} stands next to the {value} {v}?",
    "find the {kind} with the {value} {v}.",
    "the {value} is {v}. Name the {kind}.",
]);
const LARGER: Phrases = Phrases::new(&[
    "who or what has the larger {value}: {a} or {b}?",
    "compare {a} and {b}. Which has the greater {value}?",
    "which of the two has the higher {value}, {a} or {b}?",
    "look up {a} and {b}. Which one has the larger {value}?",
    "is the {value} of {a} or that of {b} greater? Name the one with the greater.",
    "name the one with the larger {value}: {a} or {b}.",
]);

/// A name and its value.
type Entry = (String, i64);

/// A kind of list.
struct Kind {
    kind: &'static str,
    value: &'static str,
    title: &'static str,
    key: fn(&mut Draws) -> String,
    lines: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind {
        kind: "item",
        value: "price",
        title: "Price list",
        key: |draws| draws.several(PLAIN_WORDS, 2).join(" "),
        lines: &["{k}: {v}", "{k} - {v}", "| {k} | {v} |"],
    },
    Kind {
        kind: "town",
        value: "house count",
        title: "Houses in each town",
        key: |draws| {
            let (side, ending) = (
                ["Upper", "Lower", "North", "South", "Old", "New", "Great", "Little"],
                ["ton", "ford", "ham", "by", "field", "wood"],
            );
            format!("{} {}{}", draws.word(&side), capitalised(draws.word(PLAIN_WORDS)), draws.word(&ending))
        },
        lines: &["{k}: {v} houses", "{k} has {v} houses.", "{k} = {v}"],
    },
    Kind {
        kind: "person",
        value: "room number",
        title: "Rooms",
        key: |draws| format!("{} {}", draws.word(NAMES), capitalised(draws.word(PLAIN_WORDS))),
        lines: &["{k}: room {v}", "{k}, {v}", "- {k}: {v}"],
    },
    Kind {
        kind: "key",
        value: "value",
        title: "Settings",
        key: |draws| draws.several(PLAIN_WORDS, 2).join("_"),
        lines: &["{k} = {v}", "{k}: {v}", "\"{k}\": {v},"],
    },
    Kind {
        kind: "member",
        value: "telephone extension",
        title: "Telephone list",
        key: |draws| format!("{} the {} from {}", draws.word(NAMES), draws.word(JOBS), draws.word(TOWNS)),
        lines: &["{k}: {v}", "{k} - extension {v}", "{k} ({v})"],
    },
];

/// Key-value recall: the value of a key.
pub(super) fn pairs(draws: &mut Draws, level: u8, setting: &Setting) -> Draft {
    let room = room(draws, level, setting);
    let kind = draws.pick(KINDS);
    let line = draws.word(kind.lines);
    let (document, entries) = list(draws, setting, room, kind, line);
    let entry_idx = draws.below(entries.len());
    value_of(draws, kind, line, &entries[entry_idx]).about(draws, document)
}

/// What else a list answers: the key of a value, the larger of two values, and that a key is not there.
pub(super) fn entries(draws: &mut Draws, level: u8, setting: &Setting) -> Draft {
    let room = room(draws, level, setting);
    let kind = draws.pick(KINDS);
    let line = draws.word(kind.lines);
    let (document, entries) = list(draws, setting, room, kind, line);
    let entry_idx = draws.below(entries.len());
    let (key, value) = &entries[entry_idx];
    let written = |entry: &Entry| written(line, entry);
    match draws.below(4) {
        0 => {
            let mut key = (kind.key)(draws);
            while entries.iter().any(|(other, _)| *other == key) {
                key = (kind.key)(draws);
            }
            let question = VALUE_OF.fill(draws, &[("value", &kind.value), ("key", &key)]);
            let thinking = format!("I look for {key}. The list has no such entry.");
            not_there(draws, format!("no {key} {:?}", entries[0]), &question, document, thinking)
        }
        1 if entries.len() > 1 => {
            let other = &entries[(entry_idx + 1 + draws.below(entries.len() - 1)) % entries.len()];
            let larger = if other.1 > *value { other } else { &entries[entry_idx] };
            Problem {
                key: format!("{key} {value} {other:?}"),
                question: LARGER.fill(draws, &[("value", &kind.value), ("a", key), ("b", &other.0)]),
                thinking: format!(
                    "The lines are \"{}\" and \"{}\". {} is larger.",
                    written(&entries[entry_idx]),
                    written(other),
                    larger.1
                ),
                sentence: format!("{} has the larger {}.", larger.0, kind.value),
                check: Check::mention(&larger.0, [key.as_str(), other.0.as_str()]),
            }
            .about(draws, document)
        }
        _ => key_of(draws, kind, line, &entries, entry_idx).about(draws, document),
    }
}

/// Makes a list and `n` questions about different entries of it; fewer where it has fewer.
pub(super) fn questions(draws: &mut Draws, setting: &Setting, room: usize, n: usize) -> (String, Vec<Problem>) {
    let kind = draws.pick(KINDS);
    let line = draws.word(kind.lines);
    let (document, entries) = list(draws, setting, room, kind, line);
    let mut idxs: Vec<usize> = (0..entries.len()).collect();
    draws.shuffle(&mut idxs);
    let problem = |entry_idx: usize| {
        if draws.chance(0.5) {
            key_of(draws, kind, line, &entries, entry_idx)
        } else {
            value_of(draws, kind, line, &entries[entry_idx])
        }
    };
    let problems = idxs.into_iter().take(n).map(problem).collect();
    (document, problems)
}

fn written(line: &str, (key, value): &Entry) -> String {
    crate::phrases::fill(line, &[("k", key), ("v", value)])
}

fn value_of(draws: &mut Draws, kind: &Kind, line: &str, entry: &Entry) -> Problem {
    let (key, value) = entry;
    Problem {
        key: format!("{key} {value}"),
        question: VALUE_OF.fill(draws, &[("value", &kind.value), ("key", key)]),
        thinking: format!("The line is \"{}\".", written(line, entry)),
        sentence: format!("The {} of {key} is {value}.", kind.value),
        check: Check::number(*value),
    }
}

fn key_of(draws: &mut Draws, kind: &Kind, line: &str, entries: &[Entry], entry_idx: usize) -> Problem {
    let (key, value) = &entries[entry_idx];
    let others = entries.iter().map(|(other, _)| other.as_str()).filter(|other| !key.contains(other));
    Problem {
        key: format!("{value} {key}"),
        question: KEY_OF.fill(draws, &[("kind", &kind.kind), ("value", &kind.value), ("v", value)]),
        thinking: format!("The line is \"{}\".", written(line, &entries[entry_idx])),
        sentence: format!("It is {key}."),
        check: Check::mention(key, others.take(20)),
    }
}

/// Draws entries with different keys and values until the room is used up; at least two.
fn list(draws: &mut Draws, setting: &Setting, room: usize, kind: &Kind, line: &str) -> (String, Vec<Entry>) {
    let mut text = format!("{}\n", kind.title);
    let mut left = room.saturating_sub(setting.length_of(&text));
    let (mut entries, mut keys, mut values) = (Vec::new(), HashSet::new(), HashSet::new());
    loop {
        let (key, value) = ((kind.key)(draws), draws.between(100, 99_999));
        if keys.contains(&key) || values.contains(&value) {
            continue;
        }
        let written = format!("\n{}", crate::phrases::fill(line, &[("k", &key), ("v", &value)]));
        let length = setting.length_of(&written);
        // Half of the smallest space of keys.
        if entries.len() >= 2 && (length > left || entries.len() >= 3000) {
            return (text, entries);
        }
        left = left.saturating_sub(length);
        text.push_str(&written);
        keys.insert(key.clone());
        values.insert(value);
        entries.push((key, value));
    }
}
