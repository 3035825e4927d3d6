//! Hidden answers, and when a reply matches one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, only_quoted, plain, trimmed, words};
use crate::number::{Decimal, only_number};
use crate::style::Rule;

/// How many words a line may have that only mentions the answer.
const MAX_MENTION_WORDS: usize = 30;
/// How many characters may stand around a quotation.
const MAX_AROUND_QUOTE: usize = 80;
/// How many words a reply may have that says that something is absent.
const MAX_ABSENCE_WORDS: usize = 40;

/// What a reply is held against. Matching is all or nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Check {
    /// A number: the answer's line, behind its last `=`, states this number and no other.
    Number {
        /// The number.
        value: Decimal,
    },
    /// A text to the letter: the answer's line, or the one quotation in it, or what stands behind its last colon or ` is `.
    Exact {
        /// Texts that are right; the first is the usual one.
        accept: Vec<String>,
        /// Whether capitals matter.
        case: bool,
    },
    /// A name: the answer's line has one of these as whole words, none of the rivals, no negation and at most 30 words.
    Mention {
        /// Texts that are right; the first is the usual one.
        accept: Vec<String>,
        /// Texts that must not occur beside it.
        rivals: Vec<String>,
    },
    /// A list, separated by commas, semicolons, `and`, or lines with or without bullets; a lead-in ends with a colon, ` is ` or ` are `.
    List {
        /// The items.
        items: Vec<String>,
        /// Whether their order matters.
        ordered: bool,
    },
    /// A sentence word for word, capitals included, with at most 80 characters around it.
    Quote {
        /// The sentence.
        sentence: String,
    },
    /// The reply says, in at most 40 words, that the text does not have what was asked for.
    Absent,
    /// All of these rules hold for the whole reply.
    Style {
        /// The rules.
        rules: Vec<Rule>,
    },
}

/// Ways to say that something is not there; one of them has to occur. `document` also stands for `text`, `page` and `passage`.
const ABSENCE: &[&str] = &[
    "not in the document",
    "does not say",
    "doesn't say",
    "does not mention",
    "doesn't mention",
    "not mentioned",
    "not given in",
    "does not give",
    "doesn't give",
    "does not contain",
    "doesn't contain",
    "no mention of",
    "not stated",
    "does not tell",
    "doesn't tell",
    "not found",
    "cannot find",
    "can't find",
    "could not find",
    "couldn't find",
    "is not listed",
    "isn't listed",
    "isn't in the document",
    "there is no entry",
    "has no entry",
    "no record of",
    "has no record",
];

impl Check {
    /// A number.
    pub(crate) fn number(value: impl Into<Decimal>) -> Self {
        Self::Number { value: value.into() }
    }

    /// One name among others.
    pub(crate) fn mention<'a>(name: &str, others: impl IntoIterator<Item = &'a str>) -> Self {
        let rivals = others.into_iter().filter(|other| *other != name).map(str::to_owned).collect();
        Self::Mention { accept: vec![name.to_owned()], rivals }
    }

    /// Items in order.
    pub(crate) fn list<T: ToString>(items: &[T]) -> Self {
        Self::List { items: items.iter().map(ToString::to_string).collect(), ordered: true }
    }

    /// The answer as it is usually written.
    pub fn answer(&self) -> String {
        match self {
            Self::Number { value } => value.to_string(),
            Self::Exact { accept, .. } | Self::Mention { accept, .. } => accept.first().cloned().unwrap_or_default(),
            Self::List { items, .. } => items.join(", "),
            Self::Quote { sentence } => sentence.clone(),
            Self::Absent => "not in the document".into(),
            Self::Style { rules } => rules.iter().map(Rule::to_string).collect::<Vec<_>>().join("; "),
        }
    }

    /// Whether a reply is right. Never fails, whatever the reply is.
    pub fn accepts(&self, reply: &str) -> bool {
        let answer = Answer::of(reply);
        match self {
            Self::Number { value } => {
                let line = answer.line();
                only_number(line.rsplit_once('=').map_or(line, |(_, behind)| behind)) == Some(*value)
            }
            Self::Exact { accept, case } => accept.iter().any(|text| is_exactly(answer.line(), text, *case)),
            Self::Mention { accept, rivals } => mentions(answer.line(), accept, rivals),
            Self::List { items, ordered } => is_list(&answer.text, items, *ordered),
            Self::Quote { sentence } => quotes(&answer.text, sentence),
            Self::Absent => says_absent(&answer.text),
            Self::Style { rules } => rules.iter().all(|rule| rule.holds(reply)),
        }
    }
}

fn is_exactly(line: &str, text: &str, case: bool) -> bool {
    let key = |text: &str| if case { trimmed(text) } else { trimmed(text).to_lowercase() };
    let expected = key(&plain(text));
    let stated = || {
        only_quoted(line)
            .or_else(|| line.rsplit_once(": ").map(|(_, behind)| behind))
            .or_else(|| line.rsplit_once(" is ").map(|(_, behind)| behind))
            .is_some_and(|stated| key(stated) == expected)
    };
    !expected.is_empty() && (key(line) == expected || stated())
}

fn mentions(line: &str, accept: &[String], rivals: &[String]) -> bool {
    let said = words(line);
    if said.len() > MAX_MENTION_WORDS || said.iter().any(|word| is_negation(word)) {
        return false;
    }
    accept.iter().any(|text| {
        let rest = without(&said, &named(text));
        rest.is_some_and(|rest| !rivals.iter().any(|rival| without(&rest, &named(rival)).is_some()))
    })
}

/// The words of a name without an article before it.
fn named(text: &str) -> Vec<String> {
    let mut words = words(text);
    if words.len() > 1 && words.first().is_some_and(|word| matches!(word.as_str(), "the" | "a" | "an")) {
        words.remove(0);
    }
    words
}

fn is_negation(word: &str) -> bool {
    matches!(word, "not" | "no" | "never" | "neither" | "nor" | "cannot" | "or") || word.ends_with("n't")
}

/// Returns the words without a sequence, `None` if it does not occur. Something else stands in its place, so that no new
/// sequence arises.
fn without(words: &[String], sequence: &[String]) -> Option<Vec<String>> {
    if sequence.is_empty() {
        return None;
    }
    let mut rest = Vec::with_capacity(words.len());
    let (mut word_idx, mut occurs) = (0, false);
    while let Some(word) = words.get(word_idx) {
        if words.get(word_idx..word_idx + sequence.len()) == Some(sequence) {
            occurs = true;
            rest.push(String::new());
            word_idx += sequence.len();
        } else {
            rest.push(word.clone());
            word_idx += 1;
        }
    }
    occurs.then_some(rest)
}

fn is_list(text: &str, items: &[String], ordered: bool) -> bool {
    // Numbers are compared by value: 7.0 is 7.
    let key = |item: &str| Decimal::parse(item).map_or_else(|| item.to_lowercase(), |number| number.to_string());
    let said: Vec<String> = list_items(text).iter().map(|item| key(item)).collect();
    let expected: Vec<String> = items.iter().map(|item| key(&trimmed(item))).collect();
    if ordered {
        return said == expected;
    }
    let counted = |items: &[String]| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for item in items {
            *counts.entry(item.clone()).or_default() += 1;
        }
        counts
    };
    counted(&said) == counted(&expected)
}

/// Takes a list apart.
fn list_items(text: &str) -> Vec<String> {
    let text = text.rsplit_once(": ").or_else(|| text.rsplit_once(":\n")).map_or(text, |(_, behind)| behind);
    let text = [" is ", " are "].into_iter().find_map(|verb| text.split_once(verb)).map_or(text, |(_, behind)| behind);
    text.replace(" and ", ",")
        .split([',', ';', '\n'])
        .map(|item| without_bullet(item.trim().trim_start_matches("and ")))
        .map(|item| trimmed(item.trim_matches(['[', ']', '(', ')', '.', ' '])))
        .filter(|item| !item.is_empty())
        .collect()
}

/// Removes `- `, `• `, `3. ` or `3) ` from the start of an item.
fn without_bullet(item: &str) -> &str {
    let item = item.strip_prefix("- ").or_else(|| item.strip_prefix("• ")).unwrap_or(item);
    let behind_number = item.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let numbered = behind_number.len() < item.len();
    let rest = behind_number.strip_prefix(". ").or_else(|| behind_number.strip_prefix(") "));
    rest.filter(|_| numbered).unwrap_or(item).trim()
}

fn quotes(text: &str, sentence: &str) -> bool {
    let spaced = |text: &str| plain(text).replace('*', "").split_whitespace().collect::<Vec<_>>().join(" ");
    let (said, sentence) = (spaced(text), spaced(sentence));
    let sentence = sentence.trim_end_matches('.');
    let fits = said.chars().count() <= sentence.chars().count() + MAX_AROUND_QUOTE;
    !sentence.is_empty() && fits && said.contains(sentence)
}

fn says_absent(text: &str) -> bool {
    let lower = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let lower = ["text", "page", "passage", "list", "store", "table"]
        .iter()
        .fold(lower, |lower, word| lower.replace(&format!("the {word}"), "the document"));
    lower.split(' ').count() <= MAX_ABSENCE_WORDS && ABSENCE.iter().any(|phrase| lower.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts<'a>(check: &Check, replies: &[&'a str]) -> Vec<&'a str> {
        replies.iter().copied().filter(|reply| check.accepts(reply)).collect()
    }

    #[test]
    fn numbers_are_read_from_the_last_line() {
        let replies =
            ["12", "She has 12 left.", "20 - 8 = 12 apples", "Of 20, 12 are left.", "13", "", "Answer: 12.0\nBye 5", "twelve"];
        let right = ["12", "She has 12 left.", "20 - 8 = 12 apples", "Answer: 12.0\nBye 5", "twelve"];
        assert_eq!(verdicts(&Check::number(12), &replies), right);
    }

    #[test]
    fn exact_texts_are_compared_to_the_letter() {
        let replies =
            ["olleh", "OLLEH", "It is \"olleh\".", "The result is olleh.", "olleh or ollhe", "\"olleh\" or \"ollhe\"", "olle h"];
        assert_eq!(
            verdicts(&Check::Exact { accept: vec!["olleh".into()], case: false }, &replies),
            ["olleh", "OLLEH", "It is \"olleh\".", "The result is olleh."]
        );
        let with_case = Check::Exact { accept: vec!["OLLEH".into()], case: true };
        assert_eq!(verdicts(&with_case, &replies), ["OLLEH"]);
    }

    #[test]
    fn a_name_counts_if_no_other_stands_beside_it() {
        let check = Check::mention("the red box", ["the red box", "the blue box", "Tom"]);
        let replies = [
            "It is in the red box.",
            "The RED box",
            "the red box or the blue one",
            "the red box and the blue box",
            "not the red box",
            "Tom's red box",
            "it isn't the red box",
            "Tom has the red box",
            "red box",
            "red",
            "the redbox",
        ];
        assert_eq!(verdicts(&check, &replies), ["It is in the red box.", "The RED box", "red box"]);
        assert!(!check.accepts(&format!("{} the red box", "well ".repeat(30))));
    }

    #[test]
    fn lists_come_in_many_shapes() {
        let replies = [
            "3, 1, 2",
            "[3, 1, 2]",
            "The list is 3, 1 and 2.",
            "Sorted: 3; 1; 2",
            "Answer:\n- 3\n- 1\n- 2",
            "1. 3\n2. 1\n3. 2",
            "3, 1, and 2",
            "1, 2, 3",
            "3, 1",
            "3, 1, 2, 2",
            "3 1 2",
        ];
        assert_eq!(verdicts(&Check::list(&[3, 1, 2]), &replies), replies[..7]);
        let set = Check::List { items: vec!["Tom".into(), "Ida".into()], ordered: false };
        assert_eq!(verdicts(&set, &["ida, tom", "Tom and Ida", "Tom", "Tom, Tom"]), ["ida, tom", "Tom and Ida"]);
    }

    #[test]
    fn a_quotation_is_word_for_word() {
        let check = Check::Quote { sentence: "The mill's door was red.".into() };
        let replies = [
            "The mill’s door was red.",
            "It says: \"The mill's  door was red.\"",
            "The mill door was red.",
            "the mill's door was red.",
        ];
        assert_eq!(verdicts(&check, &replies), replies[..2]);
        assert!(!check.accepts(&format!("The mill's door was red. {}", "More text. ".repeat(10))));
    }

    #[test]
    fn absence_is_said_in_few_words() {
        let replies =
            ["The text does not say.", "It is not in the document.", "The code is 4821.", "I could not find it in the list.", ""];
        assert_eq!(verdicts(&Check::Absent, &replies), [replies[0], replies[1], replies[3]]);
        assert!(!Check::Absent.accepts(&format!("{} does not say", "word ".repeat(40))));
    }
}
