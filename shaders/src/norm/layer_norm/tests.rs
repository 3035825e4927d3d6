use super::layer_norm;
use crate::tests::assert_close;

#[test]
fn by_hand() {
    // Mean 2, variance (1 + 1) / 2 = 1, and eps makes it 4.
    assert_close(&layer_norm(&[1.0, 3.0], &[2.0, 4.0], &[0.5, -0.5], 3.0), &[-0.5, 1.5], 1e-15);
}

#[test]
fn a_constant_row_becomes_the_bias() {
    assert_close(&layer_norm(&[7.0; 4], &[1.0; 4], &[1.0, 2.0, 3.0, 4.0], 1e-6), &[1.0, 2.0, 3.0, 4.0], 0.0);
}
