//! Per cent: of a number, off a price, more and less.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::number::Decimal;
use crate::phrases::Phrases;
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::{NAMES, THINGS};

use super::statement;

const OF: Phrases = Phrases::new(&[
    "what is {p}% of {n}?",
    "calculate {p}% of {n}.",
    "how much is {p} per cent of {n}?",
    "find {p}% of {n}.",
    "{p}% of {n} = ?",
    "what number is {p} percent of {n}?",
]);
const CHANGE: Phrases = Phrases::new(&[
    "a {thing} costs {n} euros. The price {moves} by {p}%. What does it cost now, in euros?",
    "the price of a {thing} was {n} dollars, then it {moved} by {p}%. What is the new price in dollars?",
    "{name} sells a {thing} for {n} dollars. If the price {moves} by {p} per cent, how many dollars is it?",
    "yesterday a {thing} cost {n} euros. Today the price {moved} by {p}%. How many euros is that?",
    "a shop asks {n} pounds for a {thing}. What is the price in pounds after it {moves} by {p}%?",
    "{name} paid {n} dollars for a {thing}. Since then the price {moved} by {p}%. What would it cost now, in dollars?",
]);
const SHARE: Phrases = Phrases::new(&[
    "what percentage of {n} is {part}?",
    "{part} of {n} {things} are old. What percentage is that?",
    "{name} has {n} {things} and gives away {part} of them. How many per cent is that?",
    "how many per cent of {n} is {part}?",
    "out of {n} {things}, {part} are broken. What percentage is broken?",
    "{name} counted {n} {things}. {part} of them were new. What percent were new?",
]);

pub(super) fn percent(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    match level {
        1 => of(draws),
        2 => change(draws),
        _ => share(draws),
    }
}

/// Returns `p` per cent of `n`, exactly.
fn share_of(p: i64, n: i64) -> Decimal {
    Decimal::new(p * n, 2)
}

fn of_steps(p: i64, n: i64) -> String {
    if p % 10 == 0 {
        let tenth = share_of(10, n);
        return if p == 10 {
            format!("10% of {n} is {tenth}.")
        } else {
            format!("10% of {n} is {tenth}, and {} times that is {}.", p / 10, share_of(p, n))
        };
    }
    format!("1% of {n} is {}, and {p} times that is {}.", share_of(1, n), share_of(p, n))
}

fn of(draws: &mut Draws) -> Draft {
    let p = *draws.pick(&[5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90]);
    let n = draws.between(1, 40) * 20;
    let result = share_of(p, n);
    Problem {
        key: format!("{p}% of {n}"),
        question: OF.fill(draws, &[("p", &p), ("n", &n)]),
        thinking: of_steps(p, n),
        sentence: statement(draws, &result),
        check: Check::number(result),
    }
    .draft(draws)
}

fn change(draws: &mut Draws) -> Draft {
    let p = *draws.pick(&[5, 10, 20, 25, 30, 40, 50]);
    let n = draws.between(1, 30) * 20;
    let rises = draws.chance(0.4);
    let part = p * n / 100;
    let result = if rises { n + part } else { n - part };
    let (moves, moved) = if rises {
        *draws.pick(&[("rises", "rose"), ("goes up", "went up"), ("increases", "increased")])
    } else {
        *draws.pick(&[("falls", "fell"), ("goes down", "went down"), ("drops", "dropped")])
    };
    let things: Vec<&str> =
        THINGS.iter().map(|noun| noun.one).filter(|word| !word.starts_with(['a', 'e', 'i', 'o', 'u'])).collect();
    let (thing, name) = (draws.word(&things), draws.word(NAMES));
    Problem {
        key: format!("{n} {rises} {p}"),
        question: CHANGE
            .fill(draws, &[("p", &p), ("n", &n), ("moves", &moves), ("moved", &moved), ("thing", &thing), ("name", &name)]),
        thinking: format!("{} {n} {} {part} = {result}.", of_steps(p, n), if rises { "+" } else { "-" }),
        sentence: statement(draws, &result),
        check: Check::number(result),
    }
    .draft(draws)
}

fn share(draws: &mut Draws) -> Draft {
    let p = draws.between(1, 19) * 5;
    let n = draws.between(1, 30) * 20;
    let part = p * n / 100;
    let (name, things) = (draws.word(NAMES), draws.pick(THINGS).many);
    Problem {
        key: format!("{part} of {n}"),
        question: SHARE.fill(draws, &[("n", &n), ("part", &part), ("name", &name), ("things", &things)]),
        thinking: format!("5% of {n} is {}. {part} / {} = {}, and {} x 5% = {p}%.", n / 20, n / 20, p / 5, p / 5),
        sentence: statement(draws, &format!("{p}%")),
        check: Check::number(p),
    }
    .draft(draws)
}
