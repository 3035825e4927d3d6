//! Long documents: looking up, quoting, putting together, and saying that something is not there.

mod facts;
mod layout;
mod lookup;
mod pairs;
mod quote;
mod repeat;
mod section;
mod turns;

use crate::check::Check;
use crate::form::Form;
use crate::generator::{Draft, Generator, Problem};
use crate::phrases::Phrases;
use crate::random::Draws;
use crate::setting::Setting;
use crate::task::Domain::Document;

/// Every generator has the same levels: the length of the document doubles from one to the next.
const N_LEVELS: u8 = 5;

pub(crate) const GENERATORS: &[Generator] = &[
    Generator::new(Document, "needle", N_LEVELS, lookup::needle),
    Generator::new(Document, "needles", N_LEVELS, lookup::needles),
    Generator::new(Document, "absent", N_LEVELS, lookup::absent),
    Generator::new(Document, "update", N_LEVELS, lookup::update),
    Generator::new(Document, "two_hops", N_LEVELS, lookup::two_hops),
    Generator::new(Document, "pairs", N_LEVELS, pairs::pairs),
    Generator::new(Document, "entries", N_LEVELS, pairs::entries),
    Generator::new(Document, "quote", N_LEVELS, quote::quote),
    Generator::new(Document, "section", N_LEVELS, section::section),
    Generator::new(Document, "repeat", N_LEVELS, repeat::repeat),
    Generator::new(Document, "turns", N_LEVELS, turns::turns),
];

const ASK_ABOUT: Phrases = Phrases::new(&[
    "{question}",
    "{question}",
    "{question} Use the document.",
    "answer from the document: {question}",
    "according to the document: {question}",
    "read the text above. {question}",
    "{question} You find it in the text.",
    "look it up in the document. {question}",
]);

impl Problem {
    /// Makes a task about a document.
    fn about(self, draws: &mut Draws, document: String) -> Draft {
        let question = ASK_ABOUT.fill(draws, &[("question", &self.question)]);
        Draft { document: Some(document), ..Self { question, ..self }.draft(draws) }
    }
}

/// Room for the document of a level, in the units of the setting; a little less than the most, by chance.
fn room(draws: &mut Draws, level: u8, setting: &Setting) -> usize {
    let max = setting.max_length(level, N_LEVELS);
    max - draws.below(max / 8 + 1)
}

const NOT_THERE: Phrases = Phrases::new(&[
    "the document does not say that.",
    "that is not in the document.",
    "the document does not mention it.",
    "this is not mentioned in the document.",
    "the text does not say.",
    "I cannot find that in the document.",
]);

/// Makes a task whose answer is that the document does not have it.
fn not_there(draws: &mut Draws, key: String, question: &str, document: String, thinking: String) -> Draft {
    let question = ASK_ABOUT.fill(draws, &[("question", &question)]);
    let reply = NOT_THERE.fill(draws, &[]);
    Draft { document: Some(document), form: Form::Free, ..Draft::new(key, question, thinking, reply, Check::Absent) }
}
