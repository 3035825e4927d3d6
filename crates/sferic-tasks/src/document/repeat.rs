//! Writing a text again: all of a short one, a line of a long one.

use crate::check::Check;
use crate::form::Form;
use crate::generator::Draft;
use crate::phrases::{Phrases, capitalised};
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::{COLOURS, NAMES, PLAIN_WORDS};

use super::room;

/// The last level whose documents are repeated whole.
const LAST_WHOLE: u8 = 2;

const ASK_ALL: Phrases = Phrases::new(&[
    "repeat the document word for word.",
    "write the document again, without any change.",
    "copy the text exactly.",
    "give me the whole text once more.",
    "repeat all parts of the document.",
    "say exactly what the document says.",
]);
const ASK_LINE: Phrases = Phrases::new(&[
    "repeat the line that begins with \"{start}\".",
    "one line starts with \"{start}\". Write it out.",
    "copy the whole line that starts with \"{start}\".",
    "how does the line go on that begins with \"{start}\"? Give all of it.",
    "find the line with \"{start}\" at its beginning and repeat it.",
    "which line begins with \"{start}\"? Write it exactly.",
]);

pub(super) fn repeat(draws: &mut Draws, level: u8, setting: &Setting) -> Draft {
    let room = room(draws, level, setting);
    let lines = lines(draws, setting, room);
    let lines_of = |separator: &str| {
        let lines: Vec<String> = lines.iter().map(|(start, rest)| format!("{start} {rest}")).collect();
        lines.join(separator)
    };
    if level <= LAST_WHOLE {
        // In one line, because the answer behind a label is one.
        let document = lines_of("; ");
        let thinking = format!("The document has {} parts. I repeat them.", lines.len());
        return draft(ASK_ALL.fill(draws, &[]), thinking, document.clone(), document);
    }
    let document = lines_of("\n");
    let (start, rest) = draws.pick(&lines);
    let question = ASK_LINE.fill(draws, &[("start", start)]);
    let thinking = format!("I look for \"{start}\" and repeat the line.");
    draft(question, thinking, format!("{start} {rest}"), document)
}

fn draft(question: String, thinking: String, text: String, document: String) -> Draft {
    let check = Check::Quote { sentence: text.clone() };
    Draft { document: Some(document), form: Form::Free, ..Draft::new(text.clone(), question, thinking, text, check) }
}

/// Draws lines with different beginnings until the room is used up; at least two.
fn lines(draws: &mut Draws, setting: &Setting, room: usize) -> Vec<(String, String)> {
    let line = *draws.pick(&[of_words, of_codes, of_names]);
    let (mut lines, mut left): (Vec<(String, String)>, usize) = (Vec::new(), room);
    loop {
        let (start, rest) = line(draws);
        if lines.iter().any(|(other, _)| *other == start) {
            continue;
        }
        let length = setting.length_of(&format!("{start} {rest};\n"));
        // Less than a third of the beginnings that names have.
        if lines.len() >= 2 && (length > left || lines.len() >= 1800) {
            return lines;
        }
        left = left.saturating_sub(length);
        lines.push((start, rest));
    }
}

fn of_words(draws: &mut Draws) -> (String, String) {
    let n_words = 4 + draws.below(7);
    let words: Vec<&str> = (0..n_words).map(|_| draws.word(PLAIN_WORDS)).collect();
    (format!("{} {}", draws.word(PLAIN_WORDS), draws.word(PLAIN_WORDS)), words.join(" "))
}

fn of_codes(draws: &mut Draws) -> (String, String) {
    let code = |draws: &mut Draws| {
        let letter = |draws: &mut Draws| char::from(b'A' + draws.below(26) as u8);
        format!("{}{}-{}", letter(draws), letter(draws), draws.between(100, 9999))
    };
    let codes: Vec<String> = (0..1 + draws.below(3)).map(|_| code(draws)).collect();
    (code(draws), format!("{} {}", draws.word(COLOURS), codes.join(" ")))
}

fn of_names(draws: &mut Draws) -> (String, String) {
    let start = format!("{} {}:", draws.word(NAMES), capitalised(draws.word(PLAIN_WORDS)));
    let words: Vec<&str> = (0..2 + draws.below(4)).map(|_| draws.word(PLAIN_WORDS)).collect();
    (start, format!("{}, {}.", draws.between(1, 999), words.join(", ")))
}
