//! Hidden answers against oracles that read the problem and know nothing of the generators.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use sferic_tasks::{Cell, Check, Setting, Task};

/// Tasks of all levels of a generator.
fn tasks(name: &str, n_each: u64) -> Vec<Task> {
    let cells = Cell::all().into_iter().filter(|cell| cell.generator.name == name);
    let of_cell = |cell: Cell| (0..n_each).map(move |seed| cell.generator.task(cell.level, seed, &Setting::default()).unwrap());
    cells.flat_map(of_cell).collect()
}

fn number(task: &Task) -> f64 {
    match &task.check {
        Check::Number { value } => value.to_string().parse().unwrap(),
        other => panic!("{}: {other:?}", task.id),
    }
}

/// The words of a text without punctuation.
fn words(text: &str) -> Vec<&str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != ':').filter(|word| !word.is_empty()).collect()
}

/// The numbers of a text.
fn numbers(text: &str) -> Vec<f64> {
    words(text).iter().filter_map(|word| word.parse().ok()).collect()
}

/// A small machine for expressions and programs.
#[derive(Default)]
struct Machine<'a> {
    values: HashMap<&'a str, f64>,
    /// Name, parameter and body of the one function.
    function: Option<(&'a str, &'a str, &'a str)>,
    printed: Vec<f64>,
}

impl<'a> Machine<'a> {
    /// Evaluates sums of products of numbers, variables, calls and brackets.
    fn evaluate(&self, text: &str) -> f64 {
        let (value, rest) = self.sum(text.trim());
        assert!(rest.is_empty(), "{rest} is left of {text}");
        value
    }

    fn sum<'t>(&self, text: &'t str) -> (f64, &'t str) {
        let (mut value, mut rest) = self.product(text);
        while let Some(behind) = rest.strip_prefix(['+', '-']) {
            let (term, left) = self.product(behind);
            value += if rest.starts_with('+') { term } else { -term };
            rest = left;
        }
        (value, rest)
    }

    fn product<'t>(&self, text: &'t str) -> (f64, &'t str) {
        let (mut value, mut rest) = self.factor(text);
        while let Some(behind) = rest.strip_prefix(['*', '/']) {
            let (factor, left) = self.factor(behind);
            value = if rest.starts_with('*') { value * factor } else { value / factor };
            rest = left;
        }
        (value, rest)
    }

    fn factor<'t>(&self, text: &'t str) -> (f64, &'t str) {
        let text = text.trim_start();
        if let Some(inner) = text.strip_prefix('(') {
            let (value, rest) = self.sum(inner);
            return (value, rest.strip_prefix(')').unwrap().trim_start());
        }
        let end = text.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        if let (Some(inner), Some((function, parameter, body))) = (rest.strip_prefix('('), self.function) {
            assert_eq!(name, function);
            let (argument, rest) = self.sum(inner);
            let local = Machine { values: HashMap::from([(parameter, argument)]), ..Machine::default() };
            return (local.evaluate(body), rest.strip_prefix(')').unwrap().trim_start());
        }
        (name.parse().unwrap_or_else(|_| self.values[name]), rest.trim_start())
    }

    fn holds(&self, condition: &str) -> bool {
        match condition.split_once(" > ") {
            Some((a, b)) => self.evaluate(a) > self.evaluate(b),
            None => condition.split_once(" < ").map(|(a, b)| self.evaluate(a) < self.evaluate(b)).unwrap(),
        }
    }

    fn run(&mut self, lines: &[&'a str]) {
        let mut line_idx = 0;
        let mut last_condition = true;
        while line_idx < lines.len() {
            let line = lines[line_idx].trim();
            let indent = |line: &str| line.len() - line.trim_start().len();
            let deeper = |other: &&&str| indent(other) > indent(lines[line_idx]);
            let body = &lines[line_idx + 1..line_idx + 1 + lines[line_idx + 1..].iter().take_while(deeper).count()];
            line_idx += 1 + body.len();
            if let Some(text) = line.strip_prefix("print(") {
                self.printed.push(self.evaluate(text.strip_suffix(')').unwrap()));
            } else if let Some(condition) = line.strip_prefix("if ") {
                last_condition = self.holds(condition.trim_end_matches(':'));
                if last_condition {
                    self.run(body);
                }
            } else if line == "else:" {
                if !last_condition {
                    self.run(body);
                }
            } else if let Some(condition) = line.strip_prefix("while ") {
                while self.holds(condition.trim_end_matches(':')) {
                    self.run(body);
                }
            } else if let Some(rest) = line.strip_prefix("for ") {
                let (name, items) = rest.split_once(" in ").unwrap();
                let items = if items.starts_with("range") {
                    (0..numbers(items)[0] as i64).map(|i| i as f64).collect()
                } else {
                    numbers(items)
                };
                for item in items {
                    self.values.insert(name, item);
                    self.run(body);
                }
            } else if let Some(rest) = line.strip_prefix("def ") {
                let (name, parameter) = rest.trim_end_matches("):").split_once('(').unwrap();
                self.function = Some((name, parameter, body[0].trim().strip_prefix("return ").unwrap()));
            } else {
                let (name, text) = line.split_once(" = ").unwrap();
                let value = self.evaluate(text);
                self.values.insert(name, value);
            }
        }
    }
}

fn evaluated(text: &str) -> f64 {
    Machine::default().evaluate(text)
}

#[test]
fn sums_products_and_stories_are_right() {
    for name in ["subtraction", "multiplication", "expression", "story", "shopping"] {
        for task in tasks(name, 150) {
            let expression = task.key.replace(['x', 'h'], "*");
            assert_eq!(evaluated(&expression), number(&task), "{}: {}", task.id, task.key);
            // The problem has the numbers of its key; a number may also be told as a sum of people.
            let (told, question) = (numbers(&expression), numbers(task.messages[0].text()));
            let is_told = |n: &f64| question.contains(n) || (name == "story" && question.contains(&(n - 1.0)));
            assert!(told.iter().all(is_told), "{}: {}", task.id, task.messages[0].text());
        }
    }
    for task in tasks("addition", 150) {
        let told = numbers(task.messages[0].text());
        assert_eq!(told.iter().sum::<f64>(), number(&task), "{}", task.messages[0].text());
    }
    for task in tasks("division", 150) {
        let (a, b) = task.key.split_once('/').unwrap();
        let (a, b): (i64, i64) = (a.parse().unwrap(), b.parse().unwrap());
        match &task.check {
            Check::List { items, .. } => assert_eq!(*items, [(a / b).to_string(), (a % b).to_string()]),
            _ => assert_eq!((number(&task), a % b), ((a / b) as f64, 0)),
        }
    }
    for task in tasks("percent", 150) {
        let told = numbers(&task.key);
        let is_told = task.key.contains('%') || task.key.contains(" of ");
        let expected = match (is_told, task.key.contains('%')) {
            (true, true) => told[0] * told[1] / 100.0,
            (true, false) => told[0] / told[1] * 100.0,
            _ if task.key.contains("true") => told[0] + told[0] * told[1] / 100.0,
            _ => told[0] - told[0] * told[1] / 100.0,
        };
        assert!((expected - number(&task)).abs() < 1e-9, "{}: {}", task.id, task.key);
    }
}

#[test]
fn programs_print_what_is_expected() {
    for task in tasks("run", 150) {
        let mut machine = Machine::default();
        let lines: Vec<&str> = task.key.lines().filter(|line| !line.is_empty()).collect();
        machine.run(&lines);
        assert_eq!(machine.printed, [number(&task)], "{}", task.key);
    }
}

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/// Returns the number of a day of 2023, by the formula of Zeller's congruence for the lengths of months.
fn day_of_year(day: f64, month: &str) -> i64 {
    let month = MONTHS.iter().position(|other| *other == month).unwrap() as i64 + 1;
    let before = if month > 2 { (153 * (month - 3) + 2) / 5 + 59 } else { 31 * (month - 1) };
    before + day as i64
}

#[test]
fn weekdays_and_dates_are_right() {
    let place = |day: &str| WEEKDAYS.iter().position(|other| *other == day).unwrap() as i64;
    for task in tasks("weekday", 150) {
        let key = words(&task.key);
        let shift = match key.as_slice() {
            [_, n] => n.parse::<i64>().unwrap() * if task.key.contains('-') { -1 } else { 1 },
            [d1, m1, d2, m2, _] => day_of_year(d2.parse().unwrap(), m2) - day_of_year(d1.parse().unwrap(), m1),
            _ => panic!("{}", task.key),
        };
        let given = if key.len() == 2 { key[0] } else { key[4] };
        assert_eq!(place(&task.check.answer()), (place(given) + shift).rem_euclid(7), "{}", task.messages[0].text());
        assert!(task.messages[0].text().contains(given));
    }
    for task in tasks("date", 150) {
        let [_, d1, m1, d2, m2] = words(&task.key)[..] else { panic!("{}", task.key) };
        let n = day_of_year(d2.parse().unwrap(), m2) - day_of_year(d1.parse().unwrap(), m1);
        let question = task.messages[0].text();
        if task.level == 3 {
            assert_eq!(number(&task), n as f64, "{question}");
        } else {
            assert!(numbers(question).contains(&(n as f64)) && question.contains(&format!("{d1} {m1}")), "{question}");
            assert_eq!(task.check.answer(), format!("{d2} {m2}"));
        }
    }
}

#[test]
fn times_are_right() {
    let minutes =
        |time: &str| time.split_once(':').map(|(hours, rest)| hours.parse::<i64>().unwrap() * 60 + rest.parse::<i64>().unwrap());
    for task in tasks("clock", 150) {
        let question = task.messages[0].text();
        let told = words(question);
        let times: Vec<i64> = told.iter().filter_map(|word| minutes(word.trim_end_matches(':'))).collect();
        if task.level == 3 {
            assert_eq!(number(&task), (times[1] - times[0]) as f64, "{question}");
            continue;
        }
        let length =
            |unit: &str| told.windows(2).find(|pair| pair[1].starts_with(unit)).map_or(0, |pair| pair[0].parse::<i64>().unwrap());
        let moved = length("hour") * 60 + length("minute");
        assert_eq!((minutes(&task.check.answer()).unwrap() - times[0]).abs(), moved, "{question}");
    }
}

/// All orders of some names.
fn orders<'a>(names: &[&'a str]) -> Vec<Vec<&'a str>> {
    if names.len() < 2 {
        return vec![names.to_vec()];
    }
    let mut all = Vec::new();
    for (idx, first) in names.iter().enumerate() {
        let others = [&names[..idx], &names[idx + 1..]].concat();
        all.extend(orders(&others).into_iter().map(|rest| [vec![*first], rest].concat()));
    }
    all
}

/// Sentences without their ends.
fn sentences(text: &str) -> Vec<&str> {
    text.split(['.', '?', ':', '!']).map(str::trim).filter(|sentence| !sentence.is_empty()).collect()
}

#[test]
fn orders_are_the_only_ones() {
    const FIRST: [&str; 5] = ["tallest", "oldest", "fastest", "richest", "heaviest"];
    const LAST: [&str; 5] = ["shortest", "youngest", "slowest", "poorest", "lightest"];
    const BEHIND: [&str; 9] = ["shorter", "younger", "slower", "poorer", "lighter", "less", "after", "not as", "behind"];
    for task in tasks("ordering", 100) {
        let n = [3, 4, 4, 5][usize::from(task.level) - 1];
        let people: Vec<&str> = task.key.split(' ').take(n).collect();
        let place_of = |sentence: &str| {
            let said = words(sentence);
            let ordinal = ["first", "second", "third", "fourth", "fifth"].iter().position(|ordinal| said.contains(ordinal));
            ordinal
                .or_else(|| said.iter().any(|word| FIRST.contains(word)).then_some(0))
                .or_else(|| said.iter().any(|word| LAST.contains(word)).then_some(n - 1))
        };
        let fits = |order: &[&str], sentence: &str| {
            let named: Vec<&str> = words(sentence).into_iter().filter(|word| people.contains(word)).collect();
            let place = |name: &str| order.iter().position(|other| *other == name).unwrap();
            match named.as_slice() {
                [a, b] => (place(a) > place(b)) == BEHIND.iter().any(|word| sentence.contains(word)),
                [a] => place_of(sentence).is_none_or(|n| (place(a) == n) != sentence.contains(" is not ")),
                _ => true,
            }
        };
        let question = task.messages[0].text();
        let solutions: Vec<Vec<&str>> = orders(&people)
            .into_iter()
            .filter(|order| sentences(question).iter().all(|sentence| fits(order, sentence)))
            .collect();
        let [solution] = solutions.as_slice() else { panic!("{question} has {} solutions", solutions.len()) };
        match &task.check {
            Check::List { items, .. } => assert_eq!(items, solution),
            _ => {
                let asked = sentences(question)
                    .into_iter()
                    .rfind(|sentence| words(sentence).iter().all(|word| !people.contains(word)) && place_of(sentence).is_some());
                assert_eq!(task.check.answer(), solution[place_of(asked.unwrap()).unwrap()], "{question}");
            }
        }
    }
}

#[test]
fn liars_are_the_only_ones() {
    for task in tasks("truth", 100) {
        let question = task.messages[0].text();
        let parts: Vec<&str> = question.split('"').collect();
        let claims: Vec<(&str, &str)> = parts
            .windows(2)
            .filter(|pair| pair[0].ends_with(" says: "))
            .map(|pair| (*words(pair[0]).iter().rev().nth(1).unwrap(), pair[1]))
            .collect();
        let n = claims.len();
        let speaker = |name: &str| claims.iter().position(|(other, _)| *other == name);
        let is_true = |who: usize, claim: &str, truthful: &[bool]| {
            let named: Vec<usize> = words(claim).into_iter().filter_map(speaker).collect();
            match named.as_slice() {
                [] => truthful.iter().filter(|truthful| !**truthful).count() == 1,
                [a, b] => truthful[*a] == truthful[*b],
                [a] if claim.contains(" and I ") => truthful[*a] == truthful[who],
                [a] => {
                    truthful[*a]
                        == ["is truthful", "always tells the truth", "never lies"].iter().any(|words| claim.contains(words))
                }
                _ => panic!("{claim}"),
            }
        };
        let cases = (0..1usize << n).map(|bits| (0..n).map(|who| bits >> who & 1 == 1).collect::<Vec<bool>>());
        let solutions: Vec<Vec<bool>> = cases
            .filter(|truthful| claims.iter().enumerate().all(|(who, (_, claim))| is_true(who, claim, truthful) == truthful[who]))
            .collect();
        let [truthful] = solutions.as_slice() else { panic!("{question} has {} solutions", solutions.len()) };
        let asked = question.rsplit_once(claims[n - 1].1).unwrap().1;
        let asks_liars = ["Who lies", "is a liar", "who lies"].iter().any(|words| asked.contains(words));
        let mut expected: Vec<&str> =
            claims.iter().zip(truthful).filter(|(_, truthful)| **truthful != asks_liars).map(|((name, _), _)| *name).collect();
        let answer = task.check.answer();
        let mut answered: Vec<&str> = answer.split(", ").collect();
        expected.sort_unstable();
        answered.sort_unstable();
        assert_eq!(answered, expected, "{question}");
    }
}

#[test]
fn owners_are_the_only_ones() {
    for task in tasks("ownership", 100) {
        let listed: Vec<Vec<&str>> = task.key.split(']').take(2).map(words).collect();
        let (people, things) = (&listed[0], &listed[1]);
        let question = task.messages[0].text();
        let fits = |owned: &[&str], sentence: &str| {
            let said = words(sentence);
            let Some(who) = people.iter().position(|name| Some(name) == said.first()) else { return true };
            let named: Vec<&str> = said.iter().copied().filter(|word| things.contains(word)).collect();
            // Longer lists introduce people and things.
            said.iter().filter(|word| people.contains(word)).count() > 1
                || named.is_empty()
                || named.contains(&owned[who]) != said.contains(&"not")
        };
        let solutions: Vec<Vec<&str>> =
            orders(things).into_iter().filter(|owned| sentences(question).iter().all(|sentence| fits(owned, sentence))).collect();
        let [owned] = solutions.as_slice() else { panic!("{question} has {} solutions", solutions.len()) };
        let asked = question.split_once("Who ").unwrap().1;
        let thing = words(asked).into_iter().find(|word| things.contains(word)).unwrap();
        let owner = people[owned.iter().position(|other| *other == thing).unwrap()];
        assert_eq!(task.check.answer(), owner, "{question}");
    }
}
