use super::{Embed, Params, embed};
use crate::kernel::{Capabilities, WeightFormat};

#[test]
fn by_hand() {
    assert_eq!(embed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 0], 2), [5.0, 6.0, 1.0, 2.0]);
}

#[test]
fn sizes_that_do_not_suit_are_refused() {
    let device = Capabilities::base();
    let spec = Embed { format: WeightFormat::Q8 };
    let good = Params { v: 10, i: 64, t: 2, y_stride: 64, y_offset: 0 };
    assert!(spec.launch(good, &device).is_ok());
    let bad = [
        Params { v: 0, ..good },
        Params { i: 48, ..good },
        Params { t: 0, ..good },
        Params { y_stride: 65, ..good },
        Params { y_offset: 2, ..good },
    ];
    for params in bad {
        assert!(spec.launch(params, &device).is_err(), "{params:?}");
    }
}
