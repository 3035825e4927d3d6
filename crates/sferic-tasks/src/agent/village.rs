//! The little world that tasks with tools are set in: houses with a page each, people, goods.

use crate::filler::Filler as _;
use crate::filler::{PlainFiller, sentences};
use crate::phrases::{Phrases, capitalised};
use crate::random::Draws;
use crate::words::{NAMES, TOWNS, WEEKDAYS};

use super::world::{Page, Table};

/// Something that the page of a house says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trait {
    Opened,
    Manager,
    Closed,
    Workers,
    Street,
}

impl Trait {
    pub(super) const ALL: [Self; 5] = [Self::Opened, Self::Manager, Self::Closed, Self::Workers, Self::Street];

    fn value(self, draws: &mut Draws) -> String {
        match self {
            Self::Opened => draws.between(1850, 2015).to_string(),
            Self::Manager => draws.word(NAMES).to_owned(),
            Self::Closed => draws.word(WEEKDAYS).to_owned(),
            Self::Workers => draws.between(3, 60).to_string(),
            Self::Street => format!(
                "{} Street",
                draws.word(&["Mill", "Church", "Station", "River", "Market", "Garden", "Bridge", "School", "Park", "King"])
            ),
        }
    }

    fn statement(self) -> Phrases {
        match self {
            Self::Opened => Phrases::new(&[
                "it was opened in {v}.",
                "it opened its doors in {v}.",
                "it has been there since {v}.",
                "its first year was {v}.",
                "the house was opened in the year {v}.",
                "it was founded in {v}.",
            ]),
            Self::Manager => Phrases::new(&[
                "its manager is {v}.",
                "{v} is the manager.",
                "it is run by {v}.",
                "the manager is called {v}.",
                "{v} runs it.",
                "today {v} is in charge of it.",
            ]),
            Self::Closed => Phrases::new(&[
                "it is closed on {v}.",
                "on {v} it stays closed.",
                "it opens every day but {v}.",
                "its day of rest is {v}.",
                "you find it closed each {v}.",
                "every {v} the doors stay shut.",
            ]),
            Self::Workers => Phrases::new(&[
                "{v} people work there.",
                "it has {v} workers.",
                "it gives work to {v} people.",
                "the number of workers is {v}.",
                "there are {v} people on its staff.",
                "its staff counts {v} people.",
            ]),
            Self::Street => Phrases::new(&[
                "it stands in {v}.",
                "you find it in {v}.",
                "its address is in {v}.",
                "the house is in {v}.",
                "it lies in {v}.",
                "its door opens onto {v}.",
            ]),
        }
    }

    pub(super) fn question(self) -> Phrases {
        match self {
            Self::Opened => Phrases::new(&[
                "in which year was {h} opened?",
                "when did {h} open? Give the year.",
                "since which year has there been {h}?",
                "find out the year in which {h} opened.",
                "what was the first year of {h}?",
                "how old is {h}? Tell me the year of its opening.",
            ]),
            Self::Manager => Phrases::new(&[
                "who is the manager of {h}?",
                "who runs {h}?",
                "what is the name of the manager of {h}?",
                "who is in charge of {h}?",
                "find out who runs {h}.",
                "I must talk to the manager of {h}. Who is it?",
            ]),
            Self::Closed => Phrases::new(&[
                "on which day is {h} closed?",
                "which weekday is {h} closed?",
                "when is {h} closed?",
                "on what day of the week can I not visit {h}?",
                "find out the day on which {h} stays closed.",
                "tell me the day of rest of {h}.",
            ]),
            Self::Workers => Phrases::new(&[
                "how many people work at {h}?",
                "how many workers has {h}?",
                "what is the number of workers of {h}?",
                "how large is the staff of {h}?",
                "find out how many people work for {h}.",
                "count the staff of {h} for me: how many are they?",
            ]),
            Self::Street => Phrases::new(&[
                "in which street is {h}?",
                "where is {h}? Tell me the street.",
                "what street does {h} stand in?",
                "find the street of {h}.",
                "I am looking for {h}. Which street is it in?",
                "to which street do I have to go for {h}?",
            ]),
        }
    }
}

/// A house and what its page says.
#[derive(Debug, Clone)]
pub(super) struct House {
    pub(super) id: usize,
    pub(super) name: String,
    traits: Vec<(Trait, String, String)>,
}

impl House {
    pub(super) fn value(&self, of: Trait) -> &str {
        self.traits.iter().find(|(kind, ..)| *kind == of).map(|(_, value, _)| value.as_str()).unwrap_or_default()
    }

    /// The sentence of the page that says it.
    pub(super) fn sentence(&self, of: Trait) -> &str {
        self.traits.iter().find(|(kind, ..)| *kind == of).map(|(.., sentence)| sentence.as_str()).unwrap_or_default()
    }

    pub(super) fn page(&self, draws: &mut Draws) -> Page {
        let mut said: Vec<String> = self.traits.iter().map(|(.., sentence)| sentence.clone()).collect();
        draws.shuffle(&mut said);
        let aside = PlainFiller.paragraphs(draws).next().unwrap_or_default();
        said.extend(sentences(&aside).first().map(|sentence| (*sentence).to_owned()));
        Page { id: self.id, title: capitalised(&self.name), text: said.join(" ") }
    }
}

/// Draws houses with different names and managers.
pub(super) fn houses(draws: &mut Draws, n: usize) -> Vec<House> {
    const KINDS: &[&str] = &[
        "bakery", "inn", "library", "bank", "museum", "school", "mill", "theatre", "bookshop", "hospital", "factory", "brewery",
    ];
    let managers = draws.several(NAMES, n);
    let mut ids: Vec<usize> = (1..100).collect();
    draws.shuffle(&mut ids);
    let mut houses: Vec<House> = Vec::new();
    while houses.len() < n {
        let name = format!("the {} of {}", draws.word(KINDS), draws.word(TOWNS));
        if houses.iter().any(|house| house.name == name) {
            continue;
        }
        let manager = managers[houses.len()];
        let traits = Trait::ALL.map(|kind| {
            let value = if kind == Trait::Manager { manager.to_owned() } else { kind.value(draws) };
            let sentence = kind.statement().fill(draws, &[("v", &value)]);
            (kind, value, sentence)
        });
        houses.push(House { id: ids[houses.len()], name, traits: traits.to_vec() });
    }
    houses
}

/// A kind of table.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableKind {
    pub(super) name: &'static str,
    /// What a value is: `price in dollars`.
    pub(super) value: &'static str,
    low: i64,
    high: i64,
    keys: fn(&mut Draws) -> String,
}

fn goods(draws: &mut Draws) -> String {
    let adjectives = &["brass", "wooden", "silver", "red", "blue", "green", "small", "large", "old", "glass"];
    let things = &["lamp", "clock", "chair", "ring", "mirror", "drum", "coat", "table", "globe", "kettle", "bowl", "knife"];
    format!("{} {}", draws.word(adjectives), draws.word(things))
}

pub(super) const GOODS_TABLES: &[TableKind] = &[
    TableKind { name: "prices", value: "price in dollars", low: 2, high: 200, keys: goods },
    TableKind { name: "stock", value: "number in stock", low: 1, high: 90, keys: goods },
    TableKind { name: "weights", value: "weight in grams", low: 50, high: 900, keys: goods },
];
pub(super) const PEOPLE_TABLES: &[TableKind] = &[
    TableKind { name: "rooms", value: "room number", low: 100, high: 499, keys: |draws| draws.word(NAMES).to_owned() },
    TableKind { name: "ages", value: "age in years", low: 18, high: 79, keys: |draws| draws.word(NAMES).to_owned() },
    TableKind { name: "phones", value: "telephone number", low: 2000, high: 9999, keys: |draws| draws.word(NAMES).to_owned() },
];

impl TableKind {
    /// Draws a table with the given keys and others, `n` rows in all, with values that differ.
    pub(super) fn table(&self, draws: &mut Draws, keys: &[String], n: usize) -> Table {
        let mut names = keys.to_vec();
        while names.len() < n {
            let key = (self.keys)(draws);
            if !names.contains(&key) {
                names.push(key);
            }
        }
        draws.shuffle(&mut names);
        let range: Vec<i64> = (self.low..=self.high).collect();
        let values = draws.several(&range, names.len());
        let rows = names.into_iter().zip(values).map(|(name, value)| (name, value.to_string())).collect();
        Table { name: self.name.to_owned(), rows }
    }

    pub(super) fn key(&self, draws: &mut Draws) -> String {
        (self.keys)(draws)
    }
}
