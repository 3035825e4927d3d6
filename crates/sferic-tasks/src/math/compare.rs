//! Which number is larger, and numbers in order.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::number::Decimal;
use crate::phrases::{Phrases, joined};
use crate::random::Draws;
use crate::setting::Setting;

const LARGER: Phrases = Phrases::new(&[
    "which number is larger, {a} or {b}?",
    "which is more: {a} or {b}?",
    "is {a} or {b} the bigger number?",
    "name the larger of {a} and {b}.",
    "compare {a} with {b}. Which one is greater?",
    "of {a} and {b}, which number is greater?",
]);
const SMALLER: Phrases = Phrases::new(&[
    "which number is smaller, {a} or {b}?",
    "which is less: {a} or {b}?",
    "is {a} or {b} the smaller number?",
    "name the smaller of {a} and {b}.",
    "compare {a} with {b}. Which one is less?",
    "of {a} and {b}, which number is lower?",
]);
const EXTREME: Phrases = Phrases::new(&[
    "which of these numbers is the {which}: {list}?",
    "find the {which} number: {list}.",
    "here are some numbers: {list}. Which one is the {which}?",
    "what is the {which} of {list}?",
    "look at {list}. Name the {which} number.",
    "tell me the {which} number in this list: {list}.",
]);
const PICK: Phrases = Phrases::new(&[
    "{x} is the {which} number.",
    "the {which} number is {x}.",
    "it is {x}.",
    "the {which} one is {x}.",
    "that is {x}.",
    "the answer is {x}.",
]);
const SORT: Phrases = Phrases::new(&[
    "put these numbers in order, {order}: {list}.",
    "sort these numbers {order}: {list}.",
    "write {list} in order, {order}.",
    "arrange {list} {order}.",
    "here are some numbers: {list}. List them {order}.",
    "order the numbers {list} {order}, please.",
]);

pub(super) fn comparison(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    match level {
        1 => pair(draws, 999, 0),
        2 => {
            let n_decimals = 1 + draws.below(2) as u8;
            pair(draws, 999, n_decimals)
        }
        3 => extreme(draws),
        _ => sorted(draws),
    }
}

fn pair(draws: &mut Draws, high: i64, n_decimals: u8) -> Draft {
    let x = draws.between(1, high);
    // Near ones half of the time: they are where digits have to be looked at.
    let near = draws.between(1, 20);
    let mut y = if draws.chance(0.5) { x + near } else { draws.between(1, high) };
    if x == y {
        y += 1;
    }
    let (a, b) = (Decimal::new(x, n_decimals), Decimal::new(y, n_decimals));
    let larger = draws.chance(0.5);
    let result = if (x > y) == larger { a } else { b };
    let sign = if x > y { ">" } else { "<" };
    let phrases = if larger { LARGER } else { SMALLER };
    Problem {
        key: format!("{larger} {x} {y} {n_decimals}"),
        question: phrases.fill(draws, &[("a", &a), ("b", &b)]),
        thinking: format!("{a} {sign} {b}, so {result} is the {} one.", if larger { "larger" } else { "smaller" }),
        sentence: PICK.fill(draws, &[("x", &result), ("which", &if larger { "larger" } else { "smaller" })]),
        check: Check::number(result),
    }
    .draft(draws)
}

/// Draws different numbers below 1000.
fn different(draws: &mut Draws, n: usize) -> Vec<i64> {
    let range: Vec<i64> = (1..1000).collect();
    draws.several(&range, n)
}

fn extreme(draws: &mut Draws) -> Draft {
    let n = 4 + draws.below(4);
    let numbers = different(draws, n);
    let largest = draws.chance(0.5);
    let (which, result) = if largest { ("largest", numbers.iter().max()) } else { ("smallest", numbers.iter().min()) };
    let result = result.copied().unwrap_or_default();
    let mut best = numbers[0];
    let mut steps = vec![format!("Start with {best}.")];
    for number in numbers.iter().skip(1) {
        if (*number > best) == largest {
            best = *number;
            steps.push(format!("{best} is {}.", if largest { "larger" } else { "smaller" }));
        }
    }
    steps.push(format!("No other number beats {best}."));
    Problem {
        key: format!("{which} {numbers:?}"),
        question: EXTREME.fill(draws, &[("which", &which), ("list", &joined(&numbers, "and"))]),
        thinking: steps.join(" "),
        sentence: PICK.fill(draws, &[("x", &result), ("which", &which)]),
        check: Check::number(result),
    }
    .draft(draws)
}

fn sorted(draws: &mut Draws) -> Draft {
    let n = 4 + draws.below(3);
    let numbers = different(draws, n);
    let rising = draws.chance(0.5);
    let mut result = numbers.clone();
    result.sort_unstable();
    if !rising {
        result.reverse();
    }
    let order = if rising {
        draws.word(&["from smallest to largest", "from the lowest to the highest", "in rising order"])
    } else {
        draws.word(&["from largest to smallest", "from the highest to the lowest", "in falling order"])
    };
    let picked: Vec<String> = result.iter().map(|number| format!("next {number}")).collect();
    Problem {
        key: format!("{rising} {numbers:?}"),
        question: SORT.fill(draws, &[("order", &order), ("list", &joined(&numbers, "and"))]),
        thinking: format!(
            "I take the {} number first: {}.",
            if rising { "smallest" } else { "largest" },
            picked.join(", ").trim_start_matches("next ")
        ),
        sentence: format!("The order is {}.", joined(&result, "and")),
        check: Check::list(&result),
    }
    .draft(draws)
}
