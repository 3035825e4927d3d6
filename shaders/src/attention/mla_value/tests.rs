#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::{MlaValue, Output, mla_value};
use crate::attention::mla_decode::{LatentFormat, MlaDecode, Sizes, Slots, Tiles};
use crate::kernel::{Capabilities, WeightFormat};
use crate::tests::assert_close;

#[test]
fn by_hand() {
    // Two splits with maxima 0 and 1: weights 1/2 and 1, total 1/2 · 2 + 1 · 3 = 4, u = (1/2 · 4 + 1 · 2) / 4 = 1 and (0 + 8) / 4 = 2.
    let (sums, stats) = ([4.0, 0.0, 2.0, 8.0], [0.0, 2.0, 1.0, 3.0]);
    assert_close(&mla_value(&sums, &stats, &[1.0, 0.0, 3.0, -1.0], [2, 1, 1, 2, 2]), &[1.0, 1.0], 1e-15);
    assert_close(&mla_value(&sums[..2], &[0.0, 0.0], &[1.0, 2.0], [1, 1, 1, 1, 2]), &[0.0], 0.0);
}

#[test]
fn launches_that_cannot_work_are_refused() {
    let device = Capabilities::base();
    let (format, slots, tiles) = (LatentFormat::F32, Slots::Dense, Tiles::Fma { heads: 4 });
    let decode = MlaDecode { c: 64, r: 8, format, slots, tiles };
    let sizes = Sizes {
        t: 2,
        h: 4,
        q_stride: 288,
        q_offset: 0,
        u_stride: 256,
        u_offset: 0,
        n_slots: 64,
        n_splits: 2,
        table_stride: 0,
        scale: 1.0,
    };
    let output = Output { v: 16, stride: 64, offset: 0 };
    let spec = MlaValue { c: 64, format: WeightFormat::Q4, rows: 32 };
    assert_eq!(spec.launch(decode, &sizes, output, &device).unwrap().workgroups, [1, 4, 2]);
    let refused = |spec: MlaValue, sizes: Sizes, output| spec.launch(decode, &sizes, output, &device).unwrap_err().to_string();
    assert_eq!(
        [
            refused(MlaValue { c: 96, ..spec }, sizes, output),
            refused(MlaValue { rows: 48, ..spec }, sizes, output),
            refused(spec, Sizes { n_splits: 0, ..sizes }, output),
            refused(spec, Sizes { n_splits: 257, ..sizes }, output),
            refused(spec, sizes, Output { v: 0, ..output }),
            refused(spec, sizes, Output { stride: 63, ..output }),
        ],
        [
            "attention/mla_value: latent rank C is 96, expected 64, up to 512",
            "attention/mla_value: rows of a workgroup is 48, expected a power of two up to 256",
            "attention/mla_value: splits is 0, expected at least 1",
            "attention/mla_value: needs 257 splits, the adapter allows 256",
            "attention/mla_value: rows O is 0, expected at least 1",
            "attention/mla_value: output stride is 63, expected at least 64",
        ]
    );
}
