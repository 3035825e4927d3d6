#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::{Attention, attention};
use crate::kernel::{Capabilities, Features, Limits, SubgroupSizes};
use crate::tests::assert_close;
use crate::train::{Sizes, Tiles, Visible, Widths};

const SIZES: Sizes = Sizes { b: 1, t: 40, h: 2, scale: 0.25 };

#[test]
fn by_hand() {
    // Scores 0 and ln 3, probabilities 1/4 and 3/4; the first token sees itself alone.
    let q = [3f64.ln(), 3f64.ln()];
    let (o, lse) = attention(&q, &[0.0, 1.0], &[1.0, 5.0], &[vec![0], vec![0, 1]], [2, 1, 1, 1], 1.0);
    assert_close(&o, &[1.0, 4.0], 1e-14);
    assert_close(&lse, &[0.0, 4f64.ln()], 1e-14);
}

#[test]
fn what_a_launch_refuses() {
    let device = Capabilities::base();
    let spec = Attention { widths: Widths { qk: 32, v: 16 }, visible: Visible::Causal, tiles: Tiles::Fma };
    let refused = |spec: Attention, sizes: Sizes| spec.launch(&sizes, &device).unwrap_err().to_string();
    assert_eq!(spec.launch(&SIZES, &device).unwrap().workgroups, [2, 2, 1]);
    let wide = |qk, v| Attention { widths: Widths { qk, v }, ..spec };
    assert_eq!(
        [
            refused(spec, Sizes { t: 0, ..SIZES }),
            refused(wide(40, 16), SIZES),
            refused(wide(32, 272), SIZES),
            refused(spec, Sizes { b: 1 << 12, t: 1 << 12, ..SIZES }),
            refused(Attention { tiles: Tiles::Coop { subgroups: 4, row_tiles: 1, step: 24, lanes: 32 }, ..spec }, SIZES),
        ],
        [
            "train/attention: tokens T is 0, expected at least 1",
            "train/attention: width of a head is 40, expected a multiple of 16 up to 256",
            "train/attention: width of a head is 272, expected a multiple of 16 up to 256",
            "train/attention: needs 8589934592 bytes of a buffer, the adapter allows 134217728",
            "train/attention: rows of a step is 24, expected 16, 32 or 64",
        ]
    );
}

#[test]
fn matrices_need_one_subgroup_size() {
    let limits = Limits { max_workgroup_bytes: 48 << 10, max_invocations: 1024, ..Limits::default() };
    let subgroup = SubgroupSizes { min: 32, max: 32 };
    let device = Capabilities { features: Features::COOPMAT, limits, subgroup };
    let widths = Widths { qk: 64, v: 64 };
    assert!(matches!(Attention::best(widths, Visible::Causal, &device).tiles, Tiles::Coop { .. }));
    let mixed = Capabilities { subgroup: SubgroupSizes { min: 16, max: 32 }, ..device };
    assert_eq!(Attention::best(widths, Visible::Causal, &mixed).tiles, Tiles::Fma);
    let small = Capabilities { limits: Limits::default(), ..device };
    assert_eq!(Attention::best(widths, Visible::Causal, &small).tiles, Tiles::Fma);
}
