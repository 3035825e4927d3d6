//! Weekdays and dates.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::Phrases;
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::{MONTHS, WEEKDAYS};

const AFTER: Phrases = Phrases::new(&[
    "today is {day}. What day of the week is it in {n} days?",
    "if it is {day} today, which weekday comes {n} days later?",
    "it is {day}. Which day will it be after {n} days?",
    "what day of the week is {n} days after a {day}?",
    "a letter is sent on {day} and arrives {n} days later. On which day of the week does it arrive?",
    "count {n} days on from {day}. Which weekday is that?",
]);
const BEFORE: Phrases = Phrases::new(&[
    "today is {day}. What day of the week was it {n} days ago?",
    "if it is {day} today, which weekday was it {n} days before?",
    "it is {day}. Which day was it {n} days earlier?",
    "what day of the week is {n} days before a {day}?",
    "a letter arrives on {day}. It was sent {n} days before. On which day of the week was it sent?",
    "count {n} days back from {day}. Which weekday is that?",
]);
const IN_MONTH: Phrases = Phrases::new(&[
    "{from} is a {day}. What day of the week is {to} of the same year?",
    "if {from} is a {day}, which weekday is {to} in that year?",
    "this year {from} falls on a {day}. On which day of the week does {to} fall?",
    "{from} was a {day}. What weekday was {to} in the same year?",
    "in a calendar, {from} is a {day}. Which day of the week is {to}?",
    "which weekday is {to}, if {from} of that year is a {day}?",
]);
const DATE: Phrases = Phrases::new(&[
    "what date is {n} days after {from}?",
    "today is {from}. What is the date in {n} days?",
    "a journey starts on {from} and ends {n} days later. On what date does it end?",
    "count {n} days on from {from}. Which date is that?",
    "if today is {from}, what will the date be after {n} days?",
    "which date comes {n} days after {from}?",
]);
const BETWEEN: Phrases = Phrases::new(&[
    "how many days are there from {from} to {to} of the same year?",
    "how many days after {from} is {to}, in the same year?",
    "today is {from}. In how many days is it {to}?",
    "a holiday begins on {to}. Today is {from}. How many days is that from now?",
    "count the days from {from} until {to}.",
    "how many days pass between {from} and {to}, if the first day is not counted?",
]);
const DAY_IS: Phrases = Phrases::new(&[
    "it is a {x}.",
    "that day is a {x}.",
    "the weekday is {x}.",
    "the answer is {x}.",
    "that is a {x}.",
    "it falls on a {x}.",
]);

fn weekday_problem(draws: &mut Draws, key: String, question: String, thinking: String, given: usize, answer: usize) -> Draft {
    let day = WEEKDAYS[answer];
    // The given day may be repeated in a reply.
    let rivals = WEEKDAYS.iter().copied().filter(|other| *other != WEEKDAYS[given]);
    let check = Check::mention(day, rivals);
    Problem { key, question, thinking, sentence: DAY_IS.fill(draws, &[("x", &day)]), check }.draft(draws)
}

pub(super) fn weekday(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let given = draws.below(7);
    let day = WEEKDAYS[given];
    if level == 3 {
        return weekday_of_date(draws, given);
    }
    let n = if level == 1 { draws.between(2, 6) } else { draws.between(8, 60) };
    let is_after = draws.chance(0.6);
    let shift = if is_after { n } else { -n };
    let answer = (given as i64 + shift).rem_euclid(7) as usize;
    let (weeks, rest) = (n / 7, n % 7);
    let direction = if is_after { "after" } else { "before" };
    let counted = match (weeks, rest) {
        (0, _) => String::new(),
        (_, 0) => format!("{n} days are {weeks} weeks, so the weekday stays the same."),
        _ => format!("{n} = {weeks} x 7 + {rest}, so the rest of {rest} counts. "),
    };
    let steps: Vec<&str> =
        (1..=rest).map(|step| WEEKDAYS[(given as i64 + step * shift.signum()).rem_euclid(7) as usize]).collect();
    let walked = if steps.is_empty() {
        String::new()
    } else {
        format!("{} {direction} {day}: {}.", if rest == 1 { "1 day".into() } else { format!("{rest} days") }, steps.join(", "))
    };
    let phrases = if is_after { AFTER } else { BEFORE };
    let question = phrases.fill(draws, &[("day", &day), ("n", &n)]);
    weekday_problem(draws, format!("{day} {shift}"), question, format!("{counted}{walked}"), given, answer)
}

/// A date without a year: index of the month, day from 1.
#[derive(Clone, Copy)]
struct Date {
    month: usize,
    day: i64,
}

impl Date {
    fn draw(draws: &mut Draws) -> Self {
        let month = draws.below(12);
        Self { month, day: draws.between(1, MONTHS[month].1) }
    }

    fn text(self) -> String {
        format!("{} {}", self.day, MONTHS[self.month].0)
    }

    /// Ways to write it; the first is ours.
    fn forms(self) -> Vec<String> {
        let (day, month) = (self.day, MONTHS[self.month].0);
        let ending = match day {
            1 | 21 | 31 => "st",
            2 | 22 => "nd",
            3 | 23 => "rd",
            _ => "th",
        };
        vec![
            format!("{day} {month}"),
            format!("{month} {day}"),
            format!("{month} {day}{ending}"),
            format!("{day}{ending} {month}"),
            format!("{day}{ending} of {month}"),
            format!("the {day}{ending} of {month}"),
            format!("the {day} of {month}"),
        ]
    }
}

/// Draws two dates of which the second lies in the next month, two days later at least, and not from February, where leap years count.
fn dates_across(draws: &mut Draws) -> (Date, Date, i64) {
    let month = loop {
        let month = draws.below(11);
        if month != 1 {
            break month;
        }
    };
    let length = MONTHS[month].1;
    let start = Date { month, day: draws.between(8, length - 1) };
    let end = Date { month: month + 1, day: draws.between(1, 26) };
    (start, end, length - start.day + end.day)
}

fn dates_within(draws: &mut Draws) -> (Date, Date, i64) {
    let date = Date::draw(draws);
    let low = draws.between(1, 12);
    let start = Date { month: date.month, day: low };
    let end = Date { month: date.month, day: draws.between(low + 2, 28) };
    (start, end, end.day - start.day)
}

/// Says how many days lie between two dates.
fn distance(start: Date, end: Date, n: i64) -> String {
    if start.month == end.month {
        return format!("{} - {} = {n}.", end.day, start.day);
    }
    let (month, length) = MONTHS[start.month];
    let left = length - start.day;
    format!("{month} has {length} days, and {length} - {} = {left}. {left} + {} = {n}.", start.day, end.day)
}

fn weekday_of_date(draws: &mut Draws, given: usize) -> Draft {
    let (start, end, n) = if draws.chance(0.5) { dates_within(draws) } else { dates_across(draws) };
    let answer = (given as i64 + n).rem_euclid(7) as usize;
    let day = WEEKDAYS[given];
    let question = IN_MONTH.fill(draws, &[("from", &start.text()), ("to", &end.text()), ("day", &day)]);
    let steps: Vec<&str> = (1..=n % 7).map(|step| WEEKDAYS[(given + step as usize) % 7]).collect();
    let walked =
        if steps.is_empty() { "So it is the same weekday.".to_owned() } else { format!("From {day} on: {}.", steps.join(", ")) };
    let thinking = format!("{} {n} = {} x 7 + {}. {walked}", distance(start, end, n), n / 7, n % 7);
    weekday_problem(draws, format!("{} {} {day}", start.text(), end.text()), question, thinking, given, answer)
}

pub(super) fn date(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let (start, end, n) = if level == 1 { dates_within(draws) } else { dates_across(draws) };
    let key = format!("{level} {} {}", start.text(), end.text());
    if level == 3 {
        let question = BETWEEN.fill(draws, &[("from", &start.text()), ("to", &end.text())]);
        let thinking = distance(start, end, n);
        return Problem { key, question, thinking, sentence: format!("There are {n} days."), check: Check::number(n) }
            .draft(draws);
    }
    let (month, length) = MONTHS[start.month];
    let sum = start.day + n;
    let thinking = if start.month == end.month {
        format!("{} + {n} = {sum}, still in {month}.", start.day)
    } else {
        format!(
            "{} + {n} = {sum}. {month} has {length} days. {sum} - {length} = {}, in {}.",
            start.day, end.day, MONTHS[end.month].0
        )
    };
    Problem {
        key,
        question: DATE.fill(draws, &[("from", &start.text()), ("n", &n)]),
        thinking,
        sentence: format!("The date is {}.", end.text()),
        check: Check::Exact { accept: end.forms(), case: false },
    }
    .draft(draws)
}
