use super::kernels::{engine, prompt, sampling};
use pollster::block_on;
use sferic_engine::{BatchReply, DeviceChoice, DrawnFrom, Engine, EngineOptions, Event, SamplingParams, Session, StopReason};
use sferic_testkit::fixture;

/// The token that ends a reply of the checkpoint.
const END: u32 = 1;

/// A session's reply in the form of a batch's.
fn alone(session: &mut Session, ids: &[u32], params: &SamplingParams, seed: u64) -> BatchReply {
    let mut generation = session.generate(ids, SamplingParams { seed: Some(seed), ..params.clone() }).unwrap();
    let (mut token_ids, mut logprobs, mut drawn_from, mut reason) = (Vec::new(), Vec::new(), Vec::new(), StopReason::Cancelled);
    while let Some(event) = block_on(generation.next()) {
        match event.unwrap() {
            Event::Token(token) => {
                token_ids.push(token.token_id);
                logprobs.push(token.logprob);
                drawn_from.extend(token.drawn_from);
            }
            Event::Stop(stop) => reason = stop.reason,
            _ => {}
        }
    }
    drop(generation);
    let experts = session.experts().cloned().unwrap_or_default();
    BatchReply { token_ids, logprobs, drawn_from, experts, reason }
}

#[track_caller]
fn assert_same(found: &BatchReply, expected: &BatchReply, what: &str) {
    assert_eq!((&found.token_ids, &found.reason), (&expected.token_ids, &expected.reason), "{what}");
    let kept = |reply: &BatchReply| reply.drawn_from.iter().map(|from| from.kept.clone()).collect::<Vec<_>>();
    assert_eq!(kept(found), kept(expected), "{what}");
    let logprobs = |reply: &BatchReply| {
        let drawn_from = reply.drawn_from.iter().map(|from| from.logprob);
        reply.logprobs.iter().copied().chain(drawn_from).collect::<Vec<_>>()
    };
    for (found, expected) in logprobs(found).into_iter().zip(logprobs(expected)) {
        assert!((found - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{found} in a batch, {expected} alone: {what}");
    }
    assert!(found.experts == expected.experts, "experts: {what}");
}

fn prompts() -> Vec<Vec<u32>> {
    [30, 30, 1, 100, 64, 200, 250].map(|n| prompt(n as u64, n)).into()
}

/// Every kind of draw, with what it was drawn from.
#[test]
fn recorded_draws_of_a_batch_are_those_of_sessions() {
    let Some(engine) = engine(256) else { return };
    let base = SamplingParams { record_draws: true, max_tokens: Some(8), ignore_eos: true, ..SamplingParams::default() };
    let tempered = SamplingParams { temperature: 0.7, ..base.clone() };
    let [greedy, cut, adjusted] = sampling().map(|params| SamplingParams { record_draws: true, max_tokens: Some(8), ..params });
    for params in [base, tempered, greedy, cut, adjusted] {
        let (prompts, seeds): (_, Vec<u64>) = (prompts(), (1..=7).collect());
        let replies = block_on(engine.generate_batch(&prompts, &params, &seeds)).unwrap();
        for ((prompt, &seed), reply) in prompts.iter().zip(&seeds).zip(&replies) {
            assert_eq!((reply.drawn_from.len(), reply.logprobs.len()), (reply.token_ids.len(), reply.token_ids.len()));
            let only = |(token, from): (&u32, &DrawnFrom)| from.logprob == 0.0 && from.kept == [*token];
            let is_greedy = params.temperature == 0.0;
            assert_eq!(reply.token_ids.iter().zip(&reply.drawn_from).all(only), is_greedy, "{params:?}");
            assert_same(reply, &alone(&mut engine.session(), prompt, &params, seed), &format!("seed {seed}, {params:?}"));
        }
    }
}

/// The log-probability of a token by temperature, top-k and top-p, and the tokens that are left, from the logits alone. Tokens whose likelihood is
/// within the rounding of two ways to compute it may be on either side of the cut; they are told as well.
fn distribution(logits: &[f32], params: &SamplingParams, from: &DrawnFrom, token: u32) {
    let tempered: Vec<f64> = logits.iter().map(|&logit| f64::from(logit) / f64::from(params.temperature)).collect();
    let mut order: Vec<usize> = (0..tempered.len()).collect();
    order.sort_by(|&a, &b| tempered[b].total_cmp(&tempered[a]));
    if params.top_k > 0 {
        order.truncate(params.top_k);
    }
    let weight = |at: usize| (tempered[at] - tempered[order[0]]).exp();
    let total: f64 = order.iter().map(|&at| weight(at)).sum();
    let mut mass = 0.0;
    let n_kept = order.iter().take_while(|&&at| {
        let is_kept = mass < f64::from(params.top_p) - 1e-9 || params.top_p == 1.0;
        mass += weight(at) / total;
        is_kept
    });
    let n_kept = n_kept.count();
    let is_filtered = params.top_k > 0 || params.top_p < 1.0;
    let kept: Vec<usize> = if is_filtered { from.kept.iter().map(|&token| token as usize).collect() } else { order.clone() };
    // The cut lies where the reference's does, but for tokens of one likelihood.
    let is_near = |at: usize| (tempered[at] - tempered[order[n_kept - 1]]).abs() < 1e-3;
    for (place, &at) in order.iter().enumerate() {
        assert!(is_near(at) || kept.contains(&at) == (place < n_kept), "token {at}, the {place}th of {n_kept} kept: {params:?}");
    }
    assert!(kept.is_sorted() || !is_filtered);
    let normaliser: f64 = kept.iter().map(|&at| weight(at)).sum::<f64>().ln() + tempered[order[0]];
    let expected = tempered[token as usize] - normaliser;
    assert!((f64::from(from.logprob) - expected).abs() < 1e-3, "{} was drawn with, the reference says {expected}", from.logprob);
}

/// What a batch says of its draws holds of the logits that the reference path computes.
#[test]
fn recorded_draws_of_a_batch_are_the_models() {
    let (Some(engine), Some(folder)) = (engine(256), fixture::golden("deepseek_v32-tiny")) else { return };
    let options = EngineOptions { device: DeviceChoice::Cpu, max_context: Some(256), ..EngineOptions::default() };
    let reference = block_on(Engine::open(folder, options)).unwrap();
    let base = SamplingParams { record_draws: true, max_tokens: Some(5), ignore_eos: true, ..SamplingParams::default() };
    for params in [
        SamplingParams { temperature: 0.7, top_p: 0.8, ..base.clone() },
        SamplingParams { temperature: 1.3, top_k: 40, ..base.clone() },
        SamplingParams { temperature: 0.6, ..base.clone() },
        SamplingParams { top_p: 0.95, ..base },
    ] {
        let prompts = prompts();
        let replies = block_on(engine.generate_batch(&prompts, &params, &[3, 4, 5, 6, 7, 8, 9])).unwrap();
        assert_ne!(replies[0].token_ids, replies[1].token_ids, "seeds differ");
        for (prompt, reply) in prompts.iter().zip(&replies) {
            let (mut session, mut ids) = (reference.session(), prompt.clone());
            for (&token, from) in reply.token_ids.iter().zip(&reply.drawn_from) {
                distribution(&block_on(session.logits(&ids)).unwrap(), &params, from, token);
                assert!(from.kept.is_empty() || from.kept.contains(&token));
                ids.push(token);
            }
        }
    }
}

/// More replies than rows, many of which end early, so that rows change hands.
#[test]
fn replies_that_end_early_make_room_for_others() {
    let Some(engine) = engine(256) else { return };
    let n = Engine::BATCH_ROWS + 9;
    let prompts: Vec<Vec<u32>> = (0..n).map(|at| prompt(at as u64 / 2, 5 + at % 40)).collect();
    let seeds: Vec<u64> = (0..n as u64).collect();
    let cut = SamplingParams { temperature: 0.8, top_p: 0.9, max_tokens: Some(6), ..SamplingParams::default() };
    // The end is likely and not certain.
    let params = SamplingParams { record_draws: true, logit_bias: [(END, 4.0)].into(), ..cut };
    let replies = block_on(engine.generate_batch(&prompts, &params, &seeds)).unwrap();
    let n_ended = replies.iter().filter(|reply| reply.reason == StopReason::Eos).count();
    assert!((5..n - 5).contains(&n_ended), "{n_ended} of {n} ended early");
    for ((prompt, &seed), reply) in prompts.iter().zip(&seeds).zip(&replies) {
        assert_eq!(reply.token_ids.last() == Some(&END), reply.reason == StopReason::Eos);
        assert_same(reply, &alone(&mut engine.session(), prompt, &params, seed), &format!("seed {seed}"));
    }
}

#[test]
fn experts_of_a_batch_are_those_of_sessions() {
    let Some(engine) = engine(256) else { return };
    let [greedy, cut, _] = sampling().map(|params| SamplingParams { record_draws: true, max_tokens: Some(6), ..params });
    // Drawn on the device, and by the host; whole pages of the prompts are there for others.
    for params in [greedy, cut] {
        let (prompts, seeds): (_, Vec<u64>) = (prompts(), (1..=7).collect());
        block_on(engine.generate_batch(&prompts, &params, &seeds)).unwrap();
        let replies = block_on(engine.generate_batch_with_experts(&prompts, &params, &seeds)).unwrap();
        for ((prompt, &seed), reply) in prompts.iter().zip(&seeds).zip(&replies) {
            let mut session = engine.session();
            session.record_experts();
            let n_rows = prompt.len() + reply.token_ids.len() - 1;
            assert!(!reply.experts.is_empty() && reply.experts.values().all(|rows| rows.n_rows == n_rows));
            assert_same(reply, &alone(&mut session, prompt, &params, seed), &format!("seed {seed}, {params:?}"));
        }
    }
}
