use super::{SumParts, sum_parts};
use crate::kernel::Capabilities;
use crate::tests::assert_close;

#[test]
fn by_hand() {
    assert_close(&sum_parts(&[1.0, 2.0, 10.0, 20.0, 100.0, 200.0], 2), &[111.0, 222.0], 0.0);
}

#[test]
fn unsuitable_sizes_are_refused() {
    let device = Capabilities::base();
    assert!(SumParts.launch(2, 8, &device).is_ok());
    assert!(SumParts.launch(0, 8, &device).is_err(), "no parts");
    assert!(SumParts.launch(2, 6, &device).is_err(), "no multiple of 4");
    assert!(SumParts.launch(2, 0, &device).is_err(), "no values");
    assert!(SumParts.launch(64, 1 << 20, &device).is_err(), "more than a binding");
}
