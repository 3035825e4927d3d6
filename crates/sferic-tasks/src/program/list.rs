//! Transformations of lists of numbers, described in words.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, capitalised, fill};
use crate::random::Draws;
use crate::setting::Setting;

const ASK: Phrases = Phrases::new(&[
    "take the list [{list}]. {steps} What do you get?",
    "here is a list: [{list}]. {steps} What is the result?",
    "start with the numbers {list}. {steps} Write down the result.",
    "given the list [{list}]: {steps}",
    "a program reads the list [{list}]. It follows these rules: {steps} What does it print?",
    "{steps} The list is [{list}].",
    "change the list [{list}] like this: {steps}",
]);

/// What is done to a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Reverse,
    Rise,
    Fall,
    Unique,
    Even,
    Odd,
    Above(i64),
    Below(i64),
    Times(i64),
    Plus(i64),
    First(usize),
    Last(usize),
    DropFirst,
}

/// What is made of a list in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fold {
    Sum,
    Max,
    Min,
    Len,
}

impl Step {
    fn draw(draws: &mut Draws) -> Self {
        let limit = draws.between(5, 15);
        let n = 2 + draws.below(2);
        match draws.below(13) {
            0 => Self::Reverse,
            1 => Self::Rise,
            2 => Self::Fall,
            3 => Self::Unique,
            4 => Self::Even,
            5 => Self::Odd,
            6 => Self::Above(limit),
            7 => Self::Below(limit),
            8 => Self::Times(draws.between(2, 5)),
            9 => Self::Plus(draws.between(1, 9)),
            10 => Self::First(n),
            11 => Self::Last(n),
            _ => Self::DropFirst,
        }
    }

    fn apply(self, list: &[i64]) -> Vec<i64> {
        let mut out = list.to_vec();
        match self {
            Self::Reverse => out.reverse(),
            Self::Rise => out.sort_unstable(),
            Self::Fall => out.sort_unstable_by(|a, b| b.cmp(a)),
            Self::Unique => {
                out.clear();
                for number in list {
                    if !out.contains(number) {
                        out.push(*number);
                    }
                }
            }
            Self::Even => out.retain(|number| number % 2 == 0),
            Self::Odd => out.retain(|number| number % 2 != 0),
            Self::Above(limit) => out.retain(|number| *number > limit),
            Self::Below(limit) => out.retain(|number| *number < limit),
            Self::Times(factor) => out.iter_mut().for_each(|number| *number *= factor),
            Self::Plus(term) => out.iter_mut().for_each(|number| *number += term),
            Self::First(n) => out.truncate(n),
            Self::Last(n) => out = list.iter().skip(list.len().saturating_sub(n)).copied().collect(),
            Self::DropFirst => out = list.iter().skip(1).copied().collect(),
        }
        out
    }

    fn describe(self, draws: &mut Draws) -> String {
        let wordings: &[&str] = match self {
            Self::Reverse => &["reverse the list.", "turn its order around.", "write it from the end to the start."],
            Self::Rise => &[
                "sort it from smallest to largest.",
                "put the numbers in rising order.",
                "sort the numbers, the smallest first.",
            ],
            Self::Fall => &[
                "sort it from largest to smallest.",
                "put the numbers in falling order.",
                "sort the numbers, the largest first.",
            ],
            Self::Unique => &[
                "remove repeated numbers and keep the first of each.",
                "keep each number only once, at its first place.",
                "drop every number that came before in the list.",
            ],
            Self::Even => {
                &["keep only the even numbers.", "remove the odd numbers.", "take the numbers that can be divided by 2."]
            }
            Self::Odd => {
                &["keep only the odd numbers.", "remove the even numbers.", "take the numbers that cannot be divided by 2."]
            }
            Self::Above(_) => &[
                "keep only numbers greater than {n}.",
                "keep the numbers above {n}.",
                "remove every number that is not more than {n}.",
            ],
            Self::Below(_) => &[
                "keep only numbers less than {n}.",
                "keep the numbers below {n}.",
                "remove every number that is not less than {n}.",
            ],
            Self::Times(_) => &[
                "multiply each number by {n}.",
                "replace every number by {n} times that number.",
                "make every number {n} times as large.",
            ],
            Self::Plus(_) => &["add {n} to each number.", "increase every number by {n}.", "make each number {n} larger."],
            Self::First(_) => {
                &["keep only the first {n} numbers.", "take the first {n} numbers.", "cut the list after {n} numbers."]
            }
            Self::Last(_) => &[
                "keep only the last {n} numbers.",
                "take the last {n} numbers.",
                "use the last {n} numbers and drop the others.",
            ],
            Self::DropFirst => {
                &["remove the first number.", "drop the number at the start.", "delete the first number of the list."]
            }
        };
        let n = match self {
            Self::Above(n) | Self::Below(n) | Self::Times(n) | Self::Plus(n) => n,
            Self::First(n) | Self::Last(n) => n as i64,
            _ => 0,
        };
        fill(draws.word(wordings), &[("n", &n)])
    }
}

impl Fold {
    fn apply(self, list: &[i64]) -> i64 {
        match self {
            Self::Sum => list.iter().sum(),
            Self::Max => list.iter().copied().max().unwrap_or_default(),
            Self::Min => list.iter().copied().min().unwrap_or_default(),
            Self::Len => list.len() as i64,
        }
    }

    fn describe(self, draws: &mut Draws) -> &'static str {
        match self {
            Self::Sum => draws.word(&["add up what is left.", "take the sum of all numbers.", "add all the numbers together."]),
            Self::Max => draws.word(&["take the largest number.", "find the greatest number.", "pick the highest number."]),
            Self::Min => draws.word(&["take the smallest number.", "find the least number.", "pick the lowest number."]),
            Self::Len => draws.word(&[
                "count how many numbers there are.",
                "count the numbers that are left.",
                "give the length of the list.",
            ]),
        }
    }

    fn think(self, list: &[i64], result: i64) -> String {
        let written: Vec<String> = list.iter().map(ToString::to_string).collect();
        match self {
            Self::Sum => format!("{} = {result}.", written.join(" + ")),
            Self::Max => format!("the largest of [{}] is {result}.", written.join(", ")),
            Self::Min => format!("the smallest of [{}] is {result}.", written.join(", ")),
            Self::Len => format!("[{}] has {result}.", written.join(", ")),
        }
    }
}

fn written(list: &[i64]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn list(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let n_steps = match level {
        1 => 1,
        2 => 2,
        3 => 1,
        _ => 2,
    };
    let n_numbers = 4 + draws.below(4);
    let mut start: Vec<i64> = (0..n_numbers).map(|_| draws.between(1, 20)).collect();
    // A repeated number, so that removing them is often worth it.
    start[n_numbers - 1] = if draws.chance(0.4) { start[0] } else { start[n_numbers - 1] };
    let (mut steps, mut sentences, mut thoughts, mut now) = (Vec::<Step>::new(), Vec::new(), Vec::new(), start.clone());
    while steps.len() < n_steps {
        let step = Step::draw(draws);
        let after = step.apply(&now);
        let repeated = steps.iter().any(|other| std::mem::discriminant(other) == std::mem::discriminant(&step));
        // Three left at least before another step, so that there is something to do.
        if repeated || after == now || after.len() < (n_steps - steps.len()).max(2) {
            if draws.chance(0.05) {
                start.push(draws.between(1, 20));
                (steps, sentences, thoughts, now) = (Vec::new(), Vec::new(), Vec::new(), start.clone());
            }
            continue;
        }
        sentences.push(linked(sentences.len(), step.describe(draws), draws));
        thoughts.push(format!("[{}] becomes [{}].", written(&now), written(&after)));
        steps.push(step);
        now = after;
    }
    let fold = (level >= 3).then(|| *draws.pick(&[Fold::Sum, Fold::Max, Fold::Min, Fold::Len]));
    let (check, sentence) = match fold {
        Some(fold) => {
            let result = fold.apply(&now);
            sentences.push(linked(sentences.len(), fold.describe(draws).to_owned(), draws));
            thoughts.push(capitalised(&fold.think(&now, result)));
            (Check::number(result), format!("The result is {result}."))
        }
        None => (Check::list(&now), format!("The result is [{}].", written(&now))),
    };
    Problem {
        key: format!("{start:?} {steps:?} {fold:?}"),
        question: ASK.fill(draws, &[("list", &written(&start)), ("steps", &sentences.join(" "))]),
        thinking: thoughts.join(" "),
        sentence,
        check,
    }
    .draft(draws)
}

fn linked(sentence_idx: usize, sentence: String, draws: &mut Draws) -> String {
    match sentence_idx {
        0 => capitalised(&sentence),
        _ => format!("{} {sentence}", draws.word(&["Then", "After that,", "Next,"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_does_what_it_says() {
        for (step, after) in [
            (Step::Reverse, vec![5, 2, 4, 5]),
            (Step::Rise, vec![2, 4, 5, 5]),
            (Step::Fall, vec![5, 5, 4, 2]),
            (Step::Unique, vec![5, 4, 2]),
            (Step::Even, vec![4, 2]),
            (Step::Odd, vec![5, 5]),
            (Step::Above(4), vec![5, 5]),
            (Step::Below(4), vec![2]),
            (Step::Times(2), vec![10, 8, 4, 10]),
            (Step::Plus(1), vec![6, 5, 3, 6]),
            (Step::First(2), vec![5, 4]),
            (Step::Last(3), vec![4, 2, 5]),
            (Step::DropFirst, vec![4, 2, 5]),
        ] {
            assert_eq!(step.apply(&[5, 4, 2, 5]), after);
        }
        assert_eq!([Fold::Sum, Fold::Max, Fold::Min, Fold::Len].map(|fold| fold.apply(&[5, 4, 2])), [11, 5, 2, 3]);
    }
}
