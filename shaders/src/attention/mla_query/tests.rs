#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::{MlaQuery, Params, mla_query};
use crate::kernel::{Capabilities, WeightFormat};
use crate::rope::rotate::Layout;
use crate::tests::assert_close;
use std::f64::consts::FRAC_PI_2;

#[test]
fn by_hand() {
    // [[1, 2], [0, −1], [3, 0]] · (5, 7), and a quarter turn of (1, 2).
    let found = mla_query(&[5.0, 7.0, 1.0, 2.0], &[1.0, 2.0, 0.0, -1.0, 3.0, 0.0], 1, &[FRAC_PI_2], Layout::Interleaved);
    assert_close(&found, &[19.0, -7.0, 15.0, -2.0, 1.0], 1e-15);
}

#[test]
fn launches_that_cannot_work_are_refused() {
    let device = Capabilities::base();
    let spec = MlaQuery::best(WeightFormat::Q4, 64, 32, 8, Layout::Interleaved);
    let params = Params { heads: 2, q_stride: 148, q_offset: 4 };
    assert_eq!(spec.launch(3, params, &device).unwrap().workgroups, [2, 2, 3]);
    let refused = |spec: MlaQuery, params| spec.launch(1, params, &device).unwrap_err().to_string();
    assert_eq!(
        [
            refused(MlaQuery { nope: 48, ..spec }, params),
            refused(MlaQuery { rope: 4, ..spec }, params),
            refused(MlaQuery { rows: 48, ..spec }, params),
            refused(MlaQuery { rows: 256, nope: 1024, ..spec }, params),
            refused(spec, Params { heads: 0, ..params }),
            refused(spec, Params { q_stride: 150, ..params }),
            refused(spec, Params { q_offset: 8, ..params }),
        ],
        [
            "attention/mla_query: width I is 48, expected a multiple of 32 for q4 weights",
            "attention/mla_query: rotated width R is 4, expected a positive multiple of 8",
            "attention/mla_query: rows of a workgroup is 48, expected a power of two up to 256",
            "attention/mla_query: vectors of an invocation is 32, expected at most 16",
            "attention/mla_query: matrices Z is 0, expected at least 1",
            "attention/mla_query: query stride is 150, expected a multiple of 4",
            "attention/mla_query: end of the query heads is 152, expected at most the stride 148",
        ]
    );
}
