#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::testing::{VOCAB_SIZE, dense_config, dense_config_json, engine, options, prompt, try_engine, weights};
use pollster::block_on;

const N_TOKENS: usize = 24;

fn request() -> TraceRequest {
    TraceRequest { ids: prompt(N_TOKENS), generate: 6, ..TraceRequest::default() }
}

fn trace(request: &TraceRequest) -> Trace {
    block_on(engine().trace(request)).unwrap()
}

fn max_difference(a: &Matrix<f32>, b: &Matrix<f32>) -> f32 {
    assert_eq!((a.n_rows, a.n_cols), (b.n_rows, b.n_cols));
    a.values.iter().zip(&b.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_value_has_its_shape() {
    let trace = trace(&request());
    assert_eq!((trace.logits.n_rows, trace.logits.n_cols, trace.logits.values.len()), (N_TOKENS, 261, N_TOKENS * 261));
    assert_eq!(trace.hidden.len(), 2);
    for hidden in &trace.hidden {
        assert_eq!((hidden.n_rows, hidden.n_cols, hidden.values.len()), (N_TOKENS, 32, N_TOKENS * 32));
    }
    assert_eq!(trace.topk.keys().copied().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(trace.next_ids.len(), 6);
    assert!(trace.logits.rows().zip(trace.logits.rows().skip(1)).all(|(a, b)| a != b), "rows differ from one another");
}

#[test]
fn selections_are_descending_past_positions_padded_with_minus_one() {
    for topk in trace(&request()).topk.values() {
        assert_eq!((topk.n_rows, topk.n_cols), (N_TOKENS, 8));
        for (position, row) in topk.rows().enumerate() {
            let n_selected = 8.min(position + 1);
            let (selected, unfilled) = row.split_at(n_selected);
            assert!(selected.windows(2).all(|pair| pair[0] > pair[1]), "{row:?}");
            assert!(selected.iter().all(|&other| (0..=position as i32).contains(&other)), "{row:?}");
            assert!(unfilled.iter().all(|&other| other == -1), "{row:?}");
        }
    }
}

#[test]
fn every_way_of_feeding_gives_the_same_values() {
    let whole = trace(&request());
    for (chunk, decode_from) in
        [(Some(1), None), (Some(7), None), (None, Some(1)), (None, Some(N_TOKENS / 2)), (Some(5), Some(17))]
    {
        let other = trace(&TraceRequest { chunk, decode_from, ..request() });
        assert!(max_difference(&whole.logits, &other.logits) < 1e-4, "chunk {chunk:?}, decode from {decode_from:?}");
        for (whole, other) in whole.hidden.iter().zip(&other.hidden) {
            assert!(max_difference(whole, other) < 1e-4);
        }
        assert_eq!(other.topk, whole.topk);
        assert_eq!(other.next_ids, whole.next_ids);
    }
}

#[test]
fn dense_attention_differs_once_tokens_are_left_out() {
    let sparse = trace(&request());
    let dense = trace(&TraceRequest { dense: true, ..request() });
    // Up to 8 tokens everything is selected.
    let n_same = 8 * VOCAB_SIZE as usize;
    let differs = |range: std::ops::Range<usize>| {
        let pairs = sparse.logits.values[range.clone()].iter().zip(&dense.logits.values[range]);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(differs(0..n_same) < 1e-4);
    assert!(differs(n_same..sparse.logits.values.len()) > 1e-3);
}

#[test]
fn a_dense_model_has_no_selection() {
    let engine = try_engine(&dense_config_json(), weights(&dense_config(), |_, _| ()), false, options()).unwrap();
    let trace = block_on(engine.trace(&request())).unwrap();
    assert_eq!(trace.logits.n_rows, N_TOKENS);
    assert_eq!(trace.next_ids.len(), 6);
}

#[test]
fn impossible_settings_are_refused() {
    let engine = engine();
    let refused = |request: TraceRequest| block_on(engine.trace(&request)).unwrap_err();
    assert!(matches!(refused(TraceRequest::default()), EngineError::EmptyPrompt));
    assert!(matches!(refused(TraceRequest { chunk: Some(0), ..request() }), EngineError::InvalidTrace { field: "chunk", .. }));
    for decode_from in [0, N_TOKENS + 1] {
        let error = refused(TraceRequest { decode_from: Some(decode_from), ..request() });
        assert!(matches!(error, EngineError::InvalidTrace { field: "decode_from", .. }), "{error:?}");
    }
    let error = refused(TraceRequest { ids: vec![VOCAB_SIZE], ..request() });
    assert!(matches!(error, EngineError::TokenBeyondVocabulary { .. }), "{error:?}");
    let error = refused(TraceRequest { generate: 256, ..request() });
    assert!(matches!(error, EngineError::PromptTooLong { context: 256, .. }), "{error:?}");
}

#[test]
fn a_trace_can_be_saved_and_read_as_reference() {
    let folder = tempfile::tempdir().unwrap();
    let trace = trace(&request());
    let path = folder.path().join("trace.safetensors");
    trace.save(&path).unwrap();
    let file = SafeFile::open(&path).unwrap();
    assert_eq!(file.f32("logits").unwrap(), trace.logits.values);
    assert_eq!(file.shape("hidden.1").unwrap(), [N_TOKENS, 32]);
    assert_eq!(file.i32("topk.1").unwrap(), trace.topk[&1].values);
    let next_ids: Vec<i64> = trace.next_ids.iter().map(|&token_id| i64::from(token_id)).collect();
    assert_eq!(file.i64("next_ids").unwrap(), next_ids);
}

#[test]
fn a_request_is_read_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, ids: &[i64], shape: &[usize]| {
        let path = folder.path().join(name);
        let tensor = (TensorMeta::new("input_ids", Dtype::I64, shape), Cow::<[u8]>::Owned(bytes_from_i64(ids)));
        sferic_weights::write_safetensors(&path, [tensor], &BTreeMap::new()).unwrap();
        path
    };
    let read = TraceRequest::from_file(write("good.safetensors", &[3, 1, 260], &[3])).unwrap();
    assert_eq!(read, TraceRequest { ids: vec![3, 1, 260], ..TraceRequest::default() });
    let error = TraceRequest::from_file(write("negative.safetensors", &[3, -1], &[2])).unwrap_err();
    assert!(matches!(&error, EngineError::Reference { found, .. } if found == "-1"), "{error:?}");
    let error = TraceRequest::from_file(write("two.safetensors", &[3, 1], &[1, 2])).unwrap_err();
    assert!(matches!(error, EngineError::Reference { .. }), "{error:?}");
    let error = TraceRequest::from_file(folder.path().join("none.safetensors")).unwrap_err();
    assert!(matches!(error, EngineError::Weights(_)), "{error:?}");
}
