//! Word problems about prices, change and travel.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::Phrases;
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::{Count, NAMES, Noun, THINGS, TOWNS};

use super::arithmetic::{added, multiplied, subtracted};

const COST: Phrases = Phrases::new(&[
    "one {thing} costs {price} {money}. How many {money} do {count} cost?",
    "{name} buys {count} for {price} {money} each. How many {money} does {name} pay?",
    "a {thing} is {price} {money}. What is the price of {count} in {money}?",
    "{name} wants {count}. Each costs {price} {money}. How many {money} does {name} need?",
    "at {price} {money} for one, how many {money} are {count}?",
    "the shop sells each {thing} for {price} {money}. {name} takes {count}. What does that cost in {money}?",
]);
const CHANGE: Phrases = Phrases::new(&[
    "{name} buys {count} for {price} {money} each and pays with {paid} {money}. How many {money} does {name} get back?",
    "{count} at {price} {money} each: {name} pays with {paid} {money}. How much change is that, in {money}?",
    "{name} has {paid} {money} and buys {count}. Each costs {price} {money}. How many {money} are left?",
    "each {thing} costs {price} {money}. {name} takes {count} and gives the seller {paid} {money}. How many {money} come back?",
    "with {paid} {money} in hand, {name} pays for {count} at {price} {money} apiece. How many {money} does {name} still have?",
    "{name} hands over {paid} {money} for {count}, which cost {price} {money} each. What is the change in {money}?",
]);
const TWO_KINDS: Phrases = Phrases::new(&[
    "{name} buys {count} for {price} {money} each and {count2} for {price2} {money} each. How many {money} is that in all?",
    "{count} cost {price} {money} each, {count2} cost {price2} {money} each. What does {name} pay for all of them, in {money}?",
    "in the shop {name} takes {count} at {price} {money} each, and {count2} at {price2} {money} each. How many {money} is the bill?",
    "{name} needs {count} ({price} {money} each) and {count2} ({price2} {money} each). How many {money} are needed?",
    "find the total in {money}: {count} at {price} {money} each and {count2} at {price2} {money} each.",
    "{name} sells {count} for {price} {money} each and {count2} for {price2} {money} each. How many {money} does {name} earn?",
]);
const TRAVEL: Phrases = Phrases::new(&[
    "a train drives {speed} kilometres each hour. How many kilometres does it drive in {hours} hours?",
    "{name} rides {speed} kilometres in an hour. How far does {name} get in {hours} hours, in kilometres?",
    "the bus to {town} needs {hours} hours at {speed} kilometres per hour. How many kilometres is the way?",
    "{name} drives to {town} at {speed} kilometres per hour and arrives after {hours} hours. How many kilometres is that?",
    "a boat makes {speed} kilometres per hour. How many kilometres does it make in {hours} hours?",
    "how many kilometres are {hours} hours of driving at {speed} kilometres per hour?",
]);

pub(super) fn shopping(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    match level {
        1 if draws.chance(0.3) => travel(draws),
        1 => cost(draws),
        2 => change(draws),
        _ => two_kinds(draws),
    }
}

/// Things whose singular takes `a`.
fn thing(draws: &mut Draws) -> Noun {
    let with_a: Vec<Noun> = THINGS.iter().copied().filter(|noun| !noun.one.starts_with(['a', 'e', 'i', 'o', 'u'])).collect();
    *draws.pick(&with_a)
}

fn money(draws: &mut Draws) -> &'static str {
    draws.word(&["dollars", "euros", "pounds", "crowns"])
}

fn cost(draws: &mut Draws) -> Draft {
    let (n, price, noun, money, name) =
        (draws.between(2, 12), draws.between(2, 25), thing(draws), money(draws), draws.word(NAMES));
    let count = Count(n, noun);
    Problem {
        key: format!("{n}x{price}"),
        question: COST
            .fill(draws, &[("thing", &noun.one), ("price", &price), ("money", &money), ("count", &count), ("name", &name)]),
        thinking: multiplied(price, n),
        sentence: format!("The price is {} {money}.", n * price),
        check: Check::number(n * price),
    }
    .draft(draws)
}

fn travel(draws: &mut Draws) -> Draft {
    let (hours, speed, name, town) = (draws.between(2, 9), draws.between(2, 24) * 5, draws.word(NAMES), draws.word(TOWNS));
    Problem {
        key: format!("{hours}h{speed}"),
        question: TRAVEL.fill(draws, &[("hours", &hours), ("speed", &speed), ("name", &name), ("town", &town)]),
        thinking: multiplied(speed, hours),
        sentence: format!("That is {} kilometres.", hours * speed),
        check: Check::number(hours * speed),
    }
    .draft(draws)
}

fn change(draws: &mut Draws) -> Draft {
    let (n, price, noun, money, name) =
        (draws.between(2, 9), draws.between(2, 12), thing(draws), money(draws), draws.word(NAMES));
    let bill = n * price;
    let paid = (bill / 10 + 1 + draws.between(0, 3)) * 10;
    let count = Count(n, noun);
    let slots: [(&str, &dyn std::fmt::Display); 6] =
        [("thing", &noun.one), ("price", &price), ("money", &money), ("count", &count), ("name", &name), ("paid", &paid)];
    Problem {
        key: format!("{paid}-{n}x{price}"),
        question: CHANGE.fill(draws, &slots),
        thinking: format!("{} {}", multiplied(n, price), subtracted(paid, bill)),
        sentence: format!("The change is {} {money}.", paid - bill),
        check: Check::number(paid - bill),
    }
    .draft(draws)
}

fn two_kinds(draws: &mut Draws) -> Draft {
    let nouns = draws.several(THINGS, 2);
    let (n, price, n2, price2) = (draws.between(2, 9), draws.between(2, 12), draws.between(2, 9), draws.between(2, 12));
    let (money, name) = (money(draws), draws.word(NAMES));
    let total = n * price + n2 * price2;
    let (count, count2) = (Count(n, nouns[0]), Count(n2, nouns[1]));
    let slots: [(&str, &dyn std::fmt::Display); 6] =
        [("price", &price), ("money", &money), ("count", &count), ("name", &name), ("count2", &count2), ("price2", &price2)];
    Problem {
        key: format!("{n}x{price}+{n2}x{price2}"),
        question: TWO_KINDS.fill(draws, &slots),
        thinking: format!("{} {} {}", multiplied(n, price), multiplied(n2, price2), added(n * price, n2 * price2)),
        sentence: format!("The total is {total} {money}."),
        check: Check::number(total),
    }
    .draft(draws)
}
