#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::MemoryPlan;
use crate::testing::{engine, prompt};
use pollster::block_on;

#[test]
fn one_by_one_it_is_what_sessions_draw() {
    let engine = engine();
    let params = SamplingParams { max_tokens: Some(6), ignore_eos: true, ..SamplingParams::default() };
    let prompts = [prompt(9), prompt(20), prompt(9)];
    let replies = block_on(engine.generate_batch(&prompts, &params, &[1, 2, 3])).unwrap();
    for ((prompt, reply), seed) in prompts.iter().zip(&replies).zip([1, 2, 3]) {
        let mut session = engine.session();
        let mut generation = session.generate(prompt, SamplingParams { seed: Some(seed), ..params.clone() }).unwrap();
        while block_on(generation.next()).is_some() {}
        drop(generation);
        assert_eq!(session.tokens()[prompt.len()..], reply.token_ids);
        assert_eq!((reply.logprobs.len(), &reply.reason), (6, &StopReason::MaxTokens));
    }
    assert_ne!(replies[0].token_ids, replies[2].token_ids, "seeds differ");
}

#[test]
fn what_a_batch_refuses() {
    let engine = engine();
    let batch = |prompts: &[Vec<u32>], params: &SamplingParams, seeds: &[u64]| {
        block_on(engine.generate_batch(prompts, params, seeds)).unwrap_err()
    };
    let params = SamplingParams::default();
    let error = batch(&[prompt(3)], &params, &[]);
    assert!(matches!(error, EngineError::InvalidSampling { field: "seeds", .. }), "{error}");
    assert!(matches!(batch(&[prompt(3), Vec::new()], &params, &[1, 2]), EngineError::EmptyPrompt));
    let hot = SamplingParams { temperature: 101.0, ..params };
    assert!(matches!(batch(&[], &hot, &[]), EngineError::InvalidSampling { field: "temperature", .. }));
}

#[test]
fn draws_and_experts_are_recorded_as_a_session_records_them() {
    let engine = engine();
    let filtered = SamplingParams { temperature: 0.8, top_p: 0.9, record_draws: true, ..SamplingParams::default() };
    let params = SamplingParams { max_tokens: Some(5), ignore_eos: true, ..filtered };
    let prompts = [prompt(9), prompt(9), prompt(4)];
    let replies = block_on(engine.generate_batch_with_experts(&prompts, &params, &[1, 2, 3])).unwrap();
    for ((prompt, reply), seed) in prompts.iter().zip(&replies).zip([1, 2, 3]) {
        let mut session = engine.session();
        session.record_experts();
        let mut generation = session.generate(prompt, SamplingParams { seed: Some(seed), ..params.clone() }).unwrap();
        let mut drawn_from = Vec::new();
        while let Some(event) = block_on(generation.next()) {
            if let Event::Token(token) = event.unwrap() {
                drawn_from.extend(token.drawn_from);
            }
        }
        drop(generation);
        assert_eq!((drawn_from.len(), reply.drawn_from.len()), (5, 5));
        for (expected, found) in drawn_from.iter().zip(&reply.drawn_from) {
            // A prompt that is taken over from the reply before is not computed again, which rounds otherwise.
            assert!((expected.logprob - found.logprob).abs() < 1e-5, "{expected:?}, {found:?}");
            assert_eq!(expected.kept, found.kept);
        }
        assert_eq!(session.experts().unwrap(), &reply.experts);
        assert_eq!((reply.experts.keys().next(), reply.experts[&1].n_rows), (Some(&1), prompt.len() + 4));
    }
    let plain = SamplingParams { record_draws: false, ..params };
    let replies = block_on(engine.generate_batch(&prompts, &plain, &[1, 2, 3])).unwrap();
    assert!(replies.iter().all(|reply| reply.drawn_from.is_empty() && reply.experts.is_empty()));
}

#[test]
fn memory_limits_the_replies_at_a_time() {
    let unknown = MemoryPlan { available_bytes: None, ..engine().plan().clone() };
    let rows_of = |vocab_size, left: Option<u64>, n: usize, length: usize, max_tokens| {
        let available_bytes = left.map(|tokens| unknown.total_bytes + 2 * tokens * unknown.cache_bytes_per_token);
        let plan = MemoryPlan { available_bytes, context: 256, ..unknown.clone() };
        let (prompts, params) = (vec![vec![1; length]; n], SamplingParams { max_tokens, ..SamplingParams::default() });
        together::rows(
            &plan,
            vocab_size,
            Asked { prompts: &prompts, params: &params, seeds: &[], experts: false, shows_special: false },
        )
    };
    let rows = |left, n, length, max_tokens| rows_of(261, left, n, length, max_tokens);
    assert_eq!([rows(None, 300, 200, None), rows(None, 9, 200, None)], [256, 9]);
    // Rows of logits are long.
    assert_eq!([129_280, 1 << 18].map(|vocab_size| rows_of(vocab_size, None, 300, 200, None)), [129, 64]);
    // The context of one session holds what is one reply here, and what is four.
    assert_eq!([rows(Some(0), 100, 200, None), rows(Some(0), 100, 60, Some(4))], [1, 4]);
    assert_eq!(rows(Some(512), 100, 100, Some(28)), 6);
}
