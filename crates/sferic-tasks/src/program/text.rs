//! Transformations of words, described in words.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, capitalised, fill};
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::PLAIN_WORDS;

const ASK: Phrases = Phrases::new(&[
    "take the text \"{word}\". {steps} What do you get?",
    "here is a text: \"{word}\". {steps} What is the result?",
    "{steps} The text is \"{word}\".",
    "start with \"{word}\". {steps} Write down the result.",
    "given \"{word}\": {steps}",
    "change the text \"{word}\" like this: {steps}",
    "a program reads \"{word}\". It follows these rules: {steps} What does it print?",
]);
const STATE: Phrases = Phrases::new(&[
    "the result is \"{x}\".",
    "it becomes \"{x}\".",
    "you get \"{x}\".",
    "that gives \"{x}\".",
    "the text is now \"{x}\".",
    "in the end it reads \"{x}\".",
]);

/// One step. Letters are small ASCII ones until [`Step::Upper`] comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Reverse,
    Upper,
    Remove(char),
    Replace(char, char),
    Double,
    First(usize),
    Last(usize),
    NoVowels,
    Sort,
    Surround(char),
}

impl Step {
    fn draw(draws: &mut Draws, text: &str) -> Self {
        let letters: Vec<char> = text.chars().filter(char::is_ascii_alphabetic).collect();
        let letter = if letters.is_empty() { 'a' } else { *draws.pick(&letters) };
        let n = 2 + draws.below(3);
        match draws.below(10) {
            0 => Self::Reverse,
            1 => Self::Upper,
            2 => Self::Remove(letter),
            3 => Self::Replace(letter, *draws.pick(&['k', 'z', 'y', 'q', 'v'])),
            4 => Self::Double,
            5 => Self::First(n),
            6 => Self::Last(n),
            7 => Self::NoVowels,
            8 => Self::Sort,
            _ => Self::Surround(*draws.pick(&['x', 'o', '+', '#'])),
        }
    }

    fn apply(self, text: &str) -> String {
        let letters: Vec<char> = text.chars().collect();
        match self {
            Self::Reverse => letters.iter().rev().collect(),
            Self::Upper => text.to_uppercase(),
            Self::Remove(letter) => letters.iter().filter(|other| !other.eq_ignore_ascii_case(&letter)).collect(),
            Self::Replace(letter, by) => letters.iter().map(|other| if *other == letter { by } else { *other }).collect(),
            Self::Double => letters.iter().flat_map(|letter| [*letter, *letter]).collect(),
            Self::First(n) => letters.iter().take(n).collect(),
            Self::Last(n) => letters.iter().skip(letters.len().saturating_sub(n)).collect(),
            Self::NoVowels => letters.iter().filter(|letter| !"aeiouAEIOU".contains(**letter)).collect(),
            Self::Sort => {
                let mut sorted = letters;
                sorted.sort_unstable();
                sorted.iter().collect()
            }
            Self::Surround(mark) => format!("{mark}{text}{mark}"),
        }
    }

    /// Says what to do, as a sentence.
    fn describe(self, draws: &mut Draws) -> String {
        let n_word = |n: usize| ["no", "one", "two", "three", "four"].get(n).copied().unwrap_or("five");
        let wording: &str = match self {
            Self::Reverse => draws.word(&[
                "write it backwards.",
                "reverse the letters.",
                "turn the order of the letters around.",
                "spell it from the end to the start.",
            ]),
            Self::Upper => draws.word(&[
                "write everything in capital letters.",
                "change all letters to upper case.",
                "make every letter a capital.",
                "turn it into upper case.",
            ]),
            Self::Remove(_) => draws.word(&[
                "remove every \"{a}\".",
                "leave out the letter \"{a}\".",
                "delete all letters \"{a}\".",
                "drop each \"{a}\".",
            ]),
            Self::Replace(..) => draws.word(&[
                "replace every \"{a}\" by \"{b}\".",
                "change each \"{a}\" to \"{b}\".",
                "write \"{b}\" wherever there is \"{a}\".",
                "swap every \"{a}\" for \"{b}\".",
            ]),
            Self::Double => draws.word(&[
                "write each letter twice.",
                "double every letter.",
                "repeat each letter once, right behind it.",
                "put two of each letter in place of one.",
            ]),
            Self::First(_) => draws.word(&[
                "keep only the first {n} letters.",
                "take the first {n} letters.",
                "cut everything after the first {n} letters.",
                "use the first {n} letters and drop the rest.",
            ]),
            Self::Last(_) => draws.word(&[
                "keep only the last {n} letters.",
                "take the last {n} letters.",
                "cut everything before the last {n} letters.",
                "use the last {n} letters and drop the rest.",
            ]),
            Self::NoVowels => draws.word(&[
                "remove the vowels (a, e, i, o, u).",
                "leave out all vowels: a, e, i, o, u.",
                "delete every a, e, i, o and u.",
                "drop each vowel, that is a, e, i, o or u.",
            ]),
            Self::Sort => draws.word(&[
                "sort the letters by the alphabet.",
                "put the letters in alphabetical order.",
                "order the letters from a to z.",
                "arrange its letters alphabetically.",
            ]),
            Self::Surround(_) => draws.word(&[
                "put \"{a}\" before and after it.",
                "add \"{a}\" at both ends.",
                "write \"{a}\" in front of it and behind it.",
                "surround it with \"{a}\".",
            ]),
        };
        let (a, b, n) = match self {
            Self::Remove(a) | Self::Surround(a) => (a, ' ', 0),
            Self::Replace(a, b) => (a, b, 0),
            Self::First(n) | Self::Last(n) => (' ', ' ', n),
            _ => (' ', ' ', 0),
        };
        fill(wording, &[("a", &a), ("b", &b), ("n", &n_word(n))])
    }

    /// Says what a step does to a text.
    fn think(self, before: &str, after: &str) -> String {
        let spelled = |text: &str| text.chars().map(String::from).collect::<Vec<_>>().join("-");
        match self {
            Self::Reverse | Self::Sort => format!("{} becomes {}, that is {after}.", spelled(before), spelled(after)),
            Self::Double | Self::Remove(_) | Self::NoVowels | Self::Replace(..) => format!("{}: {after}.", spelled(before)),
            Self::Upper | Self::First(_) | Self::Last(_) | Self::Surround(_) => format!("{before}: {after}."),
        }
    }
}

pub(super) fn text(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let n_steps = match level {
        1 | 2 => 1,
        3 => 2,
        _ => 3,
    };
    let word = loop {
        let word = draws.word(PLAIN_WORDS);
        if level > 1 || word.len() <= 6 {
            break word.to_owned();
        }
    };
    let (mut steps, mut sentences, mut thoughts, mut now) = (Vec::new(), Vec::new(), Vec::new(), word.clone());
    while steps.len() < n_steps {
        let step = Step::draw(draws, &now);
        let after = step.apply(&now);
        // A step must change something, leave something, and not come twice.
        let repeated = steps.iter().any(|other| std::mem::discriminant(other) == std::mem::discriminant(&step));
        if repeated || after == now || after.is_empty() {
            continue;
        }
        let sentence = step.describe(draws);
        sentences.push(match sentences.len() {
            0 => capitalised(&sentence),
            _ if steps.len() + 1 == n_steps => format!("{} {sentence}", draws.word(&["Then", "After that,", "Finally,"])),
            _ => format!("{} {sentence}", draws.word(&["Then", "After that,", "Next,"])),
        });
        thoughts.push(step.think(&now, &after));
        steps.push(step);
        now = after;
    }
    Problem {
        key: format!("{word} {steps:?}"),
        question: ASK.fill(draws, &[("word", &word), ("steps", &sentences.join(" "))]),
        thinking: thoughts.join(" "),
        sentence: STATE.fill(draws, &[("x", &now)]),
        check: Check::Exact { accept: vec![now], case: true },
    }
    .draft(draws)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_does_what_it_says() {
        for (step, after) in [
            (Step::Reverse, "eseehc"),
            (Step::Upper, "CHEESE"),
            (Step::Remove('e'), "chs"),
            (Step::Replace('e', 'k'), "chkksk"),
            (Step::Double, "cchheeeessee"),
            (Step::First(2), "ch"),
            (Step::Last(3), "ese"),
            (Step::NoVowels, "chs"),
            (Step::Sort, "ceeehs"),
            (Step::Surround('#'), "#cheese#"),
        ] {
            assert_eq!(step.apply("cheese"), after);
        }
    }
}
