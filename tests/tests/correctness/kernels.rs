//! Sessions on our own kernels.

use pollster::block_on;
use sferic_engine::{
    ComputePath, DeviceChoice, Engine, EngineError, EngineOptions, Event, Matrix, SamplingParams, Session, Stats, TraceRequest,
    WeightPrecision,
};
use sferic_testkit::{device, fixture, model::token_ids};

/// Tokens of a page of the caches.
const PAGE: usize = 64;

/// A reference checkpoint on the kernels in f32, where there is a GPU.
fn engine(max_context: usize) -> Option<Engine> {
    let (folder, _) = (fixture::golden("deepseek_v32-tiny")?, device::gpu()?);
    let options = EngineOptions {
        device: DeviceChoice::Gpu(None),
        path: ComputePath::Kernels,
        weights: WeightPrecision::F32,
        max_context: Some(max_context),
        ..EngineOptions::default()
    };
    Some(block_on(Engine::open(folder, options)).unwrap())
}

fn prompt(seed: u64, n_tokens: usize) -> Vec<u32> {
    token_ids(seed, n_tokens, 512)
}

/// The greedy reply of `n` tokens.
fn reply(session: &mut Session, ids: &[u32], n: usize) -> Result<(Vec<u32>, Stats), EngineError> {
    let params = SamplingParams { temperature: 0.0, max_tokens: Some(n), ignore_eos: true, ..SamplingParams::default() };
    let mut generation = session.generate(ids, params)?;
    let mut tokens = Vec::new();
    while let Some(event) = block_on(generation.next()) {
        if let Event::Token(token) = event? {
            tokens.push(token.token_id);
        }
    }
    let stats = generation.stats();
    Ok((tokens, stats))
}

#[test]
fn caches_that_grow_keep_what_they_hold() {
    let Some(engine) = engine(2048) else { return };
    // More pages than there are at first; the second run finds room for all of them.
    let request = TraceRequest { ids: prompt(1, 1400), chunk: Some(256), ..TraceRequest::default() };
    let [before, after] = [(); 2].map(|()| {
        let trace = block_on(engine.trace(&request)).unwrap();
        (trace, engine.kernels().unwrap().bytes()[1])
    });
    assert_eq!(before.1, after.1, "the second run grew the caches again");
    assert!(before.0.logits == after.0.logits, "growing changed what was cached");
    assert_eq!(before.0.topk, after.0.topk);
}

#[test]
fn sessions_share_whole_pages_and_do_not_see_one_another() {
    let (Some(shared), Some(alone)) = (engine(512), engine(512)) else { return };
    let beginning = prompt(2, 200);
    let with = |end: &[u32]| [&beginning, end].concat();
    let (one, two) = (with(&prompt(3, 9)), with(&prompt(4, 30)));
    let (mut first, mut second) = (shared.session(), shared.session());
    let (first_tokens, stats) = reply(&mut first, &one, 8).unwrap();
    assert_eq!(stats.reused_tokens, 0);
    let (second_tokens, stats) = reply(&mut second, &two, 8).unwrap();
    assert_eq!(stats.reused_tokens, 200 / PAGE * PAGE, "whole pages of the other session are taken over");
    // Each goes on after the other has.
    let (first_more, _) = reply(&mut first, &[&one[..], &first_tokens].concat(), 4).unwrap();
    let (second_more, _) = reply(&mut second, &[&two[..], &second_tokens].concat(), 4).unwrap();
    for (ids, tokens, more) in [(two, second_tokens, second_more), (one, first_tokens, first_more)] {
        let mut session = alone.session();
        let (expected, _) = reply(&mut session, &ids, 12).unwrap();
        assert_eq!([tokens, more].concat(), expected, "a session was changed by another");
    }
}

#[test]
fn a_run_with_replayed_selections_is_not_shared() {
    let Some(engine) = engine(512) else { return };
    let ids = prompt(5, 200);
    let chosen = |row: usize| (0..8).map(move |at| if at <= row { at as i32 } else { -1 });
    let first = Matrix { n_rows: 200, n_cols: 8, values: (0..200).flat_map(chosen).collect() };
    let replay = (0..4).map(|layer_idx| (layer_idx, first.clone())).collect();
    block_on(engine.trace(&TraceRequest { ids: ids.clone(), replay, ..TraceRequest::default() })).unwrap();
    let (_, stats) = reply(&mut engine.session(), &ids, 1).unwrap();
    assert_eq!(stats.reused_tokens, 0, "rows of a replayed run are not those of the model");
}

#[test]
fn full_caches_refuse_and_go_on_when_a_session_ends() {
    let Some(engine) = engine(2 * PAGE) else { return };
    let mut sessions = Vec::new();
    let refused = loop {
        let mut session = engine.session();
        match reply(&mut session, &prompt(100 + sessions.len() as u64, 2 * PAGE - 2), 2) {
            Ok(_) => sessions.push(session),
            Err(error) => break (error, session),
        }
        assert!(sessions.len() < 64, "the caches never run full");
    };
    assert!(matches!(&refused.0, EngineError::CachesFull { message } if message.contains("pages")), "{}", refused.0);
    let mut session = refused.1;
    sessions.pop();
    let (tokens, _) = reply(&mut session, &prompt(7, 2 * PAGE - 2), 2).unwrap();
    assert_eq!(tokens.len(), 2);
}

#[test]
fn a_thousand_generations_do_not_grow() {
    let Some(engine) = engine(256) else { return };
    let device = engine.kernels().unwrap().device().clone();
    let mut session = engine.session();
    let mut at_first = None;
    for turn in 0..1000 {
        // The first token differs from that of the turn before, so that every turn computes as many tokens.
        let ids = [&[turn as u32 % 512], &prompt(turn, 11)[..]].concat();
        reply(&mut session, &ids, 2).unwrap();
        if turn == 100 {
            at_first = device.allocated_bytes();
        }
    }
    let (Some(first), Some(last)) = (at_first, device.allocated_bytes()) else {
        println!("skipped: the driver's allocator does not tell");
        return;
    };
    println!("{first} bytes after 100 generations, {last} after 1000");
    assert!(last <= first, "{first} bytes after 100 generations, {last} after 1000");
}
