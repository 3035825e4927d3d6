//! Facts that are planted into documents: a subject and a value, each said in many ways.

use crate::phrases::{Phrases, capitalised};
use crate::random::Draws;
use crate::words::{COLOURS, CONTAINERS, JOBS, NAMES, PLACES, PLAIN_WORDS, THINGS, TOWNS, WEEKDAYS};

/// A kind of fact. Slots are `{s}` for the subject and `{v}` for the value.
#[derive(Debug)]
pub(super) struct Kind {
    subject: fn(&mut Draws) -> String,
    value: fn(&mut Draws) -> String,
    state: Phrases,
    ask: Phrases,
    /// A reply, which names the subject.
    reply: Phrases,
    /// What the value is called in a question for several: `the codes of {subjects}`.
    pub(super) of_several: &'static str,
}

/// A fact as it stands in a document.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub(super) subject: String,
    pub(super) value: String,
    pub(super) sentence: String,
    pub(super) question: String,
    pub(super) reply: String,
}

impl Kind {
    pub(super) fn draw(draws: &mut Draws) -> &'static Self {
        &KINDS[draws.below(KINDS.len())]
    }

    /// Draws different kinds.
    pub(super) fn several(draws: &mut Draws, n: usize) -> Vec<&'static Self> {
        let all: Vec<&'static Self> = KINDS.iter().collect();
        draws.several(&all, n)
    }

    /// Draws facts whose subjects and values are all different.
    pub(super) fn facts(&self, draws: &mut Draws, n: usize) -> Vec<Fact> {
        let mut facts: Vec<Fact> = Vec::with_capacity(n);
        while facts.len() < n {
            let (subject, value) = ((self.subject)(draws), (self.value)(draws));
            if facts.iter().all(|fact| fact.subject != subject && fact.value != value) {
                facts.push(self.fact(draws, subject, value));
            }
        }
        facts
    }

    fn fact(&self, draws: &mut Draws, subject: String, value: String) -> Fact {
        let slots: [(&str, &dyn std::fmt::Display); 2] = [("s", &subject), ("v", &value)];
        Fact {
            sentence: self.state.fill(draws, &slots),
            question: self.ask.fill(draws, &slots),
            reply: self.reply.fill(draws, &slots),
            subject,
            value,
        }
    }
}

fn container(draws: &mut Draws) -> String {
    format!("the {} {}", draws.word(COLOURS), draws.pick(CONTAINERS).one)
}

fn person(draws: &mut Draws) -> String {
    format!("{} the {}", draws.word(NAMES), draws.word(JOBS))
}

fn shop(draws: &mut Draws) -> String {
    format!(
        "the {} of {}",
        draws.word(&["bakery", "inn", "library", "bank", "museum", "school", "mill", "post office"]),
        draws.word(TOWNS)
    )
}

fn gate(draws: &mut Draws) -> String {
    format!(
        "the {} {}",
        draws.word(&["north", "south", "east", "west", "upper", "lower", "old", "new"]),
        draws.word(&["gate", "door", "tower", "bridge", "cellar", "garden"])
    )
}

fn club(draws: &mut Draws) -> String {
    format!(
        "the {} of {}",
        draws.word(&["choir", "chess club", "book club", "town council", "football team", "sewing circle", "brass band"]),
        draws.word(TOWNS)
    )
}

fn article(draws: &mut Draws) -> String {
    format!(
        "the {} {}",
        draws.word(&["brass", "wooden", "silver", "painted", "old", "broken", "golden", "woollen"]),
        draws.word(&["lamp", "clock", "chair", "ring", "mirror", "drum", "coat", "violin", "table", "globe"])
    )
}

fn code(draws: &mut Draws) -> String {
    draws.between(1000, 99_999).to_string()
}

fn phone(draws: &mut Draws) -> String {
    format!("{}-{:04}", draws.between(201, 989), draws.between(0, 9999))
}

fn password(draws: &mut Draws) -> String {
    draws.several(PLAIN_WORDS, 2).join("-")
}

fn owner(draws: &mut Draws) -> String {
    const SURNAMES: &[&str] = &[
        "Hill", "Brown", "Marsh", "Stone", "Field", "Carter", "Wood", "Lane", "Porter", "Frost", "Bell", "Hart", "Moore", "Webb",
    ];
    format!("{} {}", draws.word(NAMES), draws.word(SURNAMES))
}

const KINDS: &[Kind] = &[
    Kind {
        subject: container,
        value: code,
        state: Phrases::new(&[
            "the code of {s} is {v}.",
            "to open {s} you need the code {v}.",
            "{s} opens with the number {v}.",
            "somebody had written down the code of {s}: {v}.",
            "remember that the code for {s} is {v}.",
            "the lock of {s} was set to {v}.",
        ]),
        ask: Phrases::new(&[
            "what is the code of {s}?",
            "which code opens {s}?",
            "with which number does one open {s}?",
            "I want to open {s}. What is the code?",
            "what number is the lock of {s} set to?",
            "give me the code for {s}.",
        ]),
        reply: Phrases::new(&[
            "the code of {s} is {v}.",
            "{s} opens with {v}.",
            "it is {v}.",
            "the code is {v}.",
            "you need the code {v}.",
            "for {s} the code is {v}.",
        ]),
        of_several: "the codes of",
    },
    Kind {
        subject: person,
        value: |draws| draws.word(PLACES).to_owned(),
        state: Phrases::new(&[
            "{s} keeps the spare key in {v}.",
            "the spare key of {s} hangs in {v}.",
            "for the spare key, {s} has chosen {v}.",
            "if you look for the spare key of {s}, go to {v}.",
            "{s} always leaves the spare key in {v}.",
            "the place where {s} hides the spare key is {v}.",
        ]),
        ask: Phrases::new(&[
            "where does {s} keep the spare key?",
            "in which place is the spare key of {s}?",
            "where can I find the spare key of {s}?",
            "where has {s} put the spare key?",
            "{s} has a spare key. Where is it?",
            "which place did {s} choose for the spare key?",
        ]),
        reply: Phrases::new(&[
            "it is in {v}.",
            "{s} keeps it in {v}.",
            "the spare key is in {v}.",
            "you find it in {v}.",
            "look in {v}.",
            "the key of {s} is in {v}.",
        ]),
        of_several: "the places of the spare keys of",
    },
    Kind {
        subject: gate,
        value: password,
        state: Phrases::new(&[
            "the password for {s} is {v}.",
            "at {s} you have to say {v}.",
            "nobody passes {s} without the word {v}.",
            "the guard at {s} asks for the password, which is {v}.",
            "{s} has the password {v}.",
            "for {s} they agreed on the password {v}.",
        ]),
        ask: Phrases::new(&[
            "what is the password for {s}?",
            "which password belongs to {s}?",
            "what do you have to say at {s}?",
            "tell me the password of {s}.",
            "I am standing at {s}. What is the password?",
            "which word lets you pass {s}?",
        ]),
        reply: Phrases::new(&[
            "the password is {v}.",
            "it is {v}.",
            "for {s} the password is {v}.",
            "you say {v}.",
            "{s} has the password {v}.",
            "the word is {v}.",
        ]),
        of_several: "the passwords for",
    },
    Kind {
        subject: shop,
        value: phone,
        state: Phrases::new(&[
            "the telephone number of {s} is {v}.",
            "you can call {s} under {v}.",
            "{s} has the number {v}.",
            "to reach {s}, dial {v}.",
            "a sign gives the phone number of {s} as {v}.",
            "the number to call for {s} is {v}.",
        ]),
        ask: Phrases::new(&[
            "what is the telephone number of {s}?",
            "which number do I dial to reach {s}?",
            "how can I call {s}?",
            "I want to call {s}. What is the number?",
            "give me the phone number of {s}.",
            "under which number do you reach {s}?",
        ]),
        reply: Phrases::new(&[
            "the number is {v}.",
            "it is {v}.",
            "dial {v}.",
            "you can call {v}.",
            "{s} has the number {v}.",
            "the phone number of {s} is {v}.",
        ]),
        of_several: "the telephone numbers of",
    },
    Kind {
        subject: club,
        value: |draws| draws.word(WEEKDAYS).to_owned(),
        state: Phrases::new(&[
            "{s} meets every {v}.",
            "the meetings of {s} are on {v}.",
            "for years {s} has met on {v}.",
            "{s} comes together each {v} evening.",
            "on {v} it is the turn of {s} to use the hall.",
            "{s} has its meeting on {v}.",
        ]),
        ask: Phrases::new(&[
            "on which day does {s} meet?",
            "when does {s} meet?",
            "which day of the week is the meeting of {s}?",
            "what is the weekday of the meetings of {s}?",
            "on what day can I visit {s}?",
            "I would like to join {s}. On which day do they meet?",
        ]),
        reply: Phrases::new(&[
            "{s} meets on {v}.",
            "it is {v}.",
            "they meet on {v}.",
            "the day is {v}.",
            "the meeting is on {v}.",
            "on {v}.",
        ]),
        of_several: "the meeting days of",
    },
    Kind {
        subject: article,
        value: |draws| draws.between(11, 499).to_string(),
        state: Phrases::new(&[
            "the price of {s} is {v} pounds.",
            "{s} costs {v} pounds.",
            "they ask {v} pounds for {s}.",
            "{s} was sold for {v} pounds.",
            "a label says that {s} is {v} pounds.",
            "for {s} you have to pay {v} pounds.",
        ]),
        ask: Phrases::new(&[
            "what is the price of {s} in pounds?",
            "how many pounds is {s}?",
            "what does {s} cost, in pounds?",
            "how many pounds do they want for {s}?",
            "I like {s}. How many pounds is it?",
            "tell me the price of {s} in pounds.",
        ]),
        reply: Phrases::new(&[
            "{s} costs {v} pounds.",
            "it is {v} pounds.",
            "the price is {v} pounds.",
            "for {s} it is {v} pounds.",
            "you pay {v} pounds.",
            "they want {v} pounds.",
        ]),
        of_several: "the prices in pounds of",
    },
    Kind {
        subject: |draws| {
            format!(
                "the {} {}",
                draws.word(COLOURS),
                draws.word(&["boat", "house", "car", "bicycle", "wagon", "tent", "piano", "horse"])
            )
        },
        value: owner,
        state: Phrases::new(&[
            "{s} belongs to {v}.",
            "the owner of {s} is {v}.",
            "everybody knew that {s} was the property of {v}.",
            "last spring {s} was bought by {v}.",
            "{v} is the owner of {s}.",
            "{v} bought {s} at the fair.",
        ]),
        ask: Phrases::new(&[
            "who owns {s}?",
            "who is the owner of {s}?",
            "to whom does {s} belong?",
            "whose is {s}?",
            "what is the name of the owner of {s}?",
            "tell me who has {s}.",
        ]),
        reply: Phrases::new(&[
            "{s} belongs to {v}.",
            "it belongs to {v}.",
            "the owner is {v}.",
            "{v} owns it.",
            "{v} is the owner of {s}.",
            "that is {v}.",
        ]),
        of_several: "the owners of",
    },
    Kind {
        subject: |draws| {
            format!("{}'s {}", draws.word(NAMES), draws.word(&["brother", "sister", "uncle", "aunt", "cousin", "friend"]))
        },
        value: |draws| draws.word(TOWNS).to_owned(),
        state: Phrases::new(&[
            "{s} lives in {v}.",
            "{s} moved to {v} some years ago.",
            "the home of {s} is in {v}.",
            "in {v} there is a small house where {s} lives.",
            "letters for {s} have to be sent to {v}.",
            "{s} has a flat in {v}.",
        ]),
        ask: Phrases::new(&[
            "where does {s} live?",
            "in which town does {s} live?",
            "what town is the home of {s}?",
            "to which town must I send a letter for {s}?",
            "I want to visit {s}. Where do I have to go?",
            "name the town where {s} lives.",
        ]),
        reply: Phrases::new(&[
            "{s} lives in {v}.",
            "in {v}.",
            "it is {v}.",
            "the town is {v}.",
            "you have to go to {v}.",
            "{v} is the home of {s}.",
        ]),
        of_several: "the home towns of",
    },
];

/// A chain of two facts: a thing is in a container, and the container is in a place.
pub(super) struct Chain {
    pub(super) sentences: [String; 2],
    pub(super) question: String,
    pub(super) container: String,
    pub(super) place: &'static str,
    pub(super) thing: String,
}

const INNER: Phrases = Phrases::new(&[
    "{t} is in {c}.",
    "{t} lies in {c}.",
    "somebody has put {t} into {c}.",
    "you find {t} in {c}.",
    "{t} was hidden in {c}.",
    "inside {c} there is {t}.",
]);
const OUTER: Phrases = Phrases::new(&[
    "{c} stands in {p}.",
    "{c} was carried to {p}.",
    "in {p} stands {c}.",
    "they keep {c} in {p}.",
    "the place of {c} is {p}.",
    "{c} can be seen in {p}.",
]);
const ASK_CHAIN: Phrases = Phrases::new(&[
    "in which place is {t}?",
    "where do I have to go to get {t}?",
    "to which place must I go for {t}?",
    "{t} is wanted. In which place is it?",
    "which place should I search for {t}?",
    "name the place where I can find {t}.",
]);

/// Draws chains whose things, containers and places are all different.
pub(super) fn chains(draws: &mut Draws, n: usize) -> Vec<Chain> {
    let (names, things) = (draws.several(NAMES, n), draws.several(THINGS, n));
    let (colours, containers, places) = (draws.several(COLOURS, n), draws.several(CONTAINERS, n), draws.several(PLACES, n));
    (0..n)
        .map(|idx| {
            let thing = format!("{}'s {}", names[idx], things[idx].one);
            let container = format!("the {} {}", colours[idx], containers[idx].one);
            let place = places[idx];
            let inner = INNER.fill(draws, &[("t", &thing), ("c", &container)]);
            let outer = OUTER.fill(draws, &[("c", &container), ("p", &place)]);
            let question = ASK_CHAIN.fill(draws, &[("t", &thing)]);
            Chain { sentences: [inner, outer], question, container, place, thing: capitalised(&thing) }
        })
        .collect()
}
