//! Words in alphabetical order, and the word that does not belong.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, joined};
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::{ANIMALS, FRUITS, FURNITURE, INSTRUMENTS, PLAIN_WORDS, TOOLS, VEHICLES};

const SORT: Phrases = Phrases::new(&[
    "put these words in alphabetical order: {list}.",
    "sort the words {list} by the alphabet.",
    "arrange {list} in alphabetical order.",
    "here are some words: {list}. List them from a to z.",
    "write {list} in the order of a dictionary.",
    "order these words alphabetically: {list}.",
]);
const FIRST: Phrases = Phrases::new(&[
    "which of these words comes {which} in a dictionary: {list}?",
    "look at {list}. Which word comes {which} in alphabetical order?",
    "sort {list} by the alphabet. Which word is {which}?",
    "of the words {list}, which one is {which} in the alphabet?",
    "which word stands {which} if you sort {list} from a to z?",
    "name the word that is {which} in alphabetical order: {list}.",
]);
const ODD: Phrases = Phrases::new(&[
    "which word does not belong to the others: {list}?",
    "find the odd one out: {list}.",
    "one of these is different: {list}. Which one?",
    "look at {list}. Which word is not like the others?",
    "all but one of these words name the same kind of thing: {list}. Name the one that does not.",
    "three or more of these go together, one does not: {list}. Which is it?",
]);

pub(super) fn alphabet(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let n = 2 + usize::from(level) + draws.below(2);
    // Words with one initial at the highest level: the second letter decides.
    let words: Vec<&str> = if level == 3 {
        let initial = draws.word(&["b", "c", "l", "m", "p", "s", "t"]);
        let same: Vec<&str> = PLAIN_WORDS.iter().copied().filter(|word| word.starts_with(initial)).collect();
        draws.several(&same, n)
    } else {
        draws.several(PLAIN_WORDS, n)
    };
    let mut sorted = words.clone();
    sorted.sort_unstable();
    let list = joined(&words, "and");
    let initials: Vec<String> = words.iter().map(|word| format!("{} ({word})", word.get(..2).unwrap_or(word))).collect();
    let thinking = format!("I look at the first letters: {}. In order: {}.", initials.join(", "), sorted.join(", "));
    if level == 1 || draws.chance(0.3) {
        let last = draws.chance(0.5);
        let answer = if last { sorted[sorted.len() - 1] } else { sorted[0] };
        let question = FIRST.fill(draws, &[("list", &list), ("which", &if last { "last" } else { "first" })]);
        let sentence = format!("The word is \"{answer}\".");
        return Problem {
            key: format!("{last} {words:?}"),
            question,
            thinking,
            sentence,
            check: Check::mention(answer, words.iter().copied()),
        }
        .draft(draws);
    }
    let question = SORT.fill(draws, &[("list", &list)]);
    let sentence = format!("The order is {}.", joined(&sorted, "and"));
    Problem { key: format!("{words:?}"), question, thinking, sentence, check: Check::list(&sorted) }.draft(draws)
}

pub(super) fn odd_one(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    const GROUPS: &[(&str, &[&str])] = &[
        ("animals", ANIMALS),
        ("fruits", FRUITS),
        ("tools", TOOLS),
        ("pieces of furniture", FURNITURE),
        ("vehicles", VEHICLES),
        ("instruments", INSTRUMENTS),
    ];
    let groups = draws.several(GROUPS, 2);
    let n = if level == 1 { 3 } else { 5 };
    let mut words = draws.several(groups[0].1, n);
    let odd = draws.word(groups[1].1);
    words.insert(draws.below(n + 1), odd);
    let others: Vec<&str> = words.iter().copied().filter(|word| *word != odd).collect();
    Problem {
        key: format!("{words:?}"),
        question: ODD.fill(draws, &[("list", &joined(&words, "and"))]),
        thinking: format!("{} are {}, but {odd} is not.", crate::phrases::capitalised(&joined(&others, "and")), groups[0].0),
        sentence: format!("The word is \"{odd}\"."),
        check: Check::mention(odd, words.iter().copied()),
    }
    .draft(draws)
}
