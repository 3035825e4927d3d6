use super::hadamard;
use crate::tests::assert_close;

/// Spec §11.1.
#[test]
#[allow(clippy::approx_constant, reason = "a printed number that happens to be near the root of 2")]
fn vectors_of_the_spec() {
    assert_close(&hadamard(&[1.0, 2.0, 3.0, 4.0], 4), &[5.0, -1.0, -2.0, 0.0], 1e-15);
    let expected = [12.727922061, -1.414213562, -2.828427125, 0.0, -5.656854249, 0.0, 0.0, 0.0];
    assert_close(&hadamard(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 8), &expected, 5e-10);
}

#[test]
fn twice_is_the_identity() {
    let x: Vec<f64> = (0..256).map(|i| f64::from(i * i % 37) - 18.0).collect();
    assert_close(&hadamard(&hadamard(&x, 128), 128), &x, 1e-12);
}
