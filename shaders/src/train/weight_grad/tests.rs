#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::{Params, Tile, WeightGrad, weight_grad};
use crate::kernel::{Capabilities, Elem, Features, Limits, SubgroupSizes};
use crate::tests::assert_close;

#[test]
fn by_hand() {
    // Two tokens: dy (1, 2) with x (3, 4, 5), then dy (0, −1) with x (6, 7, 8).
    let dw = weight_grad(&[1.0, 2.0, 0.0, -1.0], &[3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 2, 3);
    assert_close(&dw, &[3.0, 4.0, 5.0, 0.0, 1.0, 2.0], 0.0);
}

/// An adapter with cooperative matrices.
fn large() -> Capabilities {
    let limits = Limits { max_workgroup_bytes: 48 << 10, max_invocations: 1024, ..Limits::default() };
    Capabilities { features: Features::COOPMAT, limits, subgroup: SubgroupSizes { min: 32, max: 32 } }
}

#[test]
fn parts_fill_the_device_and_cover_the_tokens() {
    let spec = WeightGrad { dy: Elem::F32, x: Elem::F32, tile: Tile::best(&large()) };
    for [t, o, i, parts] in [[32_768, 1408, 512, 6], [32_768, 512, 512, 16], [32_768, 8192, 512, 1], [100, 512, 512, 1]] {
        let params = spec.params(t, o, i);
        assert_eq!(params.parts(), parts, "{t} {o} {i}");
        assert!(params.rows * parts >= t && params.rows.is_multiple_of(32), "{t} {o} {i}");
    }
}

#[test]
fn unsuitable_sizes_are_refused() {
    let device = Capabilities::base();
    let spec = WeightGrad { dy: Elem::F32, x: Elem::F32, tile: Tile::Fma };
    let fits = Params { t: 20, o: 16, i: 64, rows: 16 };
    let launch = |params| spec.launch(params, &device);
    assert!(launch(fits).is_ok());
    assert!(launch(Params { t: 0, ..fits }).is_err(), "no tokens");
    assert!(launch(Params { o: 12, ..fits }).is_err(), "O is no multiple of 8");
    assert!(launch(Params { i: 4, ..fits }).is_err(), "I is no multiple of 8");
    assert!(launch(Params { rows: 24, ..fits }).is_err(), "a part ends inside a step");
    assert!(launch(Params { t: 1 << 25, rows: 1 << 25, ..fits }).is_err(), "x is larger than a binding");
    assert!(launch(Params { t: 1 << 20, rows: 16, o: 8, i: 8 }).is_err(), "more parts than the grid has layers");
    assert!(WeightGrad { x: Elem::F16, ..spec }.launch(fits, &device).is_err(), "f16 without the feature");
}

#[test]
fn a_tile_must_fit_its_device() {
    let uneven = SubgroupSizes { min: 16, max: 32 };
    assert_eq!(Tile::coop([128, 128, 32], [2, 2], uneven), None);
    assert_eq!(Tile::best(&Capabilities { subgroup: uneven, ..large() }), Tile::Fma);
    assert!(Tile::best(&large()).is_coop());
    let check = |size, groups| Tile::coop(size, groups, large().subgroup).unwrap().check(&large());
    assert!(check([128, 128, 32], [2, 2]).is_ok());
    assert!(check([128, 96, 32], [2, 4]).is_err(), "24 columns for a subgroup");
    assert!(check([128, 128, 24], [2, 2]).is_err(), "a step of 24");
    assert!(check([256, 256, 64], [4, 4]).is_err(), "too much workgroup memory");
}
