//! People in a row: who is the tallest, who comes third.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, fill, joined};
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::NAMES;

use super::{minimal, permutations};

/// Words for one kind of order, the first end of which is the most.
struct Scale {
    /// `{a}` comes before `{b}`.
    before: &'static [&'static str],
    /// `{b}` comes behind `{a}`; said of `{b}` first.
    behind: &'static [&'static str],
    first: &'static str,
    last: &'static str,
    /// `{a}` is at place `{n}`: `the second tallest`.
    place: &'static str,
    order: &'static str,
}

const SCALES: &[Scale] = &[
    Scale {
        before: &["{a} is taller than {b}.", "{a} stands higher than {b} when they measure their heights."],
        behind: &["{b} is shorter than {a}.", "{b} is not as tall as {a}."],
        first: "tallest",
        last: "shortest",
        place: "the {n} tallest",
        order: "from the tallest to the shortest",
    },
    Scale {
        before: &["{a} is older than {b}.", "{a} was born before {b}."],
        behind: &["{b} is younger than {a}.", "{b} was born after {a}."],
        first: "oldest",
        last: "youngest",
        place: "the {n} oldest",
        order: "from the oldest to the youngest",
    },
    Scale {
        before: &["{a} ran faster than {b}.", "{a} reached the goal before {b}."],
        behind: &["{b} ran slower than {a}.", "{b} reached the goal after {a}."],
        first: "fastest",
        last: "slowest",
        place: "the {n} fastest",
        order: "from the fastest to the slowest",
    },
    Scale {
        before: &["{a} is richer than {b}.", "{a} has more money than {b}."],
        behind: &["{b} is poorer than {a}.", "{b} has less money than {a}."],
        first: "richest",
        last: "poorest",
        place: "the {n} richest",
        order: "from the richest to the poorest",
    },
    Scale {
        before: &["{a} is heavier than {b}.", "{a} weighs more than {b}."],
        behind: &["{b} is lighter than {a}.", "{b} weighs less than {a}."],
        first: "heaviest",
        last: "lightest",
        place: "the {n} heaviest",
        order: "from the heaviest to the lightest",
    },
];

const ASK_ONE: Phrases = Phrases::new(&[
    "{clues} Who is {which}?",
    "{clues} Which of them is {which}?",
    "{people} are friends. {clues} Who is {which}?",
    "there are {n} people: {people}. {clues} Find out who is {which}.",
    "read the clues. {clues} Name the person who is {which}.",
    "{people} compare themselves. {clues} So who is {which}?",
]);
const ASK_ALL: Phrases = Phrases::new(&[
    "{clues} Put them in order, {order}.",
    "{people} are friends. {clues} List them {order}.",
    "there are {n} people: {people}. {clues} Name them {order}.",
    "read the clues. {clues} Write the names {order}.",
    "{clues} What is the order of {people}, {order}?",
    "{people} want to stand in a row, {order}. {clues} Give their order.",
]);
const ORDINALS: &[&str] = &["first", "second", "third", "fourth", "fifth"];

/// Something that is known about the order, by indices of people.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Clue {
    Before(usize, usize),
    At(usize, usize),
    NotAt(usize, usize),
}

impl Clue {
    fn holds(&self, order: &[usize]) -> bool {
        let place = |who: usize| order.iter().position(|other| *other == who);
        match self {
            Self::Before(a, b) => place(*a) < place(*b),
            Self::At(who, n) => place(*who) == Some(*n),
            Self::NotAt(who, n) => place(*who) != Some(*n),
        }
    }

    fn tell(&self, draws: &mut Draws, scale: &Scale, people: &[&str]) -> String {
        let place = |n: usize| place_name(scale, n, people.len());
        match self {
            Self::Before(a, b) => {
                let wordings = if draws.chance(0.5) { scale.before } else { scale.behind };
                fill(draws.word(wordings), &[("a", &people[*a]), ("b", &people[*b])])
            }
            Self::At(who, n) => format!("{} is {}.", people[*who], place(*n)),
            Self::NotAt(who, n) => format!("{} is not {}.", people[*who], place(*n)),
        }
    }
}

fn place_name(scale: &Scale, place: usize, n: usize) -> String {
    match place {
        0 => format!("the {}", scale.first),
        _ if place + 1 == n => format!("the {}", scale.last),
        _ => fill(scale.place, &[("n", &ORDINALS[place])]),
    }
}

pub(super) fn ordering(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let n = match level {
        1 => 3,
        2 | 3 => 4,
        _ => 5,
    };
    let scale = draws.pick(SCALES);
    let people = draws.several(NAMES, n);
    // People are in true order; clues are told in any.
    let mut clues: Vec<Clue> = (0..n).flat_map(|a| (a + 1..n).map(move |b| Clue::Before(a, b))).collect();
    if level >= 3 {
        clues.extend((0..n).map(|who| Clue::At(who, who)));
        clues.extend((0..n).flat_map(|who| (0..n).filter(move |place| *place != who).map(move |place| Clue::NotAt(who, place))));
    }
    draws.shuffle(&mut clues);
    // Places themselves give much away: at most one of them is told.
    let mut n_places = 0;
    clues.retain(|clue| {
        n_places += usize::from(matches!(clue, Clue::At(..)));
        !matches!(clue, Clue::At(..)) || n_places == 1
    });
    let mut clues = minimal(clues, &permutations(n), |clue: &Clue, order: &Vec<usize>| clue.holds(order));
    draws.shuffle(&mut clues);
    let told: Vec<String> = clues.iter().map(|clue| clue.tell(draws, scale, &people)).collect();
    let mut introduced = people.clone();
    draws.shuffle(&mut introduced);
    let (told, listed) = (told.join(" "), joined(&introduced, "and"));
    let thinking = format!("{} {}: {}.", thoughts(&clues, scale, &people), scale.order, people.join(", "));
    let key = format!("{} {told}", people.join(" "));
    if draws.chance(0.3) {
        let slots: [(&str, &dyn std::fmt::Display); 4] =
            [("clues", &told), ("people", &listed), ("n", &n), ("order", &scale.order)];
        let question = ASK_ALL.fill(draws, &slots);
        let sentence = format!("The order is {}.", joined(&people, "and"));
        return Problem { key, question, thinking, sentence, check: Check::list(&people) }.draft(draws);
    }
    let place = draws.below(n);
    let which = place_name(scale, place, n);
    let question = ASK_ONE.fill(draws, &[("clues", &told), ("people", &listed), ("n", &n), ("which", &which)]);
    let sentence = format!("{} is {which}.", people[place]);
    Problem { key, question, thinking, sentence, check: Check::mention(people[place], people.iter().copied()) }.draft(draws)
}

/// Says the clues in one way, so that they can be put together.
fn thoughts(clues: &[Clue], scale: &Scale, people: &[&str]) -> String {
    let n = people.len();
    let said: Vec<String> = clues
        .iter()
        .map(|clue| match clue {
            Clue::Before(a, b) => format!("{} before {}.", people[*a], people[*b]),
            Clue::At(who, place) => format!("{} is {}.", people[*who], place_name(scale, *place, n)),
            Clue::NotAt(who, place) => format!("{} is not {}.", people[*who], place_name(scale, *place, n)),
        })
        .collect();
    format!("{} So,", said.join(" "))
}
