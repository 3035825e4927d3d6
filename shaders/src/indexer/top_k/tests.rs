use super::top_k;

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
