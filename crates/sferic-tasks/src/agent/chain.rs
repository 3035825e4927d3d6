//! Searching the store, reading a page, and looking up what it names.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::Phrases;
use crate::random::Draws;
use crate::setting::Setting;

use super::Move;
use super::village::{House, PEOPLE_TABLES, Trait, houses};
use super::world::World;

const ASK_MANAGER_VALUE: Phrases = Phrases::new(&[
    "what is the {value} of the manager of {h}?",
    "I need the {value} of the person who runs {h}.",
    "find the {value} of the manager of {h}.",
    "who runs {h}, and what is that person's {value}? Give me only the {value}.",
    "look up the {value} of the manager of {h}, please.",
    "the manager of {h} has which {value}?",
]);

/// The houses of a level: three, six or ten.
fn village(draws: &mut Draws, level: u8) -> (Vec<House>, World) {
    let n = [3, 6, 10].get(usize::from(level).saturating_sub(1)).copied().unwrap_or(10);
    let houses = houses(draws, n);
    let mut pages: Vec<_> = houses.iter().map(|house| house.page(draws)).collect();
    pages.sort_by_key(|page| page.id);
    (houses, World { pages, tables: Vec::new() })
}

/// The first two moves of the expert: search for a house, open its page.
fn read(house: &House) -> Vec<Move> {
    let query = house.name.trim_start_matches("the ").replace(" of ", " ");
    vec![
        Move::search(format!("I search for {}.", house.name), &query),
        Move::open(format!("Page {} is about {}. I open it.", house.id, house.name), house.id),
    ]
}

pub(super) fn search(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let (houses, world) = village(draws, level);
    let (house, of) = (draws.pick(&houses).clone(), *draws.pick(&Trait::ALL));
    let value = house.value(of);
    let (sentence, check) = match of {
        Trait::Opened => (format!("It was opened in {value}."), Check::mention(value, [])),
        Trait::Manager => (format!("The manager is {value}."), Check::mention(value, houses.iter().map(|other| other.value(of)))),
        Trait::Closed => (format!("It is closed on {value}."), Check::mention(value, crate::words::WEEKDAYS.iter().copied())),
        Trait::Workers => (format!("{value} people work there."), Check::number(value.parse::<i64>().unwrap_or_default())),
        Trait::Street => (format!("It is in {value}."), Check::mention(value, houses.iter().map(|other| other.value(of)))),
    };
    let question = of.question().fill(draws, &[("h", &house.name)]);
    let thinking = format!("The page says: \"{}\"", house.sentence(of));
    Problem { key: format!("{} {of:?} {value}", house.name), question, thinking, sentence, check }.in_world(
        draws,
        world,
        read(&house),
    )
}

pub(super) fn search_table(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let (houses, mut world) = village(draws, level);
    let house = draws.pick(&houses).clone();
    let manager = house.value(Trait::Manager).to_owned();
    let managers: Vec<String> = houses.iter().map(|other| other.value(Trait::Manager).to_owned()).collect();
    let kinds = draws.several(PEOPLE_TABLES, 2);
    world.tables = kinds.iter().map(|kind| kind.table(draws, &managers, houses.len() + 3)).collect();
    let kind = kinds[0];
    let asked = world.tables[0].rows.iter().find(|(name, _)| *name == manager);
    let value: i64 = asked.and_then(|(_, value)| value.parse().ok()).unwrap_or_default();
    let mut moves = read(&house);
    moves.push(Move::lookup(
        format!("The page says: \"{}\" Now I look up {manager} in the table {}.", house.sentence(Trait::Manager), kind.name),
        kind.name,
        &manager,
    ));
    Problem {
        key: format!("{} {manager} {} {value}", house.name, kind.name),
        question: ASK_MANAGER_VALUE.fill(draws, &[("value", &kind.value), ("h", &house.name)]),
        thinking: format!("The table says {value}."),
        sentence: format!("The {} of {manager} is {value}.", kind.value),
        check: Check::number(value),
    }
    .in_world(draws, world, moves)
}
