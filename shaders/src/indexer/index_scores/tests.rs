use super::{index_scores, weight_scale};
use crate::tests::assert_close;

/// Spec §11.1.
#[test]
fn constant_of_the_spec() {
    assert_close(&[weight_scale(64, 128)], &[0.011048543456039806], 1e-17);
}

#[test]
fn by_hand() {
    // Two queries of two heads, two keys. Negative products are cut off before the weights, which may be negative, apply.
    let q = [1.0, 0.0, 0.0, -1.0, 2.0, 2.0, -1.0, 0.0];
    let k = [3.0, 1.0, -1.0, -2.0];
    let weights = [1.0, 10.0, -0.5, 4.0];
    assert_close(&index_scores(&q, &k, &weights, 2, 2), &[3.0, 20.0, -4.0, 4.0], 1e-15);
}
