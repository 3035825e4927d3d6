//! Looking things up in tables.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, joined};
use crate::random::Draws;
use crate::setting::Setting;

use super::Move;
use super::village::{GOODS_TABLES, PEOPLE_TABLES, TableKind};
use super::world::{Table, World};

const ASK: Phrases = Phrases::new(&[
    "what is the {value} of {key}?",
    "look up the {value} of {key}.",
    "find the {value} of {key} for me, please.",
    "I need the {value} of {key}.",
    "can you tell me the {value} of {key}?",
    "please check the {value} of {key}.",
]);
const ASK_SUM: Phrases = Phrases::new(&[
    "add the {value} of {keys}. What is the sum?",
    "take the {value} of {keys}. What do you get if you add them?",
    "what is the sum, if you take the {value} of each of these: {keys}?",
    "for {keys}, look up the {value} and add everything.",
    "look up the {value} of {keys}. What is the total?",
    "I need a total: the {value} of {keys}, added together.",
]);
const ASK_MORE: Phrases = Phrases::new(&[
    "which has the larger {value}: {a} or {b}?",
    "compare the {value} of {a} with that of {b}. Name the one with the larger.",
    "is the {value} of {a} or of {b} larger? Give the name.",
    "look up {a} and {b}. Which one has the larger {value}?",
    "between {a} and {b}, which has the greater {value}?",
    "name the one with the larger {value}, {a} or {b}.",
]);
const NOT_FOUND: Phrases = Phrases::new(&[
    "{key} is not in the table.",
    "I could not find {key}: it is not in the table.",
    "there is no entry for {key} in the table.",
    "the table has no entry for {key}.",
    "the table does not mention {key}.",
    "sorry, {key} is not listed there: it was not found.",
]);

/// Draws two kinds of tables with the same keys, and keys to ask for.
fn tables(draws: &mut Draws, n_keys: usize, n_rows: usize) -> (World, TableKind, Vec<(String, i64)>) {
    let all = if draws.chance(0.5) { GOODS_TABLES } else { PEOPLE_TABLES };
    let kinds = draws.several(all, 2);
    let first = kinds[0].table(draws, &[], n_rows);
    let names: Vec<String> = first.rows.iter().map(|(name, _)| name.clone()).collect();
    let second = kinds[1].table(draws, &names, n_rows);
    let asked =
        draws.several(&first.rows, n_keys).into_iter().map(|(name, value)| (name, value.parse().unwrap_or_default())).collect();
    let mut both: Vec<Table> = vec![first, second];
    draws.shuffle(&mut both);
    (World { pages: Vec::new(), tables: both }, kinds[0], asked)
}

fn the(key: &str) -> String {
    if key.starts_with(char::is_uppercase) { key.to_owned() } else { format!("the {key}") }
}

pub(super) fn table(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let n_keys = usize::from(level);
    let (world, kind, asked) = tables(draws, n_keys, 6 + 2 * n_keys);
    let moves: Vec<Move> = asked
        .iter()
        .map(|(key, _)| Move::lookup(format!("I look up {} in the table {}.", the(key), kind.name), kind.name, key))
        .collect();
    let names: Vec<String> = asked.iter().map(|(key, _)| the(key)).collect();
    let values: Vec<String> = asked.iter().map(|(_, value)| value.to_string()).collect();
    let key = format!("{} {asked:?}", kind.name);
    let (question, thinking, sentence, check) = match asked.as_slice() {
        [(_, value)] => (
            ASK.fill(draws, &[("value", &kind.value), ("key", &names[0])]),
            format!("The table says {value}."),
            format!("The {} of {} is {value}.", kind.value, names[0]),
            Check::number(*value),
        ),
        [(a, x), (b, y)] if draws.chance(0.5) => {
            let winner = if x > y { a } else { b };
            (
                ASK_MORE.fill(draws, &[("value", &kind.value), ("a", &names[0]), ("b", &names[1])]),
                format!("{x} {} {y}.", if x > y { ">" } else { "<" }),
                format!("{} has the larger {}.", crate::phrases::capitalised(&the(winner)), kind.value),
                Check::mention(winner, [a.as_str(), b.as_str()]),
            )
        }
        _ => {
            let total: i64 = asked.iter().map(|(_, value)| value).sum();
            (
                ASK_SUM.fill(draws, &[("value", &kind.value), ("keys", &joined(&names, "and"))]),
                format!("{} = {total}.", values.join(" + ")),
                format!("The sum is {total}."),
                Check::number(total),
            )
        }
    };
    Problem { key, question, thinking, sentence, check }.in_world(draws, world, moves)
}

pub(super) fn table_absent(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let (world, kind, _) = tables(draws, 1, 4 + 4 * usize::from(level));
    let key = loop {
        let key = kind.key(draws);
        if world.tables.iter().all(|table| table.rows.iter().all(|(other, _)| *other != key)) {
            break key;
        }
    };
    let moves = vec![Move::lookup(format!("I look up {} in the table {}.", the(&key), kind.name), kind.name, &key)];
    Problem {
        key: format!("{} {key} {:?}", kind.name, world.tables[0].rows.first()),
        question: ASK.fill(draws, &[("value", &kind.value), ("key", &the(&key))]),
        thinking: "The tool found no such entry, so I say that.".into(),
        sentence: NOT_FOUND.fill(draws, &[("key", &the(&key))]),
        check: Check::Absent,
    }
    .in_world(draws, world, moves)
}
