//! Wordings with slots.

use std::fmt::Display;

use crate::random::Draws;

/// How many wordings every prompt has at least.
const MIN_WORDINGS: usize = 6;

/// Several wordings of one thing, with slots in braces: `"{name} has {n} apples."`
///
/// A set with fewer than six wordings does not compile: a small model would learn the phrase and not the task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phrases(&'static [&'static str]);

impl Phrases {
    pub(crate) const fn new(wordings: &'static [&'static str]) -> Self {
        assert!(wordings.len() >= MIN_WORDINGS, "too few wordings");
        Self(wordings)
    }

    /// Draws a wording and fills its slots; the first letter becomes a capital.
    pub(crate) fn fill(&self, draws: &mut Draws, slots: &[(&str, &dyn Display)]) -> String {
        capitalised(&fill(draws.word(self.0), slots))
    }
}

/// Fills the slots of one wording. A slot without a value stays as it is, which a test of all prompts finds.
pub(crate) fn fill(wording: &str, slots: &[(&str, &dyn Display)]) -> String {
    let mut text = String::with_capacity(wording.len() + 16);
    let mut rest = wording;
    while let Some((before, behind)) = rest.split_once('{') {
        text.push_str(before);
        let Some((name, behind)) = behind.split_once('}') else {
            text.push('{');
            rest = behind;
            continue;
        };
        match slots.iter().find(|(slot, _)| *slot == name) {
            Some((_, value)) => text.push_str(&value.to_string()),
            None => text.extend(["{", name, "}"]),
        }
        rest = behind;
    }
    text.push_str(rest);
    text
}

/// Returns the text with a capital at its start.
pub(crate) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Joins words as English does: `a`, `a and b`, `a, b and c`.
pub(crate) fn joined<T: Display>(items: &[T], conjunction: &str) -> String {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} {conjunction} {last}", before.join(", ")),
    }
}

/// Returns the word with its article: `an apple`, `a pear`.
pub(crate) fn with_article(word: &str) -> String {
    // By letter, which is right for every word of this crate: none begins with a silent h or a consonantal u.
    let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_filled_and_missing_ones_stay() {
        assert_eq!(fill("{a} and {b}, {a} {c} {", &[("a", &1), ("b", &"x")]), "1 and x, 1 {c} {");
    }

    #[test]
    fn words_are_joined_as_in_english() {
        let joined_of = |words: &[&str]| joined(words, "and");
        assert_eq!(joined_of(&[]), "");
        assert_eq!(joined_of(&["a"]), "a");
        assert_eq!(joined_of(&["a", "b", "c"]), "a, b and c");
        assert_eq!((with_article("owl"), with_article("cat")), ("an owl".into(), "a cat".into()));
        assert_eq!(capitalised("élan"), "Élan");
    }
}
