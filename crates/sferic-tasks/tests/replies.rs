//! Scorers and environments take whatever a model writes.

#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use sferic_tasks::{
    Cell, Domain, Environment, Generator, LengthPenalty, Limits, RewardRules, Setting, Step, Task, TaskError,
    language_consistency, score,
};
use sferic_text::{Completion, FunctionCall, Role, ToolCall};

fn task_of(cell_idx: usize, seed: u64) -> Task {
    let cells = Cell::all();
    let cell = cells[cell_idx % cells.len()];
    cell.generator.task(cell.level, seed, &Setting::characters(sferic_tasks::PlainFiller, 800)).unwrap()
}

fn turn(content: &str, tool_calls: Vec<ToolCall>) -> Completion {
    Completion { reasoning: None, content: content.to_owned(), tool_calls }
}

/// The reference's own turns.
fn turns(task: &Task) -> Vec<Completion> {
    let of_assistant = task.reference.iter().filter(|message| message.role == Role::Assistant);
    of_assistant.map(|message| turn(message.text(), message.tool_calls.clone())).collect()
}

fn agent_tasks(n_each: u64) -> Vec<Task> {
    let cells = Cell::all().into_iter().filter(|cell| cell.generator.domain == Domain::Agent);
    let of_cell = |cell: Cell| (0..n_each).map(move |seed| cell.generator.task(cell.level, seed, &Setting::default()).unwrap());
    cells.flat_map(of_cell).collect()
}

/// Pieces that mean something to a scorer, so that random replies reach its inside.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9.,-]{0,30}",
        Just("Answer:".to_owned()),
        Just("\n".to_owned()),
        Just("</think>".to_owned()),
        Just("\"".to_owned()),
        Just(" is ".to_owned()),
        Just("- ".to_owned()),
        Just("=".to_owned()),
        Just("\u{2212}9\u{2019}s \u{201c}".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_reply_is_scored(pieces in prop::collection::vec(piece(), 0..12), cell_idx in 0usize..1000, seed in 0u64..20) {
        let (task, reply) = (task_of(cell_idx, seed), pieces.concat());
        let outcome = score(&task, &reply);
        let reward = RewardRules::default().judge(&task, &reply, &reply, reply.len(), None);
        prop_assert_eq!(reward.outcome, f64::from(u8::from(outcome.correct)));
        prop_assert!(reward.total().is_finite());
    }

    #[test]
    fn random_bytes_are_scored(bytes in prop::collection::vec(any::<u8>(), 0..300), cell_idx in 0usize..1000) {
        let reply = String::from_utf8_lossy(&bytes);
        let task = task_of(cell_idx, 1);
        score(&task, &reply);
        let share = language_consistency(task.prompt()[0].text(), &reply, None);
        prop_assert!((0.0..=1.0).contains(&share));
    }

    #[test]
    fn a_reference_stays_right_inside_a_longer_reply(cell_idx in 0usize..1000, seed in 0u64..50, thought in "[a-z ]{0,60}") {
        let task = task_of(cell_idx, seed);
        let with_thought = format!("{thought} 7</think>\n{}\n", task.reply());
        prop_assert!(score(&task, &with_thought).correct);
    }

    #[test]
    fn a_penalty_never_falls_with_length(n_free in 0usize..500, n_full in 0usize..900, n_tokens in 0usize..2000) {
        let penalty = LengthPenalty { n_free, n_full, max: 0.3 };
        prop_assert!(penalty.of(n_tokens) <= penalty.of(n_tokens + 1) && penalty.of(n_tokens) <= 0.3);
        prop_assert_eq!(penalty.of(n_free), 0.0);
    }

    #[test]
    fn any_call_is_answered(name in "(search|open|lookup|[a-z]{0,6})", arguments in any::<String>(), seed in 0u64..20) {
        let task = Generator::named("search_table").unwrap().task(1, seed, &Setting::default()).unwrap();
        let mut environment = Environment::new(&task, Limits::default()).unwrap();
        let call = ToolCall { id: None, kind: "function".into(), function: FunctionCall { name, arguments } };
        let Step::Results(results) = environment.step(turn("", vec![call])) else { panic!("a call is no end") };
        prop_assert!(!results[0].text().is_empty());
    }
}

#[test]
fn the_expert_succeeds_in_one_to_three_calls() {
    let mut n_calls_seen = [0; 4];
    for task in agent_tasks(40) {
        let mut environment = Environment::new(&task, Limits::default()).unwrap();
        let turns = turns(&task);
        for completion in &turns[..turns.len() - 1] {
            assert!(matches!(environment.step(completion.clone()), Step::Results(_)));
        }
        let n_calls = environment.n_calls();
        n_calls_seen[n_calls] += 1;
        let Step::Done(outcome) = environment.step(turns[turns.len() - 1].clone()) else { panic!("{} goes on", task.id) };
        assert!(outcome.correct && outcome.in_form, "{}: {outcome:?}", task.id);
        // What was played is what the reference says, thoughts aside.
        let played: Vec<&str> = environment.transcript().iter().map(|message| message.text()).collect();
        let reference = task.conversation(sferic_tasks::Mode::Direct);
        assert_eq!(played, reference.iter().map(|message| message.text()).collect::<Vec<_>>(), "{}", task.id);
    }
    assert!(n_calls_seen[0] == 0 && n_calls_seen[1..].iter().all(|n| *n > 20), "{n_calls_seen:?}");
}

#[test]
fn the_answer_is_not_in_the_prompt_of_a_task_with_tools() {
    for task in agent_tasks(40).iter().filter(|task| task.name != "table_absent" && !task.id.contains("/table/2")) {
        let prompt = task.prompt()[0].text().to_owned();
        assert!(!task.check.accepts(&prompt), "{}: {prompt}", task.id);
        let results: Vec<&str> =
            task.reference.iter().filter(|message| message.role == Role::Tool).map(|message| message.text()).collect();
        assert!(
            results.iter().all(|result| !result.starts_with("error") && !result.starts_with("no pages")),
            "{}: {results:?}",
            task.id
        );
        // A sum stands nowhere; all other answers are found.
        assert!(
            task.id.contains("/table/3") || results[results.len() - 1].contains(&task.check.answer()),
            "{}: {results:?}",
            task.id
        );
    }
}

#[test]
fn calls_beyond_the_limit_end_the_task() {
    let task = Generator::named("search").unwrap().task(1, 1, &Setting::default()).unwrap();
    let mut environment = Environment::new(&task, Limits { n_calls: 2, result_length: 10 }).unwrap();
    let search = || ToolCall::new("search", "{\"query\": \"bakery mill inn library bank school museum\"}");
    let Step::Results(results) = environment.step(turn("", vec![search(), search()])) else { panic!("two calls are allowed") };
    assert_eq!(results.len(), 2);
    assert!(results[0].text().len() <= 16 && results[0].text().ends_with("[cut]"), "{}", results[0].text());
    let Step::Done(outcome) = environment.step(turn("", vec![search()])) else { panic!("three are not") };
    assert!(!outcome.correct);
    // The right answer comes too late.
    assert_eq!(environment.step(turn(task.reply(), Vec::new())), Step::Done(outcome));
    assert_eq!(environment.n_calls(), 3);
}

#[test]
fn a_wrong_answer_ends_the_task_without_success() {
    for task in agent_tasks(5) {
        let mut environment = Environment::new(&task, Limits::default()).unwrap();
        let Step::Done(outcome) = environment.step(turn("It is 1234567.", Vec::new())) else { panic!("an answer is an end") };
        assert!(!outcome.correct && environment.outcome() == Some(&outcome), "{}", task.id);
    }
}

#[test]
fn a_task_without_tools_has_no_environment() {
    let task = Generator::named("addition").unwrap().task(1, 1, &Setting::default()).unwrap();
    let error = Environment::new(&task, Limits::default()).unwrap_err();
    assert!(matches!(&error, TaskError::NoTools { id } if *id == task.id));
}
