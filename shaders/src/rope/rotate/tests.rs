use super::{Layout, Yarn, inv_freq, rotate, yarn_mscale};
use crate::tests::assert_close;

/// DeepSeek-V3.2's settings.
const V32: Yarn = Yarn { factor: 40.0, original: 4096.0, beta_fast: 32.0, beta_slow: 1.0 };

/// Spec §11.1, all 32 frequencies to nine digits.
#[test]
fn yarn_table_of_the_spec() {
    let expected = [
        1.0,
        0.749894209,
        0.562341325,
        0.421696503,
        0.316227766,
        0.237137371,
        0.177827941,
        0.133352143,
        0.1,
        0.0749894209,
        0.0562341325,
        0.0390069266,
        0.0268793601,
        0.0183781462,
        0.0124479559,
        0.00833450895,
        0.0055,
        0.00356199749,
        0.0022493653,
        0.00137051364,
        7.90569415e-4,
        4.14990398e-4,
        1.77827941e-4,
        3.33380358e-5,
        2.5e-5,
        1.87473552e-5,
        1.40585331e-5,
        1.05424126e-5,
        7.90569415e-6,
        5.92843426e-6,
        4.44569853e-6,
        3.33380358e-6,
    ];
    let found = inv_freq(1e4, 64, Some(&V32));
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found / expected - 1.0).abs() < 5e-9, "pair {i}: expected {expected}, found {found}");
    }
}

/// Spec §11.1: `m`, `m²` and the softmax scale.
#[test]
fn softmax_correction_of_the_spec() {
    let m = yarn_mscale(40.0, 1.0);
    let sigma = 192f64.powf(-0.5) * m * m;
    assert_close(&[m, m * m, sigma], &[1.3688879454113936, 1.8738542070926265, 0.1352337788608801], 1e-15);
}

/// Spec §11.1: where the unit vector `e_0` goes at position 1.
#[test]
fn unit_vector_of_the_spec() {
    let mut unit = vec![0.0; 64];
    unit[0] = 1.0;
    for (layout, partner) in [(Layout::Interleaved, 1), (Layout::HalfSplit, 32)] {
        let mut expected = vec![0.0; 64];
        expected[0] = 0.5403023;
        expected[partner] = 0.8414710;
        assert_close(&rotate(&unit, &[1], &inv_freq(1e4, 64, None), layout), &expected, 5e-8);
    }
}

#[test]
fn position_zero_changes_nothing_and_lengths_stay() {
    let x: Vec<f64> = (0..8).map(|i| f64::from(i) - 3.5).collect();
    for layout in [Layout::Interleaved, Layout::HalfSplit] {
        let y = rotate(&x, &[0, 1000], &inv_freq(1e4, 4, None), layout);
        assert_close(&y[..4], &x[..4], 0.0);
        let square = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>();
        assert_close(&[square(&y[4..])], &[square(&x[4..])], 1e-13);
    }
}
