#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use super::{Params, Route, Rule, route};
use crate::kernel::Capabilities;

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

#[test]
fn launches_that_cannot_work_are_refused() {
    let device = Capabilities::base();
    let refuses = |spec: Route, what: &str| {
        let params = Params { t: 2, logits_stride: spec.n_experts, logits_offset: 0, scale: 0.0 };
        let error = spec.launch(params, &device).expect_err(what).to_string();
        assert!(error.starts_with("moe/route: ") && error.contains(what), "{error}");
    };
    let spec = Route { n_experts: 8, n_shared: 1, rule: MINI };
    let with = |change: fn(&mut Rule)| {
        let mut spec = spec;
        change(&mut spec.rule);
        spec
    };
    refuses(Route { n_experts: 0, ..spec }, "experts E is 0");
    refuses(Route { n_experts: 1028, ..spec }, "experts E is 1028, expected 1 to 1024");
    refuses(with(|rule| rule.n_group = 3), "n_group is 3, expected a divisor of E = 8");
    refuses(with(|rule| rule.topk_group = 5), "topk_group is 5, expected 1 to n_group = 4");
    refuses(with(|rule| rule.n_summed = 3), "n_summed is 3, expected 1 to the 2 experts of a group");
    refuses(with(|rule| rule.n_active = 5), "active experts A is 5, expected 1 to the 4 of the kept groups");
    let short = Params { t: 2, logits_stride: 7, logits_offset: 0, scale: 0.0 };
    assert!(spec.launch(short, &device).is_err_and(|error| error.to_string().contains("logits_stride is 7")));
    let launch = spec.launch(Params { logits_stride: 8, ..short }, &device);
    assert!(launch.is_ok_and(|launch| launch.workgroups == [2, 1, 1] && launch.params[12..] == 2.5_f32.to_le_bytes()));
}
