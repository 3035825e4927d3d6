//! What a reply gives as its answer.
//!
//! The rules, in this order:
//!
//! 1. What stands before the last `</think>` is no part of the reply.
//! 2. If a line begins with `Answer:` (or `Final answer:`, `The answer is:`; case and asterisks aside), the answer is the rest
//!    of the last such line, or what follows it if the rest is empty. The reply is *labelled* then.
//! 3. Otherwise the answer is the whole reply. Where one line is wanted (numbers, words), it is the last line that is not empty.
//!
//! Typographic quotes and minus signs are read as the plain ones, and any white space as one space.

/// Beginnings of the line that states the answer.
const LABELS: [&str; 3] = ["answer:", "final answer:", "the answer is:"];
/// What ends the thoughts of a model that writes them into its reply.
const THINK_END: &str = "</think>";

/// The answer of a reply, quotes and minus signs made plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether a label introduced it.
    pub(crate) labelled: bool,
    /// The answer; several lines at most where no label introduced it or nothing stood behind the label.
    pub(crate) text: String,
}

impl Answer {
    /// Finds the answer of a reply by the rules of this module.
    pub(crate) fn of(reply: &str) -> Self {
        let reply = plain(spoken(reply)).replace('*', "");
        let mut start = 0;
        let mut labelled_text = None;
        for line in reply.split_inclusive('\n') {
            start += line.len();
            if let Some(rest) = behind_label(line) {
                let text = if rest.is_empty() { reply.get(start..).unwrap_or_default().trim() } else { rest };
                labelled_text = Some(text.to_owned());
            }
        }
        match labelled_text {
            Some(text) => Self { labelled: true, text },
            None => Self { labelled: false, text: reply.trim().to_owned() },
        }
    }

    /// The last line that is not empty.
    pub(crate) fn line(&self) -> &str {
        self.text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default()
    }
}

/// Returns the reply without thoughts that stand in it.
pub(crate) fn spoken(reply: &str) -> &str {
    reply.rsplit_once(THINK_END).map_or(reply, |(_, spoken)| spoken).trim()
}

fn behind_label(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(['#', '>', '-', ' ', '\t']).trim_end();
    LABELS.iter().find_map(|label| {
        let head = line.get(..label.len())?;
        head.eq_ignore_ascii_case(label).then(|| line.get(label.len()..).unwrap_or_default().trim())
    })
}

/// Replaces typographic quotes and the minus sign by the plain ones, and other line ends by `\n`.
pub(crate) fn plain(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|letter| match letter {
            '\u{2018}' | '\u{2019}' | '\u{201b}' => '\'',
            '\u{201c}' | '\u{201d}' | '\u{201e}' => '"',
            '\u{2212}' => '-',
            _ => letter,
        })
        .collect()
}

/// Returns the text with single spaces, without quotes around it and without punctuation at its end.
pub(crate) fn trimmed(text: &str) -> String {
    let spaced = text.split_whitespace().collect::<Vec<_>>().join(" ");
    spaced.trim_matches(['"', '\'', '`', ' ']).trim_end_matches(['.', ',', ';', '!', '?', '"', '\'', '`', ' ']).to_owned()
}

/// Returns the one span in double quotes, single quotes at word boundaries or backticks, if the text has exactly one.
pub(crate) fn only_quoted(text: &str) -> Option<&str> {
    ['"', '`'].into_iter().find_map(|mark| {
        let parts: Vec<&str> = text.split(mark).collect();
        match parts.as_slice() {
            [_, quoted, _] => Some(*quoted),
            _ => None,
        }
    })
}

/// Returns the words of a text in small letters, without punctuation around them and without a possessive ending.
pub(crate) fn words(text: &str) -> Vec<String> {
    let is_edge = |letter: char| !letter.is_alphanumeric() && letter != '-' && letter != '$';
    text.to_lowercase()
        .split_whitespace()
        .map(|word| {
            let word = word.trim_matches(is_edge);
            word.strip_suffix("'s").unwrap_or(word).to_owned()
        })
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_where_it_is_stated() {
        for (reply, labelled, text) in [
            ("Answer: 7", true, "7"),
            ("2 + 5 = 7\n**Answer:** 7\n", true, "7"),
            ("Answer: 3\nNo, wait.\nfinal ANSWER: 7\nBye.", true, "7"),
            ("Answer:\n- a\n- b", true, "- a\n- b"),
            ("thoughts, Answer: 3</think>It is 7.", false, "It is 7."),
            ("I think so.\n\nIt is “seven”.\n", false, "I think so.\n\nIt is \"seven\"."),
            ("The answer is: \u{2212}4", true, "-4"),
            ("Answers: 3", false, "Answers: 3"),
            ("", false, ""),
        ] {
            assert_eq!(Answer::of(reply), Answer { labelled, text: text.into() }, "{reply}");
        }
        assert_eq!(Answer::of("a\n b \n\n").line(), "b");
    }

    #[test]
    fn texts_are_made_comparable() {
        assert_eq!(trimmed("  \"the  red box.\" "), "the red box");
        assert_eq!(only_quoted("It is \"ab c\"."), Some("ab c"));
        assert_eq!(only_quoted("\"a\" or \"b\""), None);
        assert_eq!(words("It's Tom's (red) box: 15:05, -3!"), ["it", "tom", "red", "box", "15:05", "-3"]);
    }
}
