//! Questions that nobody can answer from what was said: the right reply says so.

use crate::check::Check;
use crate::generator::Draft;
use crate::phrases::{Phrases, capitalised};
use crate::random::Draws;
use crate::setting::Setting;
use crate::style::Rule;
use crate::words::{NAMES, THINGS, TOWNS, WEEKDAYS};

const ASK: Phrases = Phrases::new(&[
    "what did I eat last {day}?",
    "how many {things} are in my pocket right now?",
    "what is the name of my neighbour in {town}?",
    "what will the weather be in {town} next {day}?",
    "which number am I thinking of, {name} asks?",
    "where did my cousin {name} put the {things}?",
    "what is written on the paper in front of {name}?",
    "who will ring my bell on {day}?",
    "what was the first word that {name} said today?",
    "how much money does my friend {name} from {town} have?",
    "what colour is the door of my house in {town}?",
    "what did {name} dream of last night?",
]);
const REPLY: Phrases = Phrases::new(&[
    "I do not know that.",
    "I cannot know that.",
    "I'm sorry, but I don't know.",
    "I have no way to know that.",
    "I can't tell, because I do not have this information.",
    "I do not know, since you have not told me.",
]);
const STORY: Phrases = Phrases::new(&[
    "{name} has {n} {things}. How many {others} does {name} have?",
    "{name} lives in {town} and owns {n} {things}. How old is {name}?",
    "there are {n} {things} in a bag. {name} adds some more. How many {things} are there now?",
    "{name} went to {town} on {day}. What did {name} buy there?",
    "{name} bought {n} {things} for a friend. What did they cost?",
    "a shop in {town} sold {n} {things} on {day}. How many were left?",
    "{name} gave some {things} to {other} and has {n} now. How many did {name} have before?",
]);

pub(super) fn honest(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let (names, things) = (draws.several(NAMES, 2), draws.several(THINGS, 2));
    let (town, day, n) = (draws.word(TOWNS), draws.word(WEEKDAYS), draws.between(3, 40));
    let slots: [(&str, &dyn std::fmt::Display); 7] = [
        ("name", &names[0]),
        ("other", &names[1]),
        ("things", &things[0].many),
        ("others", &things[1].many),
        ("town", &town),
        ("day", &day),
        ("n", &n),
    ];
    let question = if level == 1 { ASK.fill(draws, &slots) } else { STORY.fill(draws, &slots) };
    let thinking =
        if level == 1 { "Nobody told me this, and I cannot see it." } else { "What is asked does not follow from what is said." };
    let reply = capitalised(&REPLY.fill(draws, &[]));
    let rules = vec![Rule::AdmitsNotKnowing, Rule::MaxWords(40)];
    Draft::new(question.clone(), question, thinking.to_owned(), reply, Check::Style { rules })
}
