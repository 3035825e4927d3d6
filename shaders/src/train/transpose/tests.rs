use super::{Transpose, transpose};
use crate::kernel::{Capabilities, Elem};
use crate::tests::assert_close;

#[test]
fn by_hand() {
    assert_close(&transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0], 0.0);
}

#[test]
fn unsuitable_sizes_are_refused() {
    let device = Capabilities::base();
    let launch = |y, rows, columns| Transpose { y }.launch(rows, columns, &device);
    assert!(launch(Elem::F32, 3, 5).is_ok());
    assert!(launch(Elem::F32, 0, 5).is_err(), "no rows");
    assert!(launch(Elem::F32, 3, 0).is_err(), "no columns");
    assert!(launch(Elem::F32, 1 << 13, 1 << 13).is_err(), "more than a binding");
    assert!(launch(Elem::F16, 3, 5).is_err(), "f16 without the feature");
}
