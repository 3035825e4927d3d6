//! Numbers: the four operations, expressions, comparisons, per cent, sequences, word problems.

mod arithmetic;
mod compare;
mod percent;
mod sequence;
mod shopping;
mod story;

use crate::generator::Generator;
use crate::phrases::Phrases;
use crate::random::Draws;
use crate::task::Domain::Math;

pub(crate) const GENERATORS: &[Generator] = &[
    Generator::new(Math, "addition", 4, arithmetic::addition),
    Generator::new(Math, "subtraction", 3, arithmetic::subtraction),
    Generator::new(Math, "multiplication", 4, arithmetic::multiplication),
    Generator::new(Math, "division", 4, arithmetic::division),
    Generator::new(Math, "expression", 3, arithmetic::expression),
    Generator::new(Math, "comparison", 4, compare::comparison),
    Generator::new(Math, "percent", 3, percent::percent),
    Generator::new(Math, "sequence", 4, sequence::sequence),
    Generator::new(Math, "story", 4, story::story),
    Generator::new(Math, "shopping", 3, shopping::shopping),
];

const STATEMENTS: Phrases = Phrases::new(&[
    "the answer is {x}.",
    "it is {x}.",
    "that makes {x}.",
    "the result is {x}.",
    "this gives {x}.",
    "you get {x}.",
]);

/// States a result in words that fit any question.
fn statement(draws: &mut Draws, result: &dyn std::fmt::Display) -> String {
    STATEMENTS.fill(draws, &[("x", result)])
}
