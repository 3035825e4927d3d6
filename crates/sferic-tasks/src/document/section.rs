//! Documents with sections: finding them by their titles and their titles by what they say.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, capitalised};
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::THINGS;

use super::facts::Kind;
use super::layout::{Piece, filler, joined};
use super::room;

const AFTER: Phrases = Phrases::new(&[
    "which section comes right after \"{title}\"?",
    "what is the title of the section that follows \"{title}\"?",
    "after the section \"{title}\", which one comes next?",
    "name the section behind \"{title}\".",
    "what heading comes directly after the heading \"{title}\"?",
    "I have read \"{title}\". What is the next section called?",
]);
const NUMBERED: Phrases = Phrases::new(&[
    "what is the title of section {n}?",
    "what is section {n} called?",
    "name the title of section number {n}.",
    "which heading has section {n}?",
    "look at section {n}. What is its title?",
    "tell me the heading of section {n}.",
]);
const WHERE: Phrases = Phrases::new(&[
    "in which section do you find this: \"{sentence}\"?",
    "which section says: \"{sentence}\"?",
    "the document says: \"{sentence}\" In which section? Give its title.",
    "name the title of the section with this sentence: \"{sentence}\"",
    "under which heading does this stand? \"{sentence}\"",
    "where in the document is this sentence, under which title? \"{sentence}\"",
]);
const COUNT: Phrases = Phrases::new(&[
    "how many sections does the document have?",
    "into how many sections is the document divided?",
    "count the sections of the document.",
    "what is the number of sections?",
    "how many numbered headings are there?",
    "how many headings with a number does the text have?",
]);
const TITLES: Phrases = Phrases::new(&[
    "the {a} and the {b}",
    "on {things} and {others}",
    "how to find a {a}",
    "{things} in the {a}",
    "a {a} without a {b}",
    "some notes on {things}",
    "the history of the {a}",
    "what to do with {things}",
]);

pub(super) fn section(draws: &mut Draws, level: u8, setting: &Setting) -> Draft {
    let room = room(draws, level, setting);
    let n_sections = 3 + draws.below(2 + usize::from(level) * 2);
    let titles = titles(draws, n_sections);
    let fact = Kind::draw(draws).facts(draws, 1).swap_remove(0);
    let home = draws.below(n_sections);
    let document = write(draws, setting, room, &titles, (home, &fact.sentence), &fact.subject);
    let written = |idx: usize| format!("{}. {}", idx + 1, titles[idx]);
    let all = titles.iter().map(String::as_str);
    match draws.below(8) {
        0..3 => {
            let idx = draws.below(n_sections - 1);
            Problem {
                key: format!("after {titles:?} {idx}"),
                question: AFTER.fill(draws, &[("title", &titles[idx])]),
                thinking: format!("The headings are: {}, {}.", written(idx), written(idx + 1)),
                sentence: format!("The next section is \"{}\".", titles[idx + 1]),
                check: Check::mention(&titles[idx + 1], all),
            }
        }
        3..5 => {
            let idx = draws.below(n_sections);
            Problem {
                key: format!("title {titles:?} {idx}"),
                question: NUMBERED.fill(draws, &[("n", &(idx + 1))]),
                thinking: format!("The heading is: {}.", written(idx)),
                sentence: format!("The title is \"{}\".", titles[idx]),
                check: Check::mention(&titles[idx], all),
            }
        }
        5..7 => Problem {
            key: format!("where {} {}", fact.sentence, titles[home]),
            question: WHERE.fill(draws, &[("sentence", &fact.sentence)]),
            thinking: format!("It stands under the heading: {}.", written(home)),
            sentence: format!("It is in the section \"{}\".", titles[home]),
            check: Check::mention(&titles[home], all),
        },
        _ => Problem {
            key: format!("count {titles:?}"),
            question: COUNT.fill(draws, &[]),
            thinking: format!("The last heading is: {}.", written(n_sections - 1)),
            sentence: format!("The document has {n_sections} sections."),
            check: Check::number(n_sections as i64),
        },
    }
    .about(draws, document)
}

/// Nouns that take `a`, none of which is one of the things.
const NOUNS: &[&str] = &[
    "barrel", "blanket", "bridge", "carpet", "castle", "cellar", "circle", "corner", "doctor", "dragon", "farmer", "feather",
    "finger", "forest", "garden", "giraffe", "guitar", "hammer", "harbour", "jacket", "kettle", "kitchen", "ladder", "lantern",
    "library", "lizard", "lobster", "machine", "market", "meadow", "mirror", "monkey", "mountain", "needle", "notebook",
    "parrot", "picture", "pillow", "planet", "pocket", "rabbit", "ribbon", "river", "rocket", "saddle", "sailor", "school",
    "shadow", "spider", "station", "teacher", "temple", "tiger", "tunnel", "turtle", "valley", "village", "violin", "wagon",
    "window", "wizard",
];

/// Draws titles that all begin with other words of their own, so that none is part of another.
fn titles(draws: &mut Draws, n: usize) -> Vec<String> {
    let words = draws.several(NOUNS, 2 * n);
    let things = draws.several(THINGS, 2 * n);
    (0..n)
        .map(|idx| {
            let (thing, other) = (things[idx % things.len()].many, things[(idx + 1) % things.len()].many);
            capitalised(
                &TITLES
                    .fill(draws, &[("a", &words[2 * idx]), ("b", &words[2 * idx + 1]), ("things", &thing), ("others", &other)]),
            )
        })
        .collect()
}

/// Writes the sections, one sentence planted into one of them.
fn write(draws: &mut Draws, setting: &Setting, room: usize, titles: &[String], planted: (usize, &str), avoid: &str) -> String {
    let headings: Vec<String> = titles.iter().enumerate().map(|(idx, title)| format!("{}. {title}", idx + 1)).collect();
    let fixed: usize = headings.iter().map(|heading| setting.length_of(heading) + setting.length_of("\n\n")).sum();
    let left = room.saturating_sub(fixed + setting.length_of(planted.1));
    let avoided = [vec![avoid.to_owned()], titles.to_vec()].concat();
    let mut pieces = filler(draws, setting, left, &avoided);
    let n_each = (pieces.len() / titles.len()).max(1);
    let mut text: Vec<Piece> = Vec::new();
    for (idx, heading) in headings.into_iter().enumerate() {
        text.push(Piece { text: heading, starts_paragraph: true });
        let n_here = if idx + 1 == titles.len() { pieces.len() } else { n_each.min(pieces.len()) };
        let mut here: Vec<Piece> = pieces.drain(..n_here).collect();
        if idx == planted.0 {
            here.insert(draws.below(here.len() + 1), Piece { text: planted.1.to_owned(), starts_paragraph: false });
        }
        if let Some(first) = here.first_mut() {
            first.starts_paragraph = true;
        }
        text.append(&mut here);
    }
    joined(&text)
}
