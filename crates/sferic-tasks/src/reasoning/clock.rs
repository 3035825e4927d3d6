//! Times of day and how long things last.

use crate::check::Check;
use crate::generator::{Draft, Problem};
use crate::phrases::Phrases;
use crate::random::Draws;
use crate::setting::Setting;
use crate::words::{NAMES, TOWNS};

const END: Phrases = Phrases::new(&[
    "a film starts at {start} and lasts {long}. When does it end?",
    "{name} leaves at {start} and needs {long}. At what time does {name} arrive?",
    "it is {start} now. What time is it in {long}?",
    "the train to {town} leaves at {start} and drives for {long}. When does it arrive?",
    "a lesson of {long} begins at {start}. When is it over?",
    "{name} puts a cake into the oven at {start}. It needs {long}. At what time is it ready?",
]);
const START: Phrases = Phrases::new(&[
    "a film ended at {end} after {long}. When did it start?",
    "{name} arrived at {end} after {long} on the road. At what time did {name} leave?",
    "it is {end} now. What time was it {long} ago?",
    "the train from {town} arrived at {end} and had needed {long}. When did it leave?",
    "a lesson of {long} was over at {end}. When did it begin?",
    "{name} has to be in {town} at {end}. The way takes {long}. When does {name} have to leave?",
]);
const LONG: Phrases = Phrases::new(&[
    "a film starts at {start} and ends at {end}. How many minutes does it last?",
    "{name} leaves at {start} and arrives at {end}. How many minutes is that?",
    "how many minutes are there from {start} to {end}?",
    "the train to {town} leaves at {start} and arrives at {end}. How many minutes does it drive?",
    "a lesson goes from {start} to {end}. How long is it in minutes?",
    "{name} works from {start} until {end}. How many minutes of work is that?",
]);

/// Writes minutes since midnight as `9:05` or `14:30`.
fn time(minutes: i64) -> String {
    format!("{}:{:02}", minutes / 60, minutes % 60)
}

/// Writes a length of time in words.
fn length(minutes: i64) -> String {
    let (hours, rest) = (minutes / 60, minutes % 60);
    let unit = |n: i64, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    match (hours, rest) {
        (0, _) => unit(rest, "minute"),
        (_, 0) => unit(hours, "hour"),
        _ => format!("{} and {}", unit(hours, "hour"), unit(rest, "minute")),
    }
}

/// Ways to write a time; the first is ours.
fn forms(minutes: i64) -> Vec<String> {
    let (hours, rest) = (minutes / 60, minutes % 60);
    let half = if hours % 12 == 0 { 12 } else { hours % 12 };
    let suffix = if hours < 12 { "am" } else { "pm" };
    let mut forms = vec![
        time(minutes),
        format!("{hours:02}:{rest:02}"),
        format!("{half}:{rest:02} {suffix}"),
        format!("{half}:{rest:02}{suffix}"),
    ];
    if rest == 0 {
        forms.push(format!("{half} {suffix}"));
    }
    forms
}

pub(super) fn clock(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let step = if level == 1 { 10 } else { 5 };
    let minutes = if level == 1 { draws.between(1, 5) * step } else { draws.between(13, 40) * step };
    let start = draws.between(6 * 60 / step, (24 * 60 - minutes) / step - 1) * step;
    let end = start + minutes;
    let (name, town) = (draws.word(NAMES), draws.word(TOWNS));
    let (start_text, end_text, long) = (time(start), time(end), length(minutes));
    let slots: [(&str, &dyn std::fmt::Display); 5] =
        [("start", &start_text), ("end", &end_text), ("long", &long), ("name", &name), ("town", &town)];
    let key = format!("{start} {minutes}");
    if level == 3 {
        let question = LONG.fill(draws, &slots);
        return Problem {
            key,
            question,
            thinking: counted(start, end),
            sentence: format!("It is {minutes} minutes."),
            check: Check::number(minutes),
        }
        .draft(draws);
    }
    let is_end = level == 1 || draws.chance(0.5);
    let (question, answer, given) =
        if is_end { (END.fill(draws, &slots), end, start) } else { (START.fill(draws, &slots), start, end) };
    let thinking = if is_end { forward(start, minutes) } else { backward(end, minutes) };
    // The given time may be repeated in a reply, a time an hour off may not.
    let check = Check::Mention { accept: forms(answer), rivals: near(answer, given) };
    Problem { key: format!("{key} {is_end}"), question, thinking, sentence: format!("The time is {}.", time(answer)), check }
        .draft(draws)
}

fn near(answer: i64, given: i64) -> Vec<String> {
    let all = (0..24 * 12).map(|step| step * 5).filter(|other| *other != answer && *other != given);
    all.filter(|other| (other - answer).abs() <= 60).map(time).collect()
}

fn forward(start: i64, minutes: i64) -> String {
    let (hours, rest) = (minutes / 60, minutes % 60);
    let after_hours = start + hours * 60;
    let mut steps = Vec::new();
    if hours > 0 {
        steps.push(format!("{} later it is {}.", length(hours * 60), time(after_hours)));
    }
    let to_full = (60 - after_hours % 60) % 60;
    if rest > to_full && to_full > 0 {
        steps.push(format!("{} more and it is {}.", length(to_full), time(after_hours + to_full)));
        steps.push(format!("{} - {} = {}, so it is {}.", rest, to_full, rest - to_full, time(start + minutes)));
    } else if rest > 0 {
        steps.push(format!("{} more and it is {}.", length(rest), time(start + minutes)));
    }
    steps.join(" ")
}

fn backward(end: i64, minutes: i64) -> String {
    let (hours, rest) = (minutes / 60, minutes % 60);
    let before_hours = end - hours * 60;
    let mut steps = Vec::new();
    if hours > 0 {
        steps.push(format!("{} before, it was {}.", length(hours * 60), time(before_hours)));
    }
    if rest > 0 {
        steps.push(format!("{} before that, it was {}.", length(rest), time(end - minutes)));
    }
    steps.join(" ")
}

fn counted(start: i64, end: i64) -> String {
    let minutes = end - start;
    let (hours, rest) = (minutes / 60, minutes % 60);
    let mut steps = Vec::new();
    if hours > 0 {
        steps.push(format!(
            "From {} to {} it is {}, that is {} minutes.",
            time(start),
            time(start + hours * 60),
            length(hours * 60),
            hours * 60
        ));
    }
    if rest > 0 {
        steps.push(format!("From {} to {} it is {}.", time(start + hours * 60), time(end), length(rest)));
    }
    if hours > 0 && rest > 0 {
        steps.push(format!("{} + {rest} = {minutes}.", hours * 60));
    }
    steps.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_every_way() {
        assert_eq!(forms(14 * 60 + 5), ["14:05", "14:05", "2:05 pm", "2:05pm"]);
        assert_eq!(forms(12 * 60), ["12:00", "12:00", "12:00 pm", "12:00pm", "12 pm"]);
        assert_eq!((length(60), length(125), length(1)), ("1 hour".into(), "2 hours and 5 minutes".into(), "1 minute".into()));
        assert_eq!(
            forward(9 * 60 + 50, 75),
            "1 hour later it is 10:50. 10 minutes more and it is 11:00. 15 - 10 = 5, so it is 11:05."
        );
    }
}
