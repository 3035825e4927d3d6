//! Text that documents are filled with.

use crate::phrases::{Phrases, capitalised};
use crate::random::Draws;
use crate::words;

/// Where the text around the interesting places of a document comes from.
pub trait Filler {
    /// Returns paragraphs one after the other, from a place that is drawn. The iterator may end; it is then opened again.
    fn paragraphs<'a>(&'a self, draws: &mut Draws) -> Box<dyn Iterator<Item = String> + 'a>;
}

/// Paragraphs of real texts, in their order.
#[derive(Debug, Clone, Default)]
pub struct TextFiller {
    texts: Vec<Vec<String>>,
}

impl TextFiller {
    /// Takes texts whose paragraphs are separated by blank lines; lines of a paragraph are joined.
    ///
    /// A text without a paragraph is left out. Keep texts of evaluation and of training apart: the split of tasks is one of
    /// problems and does not see the filler.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let paragraphs_of = |text: &str| -> Vec<String> {
            let joined = |block: &str| block.split_whitespace().collect::<Vec<_>>().join(" ");
            text.replace("\r\n", "\n").split("\n\n").map(joined).filter(|paragraph| !paragraph.is_empty()).collect()
        };
        Self { texts: texts.into_iter().map(paragraphs_of).filter(|paragraphs| !paragraphs.is_empty()).collect() }
    }
}

impl Filler for TextFiller {
    fn paragraphs<'a>(&'a self, draws: &mut Draws) -> Box<dyn Iterator<Item = String> + 'a> {
        if self.texts.is_empty() {
            return PlainFiller.paragraphs(draws);
        }
        let text = draws.pick(&self.texts);
        let start = draws.below(text.len());
        Box::new(text.iter().skip(start).cloned())
    }
}

/// Paragraphs of simple sentences about a village, without end: tests and first experiments need no corpus.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainFiller;

const SENTENCES: Phrases = Phrases::new(&[
    "the {job} walked to {place} before breakfast.",
    "it rained on {day}, and the road to {town} was full of mud.",
    "{name} bought {n} {things} at the market.",
    "nobody in {town} could remember a colder winter.",
    "a {colour} boat lay near the bridge for most of the summer.",
    "{name} and {other} talked about the weather and went home.",
    "the windows of {place} were painted {colour} last year.",
    "in the evening the {job} told a long story about a {animal}.",
    "an old {animal} slept beside the door of {place}.",
    "{name} wrote a letter to a cousin in {town}.",
    "on {day} the bells of {town} rang for an hour.",
    "there were {n} {things} on the table, and nobody counted them.",
    "the {job} had lost a {colour} glove and looked for it everywhere.",
    "{name} liked to sit in {place} and read.",
    "when the bus from {town} came late, the {job} only smiled.",
    "most people thought that {name} would become a {job}.",
    "the path behind {place} leads to a small lake.",
    "{other} asked {name} for some bread and a piece of cheese.",
    "a storm broke two trees near {place}.",
    "every spring the children of {town} planted {things} for fun.",
    "the {animal} belonged to the {job}, who lived alone.",
    "{name} had never been to {town}, but knew many songs about it.",
    "after dinner they played cards in {place}.",
    "the {colour} house at the corner was sold twice.",
]);

impl Filler for PlainFiller {
    fn paragraphs<'a>(&'a self, draws: &mut Draws) -> Box<dyn Iterator<Item = String> + 'a> {
        let mut draws = Draws::new(draws.bits());
        Box::new(std::iter::repeat_with(move || {
            let n_sentences = 3 + draws.below(5);
            (0..n_sentences).map(|_| plain_sentence(&mut draws)).collect::<Vec<_>>().join(" ")
        }))
    }
}

fn plain_sentence(draws: &mut Draws) -> String {
    let names = draws.several(words::NAMES, 2);
    // Words that need `an` would be wrong behind `a`.
    let plain = |draws: &mut Draws, words: &[&'static str]| -> &'static str {
        loop {
            let word = draws.word(words);
            if !word.starts_with(['a', 'e', 'i', 'o', 'u']) {
                return word;
            }
        }
    };
    let (animal, colour, job) = (plain(draws, words::ANIMALS), plain(draws, words::COLOURS), plain(draws, words::JOBS));
    let (things, town) = (draws.pick(words::THINGS).many, draws.word(words::TOWNS));
    let (place, day, n) = (draws.word(words::PLACES), draws.word(words::WEEKDAYS), draws.between(2, 40));
    capitalised(&SENTENCES.fill(
        draws,
        &[
            ("name", &names[0]),
            ("other", &names[1]),
            ("animal", &animal),
            ("colour", &colour),
            ("job", &job),
            ("n", &n),
            ("things", &things),
            ("town", &town),
            ("place", &place),
            ("day", &day),
        ],
    ))
}

/// Splits a paragraph into sentences: behind `.`, `!` or `?` (and a closing quote) where white space and a capital follow.
///
/// Titles (`Mr.`) and initials (`J.`) end no sentence.
pub(crate) fn sentences(paragraph: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for (idx, letter) in paragraph.char_indices() {
        let rest = paragraph.get(idx + letter.len_utf8()..).unwrap_or_default();
        let before = paragraph.get(start..idx).unwrap_or_default();
        let closed =
            letter == '.' || letter == '!' || letter == '?' || (matches!(letter, '"' | '”') && before.ends_with(['.', '!', '?']));
        let next_word = rest.trim_start_matches(' ').trim_start_matches(['"', '“', '\'', '(']);
        if closed
            && rest.starts_with(' ')
            && next_word.starts_with(char::is_uppercase)
            && !(letter == '.' && is_abbreviation(before))
        {
            let end = idx + letter.len_utf8();
            found.push(paragraph.get(start..end).unwrap_or_default().trim());
            start = end;
        }
    }
    let rest = paragraph.get(start..).unwrap_or_default().trim();
    if !rest.is_empty() {
        found.push(rest);
    }
    found
}

fn is_abbreviation(before: &str) -> bool {
    let word = before.rsplit([' ', '(', '.']).next().unwrap_or_default();
    matches!(
        word,
        "Mr" | "Mrs"
            | "Ms"
            | "Dr"
            | "St"
            | "Prof"
            | "No"
            | "vol"
            | "Vol"
            | "vs"
            | "cf"
            | "Capt"
            | "Col"
            | "Gen"
            | "Rev"
            | "Hon"
            | "Lt"
    ) || (word.chars().count() == 1 && word.chars().all(char::is_uppercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_in_their_order() {
        let filler = TextFiller::new(["A\nb.\n\nC.\n\nD.", "", "\n\n"]);
        for seed in 0..10 {
            let read: Vec<String> = filler.paragraphs(&mut Draws::new(seed)).collect();
            assert!(["A b. C. D.", "C. D.", "D."].contains(&read.join(" ").as_str()), "{read:?}");
        }
        assert!(TextFiller::default().paragraphs(&mut Draws::new(1)).next().is_some_and(|paragraph| paragraph.len() > 20));
    }

    #[test]
    fn sentences_end_where_they_should() {
        assert_eq!(
            sentences("He met Mr. Hill at 3.30. \"Who is it?\" She left! J. B. Ray saw e.g. a cat."),
            ["He met Mr. Hill at 3.30.", "\"Who is it?\"", "She left!", "J. B. Ray saw e.g. a cat."]
        );
        assert_eq!(sentences(""), [""; 0]);
    }

    #[test]
    fn the_plain_filler_writes_whole_sentences() {
        let mut draws = Draws::new(5);
        let paragraph = PlainFiller.paragraphs(&mut draws).nth(20).unwrap_or_default();
        assert!(sentences(&paragraph).len() >= 3 && !paragraph.contains('{'), "{paragraph}");
    }
}
