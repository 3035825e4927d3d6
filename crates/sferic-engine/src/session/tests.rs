#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::testing::{BOS, EOS, VOCAB_SIZE, config, config_json, engine, engine_with, options, prompt, try_engine, weights};
use crate::{EngineOptions, Event, Stop, StopReason, TraceRequest};
use pollster::block_on;
use std::collections::BTreeMap;

/// Everything that a generation reports.
#[derive(Debug, Default)]
struct Outcome {
    tokens: Vec<u32>,
    text: String,
    pieces: Vec<String>,
    stop: Option<Stop>,
    prefill: Vec<(usize, usize)>,
}

fn finish(mut generation: Generation<'_>) -> Result<Outcome, EngineError> {
    let mut outcome = Outcome::default();
    while let Some(event) = block_on(generation.next()) {
        assert!(outcome.stop.is_none(), "an event after the last one: {event:?}");
        match event? {
            Event::Prefill { done, total } => {
                assert!(outcome.tokens.is_empty(), "prefill after a token");
                outcome.prefill.push((done, total));
            }
            Event::Token(token) => {
                outcome.tokens.push(token.token_id);
                outcome.pieces.push(token.piece);
            }
            Event::Text(text) => {
                assert!(!text.is_empty());
                outcome.text.push_str(&text);
            }
            Event::Stop(stop) => outcome.stop = Some(stop),
        }
    }
    assert!(block_on(generation.next()).is_none(), "a finished generation stays finished");
    Ok(outcome)
}

fn greedy(max_tokens: usize) -> SamplingParams {
    SamplingParams { max_tokens: Some(max_tokens), ignore_eos: true, ..SamplingParams::greedy() }
}

fn run(session: &mut Session, prompt_ids: &[u32], params: SamplingParams) -> Outcome {
    finish(session.generate(prompt_ids, params).unwrap()).unwrap()
}

/// Draws `abc` and then only `a`.
fn abc() -> SamplingParams {
    let logit_bias = BTreeMap::from([(97, 1000.0), (98, 960.0), (99, 930.0)]);
    SamplingParams { logit_bias, presence_penalty: 100.0, ..greedy(20) }
}

/// The logits are those that a reply is drawn from, whatever the session has cached.
#[test]
fn logits_can_be_had_without_a_draw() {
    let engine = engine_with(EngineOptions { prefill_chunk: Some(4), ..options() });
    let mut session = engine.session();
    let request = TraceRequest { ids: prompt(11), ..TraceRequest::default() };
    let expected = block_on(engine.trace(&request)).unwrap().logits.rows().last().unwrap().to_vec();
    let closest = |found: Vec<f32>| found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
    assert!(closest(block_on(session.logits(&prompt(11))).unwrap()) < 1e-4);
    assert_eq!(session.n_cached(), 11);
    run(&mut session, &prompt(7), greedy(3));
    assert!(closest(block_on(session.logits(&prompt(11))).unwrap()) < 1e-4);
    assert!(matches!(block_on(session.logits(&[])), Err(EngineError::EmptyPrompt)));
}

#[test]
fn handles_can_move_between_threads() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    is_send::<Engine>();
    is_sync::<Engine>();
    is_send::<Session>();
}

#[test]
fn a_reply_is_the_greedy_continuation() {
    let engine = engine();
    let prompt_ids = prompt(30);
    let trace =
        block_on(engine.trace(&TraceRequest { ids: prompt_ids.clone(), generate: 12, ..TraceRequest::default() })).unwrap();
    let mut session = engine.session();
    let outcome = run(&mut session, &prompt_ids, greedy(12));
    assert_eq!(outcome.tokens, trace.next_ids);
    let stop = outcome.stop.unwrap();
    assert_eq!(stop.reason, StopReason::MaxTokens);
    let stats = stop.stats;
    assert_eq!((stats.prompt_tokens, stats.reused_tokens, stats.prefilled_tokens, stats.generated_tokens), (30, 0, 30, 12));
    assert!(stats.time_to_first_token_secs.unwrap() > 0.0 && stats.decode_tokens_per_sec().unwrap() > 0.0);
    assert_eq!(session.tokens(), [prompt_ids, outcome.tokens].concat());
    assert_eq!(session.n_cached(), 30 + 11, "the last token has not been computed");
}

#[test]
fn the_prompt_is_computed_in_chunks() {
    let whole = run(&mut engine().session(), &prompt(23), greedy(8));
    assert_eq!(whole.prefill, [(23, 23)]);
    let chunked = engine_with(EngineOptions { prefill_chunk: Some(7), ..options() });
    let outcome = run(&mut chunked.session(), &prompt(23), greedy(8));
    assert_eq!(outcome.prefill, [(7, 23), (14, 23), (21, 23), (23, 23)]);
    assert_eq!(outcome.tokens, whole.tokens);
}

#[test]
fn a_second_turn_computes_only_its_suffix() {
    let engine = engine();
    let mut session = engine.session();
    let first = run(&mut session, &prompt(20), greedy(6));
    let second_prompt = [prompt(20), first.tokens, prompt(9)].concat();
    let outcome = run(&mut session, &second_prompt, greedy(10));
    let stats = outcome.stop.unwrap().stats;
    // Of the first reply's 6 tokens the last one was drawn and not computed.
    assert_eq!((stats.reused_tokens, stats.prefilled_tokens), (25, 10));
    assert_eq!(outcome.prefill, [(10, 10)]);
    assert_eq!(outcome.tokens, run(&mut engine.session(), &second_prompt, greedy(10)).tokens);
}

#[test]
fn a_prompt_that_turns_off_earlier_reuses_the_common_prefix() {
    let engine = engine();
    let mut session = engine.session();
    run(&mut session, &prompt(20), greedy(6));
    let mut other = prompt(20);
    other[13] ^= 1;
    let outcome = run(&mut session, &other, greedy(10));
    assert_eq!(outcome.stop.unwrap().stats.reused_tokens, 13);
    assert_eq!(outcome.tokens, run(&mut engine.session(), &other, greedy(10)).tokens);
    let again = run(&mut session, &other, greedy(10));
    assert_eq!(again.stop.unwrap().stats.prefilled_tokens, 1, "the last token is computed for its logits");
    assert_eq!(again.tokens, outcome.tokens);
    let shorter = run(&mut session, &other[..8], greedy(10));
    assert_eq!(shorter.tokens, run(&mut engine.session(), &other[..8], greedy(10)).tokens);
    session.clear();
    assert_eq!((session.tokens().len(), session.n_cached()), (0, 0));
    assert_eq!(run(&mut session, &other, greedy(10)).stop.unwrap().stats.reused_tokens, 0);
}

#[test]
fn interleaved_sessions_do_not_see_one_another() {
    let engine = engine_with(EngineOptions { prefill_chunk: Some(5), ..options() });
    let sampled = |seed| SamplingParams { seed: Some(seed), max_tokens: Some(15), ignore_eos: true, ..SamplingParams::default() };
    let requests = [(prompt(12), sampled(1)), (prompt(31)[7..].to_vec(), sampled(2)), (prompt(3), greedy(15))];
    let alone: Vec<Vec<u32>> =
        requests.iter().map(|(prompt_ids, params)| run(&mut engine.session(), prompt_ids, params.clone()).tokens).collect();
    let mut sessions: Vec<Session> = requests.iter().map(|_| engine.session()).collect();
    let mut generations: Vec<Generation<'_>> = sessions
        .iter_mut()
        .zip(&requests)
        .map(|(session, (prompt_ids, params))| session.generate(prompt_ids, params.clone()).unwrap())
        .collect();
    let mut together = vec![Vec::new(); 3];
    let mut n_running = 3;
    while n_running > 0 {
        n_running = 0;
        for (generation, tokens) in generations.iter_mut().zip(&mut together) {
            if let Some(event) = block_on(generation.next()) {
                n_running += 1;
                if let Event::Token(token) = event.unwrap() {
                    tokens.push(token.token_id);
                }
            }
        }
    }
    assert_eq!(together, alone);
}

#[test]
fn bad_prompts_are_refused_and_change_nothing() {
    let engine = engine_with(EngineOptions { max_context: Some(40), ..options() });
    let mut session = engine.session();
    let before = run(&mut session, &prompt(10), greedy(4));
    let tokens = session.tokens().to_vec();

    let error = session.generate(&[], greedy(1)).err().unwrap();
    assert!(matches!(error, EngineError::EmptyPrompt), "{error:?}");
    let error = session.generate(&[1, 2, VOCAB_SIZE], greedy(1)).err().unwrap();
    assert!(matches!(error, EngineError::TokenBeyondVocabulary { token_id: VOCAB_SIZE, position: 2, .. }), "{error:?}");
    let error = session.generate(&prompt(45), greedy(1)).err().unwrap();
    assert!(matches!(error, EngineError::PromptTooLong { n_tokens: 45, context: 40, model_context: 256 }), "{error:?}");
    assert!(error.to_string().contains("shorten the prompt by 5"), "{error}");
    let params = SamplingParams { temperature: -1.0, ..greedy(1) };
    let error = session.generate(&prompt(5), params).err().unwrap();
    assert!(matches!(error, EngineError::InvalidSampling { field: "temperature", .. }), "{error:?}");

    assert_eq!(session.tokens(), tokens);
    assert_eq!(run(&mut session, &prompt(10), greedy(4)).tokens, before.tokens);
}

#[test]
fn a_full_context_ends_the_reply() {
    let engine = engine_with(EngineOptions { max_context: Some(16), ..options() });
    for (n_prompt, n_generated) in [(10, 7), (15, 2), (16, 1)] {
        let mut session = engine.session();
        let outcome = run(&mut session, &prompt(n_prompt), SamplingParams { max_tokens: None, ..greedy(1) });
        assert_eq!(outcome.stop.unwrap().reason, StopReason::ContextFull);
        assert_eq!(outcome.tokens.len(), n_generated);
        assert!(session.n_cached() <= 16);
    }
}

#[test]
fn cancelling_keeps_what_was_drawn() {
    let engine = engine_with(EngineOptions { prefill_chunk: Some(4), ..options() });
    let mut session = engine.session();
    let mut generation = session.generate(&prompt(20), greedy(50)).unwrap();
    let cancel = generation.cancel_token();
    let mut tokens = Vec::new();
    let mut reason = None;
    while let Some(event) = block_on(generation.next()) {
        match event.unwrap() {
            Event::Token(token) => tokens.push(token.token_id),
            Event::Stop(stop) => reason = Some(stop.reason),
            _ => {}
        }
        if tokens.len() == 3 {
            cancel.cancel();
        }
    }
    assert_eq!(reason, Some(StopReason::Cancelled));
    assert_eq!(tokens, run(&mut engine.session(), &prompt(20), greedy(3)).tokens);
    assert_eq!(session.tokens(), [prompt(20), tokens].concat());
}

#[test]
fn a_generation_can_be_dropped_anywhere() {
    let engine = engine_with(EngineOptions { prefill_chunk: Some(4), ..options() });
    let expected = run(&mut engine.session(), &prompt(18), greedy(6)).tokens;
    for n_events in 0..12 {
        let mut session = engine.session();
        let mut generation = session.generate(&prompt(18), greedy(6)).unwrap();
        for _ in 0..n_events {
            let _ = block_on(generation.next());
        }
        drop(generation);
        assert!(session.n_cached() <= session.tokens().len());
        let n_cached = session.n_cached();
        let outcome = run(&mut session, &prompt(18), greedy(6));
        assert_eq!(outcome.tokens, expected, "after {n_events} events");
        assert_eq!(outcome.stop.unwrap().stats.reused_tokens, n_cached.min(17));
    }
}

#[test]
fn stop_strings_span_tokens_and_are_not_shown() {
    let mut session = engine().session();
    let outcome = run(&mut session, &prompt(5), abc());
    assert!(outcome.text.starts_with("abcaaa"), "{}", outcome.text);
    let stopped = run(&mut session, &prompt(5), SamplingParams { stop: vec!["xyz".into(), "ca".into()], ..abc() });
    assert_eq!(stopped.text, "ab");
    assert_eq!(stopped.tokens.len(), 4);
    assert_eq!(stopped.stop.unwrap().reason, StopReason::StopString("ca".into()));
}

#[test]
fn text_held_back_for_a_stop_string_is_shown_at_the_end() {
    let outcome =
        run(&mut engine().session(), &prompt(5), SamplingParams { stop: vec!["abcd".into()], max_tokens: Some(3), ..abc() });
    assert_eq!(outcome.text, "abc");
    assert_eq!(outcome.stop.unwrap().reason, StopReason::MaxTokens);
}

#[test]
fn text_is_never_half_a_character() {
    // 0xC3 0xA9 is one character in two tokens.
    let logit_bias = BTreeMap::from([(0xc3, 1000.0), (0xa9, 960.0), (b'!'.into(), 930.0)]);
    let params = SamplingParams { logit_bias, presence_penalty: 100.0, ..greedy(3) };
    let mut session = engine().session();
    let mut generation = session.generate(&prompt(4), params).unwrap();
    let mut texts = Vec::new();
    while let Some(event) = block_on(generation.next()) {
        if let Event::Text(text) = event.unwrap() {
            texts.push(text);
        }
    }
    assert_eq!(texts, ["é", "!"]);
}

#[test]
fn an_end_token_ends_the_reply_unless_it_is_ignored() {
    let logit_bias = BTreeMap::from([(b'h'.into(), 1000.0), (EOS, 960.0)]);
    let params = SamplingParams { logit_bias, presence_penalty: 100.0, ignore_eos: false, ..greedy(6) };
    let mut session = engine().session();
    let outcome = run(&mut session, &prompt(4), params.clone());
    assert_eq!(outcome.tokens, [u32::from(b'h'), EOS]);
    assert_eq!(outcome.text, "h");
    assert_eq!(outcome.stop.unwrap().reason, StopReason::Eos);
    assert_eq!(session.tokens().last(), Some(&EOS));
    let outcome = run(&mut session, &prompt(4), SamplingParams { ignore_eos: true, ..params });
    assert_eq!(outcome.tokens.len(), 6);
    assert!(!outcome.text.contains("eos"), "{}", outcome.text);
    assert_eq!(outcome.pieces[1], "<eos>");
}

#[test]
fn rows_without_a_token_are_never_drawn() {
    let logit_bias = (EOS + 1..VOCAB_SIZE).map(|token_id| (token_id, 1000.0)).collect();
    let outcome = run(&mut engine().session(), &prompt(4), SamplingParams { logit_bias, ..greedy(10) });
    assert!(outcome.tokens.iter().all(|&token_id| token_id <= EOS), "{:?}", outcome.tokens);
}

#[test]
fn seeds_repeat_replies() {
    let engine = engine();
    let sampled = |seed| SamplingParams { seed, max_tokens: Some(20), ignore_eos: true, ..SamplingParams::default() };
    let first = run(&mut engine.session(), &prompt(6), sampled(None));
    let seed = first.stop.unwrap().stats.seed;
    assert_eq!(run(&mut engine.session(), &prompt(6), sampled(Some(seed))).tokens, first.tokens);
    let second = run(&mut engine.session(), &prompt(6), sampled(None));
    assert_ne!(second.stop.unwrap().stats.seed, seed);
}

/// What a trace of all but the last of the session's tokens shows.
fn traced(engine: &Engine, session: &Session) -> BTreeMap<usize, Matrix<i32>> {
    let ids = session.tokens()[..session.n_cached()].to_vec();
    block_on(engine.trace(&TraceRequest { ids, ..TraceRequest::default() })).unwrap().experts
}

#[test]
fn experts_are_recorded_for_every_token_that_is_computed() {
    let engine = engine_with(EngineOptions { prefill_chunk: Some(7), ..options() });
    let sampled = |seed| SamplingParams { seed: Some(seed), max_tokens: Some(9), ignore_eos: true, ..SamplingParams::default() };
    let (mut plain, mut session) = (engine.session(), engine.session());
    assert!(plain.experts().is_none());
    run(&mut session, &prompt(12), greedy(3));
    session.record_experts();
    let outcome = run(&mut session, &prompt(20), sampled(3));
    assert_eq!(outcome.tokens, run(&mut plain, &prompt(20), sampled(3)).tokens, "recording changes no reply");
    assert_eq!(outcome.stop.unwrap().stats.reused_tokens, 0, "of earlier tokens nothing was recorded");
    assert_eq!(session.experts().unwrap()[&1].n_rows, 28);
    assert_eq!(session.experts().unwrap(), &traced(&engine, &session));
    // A prompt that turns off earlier keeps the experts of what it reuses.
    let mut other = prompt(20);
    other[13] ^= 1;
    let outcome = run(&mut session, &other, sampled(4));
    assert_eq!(outcome.stop.unwrap().stats.reused_tokens, 13);
    assert_eq!(session.experts().unwrap(), &traced(&engine, &session));
    session.clear();
    assert_eq!(session.experts().unwrap()[&1].n_rows, 0);
}

#[test]
fn top_log_probabilities_are_reported() {
    let mut session = engine().session();
    let mut generation = session.generate(&prompt(6), SamplingParams { top_logprobs: 4, ..greedy(2) }).unwrap();
    let mut n_tokens = 0;
    while let Some(event) = block_on(generation.next()) {
        if let Event::Token(token) = event.unwrap() {
            n_tokens += 1;
            assert_eq!(token.top_logprobs.len(), 4);
            assert!(token.top_logprobs.windows(2).all(|pair| pair[0].logprob >= pair[1].logprob));
            assert_eq!(token.top_logprobs[0].token_id, token.token_id, "greedy decoding draws the first one");
            assert_eq!(token.top_logprobs[0].logprob, token.logprob);
        }
    }
    assert_eq!(n_tokens, 2);
}

#[test]
fn text_prompts_are_tokenised() {
    let engine = engine();
    let mut session = engine.session();
    let outcome = finish(session.generate_text("<bos>h\u{e9}", greedy(2)).unwrap()).unwrap();
    assert_eq!(&session.tokens()[..4], &[BOS, u32::from(b'h'), 0xc3, 0xa9]);
    assert_eq!(outcome.tokens.len(), 2);
    assert!(matches!(session.generate_text("", greedy(1)), Err(EngineError::EmptyPrompt)));
}

#[test]
fn without_a_tokenizer_tokens_work_and_text_is_refused() {
    let engine = try_engine(&config_json(), weights(&config(), |_, _| ()), false, options()).unwrap();
    let mut session = engine.session();
    let outcome = run(&mut session, &prompt(6), greedy(5));
    assert_eq!(outcome.tokens.len(), 5);
    assert!(outcome.text.is_empty() && outcome.pieces.concat().is_empty());
    assert!(matches!(session.generate_text("hello", greedy(1)), Err(EngineError::NoTokenizer)));
    let with_stop = SamplingParams { stop: vec!["x".into()], ..greedy(1) };
    assert!(matches!(session.generate(&prompt(6), with_stop), Err(EngineError::NoTokenizer)));
    assert!(matches!(engine.chat(crate::ChatOptions::default()), Err(EngineError::NoTokenizer)));
}

#[test]
fn nan_weights_are_a_warning_and_then_an_error_that_leaves_the_session_usable() {
    let weights = weights(&config(), |name, values| {
        if name == "lm_head.weight" {
            values[7 * 32] = f32::NAN;
        }
    });
    let engine = try_engine(&config_json(), weights, true, options()).unwrap();
    assert!(engine.warnings().iter().any(|warning| warning.contains("lm_head.weight")), "{:?}", engine.warnings());
    let mut session = engine.session();
    for _ in 0..2 {
        let error = finish(session.generate(&prompt(6), greedy(3)).unwrap()).unwrap_err();
        assert!(matches!(error, EngineError::BadLogits { n_bad: 1, first_token_id: 7, .. }), "{error:?}");
    }
    assert_eq!(session.tokens(), prompt(6));
}

#[test]
fn selections_are_those_of_a_trace() {
    let engine = engine();
    let ids: Vec<u32> = (0..20).map(|position| 3 + position * 7 % 50).collect();
    let trace = block_on(engine.trace(&TraceRequest { ids: ids.clone(), ..TraceRequest::default() })).unwrap();
    let mut session = engine.session();
    block_on(session.logits(&ids)).unwrap();
    for first in [12, 0, 19] {
        let selections = block_on(session.selections(first)).unwrap();
        assert_eq!(selections.len(), trace.topk.len());
        for (layer_idx, Selected { positions: rows, scores }) in &selections {
            let filled = |row: &[i32]| row.iter().copied().filter(|&position| position >= 0).collect::<Vec<_>>();
            let expected: Vec<Vec<i32>> = trace.topk[layer_idx].rows().skip(first).map(filled).collect();
            assert_eq!(rows.rows().map(filled).collect::<Vec<_>>(), expected, "layer {layer_idx} from {first}");
            // A position that was left out has no higher score than one that was selected.
            let scores = scores.as_ref().unwrap();
            assert_eq!((scores.n_rows, scores.n_cols), (rows.n_rows, rows.n_cols));
            assert!(scores.values.iter().all(|score| score.is_finite()));
            assert!(scores.rows().zip(rows.rows()).all(|(scores, rows)| scores.len() == rows.len()));
        }
        assert_eq!((session.tokens(), session.n_cached()), (&ids[..], 20));
    }
}
