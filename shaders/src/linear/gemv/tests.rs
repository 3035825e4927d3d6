use super::{Arithmetic, Form, Gemv, MAX_TOKENS, Params, gemv};
use crate::kernel::{Capabilities, WeightFormat};

#[test]
fn by_hand() {
    // Two heads with one row of x each: [1, 2] against [[3, 4], [5, 6]], and [7, 8] against [[1, 0], [0, 1]].
    let y = gemv(&[1.0, 2.0, 7.0, 8.0], &[3.0, 4.0, 5.0, 6.0, 1.0, 0.0, 0.0, 1.0], 2, 2);
    assert_eq!(y, [11.0, 17.0, 7.0, 8.0]);
    // Two rows of x against one matrix.
    assert_eq!(gemv(&[1.0, 2.0, 0.0, -1.0], &[3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 1, 2), [11.0, 17.0, 23.0, -4.0, -6.0, -8.0]);
}

#[test]
fn sizes_that_do_not_suit_are_refused() {
    let device = Capabilities::base();
    let good = Params::dense(2, 5, 64);
    let spec = Gemv::best(WeightFormat::Q4, &good, &device);
    assert!(spec.launch(good, &device).is_ok());
    let bad = [
        Params { o: 0, ..good },
        Params { i: 0, ..good },
        Params { i: 48, ..good },
        Params { t: 0, ..good },
        Params { t: 3, ..good },
        Params { z: 0, ..good },
        Params { x_stride: 66, ..good },
        Params { x_offset: 1, ..good },
        Params { x_batch: 2, ..good },
    ];
    for params in bad {
        assert!(spec.launch(params, &device).is_err(), "{params:?}");
    }
}

#[test]
fn permutations_that_contradict_themselves_are_refused() {
    let device = Capabilities::base();
    let params = Params::dense(1, 5, 64);
    let good = Gemv::best(WeightFormat::F16, &params, &device);
    assert!(good.launch(params, &device).is_ok());
    let bad = [
        Gemv { tokens: 3, ..good },
        Gemv { tokens: 2 * MAX_TOKENS, ..good },
        // No subgroups here.
        Gemv { lanes: 2, ..good },
        Gemv { split: 3, ..good },
        Gemv { rows: 0, ..good },
        Gemv { steps: 0, ..good },
        Gemv { wg_size: 100, ..good },
        // Half-floats are no integers.
        Gemv { arithmetic: Arithmetic::Packed, ..good },
        Gemv { format: WeightFormat::Q8, arithmetic: Arithmetic::Packed, split: 1, steps: 1, ..good },
        Gemv { words: 3, ..good },
        // Fewer than four values.
        Gemv { form: Form::Direct, words: 1, ..good },
        // One lane, and no nibbles.
        Gemv { form: Form::Resident, split: 1, ..good },
    ];
    for spec in bad {
        assert!(spec.launch(params, &device).is_err(), "{spec:?}");
    }
}

#[test]
fn every_size_fits_the_base_tier() {
    let device = Capabilities::base();
    for format in WeightFormat::ALL {
        for t in 1..=MAX_TOKENS {
            for i in [32, 2048, 18432] {
                let params = Params::dense(t, 100, i);
                for norm in [false, true] {
                    let spec = Gemv { norm, ..Gemv::best(format, &params, &device) };
                    assert!(spec.launch(params, &device).is_ok(), "{format:?} {t} {i}");
                }
            }
        }
    }
}
