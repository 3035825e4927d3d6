use super::rms_norm;
use crate::tests::assert_close;

#[test]
fn by_hand() {
    // mean(9, 16) = 12.5, and eps lifts it to 16.
    assert_close(&rms_norm(&[3.0, 4.0], &[1.0, 2.0], 3.5), &[0.75, 2.0], 1e-15);
}

#[test]
fn rows_are_apart() {
    assert_close(&rms_norm(&[1.0, 1.0, 100.0, 100.0], &[1.0, 1.0], 0.0), &[1.0; 4], 1e-15);
}

#[test]
fn a_row_of_zeros_stays_zero() {
    assert_close(&rms_norm(&[0.0, 0.0], &[1.0, 1.0], 1e-6), &[0.0, 0.0], 0.0);
}
