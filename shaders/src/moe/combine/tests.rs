#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use super::{Combine, Params, combine};
use crate::kernel::Capabilities;
use crate::tests::assert_close;

#[test]
fn by_hand() {
    let parts = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let y = combine(&[0.5, 0.0, 0.0, 0.0], &parts, &[1.0, 10.0, 0.0, 2.0], 2);
    assert_close(&y, &[31.5, 42.0, 14.0, 16.0], 1e-12);
}

#[test]
fn launches_that_cannot_work_are_refused() {
    let device = Capabilities::base();
    let params = Params { t: 2, d: 8, y_stride: 12, y_offset: 4 };
    let refuses = |params: Params, what: &str| {
        let error = Combine { n_active: 2 }.launch(params, &device).expect_err(what).to_string();
        assert!(error.starts_with("moe/combine: ") && error.contains(what), "{error}");
    };
    refuses(Params { t: 0, ..params }, "tokens T is 0");
    refuses(Params { d: 6, ..params }, "width D is 6");
    refuses(Params { y_stride: 10, ..params }, "y_stride is 10");
    refuses(Params { y_offset: 2, ..params }, "y_offset is 2");
    refuses(Params { y_stride: 4, ..params }, "y_stride is 4, expected at least D = 8");
    assert!(Combine { n_active: 0 }.launch(params, &device).is_err());
}
