#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::{MlaPrefill, Sizes, mla_prefill};
use crate::attention::mla_decode::{LatentFormat, Slots, Tiles};
use crate::kernel::Capabilities;
use crate::tests::assert_close;

const SIZES: Sizes =
    Sizes { t: 2, h: 8, q_stride: 384, q_offset: 0, u_stride: 256, u_offset: 0, n_slots: 70, table_stride: 0, scale: 0.1 };

#[test]
fn by_hand() {
    // Two queries: the first sees one row, the second two with the probabilities 1/4 and 3/4.
    let mut rows = vec![0.0; 64 * 2];
    rows[..4].copy_from_slice(&[1.0, 0.0, 4.0, 1.0]);
    let q = [0.0, 3f64.ln(), 0.0, 3f64.ln()];
    assert_close(&mla_prefill(&q, &rows, &[0], &[0, -1, 0, 1], [1, 2, 2], 1, 1.0), &[1.0, 3.25], 1e-14);
}

#[test]
fn what_a_launch_refuses() {
    let device = Capabilities::base();
    let small = MlaPrefill { c: 32, r: 16, format: LatentFormat::F16, slots: Slots::Selected, tiles: Tiles::Fma { heads: 8 } };
    let refused = |spec: MlaPrefill, sizes: Sizes| spec.launch(&sizes, &device).unwrap_err().to_string();
    assert_eq!(small.launch(&SIZES, &device).unwrap().workgroups, [1, 1, 2]);
    let messages = [
        refused(MlaPrefill { c: 36, ..small }, SIZES),
        refused(MlaPrefill { r: 12, ..small }, SIZES),
        refused(MlaPrefill { format: LatentFormat::Fp8, ..small }, SIZES),
        refused(small, Sizes { t: 0, ..SIZES }),
        refused(small, Sizes { n_slots: 0, ..SIZES }),
        refused(small, Sizes { q_offset: 2, ..SIZES }),
        refused(small, Sizes { u_stride: 252, ..SIZES }),
    ];
    let expected = [
        "attention/mla_prefill: latent rank C is 36, expected a multiple of 8 up to 512",
        "attention/mla_prefill: rotated width R is 12, expected a multiple of 8",
        "attention/mla_prefill: latent rank C is 32, expected 512",
        "attention/mla_prefill: queries T is 0, expected at least 1",
        "attention/mla_prefill: slots K is 0, expected at least 1",
        "attention/mla_prefill: query offset is 2, expected a multiple of 4",
        "attention/mla_prefill: output stride is 252, expected at least 256",
    ];
    assert_eq!(messages, expected);
}
