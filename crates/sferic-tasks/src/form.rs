//! How a reply is to be written.

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, spoken};
use crate::phrases::Phrases;
use crate::random::Draws;

/// How the prompt asks the answer to be written. A right answer in another form is right; [`Form::holds`] is judged apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As one likes.
    Free,
    /// A line that begins with `Answer:` ends the reply.
    Label,
    /// The answer and nothing else: one line of at most the answer's words.
    Bare,
}

const ASK_LABEL: Phrases = Phrases::new(&[
    "End with a line that starts with \"Answer:\".",
    "Put your answer on the last line, after \"Answer:\".",
    "Write the result on a last line that begins with \"Answer:\".",
    "Finish with \"Answer:\" and the result.",
    "On the final line, write \"Answer:\" and then your answer.",
    "Close your reply with a line of the form \"Answer: ...\".",
    "Please give the answer at the end, in a line starting with \"Answer:\".",
]);

const ASK_BARE: Phrases = Phrases::new(&[
    "Reply with the answer only.",
    "Give only the answer.",
    "Just the answer, please.",
    "Write nothing but the answer.",
    "Answer with the result alone.",
    "No explanation, only the answer.",
    "Please give the answer without any other words.",
]);

impl Form {
    /// Draws a form: half of the prompts ask for none.
    pub(crate) fn draw(draws: &mut Draws) -> Self {
        match draws.below(8) {
            0..4 => Self::Free,
            4..6 => Self::Label,
            _ => Self::Bare,
        }
    }

    /// Returns the question with the request for the form.
    pub(crate) fn ask(self, draws: &mut Draws, question: &str) -> String {
        let request = match self {
            Self::Free => return question.to_owned(),
            Self::Label => ASK_LABEL.fill(draws, &[]),
            Self::Bare => ASK_BARE.fill(draws, &[]),
        };
        let separator = if question.contains('\n') || draws.chance(0.2) { "\n" } else { " " };
        format!("{question}{separator}{request}")
    }

    /// Writes a reply in this form, from the answer alone and from a sentence that states it.
    pub(crate) fn reply(self, answer: &str, sentence: &str) -> String {
        match self {
            Self::Free => sentence.to_owned(),
            Self::Label => format!("{sentence}\nAnswer: {answer}"),
            Self::Bare => answer.to_owned(),
        }
    }

    /// Whether a reply has the form; `answer` is the right answer as it is usually written.
    pub fn holds(self, reply: &str, answer: &str) -> bool {
        match self {
            Self::Free => true,
            Self::Label => {
                let last_line = spoken(reply).lines().next_back().unwrap_or_default();
                Answer::of(last_line).labelled
            }
            Self::Bare => {
                let n_words = |text: &str| text.split_whitespace().count();
                let reply = spoken(reply);
                reply.lines().count() <= answer.lines().count().max(1) && n_words(reply) <= n_words(answer).max(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_hold_or_not() {
        assert!(Form::Label.holds("It is 7.\nAnswer: 7", "7"));
        assert!(!Form::Label.holds("Answer: 7\nBye.", "7"));
        assert!(Form::Bare.holds("8", "7") && !Form::Bare.holds("It is 7.", "7"));
        assert!(Form::Free.holds("", "7"));
    }
}
