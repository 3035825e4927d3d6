//! Word problems about things that come and go.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, capitalised};
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::{CONTAINERS, Count, NAMES, Noun, THINGS};

use super::arithmetic::{added, multiplied, subtracted};

const START: Phrases = Phrases::new(&[
    "{name} has {count}.",
    "{name} starts with {count}.",
    "at first {name} has {count}.",
    "in the morning {name} has {count}.",
    "there are {count} on {name}'s table.",
    "{name} owns {count}.",
    "{name} has collected {count}.",
]);
const GAIN: Phrases = Phrases::new(&[
    "then {name} finds {n} more.",
    "a friend gives {name} another {n}.",
    "{other} brings {n} more.",
    "later {name} gets {n} more from {other}.",
    "{name} buys {n} more.",
    "after lunch, {n} more arrive in the post for {name}.",
]);
const LOSS: Phrases = Phrases::new(&[
    "then {name} gives {n} of them to {other}.",
    "{name} loses {n} of them.",
    "{other} takes {n} of them.",
    "{name} sells {n} of them.",
    "after that, {n} of them are sent to {other}.",
    "{name} puts {n} of them aside for {other}, who takes them home.",
]);
const ASK_LEFT: Phrases = Phrases::new(&[
    "how many {things} does {name} have now?",
    "how many {things} does {name} have in the end?",
    "how many {things} are left with {name}?",
    "what is the number of {things} that {name} has at the end?",
    "count the {things} that {name} has now.",
    "so how many {things} does {name} have after all this?",
]);
const GROUPS: Phrases = Phrases::new(&[
    "{name} has {groups} with {n} {things} in each.",
    "there are {groups}, and each of them holds {n} {things}. They belong to {name}.",
    "{name} fills {groups}, each with {n} {things}.",
    "{name} buys {groups}. Every {group} has {n} {things} in it.",
    "on the floor stand {groups} of {name}'s. In each there are {n} {things}.",
    "{name} packs {n} {things} into every {group}. There are {groups}.",
]);
const SHARED: Phrases = Phrases::new(&[
    "{name} and {k} friends share {things} so that everybody gets the same number. There are {n}.",
    "{n} {things} are shared fairly among {name} and {k} friends.",
    "{name} divides {n} {things} equally with {k} friends and also keeps a share.",
    "{name} splits {n} {things} into equal parts, one for each of {k} friends and one to keep.",
    "{k} friends visit {name}. Together, all of them share {n} {things} evenly.",
    "there are {n} {things} for {name} and {k} friends, the same number for each.",
]);
const ASK_SHARE: Phrases = Phrases::new(&[
    "how many {things} does each person get?",
    "how many {things} are there for each of them?",
    "what is the number of {things} per person?",
    "how many {things} does everybody get?",
    "how large is one share?",
    "how many does {name} get?",
]);
const TIMES: Phrases = Phrases::new(&[
    "{name} has {count}. {other} has {k} times as many.",
    "{other} has {k} times as many {things} as {name}, who has {n}.",
    "{name} has {count}, and {other} has {k} times that number.",
    "{name} counts {count}. {other} counts {k} times as many.",
    "while {name} has only {count}, {other} has {k} times as many.",
    "{other} owns {k} times the number of {things} that {name} owns. {name} owns {n}.",
]);
const ASK_TOGETHER: Phrases = Phrases::new(&[
    "how many {things} do they have together?",
    "how many {things} do {name} and {other} have in total?",
    "what is the total number of {things}?",
    "if they put all {things} on one table, how many are there?",
    "how many {things} are there altogether?",
    "together, how many {things} do they own?",
]);
const HAVE: Phrases = Phrases::new(&[
    "{name} has {count}.",
    "in the end it is {count} for {name}.",
    "that leaves {name} with {count}.",
    "{name} has {count} now.",
    "so {name} ends up with {count}.",
    "{name} then has {count}.",
]);

/// Who the story is about.
struct Cast {
    name: &'static str,
    other: &'static str,
    noun: Noun,
}

impl Cast {
    fn draw(draws: &mut Draws) -> Self {
        let names = draws.several(NAMES, 2);
        Self { name: names[0], other: names[1], noun: *draws.pick(THINGS) }
    }
}

pub(super) fn story(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let cast = Cast::draw(draws);
    match (level, draws.below(3)) {
        (1, _) => changes(draws, &cast, 1, 20),
        (2, 0 | 1) => changes(draws, &cast, 2, 60),
        (2, _) => share(draws, &cast),
        (3, 0) => times(draws, &cast),
        (3, 1) => groups(draws, &cast, 1),
        (3, _) => changes(draws, &cast, 3, 200),
        _ => groups(draws, &cast, 2),
    }
}

/// Draws gains and losses: the sentences, the steps of the calculation, a key and what is left.
fn changes_from(
    draws: &mut Draws,
    cast: &Cast,
    start: i64,
    n_changes: usize,
    high: i64,
) -> (Vec<String>, Vec<String>, String, i64) {
    let (mut sentences, mut steps, mut key, mut left) = (Vec::new(), Vec::new(), String::new(), start);
    for _ in 0..n_changes {
        let gains = left < 3 || draws.chance(0.5);
        let n = draws.between(2, if gains { high } else { left - 1 });
        let phrases = if gains { GAIN } else { LOSS };
        sentences.push(phrases.fill(draws, &[("name", &cast.name), ("other", &cast.other), ("n", &n)]));
        steps.push(if gains { added(left, n) } else { subtracted(left, n) });
        key.push_str(&format!("{}{n}", if gains { '+' } else { '-' }));
        left = if gains { left + n } else { left - n };
    }
    (sentences, steps, key, left)
}

fn changes(draws: &mut Draws, cast: &Cast, n_changes: usize, high: i64) -> Draft {
    let start = draws.between(4, high);
    let first = START.fill(draws, &[("name", &cast.name), ("count", &Count(start, cast.noun))]);
    let (sentences, steps, key, left) = changes_from(draws, cast, start, n_changes, high);
    let ask = ASK_LEFT.fill(draws, &[("name", &cast.name), ("things", &cast.noun.many)]);
    Problem {
        key: format!("{start}{key}"),
        question: format!("{first} {} {ask}", sentences.join(" ")),
        thinking: steps.join(" "),
        sentence: HAVE.fill(draws, &[("name", &cast.name), ("count", &Count(left, cast.noun))]),
        check: Check::number(left),
    }
    .draft(draws)
}

fn groups(draws: &mut Draws, cast: &Cast, n_changes: usize) -> Draft {
    let container = *draws.pick(CONTAINERS);
    let (k, n) = (draws.between(2, 9), draws.between(3, 12));
    let first = GROUPS.fill(
        draws,
        &[
            ("name", &cast.name),
            ("groups", &Count(k, container)),
            ("group", &container.one),
            ("n", &n),
            ("things", &cast.noun.many),
        ],
    );
    let (sentences, mut steps, key, left) = changes_from(draws, cast, k * n, n_changes, 50);
    steps.insert(0, multiplied(k, n));
    let ask = ASK_LEFT.fill(draws, &[("name", &cast.name), ("things", &cast.noun.many)]);
    Problem {
        key: format!("{k}x{n}{key}"),
        question: format!("{first} {} {ask}", sentences.join(" ")),
        thinking: steps.join(" "),
        sentence: HAVE.fill(draws, &[("name", &cast.name), ("count", &Count(left, cast.noun))]),
        check: Check::number(left),
    }
    .draft(draws)
}

fn share(draws: &mut Draws, cast: &Cast) -> Draft {
    let (k, each) = (draws.between(2, 8), draws.between(2, 15));
    let n = (k + 1) * each;
    let slots: [(&str, &dyn std::fmt::Display); 4] = [("name", &cast.name), ("k", &k), ("n", &n), ("things", &cast.noun.many)];
    let first = SHARED.fill(draws, &slots);
    let ask = ASK_SHARE.fill(draws, &slots);
    Problem {
        key: format!("{n}/{}", k + 1),
        question: format!("{first} {ask}"),
        thinking: format!("With {} there are {} people. {n} / {} = {each}.", cast.name, k + 1, k + 1),
        sentence: format!("Each person gets {}.", Count(each, cast.noun)),
        check: Check::number(each),
    }
    .draft(draws)
}

fn times(draws: &mut Draws, cast: &Cast) -> Draft {
    let (n, k) = (draws.between(2, 30), draws.between(2, 6));
    let total = n + n * k;
    let first = TIMES.fill(
        draws,
        &[
            ("name", &cast.name),
            ("other", &cast.other),
            ("count", &Count(n, cast.noun)),
            ("n", &n),
            ("k", &k),
            ("things", &cast.noun.many),
        ],
    );
    let ask = ASK_TOGETHER.fill(draws, &[("name", &cast.name), ("other", &cast.other), ("things", &cast.noun.many)]);
    let product = multiplied(n, k);
    Problem {
        key: format!("{n}+{n}x{k}"),
        question: format!("{first} {ask}"),
        thinking: format!("{} has {}: {product} {}", cast.other, Count(n * k, cast.noun), added(n * k, n)),
        sentence: capitalised(&format!("together they have {}.", Count(total, cast.noun))),
        check: Check::number(total),
    }
    .draft(draws)
}
