#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use super::{Grouped, Params, Part, Tile, grouped};
use crate::kernel::{Capabilities, Features, Limits, SubgroupSizes, WeightFormat};
use crate::moe::Shape;
use crate::tests::assert_close;

#[test]
fn by_hand() {
    // Two experts of two rows.
    let weights = [1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    assert_close(&grouped(&[1.0, 2.0, 1.0, -1.0], &[1, 0], &weights, 2), &[8.0, 14.0, 1.0, -1.0], 1e-12);
}

#[test]
fn matrices_are_for_adapters_that_have_them() {
    let limits = Limits { max_workgroup_bytes: 48 << 10, max_invocations: 1024, ..Limits::default() };
    let device = |features, lanes| Capabilities { features, limits, subgroup: SubgroupSizes { min: lanes, max: lanes } };
    assert!(Tile::best(WeightFormat::Q4, &device(Features::COOPMAT, 32)).is_coop());
    assert!(!Tile::best(WeightFormat::Q4, &device(Features::COOPMAT, 64)).is_coop());
    assert!(!Tile::best(WeightFormat::Q4, &device(Features::SUBGROUPS_F16, 32)).is_coop());
    assert!(!Tile::best(WeightFormat::F32, &device(Features::COOPMAT, 32)).is_coop());
    assert!(Tile::Fma.workgroup_bytes() <= Limits::default().max_workgroup_bytes);
}

#[test]
fn launches_that_cannot_work_are_refused() {
    let device = Capabilities::base();
    let shape = Shape { n_experts: 4, n_active: 2, d: 64, i: 32 };
    let params = Params { x_stride: 64, x_offset: 0 };
    let refuses = |part: Part, format: WeightFormat, shape: Shape, params: Params, n: u32, what: &str| {
        let spec = Grouped::best(part, shape, format, &device);
        let error = spec.launch(params, n, &device).expect_err(what).to_string();
        assert!(error.starts_with("moe/grouped") && error.contains(what), "{error}");
    };
    let (first, q4) = (Part::GateUp, WeightFormat::Q4);
    refuses(first, q4, shape, params, 3, "assignments N is 3, expected a multiple of A = 2");
    refuses(first, q4, shape, params, 0, "assignments N is 0");
    refuses(first, q4, Shape { d: 48, ..shape }, params, 2, "width I is 48, expected a multiple of 32");
    refuses(Part::Down, q4, Shape { i: 48, ..shape }, params, 2, "width I is 48, expected a multiple of 32");
    refuses(first, WeightFormat::F32, Shape { d: 12, ..shape }, params, 2, "width D is 12, expected a multiple of 8");
    refuses(first, q4, shape, Params { x_stride: 65, ..params }, 2, "x_stride is 65");
    refuses(first, q4, shape, Params { x_offset: 2, ..params }, 2, "x_offset is 2");
    refuses(first, q4, shape, Params { x_stride: 32, ..params }, 4, "x_stride is 32, expected at least D = 64");
    refuses(Part::Down, q4, shape, params, 1 << 22, "bytes of");
}
