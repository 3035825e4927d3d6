//! What holds for the tasks of every generator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{HashMap, HashSet};

use sferic_tasks::{
    Cell, Check, Domain, Form, Generator, Mode, PlainFiller, Rule, Sampler, Setting, Split, Task, TaskError, TextFiller,
    read_tasks, score, with_document, write_tasks,
};
use sferic_text::{Role, dsv32};

/// Tasks of every level of every generator.
fn tasks(n_each: u64, setting: &Setting) -> Vec<Task> {
    let of_cell = |cell: Cell| (0..n_each).map(move |seed| (cell, seed));
    Cell::all()
        .into_iter()
        .flat_map(of_cell)
        .map(|(cell, seed)| cell.generator.task(cell.level, seed, setting).unwrap())
        .collect()
}

/// Paragraphs that look like a book, with abbreviations, quotes and long sentences.
fn book() -> TextFiller {
    let paragraph = |idx: usize| {
        format!(
            "Mr. Hartley had, in the year 18{:02}, a most peculiar garden no. {idx}; \"It grows,\" he said, \"by itself!\" Nobody believed him. \
             The neighbours of street {idx} came every evening to look at it, and went home without a word, although the gardener (one J. Pell) \
             explained the whole matter to them twice. Chapter{idx}word was painted on the gate.",
            idx % 100
        )
    };
    let text: Vec<String> = (0..400).map(paragraph).collect();
    TextFiller::new([text.join("\n\n").as_str()])
}

#[test]
fn every_reference_is_right_and_in_form() {
    for setting in [Setting::default(), Setting::characters(book(), 6000)] {
        for task in tasks(40, &setting) {
            let outcome = score(&task, task.reply());
            assert!(outcome.correct, "{}: {:?} against {:?}", task.id, task.reply(), task.check);
            assert!(outcome.in_form, "{}: {:?}", task.id, task.reply());
            let labelled = format!("I think so.\n**Answer:** {}", task.check.answer());
            let is_right_with_label = task.check.accepts(&labelled);
            assert!(is_right_with_label || matches!(task.check, Check::Style { .. }), "{}: {labelled}", task.id);
        }
    }
}

/// Answers that are near the right one and wrong.
fn near_misses(check: &Check) -> Vec<String> {
    let changed = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        let last = letters.len() - 1;
        letters[last] = if letters[last] == 'q' { 'w' } else { 'q' };
        letters.into_iter().collect::<String>()
    };
    match check {
        Check::Number { .. } => {
            let right = check.answer();
            let one_more =
                if right.contains('.') { format!("{right}1") } else { (right.parse::<i64>().unwrap() + 1).to_string() };
            vec![one_more, format!("-{right}1"), format!("{right}7"), format!("{right} or {right}7")]
        }
        Check::Exact { .. } => {
            vec![changed(&check.answer()), format!("{}q", check.answer()), format!("{} or so", check.answer())]
        }
        Check::Mention { rivals, .. } => {
            let mut misses = vec![changed(&check.answer()), format!("not {}", check.answer())];
            misses.extend(rivals.first().map(|rival| format!("{} and {rival}", check.answer())));
            misses.extend(rivals.iter().cloned());
            misses
        }
        Check::List { items, ordered } => {
            let mut misses =
                vec![items[1..].join(", "), [items.as_slice(), &items[..1]].concat().join(", "), changed(&check.answer())];
            let mut turned = items.clone();
            turned.rotate_left(1);
            if *ordered && turned != *items {
                misses.push(turned.join(", "));
            }
            misses
        }
        Check::Quote { sentence } => {
            vec![sentence[1..].to_owned(), sentence.replacen(' ', " really ", 1), format!("{sentence} {}", "more ".repeat(20))]
        }
        Check::Absent => vec!["It is 4821.".into(), "Yes.".into()],
        _ => Vec::new(),
    }
}

#[test]
fn near_misses_are_wrong() {
    let setting = Setting::default();
    for task in tasks(40, &setting) {
        for miss in near_misses(&task.check).iter().chain([&String::new(), &"I do not know.".into(), &"0".into()]) {
            let is_right =
                task.check.answer() == *miss || matches!(&task.check, Check::Number { value } if value.to_string() == *miss);
            let admits = |rule: &Rule| *rule == Rule::AdmitsNotKnowing;
            let may_not_know = matches!(&task.check, Check::Style { rules } if rules.iter().any(admits));
            if !is_right && !may_not_know {
                assert!(!score(&task, miss).correct, "{}: {miss:?} against {:?}", task.id, task.check);
                assert!(
                    !score(&task, &format!("Well.\nAnswer: {miss}")).correct,
                    "{}: {miss:?} against {:?}",
                    task.id,
                    task.check
                );
            }
        }
    }
}

#[test]
fn the_reference_of_one_task_is_wrong_for_another() {
    let setting = Setting::default();
    for cell in Cell::all() {
        let tasks: Vec<Task> = (0..30).map(|seed| cell.generator.task(cell.level, seed, &setting).unwrap()).collect();
        for pair in tasks.windows(2).filter(|pair| pair[0].check.answer() != pair[1].check.answer()) {
            // People of one task may be those of another.
            let is_excused = matches!(pair[0].check, Check::Style { .. }) || pair[1].reply().contains(&pair[0].check.answer());
            assert!(is_excused || !score(&pair[0], pair[1].reply()).correct, "{} takes {:?}", pair[0].id, pair[1].reply());
        }
    }
}

#[test]
fn prompts_are_clean() {
    for task in tasks(60, &Setting::default()) {
        let shown: Vec<&str> = task
            .messages
            .iter()
            .chain(&task.reference)
            .flat_map(|message| [message.text(), message.reasoning_content.as_deref().unwrap_or("")])
            .collect();
        let question = task.messages.last().unwrap().text();
        assert!(!task.messages.is_empty() && task.messages.last().unwrap().role == Role::User);
        assert!(question.starts_with(|letter: char| !letter.is_lowercase()), "{}: {question}", task.id);
        // A capital at the start of the code would be another variable.
        assert!(task.name != "run" || question.contains(&task.key), "{}: {question}", task.id);
        assert!(!task.thinking().is_empty() && !task.reply().is_empty(), "{}", task.id);
        for text in shown {
            // Braces are slots that nobody filled, unless they are JSON.
            assert!(task.name == "record" || !text.contains(['{', '}']), "{}: {text}", task.id);
            let is_code = task.name == "run" || task.name == "expression";
            assert!(is_code || !text.contains("  "), "{}: {text}", task.id);
            for wrong in [" a a", " a e", " a i", " a o", " an b", " 1 days", "..", " ,", " .", "the the ", "??", ".?", " 's"] {
                let is_example = text.contains("...");
                let is_list = task.domain == Domain::Program || task.domain == Domain::Math;
                assert!(is_example || is_list || !text.contains(wrong), "{}: {wrong:?} in {text}", task.id);
            }
        }
    }
}

#[test]
fn tasks_follow_from_their_seeds() {
    let setting = Setting::default();
    assert_eq!(tasks(3, &setting), tasks(3, &setting));
    for cell in Cell::all() {
        let prompts: HashSet<u64> =
            (0..20).map(|seed| cell.generator.task(cell.level, seed, &setting).unwrap().fingerprint()).collect();
        assert!(prompts.len() > 15, "{} {} gives {} prompts of 20 seeds", cell.generator.name, cell.level, prompts.len());
    }
}

#[test]
fn unknown_names_and_levels_are_refused() {
    let error = Generator::named("needles_and_pins").unwrap_err();
    assert!(matches!(&error, TaskError::UnknownGenerator { name, .. } if name == "needles_and_pins"));
    assert!(error.to_string().contains("addition") && error.to_string().contains("two_hops"));
    let error = Generator::named("truth").unwrap().task(4, 1, &Setting::default()).unwrap_err();
    assert_eq!(error.to_string(), "generator `truth` has the levels 1 to 3, not 4");
    assert!(Generator::named("truth").unwrap().task(0, 1, &Setting::default()).is_err());
    let names: HashSet<&str> = Generator::all().iter().map(|generator| generator.name).collect();
    assert_eq!(names.len(), Generator::all().len());
    assert!(Domain::ALL.iter().all(|domain| Generator::all().iter().any(|generator| generator.domain == *domain)));
}

#[test]
fn documents_are_as_long_as_asked() {
    let n_words = |text: &str| text.split_whitespace().count();
    for (setting, max) in [
        (Setting::characters(PlainFiller, 16_000), 16_000),
        (Setting::characters(book(), 16_000), 16_000),
        (Setting::measured(PlainFiller, 4000, n_words), 4000),
    ] {
        for task in tasks(8, &setting).iter().filter(|task| task.document.is_some()) {
            let length = setting.length_of(task.document.as_ref().unwrap());
            let max: usize = max >> (5 - task.level);
            let min = max * 3 / 4;
            assert!((min..=max).contains(&length), "{}: {length} of {max}", task.id);
        }
    }
}

#[test]
fn the_document_stands_before_the_first_question() {
    let setting = Setting::default();
    let generator = Generator::named("needle").unwrap();
    let tasks: Vec<Task> = (0..40).map(|seed| generator.task(2, seed, &setting).unwrap()).collect();
    assert!(tasks.iter().any(|task| task.messages.len() == 3) && tasks.iter().any(|task| task.messages.len() == 1));
    for task in tasks {
        let (prompt, document) = (task.prompt(), task.document.clone().unwrap());
        assert_eq!(prompt[0].text(), with_document(&document, task.messages[0].text()));
        assert_eq!(prompt[1..], task.messages[1..]);
        // What is asked for is there, and what is asked for absent is not.
        assert!(document.contains(&task.check.answer()), "{}", task.id);
    }
    for (name, n_absent) in [("pairs", 0..=0), ("entries", 1..=100)] {
        let generator = Generator::named(name).unwrap();
        let tasks: Vec<Task> = (0..200).map(|seed| generator.task(1, seed, &setting).unwrap()).collect();
        let (absent, there): (Vec<&Task>, Vec<&Task>) = tasks.iter().partition(|task| task.check == Check::Absent);
        assert!(n_absent.contains(&absent.len()), "{name}: {}", absent.len());
        for task in there {
            assert!(task.document.as_ref().unwrap().contains(&task.check.answer()), "{}", task.id);
        }
    }
}

#[test]
fn a_word_to_quote_by_is_in_one_sentence_alone() {
    let generator = Generator::named("quote").unwrap();
    let mut n_by_word = 0;
    for setting in [Setting::default(), Setting::characters(book(), 8000)] {
        for task in (0..200).map(|seed| generator.task(3, seed, &setting).unwrap()) {
            let (document, sentence) = (task.document.clone().unwrap(), task.check.answer());
            assert_eq!(document.matches(&sentence).count(), 1, "{}", task.id);
            if let [_, word, _] = task.messages[0].text().split('"').collect::<Vec<_>>()[..] {
                n_by_word += 1;
                let rest = document.replace(&sentence, "").to_lowercase();
                assert!(sentence.contains(word) && !rest.contains(&word.to_lowercase()), "{}: {word}", task.id);
            }
        }
    }
    assert!(n_by_word > 150, "{n_by_word}");
}

#[test]
fn what_changes_is_told_before_the_change() {
    let generator = Generator::named("update").unwrap();
    for task in (0..100).map(|seed| generator.task(2, seed, &Setting::default()).unwrap()) {
        let Check::Mention { accept, rivals } = &task.check else { panic!("{:?}", task.check) };
        let document = task.document.as_ref().unwrap();
        let (old, new) = (document.find(&rivals[0]), document.rfind(&accept[0]));
        assert!(old.is_some() && old < new, "{}: {document}", task.id);
    }
}

#[test]
fn thoughts_are_there_in_thinking_mode_alone() {
    for task in tasks(3, &Setting::default()) {
        for (mode, expected) in [(Mode::Thinking, true), (Mode::Direct, false)] {
            let messages = task.conversation(mode);
            let mut turns = messages[task.messages.len()..].iter().filter(|message| message.role == Role::Assistant);
            assert!(turns.all(|turn| turn.reasoning_content.is_some() == expected), "{}", task.id);
        }
    }
}

#[test]
fn replies_with_their_steps_are_right_and_in_form() {
    let mut n_worked = 0;
    for setting in [Setting::default(), Setting::characters(book(), 6000)] {
        for task in tasks(20, &setting) {
            let messages = task.worked_conversation();
            let reply = messages.last().unwrap();
            let outcome = score(&task, reply.text());
            assert!(outcome.correct && outcome.in_form, "{}: {:?}", task.id, reply.text());
            assert!(reply.reasoning_content.is_none(), "{}", task.id);
            let shows_steps = reply.text().len() > task.reply().len();
            assert!(!shows_steps || reply.text().starts_with(task.thinking()), "{}: {:?}", task.id, reply.text());
            let may_show = task.form != Form::Bare && task.tools.is_empty() && !task.thinking().is_empty();
            assert!(may_show || !shows_steps, "{}: {:?}", task.id, reply.text());
            n_worked += usize::from(shows_steps);
            assert!(shows_steps || !may_show || task.domain != Domain::Math, "{}: {:?}", task.id, reply.text());
        }
    }
    assert!(n_worked > 1000, "{n_worked}");
}

#[test]
fn problems_of_the_tests_do_not_occur_in_training() {
    let setting = Setting::characters(PlainFiller, 1000);
    let stream = |split, seed, n: usize| -> Vec<Task> {
        Sampler::new(Cell::all(), split, seed, &setting).take(n).collect::<Result<_, _>>().unwrap()
    };
    let (train, test) = (stream(Split::Train, 1, 6000), stream(Split::Test, 2, 2000));
    assert!(train.len() == 6000 && test.len() > 1500, "{} {}", train.len(), test.len());
    let keys: HashSet<(&str, &str)> = train.iter().map(|task| (task.name.as_str(), task.key.as_str())).collect();
    let prompts: HashSet<u64> = train.iter().map(Task::fingerprint).collect();
    assert_eq!(prompts.len(), train.len(), "duplicates");
    for task in &test {
        assert!(!keys.contains(&(task.name.as_str(), task.key.as_str())), "{}", task.id);
        assert!(!prompts.contains(&task.fingerprint()), "{}", task.id);
    }
}

#[test]
fn every_level_has_problems_in_both_splits() {
    let setting = Setting::characters(PlainFiller, 500);
    for cell in Cell::all() {
        for split in [Split::Train, Split::Test] {
            let task = cell.generator.task_in(split, cell.level, 1, &setting).unwrap();
            assert_eq!(task.as_ref().map(Split::of), Some(split), "{} {}", cell.generator.name, cell.level);
        }
    }
}

#[test]
fn every_cell_has_its_share_until_it_is_used_up() {
    let setting = Setting::characters(PlainFiller, 500);
    let cells: Vec<Cell> =
        Cell::all().into_iter().filter(|cell| ["multiplication", "needle", "story"].contains(&cell.generator.name)).collect();
    let tasks: Vec<Task> =
        Sampler::new(cells.clone(), Split::Train, 5, &setting).take(cells.len() * 10).map(Result::unwrap).collect();
    let mut counts: HashMap<(String, u8), usize> = HashMap::new();
    for task in &tasks {
        *counts.entry((task.name.clone(), task.level)).or_default() += 1;
    }
    assert!(counts.len() == cells.len() && counts.values().all(|count| *count == 10), "{counts:?}");
    let again: Vec<Task> = Sampler::new(cells, Split::Train, 5, &setting).take(tasks.len()).map(Result::unwrap).collect();
    assert_eq!(tasks, again);
    // Few problems in few wordings: this stream ends.
    let polite: Vec<Cell> = Cell::all().into_iter().filter(|cell| cell.generator.name == "weekday" && cell.level == 1).collect();
    let n_tasks = Sampler::new(polite, Split::Test, 5, &setting).take(5000).count();
    assert!((10..2000).contains(&n_tasks), "{n_tasks}");
}

#[test]
fn tasks_survive_a_file() {
    let tasks = tasks(2, &Setting::default());
    let mut file = Vec::new();
    assert_eq!(write_tasks(&mut file, tasks.iter().cloned().map(Ok)).unwrap(), tasks.len());
    assert_eq!(read_tasks(file.as_slice()).unwrap(), tasks);
    let mut broken = file.clone();
    broken.extend(b"\n{\"id\": 3}\n");
    let error = read_tasks(broken.as_slice()).unwrap_err();
    assert!(matches!(error, TaskError::Line { line, .. } if line == tasks.len() + 2), "{error}");
}

#[test]
fn conversations_render_in_both_modes_and_replies_come_back() {
    for task in tasks(3, &Setting::characters(PlainFiller, 1000)) {
        for mode in [Mode::Thinking, Mode::Direct] {
            let thinking = mode == Mode::Thinking;
            let mut messages = task.conversation(mode);
            if !task.tools.is_empty() {
                let mut system = sferic_text::Message::system("");
                system.tools = task.tools.clone();
                messages.insert(0, system);
            }
            let text = dsv32::render(&messages, thinking, true).unwrap();
            messages.pop();
            let prompt = dsv32::render(&messages, thinking, true).unwrap();
            let completion = text.strip_prefix(&prompt).expect("the reply continues the prompt");
            let parsed = dsv32::parse(completion, thinking).unwrap();
            assert_eq!(parsed.content, task.reply());
            assert_eq!(parsed.reasoning.as_deref().unwrap_or_default(), if thinking { task.thinking() } else { "" });
            assert!(score(&task, &parsed.content).correct);
        }
    }
}

#[test]
fn half_of_the_prompts_ask_for_a_form() {
    let generator = Generator::named("story").unwrap();
    let forms: Vec<Form> = (0..800).map(|seed| generator.task(2, seed, &Setting::default()).unwrap().form).collect();
    for (form, expected) in [(Form::Free, 400), (Form::Label, 200), (Form::Bare, 200)] {
        let n = forms.iter().filter(|other| **other == form).count();
        assert!(n.abs_diff(expected) < 60, "{form:?}: {n}");
    }
}
