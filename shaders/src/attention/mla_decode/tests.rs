#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::{LatentFormat, MlaDecode, Sizes, Slots, Tiles, mla_decode};
use crate::kernel::{Capabilities, Features, KernelError, SubgroupSizes};
use crate::tests::assert_close;

const SIZES: Sizes = Sizes {
    t: 2,
    h: 8,
    q_stride: 384,
    q_offset: 0,
    u_stride: 256,
    u_offset: 0,
    n_slots: 70,
    n_splits: 2,
    table_stride: 0,
    scale: 0.1,
};

fn small() -> MlaDecode {
    MlaDecode { c: 32, r: 16, format: LatentFormat::F16, slots: Slots::Selected, tiles: Tiles::Fma { heads: 8 } }
}

#[test]
fn by_hand() {
    // Position 64 is the first row of the second entry, page 0: scores 0 and ln 3, probabilities 1/4 and 3/4.
    let mut rows = vec![0.0; 2 * 64 * 2];
    rows[0] = 4.0;
    rows[1] = 3.0;
    rows[2 * 64] = 1.0;
    let q = [0.0, 3f64.ln()];
    assert_close(&mla_decode(&q, &rows, &[1, 0], &[0, 64, -1], [1, 2, 3], 1, 1.0 / 3.0), &[3.25], 1e-14);
}

#[test]
fn what_a_launch_refuses() {
    let device = Capabilities::base();
    let refused = |spec: MlaDecode, sizes: Sizes| spec.launch(&sizes, &device).unwrap_err().to_string();
    assert!(small().launch(&SIZES, &device).is_ok());
    let messages = [
        refused(MlaDecode { c: 36, ..small() }, SIZES),
        refused(MlaDecode { c: 520, ..small() }, SIZES),
        refused(MlaDecode { r: 12, ..small() }, SIZES),
        refused(MlaDecode { format: LatentFormat::Fp8, ..small() }, SIZES),
        refused(MlaDecode { tiles: Tiles::Fma { heads: 3 }, ..small() }, SIZES),
        refused(small(), Sizes { t: 0, ..SIZES }),
        refused(small(), Sizes { q_offset: 2, ..SIZES }),
        refused(small(), Sizes { u_stride: 252, ..SIZES }),
        refused(small(), Sizes { n_splits: 257, ..SIZES }),
        refused(small(), Sizes { t: 65_535, n_slots: 8192, n_splits: 128, ..SIZES }),
    ];
    let expected = [
        "attention/mla_decode: latent rank C is 36, expected a multiple of 8 up to 512",
        "attention/mla_decode: latent rank C is 520, expected a multiple of 8 up to 512",
        "attention/mla_decode: rotated width R is 12, expected a multiple of 8",
        "attention/mla_decode: latent rank C is 32, expected 512",
        "attention/mla_decode: heads of a workgroup is 3, expected 4, 8 or 16",
        "attention/mla_decode: queries T is 0, expected at least 1",
        "attention/mla_decode: query offset is 2, expected a multiple of 4",
        "attention/mla_decode: output stride is 252, expected at least 256",
        "attention/mla_decode: needs 257 splits, the adapter allows 256",
    ];
    assert_eq!(messages[..expected.len()], expected);
    assert!(messages[expected.len()].contains("partial sums"), "{}", messages[expected.len()]);
}

#[test]
fn matrices_need_one_subgroup_size() {
    let mut device = Capabilities::base();
    device.features = Features::COOPMAT;
    device.limits.max_workgroup_bytes = 48 << 10;
    device.limits.max_invocations = 1024;
    device.subgroup = SubgroupSizes { min: 32, max: 32 };
    let best = |device: &Capabilities| MlaDecode::best(512, 64, 128, LatentFormat::F16, Slots::Selected, device);
    let coop = best(&device);
    assert_eq!(coop.tiles, Tiles::Coop { head_tiles: 2, lanes: 32 });
    device.subgroup.min = 16;
    assert_eq!(best(&device).tiles, Tiles::Fma { heads: 16 });
    let sizes = Sizes { h: 128, q_stride: 73_728, u_stride: 65_536, ..SIZES };
    assert!(matches!(coop.launch(&sizes, &device), Err(KernelError::Shape { .. })));
}

#[test]
fn splits_fill_the_device_and_no_more() {
    let spec = small();
    assert_eq!(spec.splits(1, 8, 2048), 32);
    assert_eq!(spec.splits(1, 8, 1 << 20), MlaDecode::MAX_SPLITS);
    assert_eq!(spec.splits(16, 128, 2048), 1);
    assert_eq!(spec.splits(1, 8, 1), 1);
    let coop = MlaDecode { c: 512, r: 64, tiles: Tiles::Coop { head_tiles: 2, lanes: 32 }, ..spec };
    assert_eq!(coop.splits(1, 128, 2048), 32, "33 would leave one empty");
    assert_eq!(coop.splits(16, 128, 2048), 2);
}
