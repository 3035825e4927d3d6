//! The next number, or a missing one.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::Phrases;
use crate::random::Draws;
use crate::setting::Setting;

const NEXT: Phrases = Phrases::new(&[
    "what number comes next: {list}, ...?",
    "find the next number: {list}, ?",
    "how does this sequence go on? {list}, ...",
    "continue the sequence with one more number: {list}.",
    "{list}, ... What is the next number?",
    "look at these numbers: {list}. Which number follows?",
]);
const MISSING: Phrases = Phrases::new(&[
    "which number is missing: {list}?",
    "fill the gap: {list}.",
    "find the missing number in {list}.",
    "what has to stand in place of the question mark? {list}",
    "one number in this sequence is hidden: {list}. Which one?",
    "replace the question mark by the right number: {list}.",
]);

const PICK: Phrases = Phrases::new(&[
    "the {which} number is {x}.",
    "it is {x}.",
    "{x} is the {which} number.",
    "the answer is {x}.",
    "that is {x}.",
    "the {which} one is {x}.",
]);

/// Numbers and the rule that makes them, in words.
struct Row {
    numbers: Vec<i64>,
    rule: String,
}

pub(super) fn sequence(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let row = match level {
        1 => steps(draws, 1, 10),
        2 => {
            let high = if draws.chance(0.5) { 40 } else { 15 };
            steps(draws, -12, high)
        }
        3 => match draws.below(3) {
            0 => products(draws),
            1 => growing(draws),
            _ => sums(draws),
        },
        _ => alternating(draws),
    };
    let hide_inner = level >= 2 && level != 3 && draws.chance(0.4);
    let hidden_idx = if hide_inner { 2 + draws.below(row.numbers.len() - 3) } else { row.numbers.len() - 1 };
    let result = row.numbers[hidden_idx];
    let shown = |idx: usize| if idx == hidden_idx { "?".to_owned() } else { row.numbers[idx].to_string() };
    let n_shown = if hide_inner { row.numbers.len() } else { row.numbers.len() - 1 };
    let list: Vec<String> = (0..n_shown).map(shown).collect();
    let phrases = if hide_inner { MISSING } else { NEXT };
    Problem {
        key: list.join(" "),
        question: phrases.fill(draws, &[("list", &list.join(", "))]),
        thinking: format!("{} After {} comes {result}.", row.rule, row.numbers[hidden_idx - 1]),
        sentence: PICK.fill(draws, &[("x", &result), ("which", &if hide_inner { "missing" } else { "next" })]),
        check: Check::number(result),
    }
    .draft(draws)
}

fn steps(draws: &mut Draws, low: i64, high: i64) -> Row {
    let mut step = draws.between(low, high);
    if step == 0 {
        step = 3;
    }
    let start = draws.between(1, 50) + if step < 0 { -step * 5 } else { 0 };
    let verb = if step > 0 { "larger" } else { "smaller" };
    Row {
        numbers: (0..6).map(|idx| start + idx * step).collect(),
        rule: format!("Each number is {} {verb} than the one before.", step.abs()),
    }
}

fn products(draws: &mut Draws) -> Row {
    let (start, factor) = (draws.between(1, 9), draws.between(2, 4));
    Row {
        numbers: (0..5).map(|idx| start * factor.pow(idx)).collect(),
        rule: format!("Each number is {factor} times the one before."),
    }
}

fn growing(draws: &mut Draws) -> Row {
    let (start, first, growth) = (draws.between(1, 20), draws.between(1, 6), draws.between(1, 4));
    let numbers: Vec<i64> = (0..6).map(|idx| start + idx * first + growth * idx * (idx - 1) / 2).collect();
    let differences: Vec<String> = numbers.windows(2).map(|pair| (pair[1] - pair[0]).to_string()).collect();
    Row { rule: format!("The differences are {}: each is {growth} more than the last.", differences.join(", ")), numbers }
}

fn sums(draws: &mut Draws) -> Row {
    let mut numbers = vec![draws.between(1, 9), draws.between(1, 12)];
    for idx in 2..7 {
        numbers.push(numbers[idx - 1] + numbers[idx - 2]);
    }
    Row { numbers, rule: "Each number is the sum of the two before.".into() }
}

fn alternating(draws: &mut Draws) -> Row {
    let (up, down, start) = (draws.between(3, 15), draws.between(1, 9), draws.between(5, 60));
    let mut numbers = vec![start];
    for idx in 0..6 {
        let last = numbers[idx];
        numbers.push(if idx % 2 == 0 { last + up } else { last - down });
    }
    Row { numbers, rule: format!("In turn, {up} is added and {down} is taken away.") }
}
