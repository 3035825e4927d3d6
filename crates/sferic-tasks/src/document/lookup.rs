//! Facts to find: one, several, none, a changed one, one behind another.

use sferic_text::Message;

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::{Phrases, joined};
use crate::random::Draws;
use crate::setting::Setting;

use super::facts::{Fact, Kind, chains};
use super::layout::{Plan, document};
use super::{ASK_ABOUT, not_there, room};

const ASK_SEVERAL: Phrases = Phrases::new(&[
    "what are {of} {subjects}? Give them in this order.",
    "find {of} {subjects} and list them in this order.",
    "list {of} {subjects}, in the same order.",
    "I need {of} {subjects}. Write them in this order, separated by commas.",
    "look up {of} {subjects}. Keep the order.",
    "give me {of} {subjects}, one after the other.",
]);
const CHANGED: Phrases = Phrases::new(&[
    "later this was changed: {sentence}",
    "but since last week it is different. {sentence}",
    "then came the news that things had changed: {sentence}",
    "this was corrected afterwards. {sentence}",
    "what was said before is no longer true. {sentence}",
    "some time later it was changed. {sentence}",
]);
const NOW: Phrases = Phrases::new(&[
    "{question} Something was changed; give the latest state.",
    "{question} I need what is true at the end of the text.",
    "{question} Take the newest information.",
    "{question} Only the last change counts.",
    "the text changes over time. {question} Answer for its end.",
    "{question} If there are several answers, the latest is right.",
]);

/// Facts of one kind in a document with several kinds: there are seven weekdays, and values must differ.
const FACTS_OF_KIND: usize = 5;

/// What the filler must not mention: the subjects of facts.
fn subjects(facts: &[Fact]) -> Vec<String> {
    facts.iter().map(|fact| fact.subject.clone()).collect()
}

fn check_of(fact: &Fact, facts: &[Fact]) -> Check {
    Check::mention(&fact.value, facts.iter().map(|other| other.value.as_str()))
}

fn said(fact: &Fact) -> String {
    format!("The document says: \"{}\"", fact.sentence)
}

/// Draws facts of one kind: the first is asked for, the others distract.
fn planted(draws: &mut Draws, level: u8, n_asked: usize) -> (&'static Kind, Vec<Fact>) {
    let kind = Kind::draw(draws);
    // Six at most: there are seven weekdays, and values must differ.
    let facts = kind.facts(draws, (n_asked + usize::from(level).min(4)).min(6));
    (kind, facts)
}

fn sentences(facts: &[Fact]) -> Vec<String> {
    facts.iter().map(|fact| fact.sentence.clone()).collect()
}

/// A reply that also quotes, in a third of all cases.
fn with_quote(draws: &mut Draws, fact: &Fact) -> String {
    if draws.chance(0.35) { format!("{} {}", fact.reply, said(fact)) } else { fact.reply.clone() }
}

pub(super) fn needle(draws: &mut Draws, level: u8, setting: &Setting) -> Draft {
    let (_, facts) = planted(draws, level, 1);
    let room = room(draws, level, setting);
    // A second fact is certain where a question about it comes first.
    let n_certain = if draws.chance(0.25) { 2 } else { 1 };
    let (fact, other) = (&facts[0], &facts[1]);
    let mut required = sentences(&facts[..n_certain]);
    draws.shuffle(&mut required);
    let plan = Plan { required: &required, optional: &sentences(&facts[n_certain..]), avoid: &subjects(&facts) };
    let document = document(draws, setting, room, plan);
    let problem = Problem {
        key: format!("{} {}", fact.subject, fact.value),
        question: fact.question.clone(),
        thinking: said(fact),
        sentence: with_quote(draws, fact),
        check: check_of(fact, &facts),
    };
    let mut draft = problem.about(draws, document);
    if n_certain == 2 {
        let before = ASK_ABOUT.fill(draws, &[("question", &other.question)]);
        draft.messages.splice(0..0, [Message::user(before), Message::assistant(other.reply.clone())]);
    }
    draft
}

/// Makes a document and `n` questions about different facts of several kinds in it.
pub(super) fn questions(draws: &mut Draws, setting: &Setting, room: usize, n: usize) -> (String, Vec<Problem>) {
    let mut groups: Vec<Vec<Fact>> = Vec::new();
    for kind in Kind::several(draws, n.div_ceil(FACTS_OF_KIND)) {
        groups.push(kind.facts(draws, FACTS_OF_KIND));
    }
    let facts = groups.concat();
    let mut required = sentences(&facts);
    draws.shuffle(&mut required);
    let document = document(draws, setting, room, Plan { required: &required, optional: &[], avoid: &subjects(&facts) });
    let mut problems: Vec<Problem> = Vec::new();
    for group in &groups {
        problems.extend(group.iter().map(|fact| Problem {
            key: format!("{} {}", fact.subject, fact.value),
            question: fact.question.clone(),
            thinking: said(fact),
            sentence: with_quote(draws, fact),
            check: check_of(fact, group),
        }));
    }
    draws.shuffle(&mut problems);
    problems.truncate(n);
    (document, problems)
}

pub(super) fn needles(draws: &mut Draws, level: u8, setting: &Setting) -> Draft {
    let n_asked = 2 + usize::from(level > 2) + draws.below(2);
    let (kind, facts) = planted(draws, level, n_asked);
    let room = room(draws, level, setting);
    let asked = &facts[..n_asked];
    let mut required = sentences(asked);
    draws.shuffle(&mut required);
    let plan = Plan { required: &required, optional: &sentences(&facts[n_asked..]), avoid: &subjects(&facts) };
    let document = document(draws, setting, room, plan);
    let values: Vec<&str> = asked.iter().map(|fact| fact.value.as_str()).collect();
    let found: Vec<String> = asked.iter().map(|fact| format!("\"{}\"", fact.sentence)).collect();
    Problem {
        key: format!("{:?} {values:?}", subjects(asked)),
        question: ASK_SEVERAL.fill(draws, &[("of", &kind.of_several), ("subjects", &joined(&subjects(asked), "and"))]),
        thinking: format!("The document says: {}", found.join(" ")),
        sentence: format!("They are {}.", joined(&values, "and")),
        check: Check::list(&values),
    }
    .about(draws, document)
}

pub(super) fn absent(draws: &mut Draws, level: u8, setting: &Setting) -> Draft {
    let (_, facts) = planted(draws, level, 1);
    let room = room(draws, level, setting);
    let fact = &facts[0];
    // One fact of the kind is there, so that the kind of question alone does not give the answer away.
    let required = sentences(&facts[1..2]);
    let plan = Plan { required: &required, optional: &sentences(&facts[2..]), avoid: &subjects(&facts) };
    let document = document(draws, setting, room, plan);
    let thinking = format!("The document says: \"{}\" But nothing is said about {}.", facts[1].sentence, fact.subject);
    not_there(draws, format!("{} {}", fact.subject, facts[1].subject), &fact.question, document, thinking)
}

pub(super) fn update(draws: &mut Draws, level: u8, setting: &Setting) -> Draft {
    let kind = Kind::draw(draws);
    let room = room(draws, level, setting);
    let mut facts = kind.facts(draws, 2 + usize::from(level).min(3));
    // The second fact becomes another value of the first one's subject.
    let (old_subject, new_subject) = (facts[0].subject.clone(), facts[1].subject.clone());
    let about_old = |text: &str| {
        text.replace(&new_subject, &old_subject)
            .replace(&crate::phrases::capitalised(&new_subject), &crate::phrases::capitalised(&old_subject))
    };
    facts[1].sentence = about_old(&facts[1].sentence);
    facts[1].reply = about_old(&facts[1].reply);
    facts[1].subject = old_subject.clone();
    let changed = CHANGED.fill(draws, &[("sentence", &facts[1].sentence)]);
    let required = [facts[0].sentence.clone(), changed];
    let plan = Plan { required: &required, optional: &sentences(&facts[2..]), avoid: &subjects(&facts) };
    let document = document(draws, setting, room, plan);
    let thinking = format!(
        "First the document says: \"{}\" Later it says: \"{}\" The later one counts.",
        facts[0].sentence, facts[1].sentence
    );
    Problem {
        key: format!("{old_subject} {} {}", facts[0].value, facts[1].value),
        question: NOW.fill(draws, &[("question", &facts[0].question)]),
        thinking,
        sentence: facts[1].reply.clone(),
        check: check_of(&facts[1], &facts),
    }
    .about(draws, document)
}

pub(super) fn two_hops(draws: &mut Draws, level: u8, setting: &Setting) -> Draft {
    let room = room(draws, level, setting);
    let chains = chains(draws, 1 + usize::from(level).min(4));
    let chain = &chains[0];
    let mut required = chain.sentences.to_vec();
    draws.shuffle(&mut required);
    let optional: Vec<String> = chains[1..].iter().flat_map(|other| other.sentences.clone()).collect();
    let avoid: Vec<String> = chains.iter().flat_map(|other| [other.container.clone(), other.thing.clone()]).collect();
    let document = document(draws, setting, room, Plan { required: &required, optional: &optional, avoid: &avoid });
    Problem {
        key: format!("{} {} {}", chain.thing, chain.container, chain.place),
        question: chain.question.clone(),
        thinking: format!("\"{}\" \"{}\"", chain.sentences[0], chain.sentences[1]),
        sentence: format!("{} is in {}.", chain.thing, chain.place),
        check: Check::mention(chain.place, chains.iter().map(|other| other.place)),
    }
    .about(draws, document)
}
