//! Running tiny programs in the head. They are Python, of which assignments, loops and conditions are used.

use std::fmt::Write as _;

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::Phrases;
use crate::random::Draws;
use crate::setting::Setting;

const ASK: Phrases = Phrases::new(&[
    "what does this program print?\n\n{code}",
    "here is a small program:\n\n{code}\n\nWhat does it print?",
    "run this program in your head. What is printed?\n\n{code}",
    "read the program and tell me its output.\n\n{code}",
    "what is the output of this code?\n\n{code}",
    "look at these lines of Python:\n\n{code}\n\nWhich number do they print?",
    "this is a program:\n\n{code}\n\nWhat is its output?",
]);
const STATE: Phrases = Phrases::new(&[
    "it prints {x}.",
    "the program prints {x}.",
    "the output is {x}.",
    "it writes {x}.",
    "the printed number is {x}.",
    "you see {x}.",
]);

/// A program, the trace of its run, and what it prints.
struct Run {
    code: String,
    trace: Vec<String>,
    printed: i64,
}

pub(super) fn run(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let run = match (level, draws.below(2)) {
        (1, _) => straight(draws),
        (2, 0) => choice(draws),
        (2, _) => function(draws),
        (3, 0) => count_loop(draws),
        (3, _) => list_loop(draws),
        (_, 0) => filter_loop(draws),
        (_, _) => while_loop(draws),
    };
    Problem {
        key: run.code.clone(),
        question: ASK.fill(draws, &[("code", &run.code)]),
        thinking: run.trace.join(" "),
        sentence: STATE.fill(draws, &[("x", &run.printed)]),
        check: Check::number(run.printed),
    }
    .draft(draws)
}

/// Draws two different names of variables.
fn names(draws: &mut Draws) -> (&'static str, &'static str) {
    let names = draws.several(&["a", "b", "n", "x", "y", "k", "t", "total", "value", "result", "size"], 2);
    (names[0], names[1])
}

/// Draws an operation with a small number: how it is written, and its result.
fn operation(draws: &mut Draws, value: i64) -> (&'static str, i64, i64) {
    match draws.below(3) {
        0 => {
            let n = draws.between(2, 12);
            ("+", n, value + n)
        }
        1 => {
            let n = draws.between(1, 9);
            ("-", n, value - n)
        }
        _ => {
            let n = draws.between(2, 4);
            ("*", n, value * n)
        }
    }
}

fn straight(draws: &mut Draws) -> Run {
    let (a, b) = names(draws);
    let start = draws.between(2, 20);
    let mut code = format!("{a} = {start}\n");
    let mut trace = vec![format!("{a} is {start}.")];
    let mut value = start;
    for _ in 0..1 + draws.below(2) {
        let (sign, n, after) = operation(draws, value);
        let _ = writeln!(code, "{a} = {a} {sign} {n}");
        trace.push(format!("{value} {sign} {n} = {after}, so {a} is {after}."));
        value = after;
    }
    let (sign, n, after) = operation(draws, value);
    let _ = write!(code, "{b} = {a} {sign} {n}\nprint({b})");
    trace.push(format!("{value} {sign} {n} = {after}, so {b} is {after}."));
    Run { code, trace, printed: after }
}

fn choice(draws: &mut Draws) -> Run {
    let (a, _) = names(draws);
    let (start, limit) = (draws.between(1, 20), draws.between(5, 15));
    let (greater, if_true, if_false) = (draws.chance(0.5), draws.between(2, 9), draws.between(2, 9));
    let sign = if greater { ">" } else { "<" };
    let holds = if greater { start > limit } else { start < limit };
    let printed = if holds { start + if_true } else { start * if_false };
    let code = format!("{a} = {start}\nif {a} {sign} {limit}:\n    print({a} + {if_true})\nelse:\n    print({a} * {if_false})");
    let trace = vec![
        format!("{start} {sign} {limit} is {}.", if holds { "true" } else { "false" }),
        if holds { format!("{start} + {if_true} = {printed}.") } else { format!("{start} * {if_false} = {printed}.") },
    ];
    Run { code, trace, printed }
}

fn function(draws: &mut Draws) -> Run {
    let (a, _) = names(draws);
    let name = draws.word(&["f", "g", "change", "compute", "step"]);
    let (factor, term, argument) = (draws.between(2, 6), draws.between(1, 12), draws.between(2, 12));
    let (first, printed) = (argument * factor, argument * factor + term);
    let code = format!("def {name}({a}):\n    return {a} * {factor} + {term}\n\nprint({name}({argument}))");
    let trace = vec![
        format!("{a} is {argument}."),
        format!("{argument} * {factor} = {first}."),
        format!("{first} + {term} = {printed}."),
    ];
    Run { code, trace, printed }
}

fn count_loop(draws: &mut Draws) -> Run {
    let (a, _) = names(draws);
    let (start, n_turns, step) = (draws.between(0, 10), draws.between(2, 6), draws.between(2, 9));
    let code = format!("{a} = {start}\nfor i in range({n_turns}):\n    {a} = {a} + {step}\nprint({a})");
    let values: Vec<String> = (1..=n_turns).map(|turn| (start + turn * step).to_string()).collect();
    let trace = vec![format!("{a} starts with {start}."), format!("In {n_turns} turns it becomes {}.", values.join(", "))];
    Run { code, trace, printed: start + n_turns * step }
}

fn list_loop(draws: &mut Draws) -> Run {
    let (a, _) = names(draws);
    let n_numbers = 3 + draws.below(3);
    let numbers: Vec<i64> = (0..n_numbers).map(|_| draws.between(1, 12)).collect();
    let factor = draws.between(1, 3);
    let term = if factor == 1 { "item".to_owned() } else { format!("item * {factor}") };
    let code = format!("{a} = 0\nfor item in {numbers:?}:\n    {a} = {a} + {term}\nprint({a})");
    let mut total = 0;
    let mut trace = vec![format!("{a} starts with 0.")];
    for number in &numbers {
        trace.push(format!("{total} + {} = {}.", number * factor, total + number * factor));
        total += number * factor;
    }
    Run { code, trace, printed: total }
}

fn filter_loop(draws: &mut Draws) -> Run {
    let (a, _) = names(draws);
    let n_numbers = 4 + draws.below(3);
    let numbers: Vec<i64> = (0..n_numbers).map(|_| draws.between(1, 20)).collect();
    let limit = draws.between(5, 14);
    let counts = draws.chance(0.5);
    let term = if counts { "1" } else { "item" };
    let code = format!("{a} = 0\nfor item in {numbers:?}:\n    if item > {limit}:\n        {a} = {a} + {term}\nprint({a})");
    let mut total = 0;
    let mut trace = vec![format!("{a} starts with 0.")];
    for number in &numbers {
        if *number > limit {
            let more = if counts { 1 } else { *number };
            trace.push(format!("{number} > {limit}: {total} + {more} = {}.", total + more));
            total += more;
        } else {
            trace.push(format!("{number} > {limit} is false."));
        }
    }
    Run { code, trace, printed: total }
}

fn while_loop(draws: &mut Draws) -> Run {
    let (a, _) = names(draws);
    let (mut value, limit) = (draws.between(1, 9), draws.between(20, 60));
    let (doubles, step) = (draws.chance(0.5), draws.between(5, 12));
    let line = if doubles { format!("{a} = {a} * 2") } else { format!("{a} = {a} + {step}") };
    let code = format!("{a} = {value}\nwhile {a} < {limit}:\n    {line}\nprint({a})");
    let mut trace = vec![format!("{a} starts with {value}.")];
    while value < limit {
        let after = if doubles { value * 2 } else { value + step };
        trace.push(format!("{value} < {limit}, so {a} becomes {after}."));
        value = after;
    }
    trace.push(format!("{value} is not less than {limit}."));
    Run { code, trace, printed: value }
}
