//! People who always tell the truth and people who always lie.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, joined};
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::NAMES;

const ASK: Phrases = Phrases::new(&[
    "each of {people} either always tells the truth or always lies. {talk} {question}",
    "{people} live on an island where everybody is either truthful or a liar. {talk} {question}",
    "some people always lie, and all others always tell the truth. You meet {people}. {talk} {question}",
    "here are {people}. Each one is a liar, who never says anything true, or a truthful person, who never says anything false. {talk} {question}",
    "you know that each of {people} always lies or never lies. {talk} {question}",
    "{people} play a game: a player tells only lies or only the truth. {talk} {question}",
]);
const ASK_TRUTHFUL: &[&str] = &["Who tells the truth?", "Who of them is truthful?", "Name everybody who tells the truth."];
const ASK_LIARS: &[&str] = &["Who lies?", "Who of them is a liar?", "Name everybody who lies."];

/// What somebody says, by indices of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Lies(usize),
    Truthful(usize),
    Same(usize, usize),
    OneLiar,
}

impl Claim {
    fn draw(draws: &mut Draws, speaker: usize, n: usize) -> Self {
        let others: Vec<usize> = (0..n).filter(|who| *who != speaker).collect();
        let who = *draws.pick(&others);
        match draws.below(if n == 2 { 7 } else { 8 }) {
            0..3 => Self::Lies(who),
            3..5 => Self::Truthful(who),
            5 => Self::Same(speaker, who),
            6 => Self::OneLiar,
            _ => Self::Same(others[0], others[1]),
        }
    }

    /// Whether the claim is true where `truthful` says who is.
    fn holds(self, truthful: &[bool]) -> bool {
        match self {
            Self::Lies(who) => !truthful[who],
            Self::Truthful(who) => truthful[who],
            Self::Same(a, b) => truthful[a] == truthful[b],
            Self::OneLiar => truthful.iter().filter(|truthful| !**truthful).count() == 1,
        }
    }

    fn say(self, draws: &mut Draws, speaker: usize, people: &[&str]) -> String {
        match self {
            Self::Lies(who) => format!("{} {}", people[who], draws.word(&["is a liar", "always lies", "never tells the truth"])),
            Self::Truthful(who) => {
                format!("{} {}", people[who], draws.word(&["is truthful", "always tells the truth", "never lies"]))
            }
            Self::Same(a, b) if a == speaker => format!("{} and I are of the same kind", people[b]),
            Self::Same(a, b) => format!("{} and {} are of the same kind", people[a], people[b]),
            Self::OneLiar => "exactly one of us is a liar".into(),
        }
    }
}

/// Returns who can be truthful: everybody whose claim is true, and nobody else.
fn solutions(claims: &[Claim]) -> Vec<Vec<bool>> {
    all_cases(claims.len())
        .into_iter()
        .filter(|truthful| claims.iter().zip(truthful).all(|(claim, is_truthful)| claim.holds(truthful) == *is_truthful))
        .collect()
}

fn all_cases(n: usize) -> Vec<Vec<bool>> {
    (0..1usize << n).map(|bits| (0..n).map(|who| bits >> who & 1 == 0).collect()).collect()
}

pub(super) fn truth(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let n = if level == 1 { 2 } else { 3 };
    // At the third level the claims are of different kinds.
    let is_rich = |claims: &[Claim]| {
        level < 3 || claims.iter().filter(|claim| matches!(claim, Claim::Same(..) | Claim::OneLiar)).count() >= 2
    };
    let (claims, truthful) = loop {
        let claims: Vec<Claim> = (0..n).map(|speaker| Claim::draw(draws, speaker, n)).collect();
        let mut found = solutions(&claims);
        if let (1, Some(truthful)) = (found.len(), found.pop())
            && truthful.contains(&true)
            && truthful.contains(&false)
            && is_rich(&claims)
        {
            break (claims, truthful);
        }
    };
    let people = draws.several(NAMES, n);
    let said: Vec<String> = claims.iter().enumerate().map(|(speaker, claim)| claim.say(draws, speaker, &people)).collect();
    let talk: Vec<String> =
        said.iter().zip(&people).map(|(said, name)| format!("{name} says: \"{}.\"", crate::phrases::capitalised(said))).collect();
    let asks_truthful = draws.chance(0.5);
    let asked: Vec<&str> =
        people.iter().zip(&truthful).filter(|(_, truthful)| **truthful == asks_truthful).map(|(name, _)| *name).collect();
    let question = draws.word(if asks_truthful { ASK_TRUTHFUL } else { ASK_LIARS });
    let listed = joined(&people, "and");
    let verb = match (asks_truthful, asked.len()) {
        (true, 1) => "tells the truth",
        (true, _) => "tell the truth",
        (false, 1) => "lies",
        (false, _) => "lie",
    };
    let check = match asked.as_slice() {
        [one] => Check::mention(one, people.iter().copied()),
        _ => Check::List { items: asked.iter().map(|name| (*name).to_owned()).collect(), ordered: false },
    };
    let names = joined(&asked, "and");
    // A list is read from a sentence only behind a colon or a verb.
    let sentence = if asked.len() == 1 { format!("{names} {verb}.") } else { format!("Those who {verb} are {names}.") };
    Problem {
        // Two people can say too little to keep some of it for tests: their names tell problems apart.
        key: format!("{claims:?} {asks_truthful} {}", if n == 2 { &listed } else { "" }),
        question: ASK.fill(draws, &[("people", &listed), ("talk", &talk.join(" ")), ("question", &question)]),
        thinking: format!("I try the cases. {}", cases(&claims, &people)),
        sentence,
        check,
    }
    .draft(draws)
}

/// Goes through the cases up to the one that fits, and says who contradicts himself before.
fn cases(claims: &[Claim], people: &[&str]) -> String {
    let mut tried = Vec::new();
    for truthful in all_cases(claims.len()) {
        let kinds = truthful.iter().map(|truthful| if *truthful { "true" } else { "lies" });
        let named: Vec<String> = people.iter().zip(kinds).map(|(name, kind)| format!("{name} {kind}")).collect();
        let wrong = (0..claims.len()).find(|who| claims[*who].holds(&truthful) != truthful[*who]);
        let verdict = match wrong {
            None => "this fits.".to_owned(),
            Some(who) if truthful[who] => format!("no, {} would say something false.", people[who]),
            Some(who) => format!("no, {} would say something true.", people[who]),
        };
        tried.push(format!("{}: {verdict}", named.join(", ")));
        if wrong.is_none() {
            break;
        }
    }
    tried.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_are_those_without_a_contradiction() {
        assert_eq!(solutions(&[Claim::Lies(1), Claim::OneLiar]).len(), 1);
        assert_eq!(solutions(&[Claim::Lies(1), Claim::Lies(0)]), [vec![false, true], vec![true, false]]);
        assert_eq!(solutions(&[Claim::Same(0, 1), Claim::Lies(0)]), [[false, true]; 1]);
    }
}
