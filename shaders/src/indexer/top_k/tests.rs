#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::cases::expected;
use super::{MAX_K, Params, TopK, key, top_k};
use crate::kernel::Capabilities;
use crate::kernel::random::Random;

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

#[test]
fn named_cases() {
    let cases: &[(&str, &[f64], usize, &[usize])] = &[
        ("distinct", &[0.1, 0.9, 0.5, 0.7], 2, &[1, 3]),
        ("ties_go_to_the_lower_index", &[1.0, 2.0, 1.0, 1.0], 3, &[0, 1, 2]),
        ("all_equal", &[0.0; 5], 2, &[0, 1]),
        ("zeros_of_both_signs_are_equal", &[-0.0, 0.0, -0.0], 2, &[0, 1]),
        ("nan_never_wins", &[NAN, -5.0, NAN, 1.0], 2, &[1, 3]),
        ("nan_never_wins_over_minus_infinity", &[NAN, -INF, NAN, -INF], 2, &[1, 3]),
        ("nan_fills_what_numbers_leave", &[NAN, 2.0, NAN, -INF], 3, &[0, 1, 3]),
        ("infinities", &[-INF, 3.0, INF, 2.0], 2, &[1, 2]),
        ("context_below_k", &[3.0, 1.0], 4, &[0, 1]),
        ("context_equals_k", &[3.0, 1.0], 2, &[0, 1]),
        ("first_token", &[NAN], 1, &[0]),
        ("k_zero", &[1.0], 0, &[]),
    ];
    for (name, scores, k, expected) in cases {
        assert_eq!(top_k(scores, *k), *expected, "{name}");
    }
}

#[test]
fn keys_of_the_specification() {
    let pairs = [
        (f32::NEG_INFINITY, 0x007F_FFFF),
        (-1.0, 0x407F_FFFF),
        (-0.0, 0x8000_0000),
        (0.0, 0x8000_0000),
        (0.5, 0xBF00_0000),
        (1.0, 0xBF80_0000),
        (f32::INFINITY, 0xFF80_0000),
        (f32::NAN, 0),
        (-f32::NAN, 0),
    ];
    for (score, expected) in pairs {
        assert_eq!(key(score), expected, "{score}");
    }
}

#[test]
fn what_does_not_suit_is_refused() {
    let device = Capabilities::base();
    let spec = TopK::best(&device);
    let good = Params { rows: 2, k: 8, stride: 16 };
    assert!(spec.launch(good, &device).is_ok());
    let bad = [
        Params { rows: 0, ..good },
        Params { k: 0, ..good },
        Params { k: MAX_K + 1, ..good },
        Params { stride: 0, ..good },
        Params { stride: 18, ..good },
        Params { rows: 1 << 14, stride: 1 << 13, ..good },
    ];
    for params in bad {
        assert!(spec.launch(params, &device).is_err(), "{params:?}");
    }
}

/// The suite sorts keys; that this is what the oracle says is shown here, on rows with everything that order could stumble over.
#[test]
fn the_suite_expects_what_the_oracle_says() {
    let values = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-45, -1e-45, 1.0, -1.0, f32::MIN_POSITIVE];
    let mut random = Random::new(3);
    for len in 1..60 {
        for of in [2, 5, values.len() as u32] {
            let scores: Vec<f32> = (0..len).map(|_| values[random.below(of) as usize]).collect();
            let wide: Vec<f64> = scores.iter().map(|&score| f64::from(score)).collect();
            for k in [1, len / 3 + 1, len, len + 2] {
                let mut oracle: Vec<i32> = top_k(&wide, k).into_iter().map(|i| i as i32).collect();
                oracle.resize(k, -1);
                assert_eq!(expected(&scores, k), oracle, "k = {k} of {scores:?}");
            }
        }
    }
}

#[test]
fn few_long_rows_take_two_dispatches() {
    let device = Capabilities::base();
    let spec = TopK::best(&device);
    let params = Params { rows: 2, k: 64, stride: 40 * 1024 + 4 };
    let steps = spec.launches(params, &device).unwrap();
    let grids: Vec<_> = steps.iter().map(|step| step.launch.workgroups).collect();
    assert_eq!(grids, [[21, 2, 1], [2, 1, 1]]);
    assert!(spec.scratch_words(params, &device) >= 2 * u64::from(params.rows * params.stride));
    for one in [Params { rows: 100, ..params }, Params { stride: 8192, ..params }] {
        assert_eq!(spec.launches(one, &device).unwrap().len(), 1);
        assert_eq!(spec.scratch_words(one, &device), 0);
    }
    assert!(spec.launches(Params { k: 0, ..params }, &device).is_err());
    // Who asks for two gets two, as far as they reach.
    assert_eq!(spec.split(Params { stride: 4096, ..params }, &device).unwrap().len(), 2);
    assert!(spec.split(Params { rows: 1, stride: 129 * 2048, ..params }, &device).is_err());
}
