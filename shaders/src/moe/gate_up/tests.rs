#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use super::{GateUp, Params, gate_up, hidden_index};
use crate::kernel::{Capabilities, Features, KernelError, Launch, Limits, SubgroupSizes, WeightFormat};
use crate::moe::Shape;
use crate::moe::route::{Route, Rule};
use crate::tests::assert_close;

#[test]
fn by_hand() {
    // Experts of width 1 in a model of width 1. Expert 0: gate 0, so silu 0. Expert 1: a large gate, whose silu is itself to the last bit.
    let weights = [0.0, 5.0, 50.0, 2.0];
    assert_close(&gate_up(&[2.0, 1.0], &[0, 1, 1, 0], &weights, 1, 1), &[0.0, 400.0, 100.0, 0.0], 1e-12);
}

/// Two slots of four values; in bf16 a vector has eight values, so both slots share one vector of two quads.
#[test]
fn the_order_of_hidden_values() {
    let shape = Shape { n_experts: 1, n_active: 2, d: 8, i: 8 };
    let at = |format, t, slot, column| hidden_index(shape, format, t, slot, column);
    assert_eq!(at(WeightFormat::F32, 1, 1, 3), 16 + 8 + 3);
    assert_eq!([0, 3, 4, 7].map(|column| at(WeightFormat::Bf16, 0, 0, column)), [0, 3, 8, 11]);
    assert_eq!([0, 3, 4, 7].map(|column| at(WeightFormat::Bf16, 0, 1, column)), [4, 7, 12, 15]);
    let wide = Shape { i: 64, ..shape };
    let mut places: Vec<usize> = (0..256).map(|c| hidden_index(wide, WeightFormat::Q4, c / 128, c / 64 % 2, c % 64)).collect();
    places.sort_unstable();
    assert_eq!(places, (0..256).collect::<Vec<_>>(), "every place once");
}

#[test]
fn teams_suit_the_subgroups_and_the_memory() {
    let shape = Shape { n_experts: 8, n_active: 8, d: 2048, i: 1408 };
    let limits = Limits { max_workgroup_bytes: 48 << 10, max_invocations: 1024, ..Limits::default() };
    let device =
        |lanes| Capabilities { features: Features::SUBGROUPS, limits, subgroup: SubgroupSizes { min: lanes, max: lanes } };
    let teams = |device: &Capabilities, format| {
        let spec = GateUp::best(shape, format, format, true, device);
        (spec.team, spec.teams)
    };
    assert_eq!(teams(&device(32), WeightFormat::Q4), (32, 8));
    assert_eq!(teams(&device(128), WeightFormat::Q4), (128, 2), "a subgroup must not reach over two teams");
    assert_eq!(teams(&device(32), WeightFormat::F16), (32, 8));
    assert_eq!(teams(&Capabilities::base(), WeightFormat::Q4), (32, 8));
    let packed = |lanes, d, features| {
        let device = Capabilities { features, ..device(lanes) };
        GateUp::best(Shape { d, ..shape }, WeightFormat::Q4, WeightFormat::Q4, true, &device).packed
    };
    let dp4a = Features { dp4a: true, ..Features::SUBGROUPS };
    assert!(packed(32, 2048, dp4a));
    assert!(!packed(32, 2048, Features::SUBGROUPS), "byte products would be emulated");
    assert!(!packed(32, 32 * 1024, dp4a), "x does not fit");
}

const ROUTE: Route = Route {
    n_experts: 7,
    n_shared: 1,
    rule: Rule { softmax: true, n_group: 1, topk_group: 1, n_summed: 1, n_active: 2, normalise: false, scale: 0.5 },
};

#[test]
fn experts_are_chosen_where_bindings_and_memory_allow() {
    let shape = Shape { n_experts: 8, n_active: 3, d: 64, i: 32 };
    let chooses = |buffers, bytes, norm, packed| {
        let limits = Limits { max_storage_buffers: buffers, max_workgroup_bytes: bytes, ..Limits::default() };
        let features = Features { dp4a: true, ..Features::SUBGROUPS };
        let device = Capabilities { features, limits, subgroup: SubgroupSizes { min: 32, max: 32 } };
        let float = GateUp::float(shape, WeightFormat::Q4, WeightFormat::Q4, norm, &device);
        let spec = if packed { float.packed(&device).expect("x fits") } else { float };
        spec.choosing(ROUTE, &device).is_some()
    };
    assert!(chooses(10, 16 << 10, true, true));
    assert!(!chooses(9, 16 << 10, true, true), "nine buffers and the parameters");
    assert!(chooses(9, 16 << 10, false, true), "no gain");
    assert!(!chooses(10, 1256, true, true), "x alone fits");
    assert!(!chooses(10, 16 << 10, true, false), "too many choices");
}

#[test]
fn hidden_values_are_packed_for_q4_where_memory_allows() {
    let shape = Shape { n_experts: 8, n_active: 3, d: 64, i: 32 };
    let packs = |down, bytes, is_packed| {
        let limits = Limits { max_workgroup_bytes: bytes, ..Limits::default() };
        let device = Capabilities { features: Features::SUBGROUPS, limits, subgroup: SubgroupSizes { min: 32, max: 32 } };
        let float = GateUp::float(shape, WeightFormat::Q4, down, true, &device);
        let spec = if is_packed { float.packed(&device).expect("x fits") } else { float };
        spec.packing(&device).map(|spec| spec.teams * spec.rows)
    };
    assert_eq!(packs(WeightFormat::Q4, 16 << 10, true), Some(16), "half a group");
    assert_eq!(packs(WeightFormat::Q8, 16 << 10, true), None);
    assert_eq!(packs(WeightFormat::Q4, 1256, true), None, "x alone fits");
    assert_eq!(packs(WeightFormat::Q4, 16 << 10, false), None);
}

#[test]
fn launches_that_cannot_work_are_refused() {
    let device = Capabilities::base();
    let shape = Shape { n_experts: 4, n_active: 2, d: 64, i: 32 };
    let params = Params::given(64, 0, 0.0);
    let refuses = |shape: Shape, params: Params, what: &str| {
        let spec = GateUp::best(shape, WeightFormat::Q4, WeightFormat::Q4, false, &device);
        let error = spec.launch(params, 2, &device).expect_err(what).to_string();
        assert!(error.starts_with("moe/gate_up") && error.contains(what), "{error}");
    };
    refuses(Shape { d: 48, ..shape }, params, "width I is 48, expected a multiple of 32");
    refuses(Shape { i: 16, ..shape }, params, "width I is 16, expected a multiple of 32");
    refuses(Shape { n_active: 0, ..shape }, params, "active experts A is 0");
    refuses(Shape { n_experts: 1 << 20, ..shape }, params, "bytes of weights in one binding");
    refuses(Shape { n_active: 40_000, ..shape }, params, "workgroups along axis 1");
    refuses(shape, Params { x_stride: 66, ..params }, "x_stride is 66, expected a multiple of 4");
    refuses(shape, Params { x_offset: 1, ..params }, "x_offset is 1, expected a multiple of 4");
    refuses(shape, Params { x_stride: 60, ..params }, "x_stride is 60, expected at least D = 64");
    let limits = Limits { max_storage_buffers: 10, ..Limits::default() };
    let device = Capabilities { features: Features::SUBGROUPS, limits, subgroup: SubgroupSizes { min: 8, max: 8 } };
    let chooses = |n_experts, n_active, logits_stride| {
        let shape = Shape { n_experts, n_active, ..shape };
        let float = GateUp::float(shape, WeightFormat::Q4, WeightFormat::Q4, true, &device);
        let spec = float.packed(&device).and_then(|spec| spec.choosing(ROUTE, &device)).expect("it fits");
        spec.launch(Params { logits_stride, ..params }, 2, &device)
    };
    let message = |result: Result<Launch, KernelError>, what| result.expect_err(what).to_string();
    assert_eq!(message(chooses(8, 2, 7), "a slot"), "moe/gate_up: active experts A is 2, expected the 3 of the choice");
    assert_eq!(message(chooses(9, 3, 7), "an expert"), "moe/gate_up: experts of the stack is 9, expected the 8 of the choice");
    assert_eq!(message(chooses(8, 3, 6), "a row"), "moe/route: logits_stride is 6, expected at least E = 7");
    let launch = chooses(8, 3, 7).expect("suits");
    assert_eq!((launch.workgroups, &launch.params[20..]), ([3, 2, 1], &0.5_f32.to_le_bytes()[..]));
}
