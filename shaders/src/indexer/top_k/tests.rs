use super::{MAX_K, Params, TopK, key, top_k};
use crate::kernel::Capabilities;

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
        (f32::NAN, 0x007F_FFFF),
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
