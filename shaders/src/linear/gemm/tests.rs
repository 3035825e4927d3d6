#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::{Gemm, Params, Tile, gemm};
use crate::kernel::{Capabilities, Elem, Features, Limits, SubgroupSizes, WeightFormat};
use crate::tests::assert_close;

#[test]
fn by_hand() {
    // Rows (1, 2) and (0, −1) against weight rows (3, 4), (5, 6), (7, 8).
    let y = gemm(&[1.0, 2.0, 0.0, -1.0], &[3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 2);
    assert_close(&y, &[11.0, 17.0, 23.0, -4.0, -6.0, -8.0], 0.0);
}

/// An adapter with cooperative matrices.
fn large() -> Capabilities {
    let limits = Limits { max_workgroup_bytes: 48 << 10, max_invocations: 1024, ..Limits::default() };
    Capabilities { features: Features::COOPMAT, limits, subgroup: SubgroupSizes { min: 32, max: 32 } }
}

#[test]
fn f32_weights_are_never_rounded_unasked() {
    for t in [9, 100, 5000] {
        let best = |weight| Gemm::best(weight, t, 4096, &large());
        assert!(!best(WeightFormat::F32).tile.is_coop(), "{t}");
        assert!(best(WeightFormat::F16).tile.is_coop(), "{t}");
        assert!(best(WeightFormat::Q4).tile.is_coop(), "{t}");
    }
}

#[test]
fn few_rows_take_small_tiles_until_they_fill_a_device() {
    let tiles = |t, o| [WeightFormat::F16, WeightFormat::F32].map(|weight| Gemm::best(weight, t, o, &large()).tile);
    let coop = |size, groups| Tile::coop(size, groups, 1, large().subgroup);
    assert_eq!(tiles(16, 12_288), [coop([16, 32, 128], [1, 2]), Tile::FMA_32]);
    assert_eq!(tiles(64, 512), [coop([32, 32, 128], [1, 2]), Tile::FMA_16]);
    assert_eq!(tiles(64, 12_288), [coop([32, 64, 64], [1, 4]), Tile::FMA_32]);
    assert_eq!(tiles(65, 512), [coop([128, 128, 32], [2, 2]), Tile::FMA_64]);
}

#[test]
fn unsuitable_sizes_are_refused() {
    let fits = Params { t: 20, o: 10, i: 64, x_stride: 64, y_stride: 10, ..Params::default() };
    let device = Capabilities::base();
    let launch = |weight, params, batch| Gemm::best(weight, 20, 10, &device).launch(params, batch, &device);
    let f16 = WeightFormat::F16;
    assert!(launch(f16, fits, 1).is_ok());
    assert!(launch(WeightFormat::F32, Params { i: 60, x_stride: 60, ..fits }, 1).is_err(), "I is no multiple of 8");
    assert!(launch(WeightFormat::Q8, Params { i: 48, ..fits }, 1).is_err(), "I is no multiple of 32");
    assert!(launch(f16, Params { t: 0, ..fits }, 1).is_err(), "no rows");
    assert!(launch(f16, fits, 0).is_err(), "no matrices");
    assert!(launch(f16, Params { x_offset: 2, ..fits }, 1).is_err(), "rows of x start between quads");
    assert!(launch(f16, Params { x_stride: 66, ..fits }, 1).is_err(), "rows of x start between quads");
    assert!(launch(f16, Params { x_stride: 60, ..fits }, 1).is_err(), "rows of x overlap");
    assert!(launch(f16, Params { y_stride: 9, ..fits }, 1).is_err(), "rows of y overlap");
    assert!(launch(f16, Params { y_offset: u32::MAX, ..fits }, 1).is_err(), "y ends past the binding");
    assert!(launch(f16, Params { x_batch: 1 << 26, ..fits }, 3).is_err(), "x ends past the binding");
}

#[test]
fn a_tile_must_fit_its_device() {
    let params = Params { t: 20, o: 10, i: 64, x_stride: 64, y_stride: 10, ..Params::default() };
    let plain = Gemm { weight: WeightFormat::F16, x: Elem::F32, y: Elem::F32, accumulate: false, tile: Tile::FMA_64 };
    let launch = |spec: Gemm, device| spec.launch(params, 1, &device);
    assert!(launch(plain, Capabilities::base()).is_ok());
    assert!(launch(Gemm { x: Elem::F16, ..plain }, Capabilities::base()).is_err(), "f16 without the feature");
    let coop = |size, groups| Gemm { tile: Tile::coop(size, groups, 1, large().subgroup), ..plain };
    assert!(launch(coop([128, 128, 32], [2, 4]), large()).is_ok());
    assert!(launch(coop([128, 128, 32], [2, 4]), Capabilities::base()).is_err(), "no cooperative matrices");
    assert!(launch(coop([128, 128, 24], [2, 4]), large()).is_err(), "a step of 24");
    assert!(launch(coop([128, 96, 32], [2, 4]), large()).is_err(), "24 columns for a subgroup");
    assert!(launch(coop([256, 256, 64], [4, 4]), large()).is_err(), "too much workgroup memory");
}
