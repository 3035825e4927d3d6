//! A conversation about one document: question after question, of which the last is the task.

use sferic_text::Message;

use crate::generator::Draft;
use crate::random::Draws;
use crate::setting::Setting;

use super::{ASK_ABOUT, lookup, pairs, room};

pub(super) fn turns(draws: &mut Draws, level: u8, setting: &Setting) -> Draft {
    let room = room(draws, level, setting);
    let n_questions = 4 + 3 * usize::from(level);
    let (document, mut problems) = if draws.chance(0.5) {
        pairs::questions(draws, setting, room, n_questions)
    } else {
        lookup::questions(draws, setting, room, n_questions)
    };
    let last = problems.remove(0);
    let mut draft = last.about(draws, document);
    let before = problems.into_iter().flat_map(|problem| {
        let question = ASK_ABOUT.fill(draws, &[("question", &problem.question)]);
        [Message::user(question), Message::assistant(problem.sentence)]
    });
    draft.messages.splice(0..0, before);
    draft
}
