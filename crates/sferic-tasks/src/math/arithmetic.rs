//! The four operations and short expressions.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::Phrases;
use crate::random::Draws;
use crate::setting::Setting;

use super::statement;

const ADD: Phrases = Phrases::new(&[
    "what is {terms}?",
    "calculate {terms}.",
    "how much is {terms}?",
    "find the sum: {terms}.",
    "add these numbers: {listed}.",
    "what do you get if you add {listed}?",
    "please work out {terms}.",
    "{terms} = ?",
    "I need the total of {listed}. What is it?",
]);
const SUBTRACT: Phrases = Phrases::new(&[
    "what is {a} - {b}?",
    "calculate {a} - {b}.",
    "subtract {b} from {a}.",
    "how much is {a} minus {b}?",
    "take {b} away from {a}. What is left?",
    "what is the difference between {a} and {b}?",
    "{a} - {b} = ?",
    "what number do you get if you subtract {b} from {a}?",
]);
const MULTIPLY: Phrases = Phrases::new(&[
    "what is {a} x {b}?",
    "calculate {a} x {b}.",
    "multiply {a} by {b}.",
    "how much is {a} times {b}?",
    "what is the product of {a} and {b}?",
    "{a} * {b} = ?",
    "work out {a} times {b}, please.",
    "what do you get if you multiply {a} by {b}?",
]);
const DIVIDE: Phrases = Phrases::new(&[
    "what is {a} / {b}?",
    "calculate {a} divided by {b}.",
    "divide {a} by {b}.",
    "how many times does {b} go into {a}?",
    "what is {a} divided by {b}?",
    "{a} / {b} = ?",
    "if you share {a} equally among {b}, how much does each get?",
    "work out {a} divided by {b}, please.",
]);
const DIVIDE_WITH_REST: Phrases = Phrases::new(&[
    "divide {a} by {b}. Give the quotient and the remainder, in this order.",
    "what are the quotient and the remainder of {a} divided by {b}?",
    "how many times does {b} go into {a}, and what is left over? Give both numbers.",
    "work out {a} / {b} in whole numbers: first the quotient, then the remainder.",
    "{a} divided by {b}: name the quotient, then the remainder.",
    "share {a} among {b} as evenly as possible. How much does each get, and how much is left over?",
]);
const EXPRESSION: Phrases = Phrases::new(&[
    "what is {e}?",
    "calculate {e}.",
    "work out the value of {e}.",
    "{e} = ?",
    "evaluate {e}.",
    "how much is {e}?",
    "find the value of this expression: {e}.",
]);

/// Splits a number into hundreds, tens and ones that are not 0: 307 into 300 and 7.
fn places(n: i64) -> Vec<i64> {
    let parts = [n / 100 * 100, n / 10 % 10 * 10, n % 10];
    let parts: Vec<i64> = parts.into_iter().filter(|part| *part != 0).collect();
    if parts.is_empty() { vec![0] } else { parts }
}

/// A random number with up to `n_digits` digits, at least 2.
fn number(draws: &mut Draws, n_digits: u8) -> i64 {
    let low = if n_digits == 1 { 2 } else { 10i64.pow(u32::from(n_digits) - 1) };
    draws.between(low, 10i64.pow(u32::from(n_digits)) - 1)
}

fn operand(draws: &mut Draws, level: u8) -> i64 {
    match level {
        1 => draws.between(1, 20),
        2 => number(draws, 2),
        _ => number(draws, 3),
    }
}

/// Writes an addition as sums of hundreds, tens and ones.
pub(super) fn added(a: i64, b: i64) -> String {
    if a < 10 || b < 10 {
        return format!("{a} + {b} = {}.", a + b);
    }
    let mut steps = Vec::new();
    let mut total = a;
    for part in places(b) {
        steps.push(format!("{total} + {part} = {}", total + part));
        total += part;
    }
    format!("{}.", steps.join(", "))
}

/// Writes a subtraction place by place.
pub(super) fn subtracted(a: i64, b: i64) -> String {
    let mut left = a;
    let mut steps = Vec::new();
    for part in places(b) {
        steps.push(format!("{left} - {part} = {}", left - part));
        left -= part;
    }
    format!("{}.", steps.join(", "))
}

/// Writes a multiplication place by place of the larger factor.
pub(super) fn multiplied(a: i64, b: i64) -> String {
    let (many, few) = (a.max(b), a.min(b));
    let parts = places(many);
    if parts.len() == 1 || many < 10 {
        return format!("{a} x {b} = {}.", a * b);
    }
    let products: Vec<String> = parts.iter().map(|part| format!("{part} x {few} = {}", part * few)).collect();
    let terms: Vec<String> = parts.iter().map(|part| (part * few).to_string()).collect();
    format!("{}. {} = {}.", products.join(", "), terms.join(" + "), a * b)
}

pub(super) fn addition(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let terms: Vec<i64> = (0..if level < 4 { 2 } else { 3 }).map(|_| operand(draws, level)).collect();
    let mut total = terms[0];
    let mut thinking = Vec::new();
    for term in terms.iter().skip(1) {
        thinking.push(added(total, *term));
        total += term;
    }
    let written: Vec<String> = terms.iter().map(ToString::to_string).collect();
    let mut sorted = terms.clone();
    sorted.sort_unstable();
    Problem {
        key: format!("{sorted:?}"),
        question: ADD.fill(draws, &[("terms", &written.join(" + ")), ("listed", &crate::phrases::joined(&terms, "and"))]),
        thinking: thinking.join(" "),
        sentence: if draws.chance(0.5) { format!("{} = {total}", written.join(" + ")) } else { statement(draws, &total) },
        check: Check::number(total),
    }
    .draft(draws)
}

pub(super) fn subtraction(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let (x, y) = (operand(draws, level), operand(draws, level));
    let (a, b) = (x.max(y), x.min(y));
    Problem {
        key: format!("{a}-{b}"),
        question: SUBTRACT.fill(draws, &[("a", &a), ("b", &b)]),
        thinking: subtracted(a, b),
        sentence: if draws.chance(0.5) { format!("{a} - {b} = {}", a - b) } else { statement(draws, &(a - b)) },
        check: Check::number(a - b),
    }
    .draft(draws)
}

pub(super) fn multiplication(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let (a, b) = match level {
        1 => (draws.between(1, 10), draws.between(1, 10)),
        2 => (number(draws, 2), number(draws, 1)),
        3 => (number(draws, 3), number(draws, 1)),
        _ => (number(draws, 2), number(draws, 2)),
    };
    Problem {
        key: format!("{}x{}", a.min(b), a.max(b)),
        question: MULTIPLY.fill(draws, &[("a", &a), ("b", &b)]),
        thinking: multiplied(a, b),
        sentence: if draws.chance(0.5) { format!("{a} x {b} = {}", a * b) } else { statement(draws, &(a * b)) },
        check: Check::number(a * b),
    }
    .draft(draws)
}

pub(super) fn division(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let (quotient, b) = match level {
        1 => (draws.between(1, 10), draws.between(2, 10)),
        2 => (draws.between(11, 40), number(draws, 1)),
        3 => (draws.between(41, 120), number(draws, 1)),
        _ => (draws.between(3, 60), draws.between(3, 12)),
    };
    if level == 4 {
        return division_with_rest(draws, quotient, b);
    }
    let a = quotient * b;
    Problem {
        key: format!("{a}/{b}"),
        question: DIVIDE.fill(draws, &[("a", &a), ("b", &b)]),
        thinking: divided(a, b),
        sentence: if draws.chance(0.5) { format!("{a} / {b} = {quotient}") } else { statement(draws, &quotient) },
        check: Check::number(quotient),
    }
    .draft(draws)
}

/// Writes a division as the multiples that are taken away.
fn divided(a: i64, b: i64) -> String {
    let parts = places(a / b);
    if parts.len() == 1 {
        return format!("{} x {b} = {a}, so {a} / {b} = {}.", a / b, a / b);
    }
    let mut left = a;
    let mut steps = Vec::new();
    for part in &parts {
        steps.push(format!("{part} x {b} = {}, which leaves {left} - {} = {}", part * b, part * b, left - part * b));
        left -= part * b;
    }
    let sum: Vec<String> = parts.iter().map(ToString::to_string).collect();
    format!("{}. {} = {}.", steps.join(". "), sum.join(" + "), a / b)
}

fn division_with_rest(draws: &mut Draws, quotient: i64, b: i64) -> Draft {
    let rest = draws.between(1, b - 1);
    let a = quotient * b + rest;
    Problem {
        key: format!("{a}/{b}"),
        question: DIVIDE_WITH_REST.fill(draws, &[("a", &a), ("b", &b)]),
        thinking: format!("{quotient} x {b} = {}. {a} - {} = {rest}, which is less than {b}.", quotient * b, quotient * b),
        sentence: format!("Quotient and remainder are {quotient} and {rest}."),
        check: Check::list(&[quotient, rest]),
    }
    .draft(draws)
}

pub(super) fn expression(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let (a, b, c) = (draws.between(2, 12), draws.between(2, 12), draws.between(2, 12));
    let high = if level == 1 { 20 } else { 60 };
    let d = draws.between(2, high);
    let (text, steps, value) = match (level, draws.below(3)) {
        (1, 0) => (
            format!("{d} + {a} x {b}"),
            vec![format!("{a} x {b} = {}", a * b), format!("{d} + {} = {}", a * b, d + a * b)],
            d + a * b,
        ),
        (1, 1) => (
            format!("{a} x {b} + {d}"),
            vec![format!("{a} x {b} = {}", a * b), format!("{} + {d} = {}", a * b, a * b + d)],
            a * b + d,
        ),
        (1, _) => (
            format!("({a} + {b}) x {c}"),
            vec![format!("{a} + {b} = {}", a + b), format!("{} x {c} = {}", a + b, (a + b) * c)],
            (a + b) * c,
        ),
        (2, 0) => {
            let (sum, product) = (a + b, (a + b) * c);
            let steps = vec![
                format!("{a} + {b} = {sum}"),
                format!("{sum} x {c} = {product}"),
                format!("{product} - {d} = {}", product - d),
            ];
            (format!("({a} + {b}) x {c} - {d}"), steps, product - d)
        }
        (2, 1) => {
            let left = a * b;
            let steps = vec![
                format!("{a} x {b} = {left}"),
                format!("{c} x {d} = {}", c * d),
                format!("{left} + {} = {}", c * d, left + c * d),
            ];
            (format!("{a} x {b} + {c} x {d}"), steps, left + c * d)
        }
        (2, _) => {
            let total = b * c;
            let steps = vec![
                format!("{total} / {b} = {c}"),
                format!("{c} + {d} = {}", c + d),
                format!("{} x {a} = {}", c + d, (c + d) * a),
            ];
            (format!("({total} / {b} + {d}) x {a}"), steps, (c + d) * a)
        }
        (_, 0) => {
            let (sum, difference) = (a + b, d + 12 - c);
            let e = d + 12;
            let steps = vec![
                format!("{a} + {b} = {sum}"),
                format!("{e} - {c} = {difference}"),
                multiplied(sum, difference).trim_end_matches('.').to_owned(),
            ];
            (format!("({a} + {b}) x ({e} - {c})"), steps, sum * difference)
        }
        (_, 1) => {
            let steps = vec![
                format!("{a} x {b} = {}", a * b),
                format!("{} - {d} = {}", a * b, a * b - d),
                format!("{} + {c} = {}", a * b - d, a * b - d + c),
            ];
            (format!("{a} x {b} - {d} + {c}"), steps, a * b - d + c)
        }
        (_, _) => {
            let product = a * (b + c);
            let steps = vec![
                format!("{b} + {c} = {}", b + c),
                format!("{a} x {} = {product}", b + c),
                format!("{d} - {product} = {}", d - product),
            ];
            (format!("{d} - {a} x ({b} + {c})"), steps, d - product)
        }
    };
    Problem {
        key: text.clone(),
        question: EXPRESSION.fill(draws, &[("e", &text)]),
        thinking: format!("{}.", steps.join(". ")),
        sentence: if draws.chance(0.5) { format!("{text} = {value}") } else { statement(draws, &value) },
        check: Check::number(value),
    }
    .draft(draws)
}
