#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use std::collections::BTreeMap;

/// Tokens, and their experts in each of the two mixture layers.
const N_TOKENS: usize = 200;

fn table(n_cols: usize, seed: u64) -> Matrix<f32> {
    let values = (0..(N_TOKENS * n_cols) as u64).map(|n| (2.0 * crate::uniform(seed, n) - 1.0) as f32).collect();
    Matrix { n_rows: N_TOKENS, n_cols, values }
}

/// Reference values and a run that agrees in everything: layers 0 and 1, of which 1 is a mixture.
fn agreeing() -> (Golden, Trace) {
    let experts =
        Matrix { n_rows: N_TOKENS, n_cols: 2, values: (0..N_TOKENS as i32).flat_map(|row| [row % 3, 3 + row % 5]).collect() };
    let trace = Trace {
        logits: table(7, 1),
        hidden: vec![table(5, 2), table(5, 3)],
        topk: BTreeMap::from([(1, Matrix { n_rows: N_TOKENS, n_cols: 1, values: vec![0; N_TOKENS] })]),
        experts: BTreeMap::from([(1, experts)]),
        next_ids: Vec::new(),
    };
    let golden = Golden {
        input_ids: vec![0; N_TOKENS],
        logits: trace.logits.clone(),
        next_ids: Vec::new(),
        min_top2_margin: None,
        hidden: trace.hidden.iter().cloned().enumerate().collect(),
        topk: trace.topk.clone(),
        experts: trace.experts.clone(),
    };
    (golden, trace)
}

fn negate(matrix: &mut Matrix<f32>, row: usize) {
    let n = matrix.n_cols;
    matrix.values[row * n..(row + 1) * n].iter_mut().for_each(|value| *value = -*value);
}

/// A run in which `rows` go to another expert in layer 1, with all that follows from it.
fn rerouted(rows: &[usize]) -> (Golden, Trace) {
    let (golden, mut trace) = agreeing();
    for &row in rows {
        trace.experts.get_mut(&1).unwrap().values[2 * row] = 9;
        negate(&mut trace.hidden[1], row);
        negate(&mut trace.logits, row);
    }
    (golden, trace)
}

fn missed(golden: &Golden, trace: &Trace) -> Vec<String> {
    compare(golden, trace).unwrap().into_iter().filter(|row| !row.passed).map(|row| row.check).collect()
}

#[test]
fn a_token_with_other_experts_is_counted_and_its_row_is_not_compared() {
    let (mut golden, trace) = rerouted(&[17]);
    let rows = compare(&golden, &trace).unwrap();
    assert!(rows.iter().all(|row| row.passed), "{rows:?}");
    let row = |check: &str| rows.iter().find(|row| row.check == check).unwrap();
    assert_eq!(row("experts").found, "99.75 % (1 of 200 rows elsewhere)");
    assert_eq!(row("logits").measure, "1 − cosine, 199 of 200 rows");
    assert_eq!(row("hidden.1").measure, "1 − cosine, 199 of 200 rows");
    // Up to the mixture nothing is left out.
    assert_eq!((&row("hidden.0").measure[..], &row("topk.1").measure[..]), ("1 − cosine", "selected in common"));
    golden.experts.clear();
    assert_eq!(missed(&golden, &trace), ["logits", "hidden.1"], "without the reference's experts every row is compared");
}

#[test]
fn too_many_tokens_with_other_experts_are_a_miss() {
    let (golden, trace) = rerouted(&[1, 2, 3, 4]);
    assert_eq!(missed(&golden, &trace), Vec::<String>::new(), "4 of 400 assignments are one percent");
    let (golden, trace) = rerouted(&[1, 2, 3, 4, 5]);
    assert_eq!(missed(&golden, &trace), ["experts"]);
}

#[test]
fn other_experts_excuse_no_other_row_and_no_earlier_layer() {
    let (golden, mut trace) = rerouted(&[17]);
    negate(&mut trace.logits, 18);
    assert_eq!(missed(&golden, &trace), ["logits"]);
    let (golden, mut trace) = rerouted(&[17]);
    negate(&mut trace.hidden[0], 17);
    assert_eq!(missed(&golden, &trace), ["hidden.0"]);
    let (golden, mut trace) = rerouted(&[17]);
    trace.topk.get_mut(&1).unwrap().values[..N_TOKENS / 50].fill(-1);
    assert_eq!(missed(&golden, &trace), ["topk.1"]);
}

#[test]
fn a_run_that_shows_no_experts_has_none_in_common() {
    let (golden, mut trace) = agreeing();
    trace.experts.clear();
    // Nothing is left to compare, and nothing is no agreement.
    assert_eq!(missed(&golden, &trace), ["logits", "hidden.1", "experts"]);
}
