#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;

use sferic_tasks::{Generator, Setting};
use sferic_text::Role;

use super::super::toy::{Scripted, reference_turns, toy_speaker};
use super::*;

const SAMPLING: Sampling =
    Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 100, record_draws: true, record_experts: false };

fn asked(name: &str, mode: Mode) -> Asked {
    Asked { task: Generator::named(name).unwrap().task(1, 5, &Setting::default()).unwrap(), mode, kl_weight: 0.0 }
}

/// A speaker without a bound on the context: prompts with tools are long in the toy's tokens.
fn speaker() -> (tempfile::TempDir, Speaker) {
    let folder = tempfile::tempdir().unwrap();
    let (_, _, speaker) = toy_speaker(folder.path());
    (folder, Speaker { context: 1 << 20, ..speaker })
}

#[test]
fn a_right_reply_is_right_and_all_its_tokens_were_drawn() {
    let (_folder, speaker) = speaker();
    for mode in [Mode::Direct, Mode::Thinking] {
        let asked = [asked("addition", mode)];
        let turns = reference_turns(&asked[0], &speaker.format);
        let mut roller =
            Scripted { speaker: speaker.clone(), n_rolled: 0, script: |_, _: &Request| Some((turns[0].clone(), true)) };
        let episodes = play(&mut roller, &speaker, &asked, 2, &SAMPLING, 1).unwrap();
        assert_eq!((episodes.len(), roller.n_rolled), (2, 2));
        let (episode, n_prompt) = (&episodes[0], speaker.prompt(&asked[0].task, mode).unwrap().len());
        assert!(episode.outcome.correct && episode.ended);
        let places: Vec<usize> = episode.draws.iter().map(|draw| draw.position).collect();
        assert_eq!(places, (n_prompt..episode.tokens.len()).collect::<Vec<_>>());
        assert_eq!(episode.messages, asked[0].task.conversation(mode));
        let (thoughts, words) = episode.said(asked[0].task.prompt().len());
        assert_eq!((words.as_str(), thoughts.is_empty()), (asked[0].task.reply(), mode == Mode::Direct));
    }
}

/// The same text is wrong where the model did not come to an end, so that it learns to.
#[test]
fn a_reply_that_was_cut_off_is_wrong() {
    let (_folder, speaker) = speaker();
    let asked = [asked("addition", Mode::Direct)];
    let reply = asked[0].task.reply().to_owned();
    let mut roller = Scripted { speaker: speaker.clone(), n_rolled: 0, script: |_, _: &Request| Some((reply.clone(), false)) };
    let episodes = play(&mut roller, &speaker, &asked, 2, &SAMPLING, 1).unwrap();
    assert!(!episodes[0].outcome.correct && !episodes[0].outcome.in_form && !episodes[0].ended);
    assert!(score(&asked[0].task, &reply).correct);
}

/// Over all turns the tokens are those of the whole conversation in the model's format, and exactly the results of tools were not drawn.
#[test]
fn results_of_tools_stand_between_the_turns_and_were_not_drawn() {
    let (_folder, speaker) = speaker();
    for mode in [Mode::Direct, Mode::Thinking] {
        let asked = [asked("search_table", mode)];
        let task = &asked[0].task;
        let turns = reference_turns(&asked[0], &speaker.format);
        assert!(turns.len() >= 3, "the task has several calls");
        // Each of the two plays goes through its turns.
        let script = |n: usize, _: &Request| Some((turns[n / 2].clone(), true));
        let mut roller = Scripted { speaker: speaker.clone(), n_rolled: 0, script };
        let episodes = play(&mut roller, &speaker, &asked, 2, &SAMPLING, 1).unwrap();
        let episode = &episodes[1];
        assert!(episode.outcome.correct, "{:?}", episode.outcome);
        let whole = task.conversation(mode);
        let text = |tokens: &[u32]| speaker.tokenizer.decode(tokens, false).unwrap();
        let expected = speaker.format.render(&whole, &task.tools, mode == Mode::Thinking, true).unwrap();
        assert_eq!(text(&episode.tokens), expected);
        let drawn: Vec<u32> = episode.draws.iter().map(|draw| episode.tokens[draw.position]).collect();
        assert_eq!(text(&drawn), turns.concat());
        let n_results = |messages: &[Message]| messages.iter().filter(|message| message.role == Role::Tool).count();
        assert_eq!(n_results(&episode.messages), n_results(&whole));
    }
}

#[test]
fn results_that_fill_the_context_end_the_task() {
    let (_folder, speaker) = speaker();
    let asked = [asked("search", Mode::Direct)];
    let turns = reference_turns(&asked[0], &speaker.format);
    let n_prompt = speaker.prompt(&asked[0].task, Mode::Direct).unwrap().len();
    let n_turn = speaker.tokenizer.encode(&turns[0], false).unwrap().len();
    let tight = Speaker { context: n_prompt + n_turn + 5, ..speaker };
    let mut roller = Scripted { speaker: tight.clone(), n_rolled: 0, script: |_, _: &Request| Some((turns[0].clone(), true)) };
    let episodes = play(&mut roller, &tight, &asked, 1, &SAMPLING, 1).unwrap();
    assert_eq!(roller.n_rolled, 1);
    assert!(!episodes[0].outcome.correct && episodes[0].tokens.len() > tight.context);
}

#[test]
fn a_prompt_longer_than_the_context_is_refused_with_its_task() {
    let (_folder, speaker) = speaker();
    let small = Speaker { context: 16, ..speaker };
    let asked = asked("addition", Mode::Direct);
    match small.prompt(&asked.task, Mode::Direct) {
        Err(TrainError::PromptTooLong { task, n_tokens, context: 16 }) => assert!(task == asked.task.id && n_tokens > 16),
        other => panic!("{other:?}"),
    }
}

#[test]
fn replies_of_a_group_have_seeds_of_their_own_that_repeat() {
    let (_folder, speaker) = speaker();
    let asked = [asked("addition", Mode::Direct), asked("division", Mode::Direct)];
    let seeds = |seed: u64| {
        let mut seeds = Vec::new();
        let script = |_: usize, request: &Request| {
            seeds.push(request.seed);
            Some(("x".to_owned(), false))
        };
        play(&mut Scripted { speaker: speaker.clone(), n_rolled: 0, script }, &speaker, &asked, 4, &SAMPLING, seed).unwrap();
        seeds
    };
    let first = seeds(1);
    assert_eq!(first, seeds(1));
    let mut counts: HashMap<u64, usize> = HashMap::new();
    first.iter().chain(&seeds(2)).for_each(|&seed| *counts.entry(seed).or_default() += 1);
    assert_eq!(counts.len(), 16);
}
