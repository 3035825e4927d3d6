//! Who owns what: one thing for each person, found by leaving out what cannot be.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, capitalised, fill, joined};
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::{COLOURS, NAMES};

use super::{minimal, permutations};

/// Things of one kind, and how to speak of them.
struct Kind {
    things: &'static [&'static str],
    has: &'static str,
    has_not: &'static str,
    owner: &'static str,
    all: &'static str,
}

const KINDS: &[Kind] = &[
    Kind {
        things: &["cat", "dog", "parrot", "rabbit", "horse", "goldfish"],
        has: "has the {x}",
        has_not: "does not have the {x}",
        owner: "Who has the {x}?",
        all: "Each has one pet",
    },
    Kind {
        things: &["tea", "coffee", "milk", "water", "lemonade", "cocoa"],
        has: "drinks {x}",
        has_not: "does not drink {x}",
        owner: "Who drinks {x}?",
        all: "Each drinks one thing",
    },
    Kind {
        things: &["piano", "violin", "flute", "drum", "guitar", "trumpet"],
        has: "plays the {x}",
        has_not: "does not play the {x}",
        owner: "Who plays the {x}?",
        all: "Each plays one instrument",
    },
    Kind {
        things: COLOURS,
        has: "wears the {x} hat",
        has_not: "does not wear the {x} hat",
        owner: "Who wears the {x} hat?",
        all: "Each wears one hat",
    },
    Kind {
        things: &["baker", "farmer", "teacher", "doctor", "gardener", "painter"],
        has: "is the {x}",
        has_not: "is not the {x}",
        owner: "Who is the {x}?",
        all: "Each has one job",
    },
    Kind {
        things: &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
        has: "comes on {x}",
        has_not: "does not come on {x}",
        owner: "Who comes on {x}?",
        all: "Each comes on another day",
    },
];

const ASK: Phrases = Phrases::new(&[
    "{people} are neighbours. {all}: {things}. {clues} {question}",
    "there are {n} friends: {people}. {all} of these: {things}. {clues} {question}",
    "{all}, and all are different: {things}. The people are {people}. {clues} {question}",
    "solve this puzzle. {people} share {things} among them. {all}. {clues} {question}",
    "{people} meet in the evening. {all} ({things}). {clues} {question}",
    "here are some facts about {people}. {all}: {things}. {clues} {question}",
]);

/// What is known, by indices of people and things.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Clue {
    Has(usize, usize),
    HasNot(usize, usize),
    Either(usize, usize, usize),
}

impl Clue {
    /// Whether it holds where `owned[who]` is a thing.
    fn holds(&self, owned: &[usize]) -> bool {
        match self {
            Self::Has(who, thing) => owned[*who] == *thing,
            Self::HasNot(who, thing) => owned[*who] != *thing,
            Self::Either(who, one, other) => owned[*who] == *one || owned[*who] == *other,
        }
    }

    fn tell(&self, kind: &Kind, people: &[&str], things: &[&str]) -> String {
        match self {
            Self::Has(who, thing) => format!("{} {}.", people[*who], fill(kind.has, &[("x", &things[*thing])])),
            Self::HasNot(who, thing) => format!("{} {}.", people[*who], fill(kind.has_not, &[("x", &things[*thing])])),
            Self::Either(who, one, other) => {
                let (one, other) = (fill(kind.has, &[("x", &things[*one])]), fill(kind.has, &[("x", &things[*other])]));
                format!("{} {one} or {other}.", people[*who])
            }
        }
    }
}

pub(super) fn ownership(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let n = if level < 3 { 3 } else { 4 };
    let kind = draws.pick(KINDS);
    let people = draws.several(NAMES, n);
    let things = draws.several(kind.things, n);
    let candidates = permutations(n);
    let owned = draws.pick(&candidates).clone();
    let (clues, steps) = loop {
        let mut clues = true_clues(draws, &owned, level);
        draws.shuffle(&mut clues);
        let clues = minimal(clues, &candidates, |clue: &Clue, owned: &Vec<usize>| clue.holds(owned));
        if let Some(steps) = eliminate(&clues, kind, &people, &things) {
            break (clues, steps);
        }
    };
    let told: Vec<String> = clues.iter().map(|clue| clue.tell(kind, &people, &things)).collect();
    let who = draws.below(n);
    let thing = things[owned[who]];
    let question = fill(kind.owner, &[("x", &thing)]);
    let (mut introduced, mut listed) = (people.clone(), things.clone());
    draws.shuffle(&mut introduced);
    draws.shuffle(&mut listed);
    let slots: [(&str, &dyn std::fmt::Display); 6] = [
        ("people", &joined(&introduced, "and")),
        ("n", &n),
        ("all", &kind.all),
        ("things", &joined(&listed, "and")),
        ("clues", &told.join(" ")),
        ("question", &question),
    ];
    Problem {
        key: format!("{people:?} {things:?} {clues:?} {who}"),
        question: ASK.fill(draws, &slots),
        thinking: steps.join(" "),
        sentence: format!("{} {}.", people[who], fill(kind.has, &[("x", &thing)])),
        check: Check::mention(people[who], people.iter().copied()),
    }
    .draft(draws)
}

/// Returns true clues that give the solution together.
fn true_clues(draws: &mut Draws, owned: &[usize], level: u8) -> Vec<Clue> {
    let n = owned.len();
    let mut clues = Vec::new();
    for (who, own) in owned.iter().copied().enumerate() {
        for thing in (0..n).filter(|thing| *thing != own) {
            clues.push(Clue::HasNot(who, thing));
            if level >= 2 {
                let (one, other) = (own.min(thing), own.max(thing));
                clues.push(Clue::Either(who, one, other));
            }
        }
    }
    if level == 1 {
        let who = draws.below(n);
        clues.push(Clue::Has(who, owned[who]));
    }
    clues
}

/// Solves a puzzle the way people do: a person for whom one thing is left has it, and so has one who alone is left for a thing.
///
/// Returns the steps in words; `None` if that does not solve it.
fn eliminate(clues: &[Clue], kind: &Kind, people: &[&str], things: &[&str]) -> Option<Vec<String>> {
    let n = people.len();
    let possible_by_clues = |who: usize, thing: usize| {
        clues.iter().all(|clue| match clue {
            Clue::Has(other, only) => (*other == who) == (*only == thing),
            Clue::HasNot(other, not) => *other != who || *not != thing,
            Clue::Either(other, one, two) => *other != who || thing == *one || thing == *two,
        })
    };
    let mut possible: Vec<Vec<bool>> = (0..n).map(|who| (0..n).map(|thing| possible_by_clues(who, thing)).collect()).collect();
    let has = |thing: usize| fill(kind.has, &[("x", &things[thing])]);
    let mut steps = Vec::new();
    let mut is_solved = vec![false; n];
    while steps.len() < n {
        let only_thing = |who: usize| {
            let mut left = (0..n).filter(|thing| possible[who][*thing]);
            left.next().filter(|_| left.next().is_none())
        };
        let only_person = |thing: usize| {
            let mut left = (0..n).filter(|who| possible[*who][thing]);
            left.next().filter(|_| left.next().is_none())
        };
        let by_person = (0..n).filter(|who| !is_solved[*who]).find_map(|who| only_thing(who).map(|thing| (who, thing, true)));
        let by_thing =
            || (0..n).find_map(|thing| only_person(thing).filter(|who| !is_solved[*who]).map(|who| (who, thing, false)));
        let (who, thing, is_by_person) = by_person.or_else(by_thing)?;
        let out: Vec<&str> = (0..n).filter(|other| *other != thing).map(|other| things[other]).collect();
        steps.push(if is_by_person {
            format!("{} are out for {}, so {} {}.", capitalised(&joined(&out, "and")), people[who], people[who], has(thing))
        } else {
            format!("For {} only {} is left, so {} {}.", things[thing], people[who], people[who], has(thing))
        });
        is_solved[who] = true;
        for (other, row) in possible.iter_mut().enumerate() {
            for (other_thing, possible) in row.iter_mut().enumerate() {
                *possible &= (other == who) == (other_thing == thing);
            }
        }
    }
    Some(steps)
}
