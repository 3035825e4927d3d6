//! Sessions on our own kernels.

use pollster::block_on;
use sferic_engine::{
    ComputePath, DeviceChoice, Engine, EngineError, EngineOptions, Event, Matrix, SamplingParams, Session, Stats, StopReason,
    TraceRequest, WeightPrecision,
};
use sferic_testkit::{device, fixture, model::token_ids};

/// Tokens of a page of the caches.
const PAGE: usize = 64;

/// A reference checkpoint on the kernels in f32, where there is a GPU.
pub(crate) fn engine(max_context: usize) -> Option<Engine> {
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

pub(crate) fn prompt(seed: u64, n_tokens: usize) -> Vec<u32> {
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
fn index_scores_of_selections_are_those_of_the_reference_path() {
    let (Some(kernels), Some(folder)) = (engine(512), fixture::golden("deepseek_v32-tiny")) else { return };
    let options = EngineOptions { device: DeviceChoice::Cpu, max_context: Some(512), ..EngineOptions::default() };
    let reference = block_on(Engine::open(folder, options)).unwrap();
    let ids = prompt(7, 150);
    let [found, expected] = [&kernels, &reference].map(|engine| {
        let mut session = engine.session();
        block_on(session.logits(&ids)).unwrap();
        block_on(session.selections(100)).unwrap()
    });
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (layer_idx, expected) in &expected {
        let found = &found[layer_idx];
        assert_eq!(found.positions, expected.positions, "layer {layer_idx}");
        let [found, expected] = [found, expected].map(|selected| selected.scores.clone().unwrap());
        assert_eq!((found.n_rows, found.n_cols), (50, expected.n_cols));
        let largest = expected.values.iter().fold(0.0_f32, |largest, score| largest.max(score.abs()));
        let differs = |(found, expected): (&f32, &f32)| (found - expected).abs() > 1e-4 * largest;
        assert!(largest > 0.0 && !found.values.iter().zip(&expected.values).any(differs), "layer {layer_idx}");
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

/// Tokens with their log-probabilities; `on_host` has the host draw them, which needs the logits.
fn drawn(session: &mut Session, ids: &[u32], params: &SamplingParams, on_host: bool) -> Vec<(u32, f32)> {
    let params = SamplingParams { top_logprobs: usize::from(on_host), ..params.clone() };
    let mut generation = session.generate(ids, params).unwrap();
    let mut tokens = Vec::new();
    while let Some(event) = block_on(generation.next()) {
        if let Event::Token(token) = event.unwrap() {
            assert_eq!(token.top_logprobs.len(), usize::from(on_host));
            tokens.push((token.token_id, token.logprob));
        }
    }
    tokens
}

/// Greedy, drawn, and drawn with everything that changes logits.
pub(crate) fn sampling() -> [SamplingParams; 3] {
    let base = SamplingParams { max_tokens: Some(40), ignore_eos: true, seed: Some(11), ..SamplingParams::default() };
    let greedy = SamplingParams { temperature: 0.0, ..base.clone() };
    let filtered = SamplingParams { temperature: 0.9, top_k: 60, top_p: 0.9, min_p: 0.01, ..base };
    let adjusted = SamplingParams {
        repetition_penalty: 1.3,
        presence_penalty: 0.2,
        frequency_penalty: 0.4,
        logit_bias: [(3, f32::NEG_INFINITY), (7, 4.0), (9, -1.5)].into(),
        ..filtered.clone()
    };
    [greedy, filtered, adjusted]
}

#[test]
fn the_device_draws_what_the_host_draws() {
    let Some(engine) = engine(256) else { return };
    for (params, n_prompt) in sampling().iter().zip([30, 1, 100]) {
        let ids = prompt(5, n_prompt);
        let [host, device] = [true, false].map(|on_host| drawn(&mut engine.session(), &ids, params, on_host));
        let tokens = |drawn: &[(u32, f32)]| drawn.iter().map(|(token, _)| *token).collect::<Vec<_>>();
        assert_eq!(tokens(&host), tokens(&device), "{params:?}");
        for ((_, host), (_, device)) in host.iter().zip(&device) {
            assert!((host - device).abs() < 1e-5 * (1.0 + host.abs()), "{host} on the host, {device} on the device: {params:?}");
        }
    }
}

/// Replies to prompts of one beginning and of none in common, some of which end early.
#[test]
fn a_batch_replies_as_its_sessions_would() {
    let Some(engine) = engine(256) else { return };
    let lengths = [30, 30, 30, 1, 100, 100, 64, 200, 77, 5, 130, 250];
    let prompts: Vec<_> = lengths.iter().map(|&n| prompt(n as u64, n)).collect();
    let seeds: Vec<u64> = (1..=12).collect();
    for params in sampling() {
        let params = SamplingParams { max_tokens: Some(12), ..params };
        let replies = block_on(engine.generate_batch(&prompts, &params, &seeds)).unwrap();
        for ((prompt, &seed), reply) in prompts.iter().zip(&seeds).zip(&replies) {
            let alone = drawn(&mut engine.session(), prompt, &SamplingParams { seed: Some(seed), ..params.clone() }, false);
            assert_eq!(reply.token_ids, alone.iter().map(|(token, _)| *token).collect::<Vec<_>>(), "{params:?}");
            for (found, (_, expected)) in reply.logprobs.iter().zip(&alone) {
                assert!((found - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{found} in a batch, {expected} alone");
            }
            let full = prompt.len() + 12 > 257;
            assert_eq!(reply.reason, if full { StopReason::ContextFull } else { StopReason::MaxTokens });
        }
        let logprobs = SamplingParams { top_logprobs: 1, max_tokens: Some(2), ..params };
        let one_by_one = block_on(engine.generate_batch(&prompts[..2], &logprobs, &seeds[..2])).unwrap();
        assert_eq!(one_by_one[1].token_ids, replies[1].token_ids[..2]);
    }
}

/// A step is begun before the last token is known to the host. Neither what comes between, nor an early end, may show in the tokens.
#[test]
fn steps_begun_early_leave_no_trace() {
    let Some(engine) = engine(256) else { return };
    let [greedy, filtered, adjusted] = sampling();
    let (first, second) = (prompt(1, 70), prompt(2, 33));
    let alone = drawn(&mut engine.session(), &first, &filtered, false);
    let other = drawn(&mut engine.session(), &second, &adjusted, false);
    let (mut one, mut two) = (engine.session(), engine.session());
    let (mut a, mut b) = (one.generate(&first, filtered).unwrap(), two.generate(&second, adjusted).unwrap());
    let (mut tokens, mut others) = (Vec::new(), Vec::new());
    // The second is twice as fast, so that steps of both meet in every order.
    for turn in 0..400 {
        let (generation, tokens) = if turn % 3 == 0 { (&mut a, &mut tokens) } else { (&mut b, &mut others) };
        if let Some(Ok(Event::Token(token))) = block_on(generation.next()) {
            tokens.push((token.token_id, token.logprob));
        }
    }
    assert_eq!((tokens, others), (alone, other));
    drop((a, b));
    // The reply is given up with a step begun; the conversation goes on with other words.
    let mut session = engine.session();
    let mut generation = session.generate(&first, SamplingParams { max_tokens: None, ..greedy.clone() }).unwrap();
    for _ in 0..6 {
        block_on(generation.next()).unwrap().unwrap();
    }
    drop(generation);
    let longer = [session.tokens(), &second[..20]].concat();
    // Rows of a prompt and rows of single tokens differ in their last bits, so the tokens are compared alone.
    let tokens =
        |session: &mut Session| drawn(session, &longer, &greedy, false).into_iter().map(|(token, _)| token).collect::<Vec<_>>();
    assert_eq!(tokens(&mut session), tokens(&mut engine.session()));
}

/// The experts that a session records on the kernels are those of the reference path, drawn on the device or on the host.
#[test]
fn recorded_experts_are_those_of_the_reference_path() {
    let (Some(engine), Some(folder)) = (engine(512), fixture::golden("deepseek_v32-tiny")) else { return };
    let options = EngineOptions { device: DeviceChoice::Cpu, max_context: Some(512), ..EngineOptions::default() };
    let reference = block_on(Engine::open(folder, options)).unwrap();
    let ids = prompt(12, 150);
    let greedy = |top_logprobs| SamplingParams {
        temperature: 0.0,
        max_tokens: Some(12),
        ignore_eos: true,
        top_logprobs,
        ..SamplingParams::default()
    };
    let reply = |session: &mut Session, ids: &[u32], top_logprobs: usize| {
        drawn(session, ids, &greedy(top_logprobs), top_logprobs > 0);
        (session.tokens().to_vec(), session.experts().unwrap().clone())
    };
    let mut expected = reference.session();
    expected.record_experts();
    let (tokens, experts) = reply(&mut expected, &ids, 0);
    let mixtures: Vec<usize> = (0..4).filter(|&layer_idx| engine.config().is_moe(layer_idx)).collect();
    assert_eq!(experts.keys().copied().collect::<Vec<_>>(), mixtures);
    assert!(experts.values().all(|matrix| (matrix.n_rows, matrix.n_cols) == (150 + 11, 2)), "of all tokens but the last");
    // Whole pages of this one's prompt are there for others, without their experts.
    drawn(&mut engine.session(), &ids, &greedy(0), false);
    for top_logprobs in [0, 1] {
        let mut session = engine.session();
        session.record_experts();
        assert!(reply(&mut session, &ids, top_logprobs) == (tokens.clone(), experts.clone()), "{top_logprobs} log-probabilities");
        // A reply that is given up with a step begun, another session's step in between, and a prompt that goes on.
        let mut generation = session.generate(&tokens, SamplingParams { max_tokens: None, ..greedy(top_logprobs) }).unwrap();
        for _ in 0..5 {
            block_on(generation.next()).unwrap().unwrap();
        }
        drop(generation);
        drawn(&mut engine.session(), &prompt(13, 20), &greedy(0), false);
        let longer = [session.tokens(), &prompt(14, 70)].concat();
        let found = reply(&mut session, &longer, top_logprobs);
        assert!(found == reply(&mut expected, &longer, 0), "{top_logprobs} log-probabilities, the second turn");
    }
}
