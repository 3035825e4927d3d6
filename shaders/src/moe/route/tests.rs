use super::{Rule, route};

const MINI: Rule = Rule { softmax: false, n_group: 4, topk_group: 2, n_summed: 2, n_active: 2, normalise: true, scale: 2.5 };
const LOGITS: [f64; 8] = [0.5, -0.2, 1.0, 0.3, -1.0, 2.0, 0.1, 0.0];
const BIAS: [f64; 8] = [0.0, 0.1, -0.3, 0.0, 0.2, -0.5, 0.05, 0.0];

#[track_caller]
fn assert_routed(found: &[(usize, f64)], expected: &[(usize, f64)]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.0 == expected.0 && (found.1 - expected.1).abs() < 1e-9, "expected {expected:?}, found {found:?}");
    }
}

/// Spec §11.1, "router mini": expert 5 has the largest probability and loses by its bias.
#[test]
fn router_of_the_spec() {
    assert_routed(&route(&LOGITS, &BIAS, &MINI), &[(0, 1.356193210), (6, 1.143806790)]);
}

/// Scores of all reachable experts are negative, and still none outside the two kept groups is taken.
#[test]
fn negative_scores_keep_to_their_groups() {
    let bias = BIAS.map(|b| b - 2.0);
    assert_routed(&route(&LOGITS, &bias, &MINI), &[(0, 1.356193210), (6, 1.143806790)]);
}

/// DeepSeek-V2: softmax, no groups, no normalisation; the logits are logarithms of the probabilities.
#[test]
fn softmax_without_normalisation() {
    let logits = [0.1f64, 0.4, 0.2, 0.3].map(f64::ln);
    let rule = Rule { softmax: true, n_group: 1, topk_group: 1, n_summed: 1, normalise: false, scale: 1.0, ..MINI };
    assert_routed(&route(&logits, &[0.0; 4], &rule), &[(1, 0.4), (3, 0.3)]);
    // A bias chooses and does not weigh.
    assert_routed(&route(&logits, &[0.25, 0.0, 0.0, 0.0], &rule), &[(0, 0.1), (1, 0.4)]);
}

/// The best expert stands alone in its group: the sum of two ranks the other group higher, the best alone does not.
#[test]
fn the_group_score_decides() {
    let logits = [2.0, -3.0, 1.0, 0.9];
    let rule = Rule { n_group: 2, topk_group: 1, n_active: 1, scale: 1.0, ..MINI };
    assert_routed(&route(&logits, &[0.0; 4], &rule), &[(2, 1.0)]);
    assert_routed(&route(&logits, &[0.0; 4], &Rule { n_summed: 1, ..rule }), &[(0, 1.0)]);
}
