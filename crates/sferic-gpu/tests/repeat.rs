//! The selection repeats itself: atomic counters fill in any order, and the result must not show it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use sferic_gpu::{Device, Prepared, Selection};
use sferic_shaders::indexer::top_k::{Params, TopK};
use sferic_shaders::kernel::random::Random;
use sferic_shaders::kernel::{Case, Init, Step, Work, Worst};

const RUNS: usize = 1000;

/// Rows with plateaus of equal scores around the threshold, where the order of arrival would decide if anything did.
fn case(steps: Vec<Step>, params: Params, scratch_words: u64) -> Case {
    let mut random = Random::new(5);
    let scores: Vec<f32> = (0..params.rows * params.stride).map(|_| random.below(40) as f32).collect();
    Case {
        name: "repeated".into(),
        buffers: vec![
            Init::f32s(&scores),
            Init::u32s(&vec![params.stride - 2; params.rows as usize]),
            Init::Zeros(4 * (params.rows * params.k) as usize),
            Init::Zeros(4 * scratch_words as usize),
        ],
        steps,
        reads: vec![2],
        work: Work::default(),
        check: Box::new(|_| Ok(Worst(0.0))),
    }
}

#[test]
fn a_thousand_selections_are_one() {
    let device = match pollster::block_on(Device::open(&Selection::Best)) {
        Ok(device) => device,
        Err(error) if std::env::var_os("SFERIC_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    };
    let capabilities = &device.capabilities;
    let spec = TopK::best(capabilities);
    let params = Params { rows: 2, k: 300, stride: 8192 };
    let one = vec![Step { launch: spec.launch(params, capabilities).unwrap(), buffers: vec![0, 1, 2] }];
    let two = spec.split(params, capabilities).unwrap();
    let mut selections = Vec::new();
    for steps in [one, two] {
        let case = case(steps, params, spec.split_words(params));
        let prepared = pollster::block_on(Prepared::new(&device, &case)).unwrap();
        let first = pollster::block_on(prepared.run()).unwrap().i32s(2);
        for run in 1..RUNS {
            assert_eq!(pollster::block_on(prepared.run()).unwrap().i32s(2), first, "run {run} of {}", case.name);
        }
        selections.push(first);
    }
    assert_eq!(selections[0], selections[1], "one dispatch and two");
}
