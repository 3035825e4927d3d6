use sferic_shaders::{indexer::top_k::top_k, moe::route};

use super::{Red, Table};

/// The router of spec §11.1, and the same with every bias lowered by 2, which cannot change the choice.
fn router_reds(route: impl Fn(&[f64], &[f64]) -> Vec<(usize, f64)>) -> Vec<Red> {
    let logits = [0.5, -0.2, 1.0, 0.3, -1.0, 2.0, 0.1, 0.0];
    let bias = [0.0, 0.1, -0.3, 0.0, 0.2, -0.5, 0.05, 0.0];
    let expected = [(0, 1.356193210), (6, 1.143806790)];
    let mut reds = Vec::new();
    for (check, bias) in [("router mini", bias), ("router mini, biases − 2", bias.map(|b| b - 2.0))] {
        let found = route(&logits, &bias);
        let is_close = |((e, w), (e2, w2)): (&(usize, f64), &(usize, f64))| e == e2 && (w - w2).abs() < 1e-9;
        if found.len() != 2 || !found.iter().zip(&expected).all(is_close) {
            reds.push(Red { check: check.into(), number: format!("{found:.4?}") });
        }
    }
    reds
}

const MINI: route::Rule =
    route::Rule { softmax: false, n_group: 4, topk_group: 2, n_summed: 2, n_active: 2, normalise: true, scale: 2.5 };

/// Masked groups get the score 0, which beats the negative scores of the kept ones.
fn route_with_zero_fill(logits: &[f64], bias: &[f64]) -> Vec<(usize, f64)> {
    let p: Vec<f64> = logits.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect();
    let biased: Vec<f64> = p.iter().zip(bias).map(|(p, b)| p + b).collect();
    let groups = top_k(&biased.chunks(2).map(|group| group[0] + group[1]).collect::<Vec<_>>(), 2);
    let filled: Vec<f64> = biased.iter().enumerate().map(|(e, b)| if groups.contains(&(e / 2)) { *b } else { 0.0 }).collect();
    let chosen = top_k(&filled, 2);
    let sum: f64 = chosen.iter().map(|e| p[*e]).sum();
    chosen.iter().map(|e| (*e, p[*e] / sum * 2.5)).collect()
}

fn route_with_biased_weights(logits: &[f64], bias: &[f64]) -> Vec<(usize, f64)> {
    let p = |e: usize| 1.0 / (1.0 + (-logits[e]).exp()) + bias[e];
    let chosen = route::route(logits, bias, &MINI);
    let sum: f64 = chosen.iter().map(|(e, _)| p(*e)).sum();
    chosen.iter().map(|(e, _)| (*e, p(*e) / sum * 2.5)).collect()
}

fn route_by_raw_probability(logits: &[f64], _bias: &[f64]) -> Vec<(usize, f64)> {
    route::route(logits, &[0.0; 8], &MINI)
}

/// A row of scores with a plateau of zeros of both signs, a NaN, and the right selection of 4.
const PLATEAU: [f64; 9] = [-1.0, -0.0, 0.0, 0.5, f64::NAN, -0.0, 0.0, 2.0, -3.0];
const PLATEAU_SELECTED: [usize; 4] = [1, 2, 3, 7];

/// Selects by a sort on a key, which is where the bugs of top-k kernels are.
fn select_by<O: Ord>(key: impl Fn(usize, f64) -> O) -> Vec<usize> {
    let mut order: Vec<usize> = (0..PLATEAU.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(key(*i, PLATEAU[*i])));
    order.truncate(4);
    order.sort_unstable();
    order
}

/// The usual monotone key of a float's bits: bigger for bigger values, different for the two zeros, biggest for NaN.
fn bit_key(score: f64) -> u32 {
    let bits = (score as f32).to_bits();
    if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits }
}

/// The key as it should be: one zero, NaN below everything.
fn clean_key(score: f64) -> u32 {
    if score.is_nan() { 0 } else { bit_key(score + 0.0) }
}

#[test]
fn bugs_in_router_and_selection_turn_a_hand_made_case_red() {
    let selection_reds = |found: Vec<usize>| -> Vec<Red> {
        let red = || Red { check: "selection on a plateau".into(), number: format!("{found:?} for {PLATEAU_SELECTED:?}") };
        (found != PLATEAU_SELECTED).then(red).into_iter().collect()
    };
    assert!(router_reds(|logits, bias| route::route(logits, bias, &MINI)).is_empty());
    assert!(selection_reds(top_k(&PLATEAU, 4)).is_empty());
    let lower_first = std::cmp::Reverse;
    assert!(selection_reds(select_by(|i, score| (clean_key(score), lower_first(i)))).is_empty());
    let mut table = Table::default();
    table.add("9.13", "masked groups filled with 0", "spec 11.1", router_reds(route_with_zero_fill));
    table.add("9.13", "bias in the weights", "spec 11.1", router_reds(route_with_biased_weights));
    table.add("9.13", "bias not in the choice", "spec 11.1", router_reds(route_by_raw_probability));
    let mut select = |bug, found| table.add("3.7", bug, "by hand", selection_reds(found));
    select("ties by arrival, the last first (9.18)", select_by(|i, score| (clean_key(score), i)));
    select("-0.0 below +0.0", select_by(|i, score| (bit_key(if score.is_nan() { -9.0 } else { score }), lower_first(i))));
    select("NaN wins", select_by(|i, score| (bit_key(score), lower_first(i))));
    // Only two candidates of the bin at the threshold fit the buffer, and they arrive from the end (9.17).
    let buffered = |i: usize, score: f64| if score == 0.0 && i < 5 { f64::NEG_INFINITY } else { score };
    select("candidate buffer overflows (9.17)", select_by(|i, score| (clean_key(buffered(i, score)), lower_first(i))));
    table.finish();
}
