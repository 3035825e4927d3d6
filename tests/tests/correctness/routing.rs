//! Experts that stay a token's in training (Keep Routing, spec §7.3 (3)), and their loads.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use sferic_model::feed_forward::{FeedForward, Moe};
use sferic_model::{IndexerTraining, Model, Options, Probe, TrainForward, TrainInput};
use sferic_ops::moe;
use sferic_testkit::{
    device::{self, cpu},
    model::{Seeded, numbers, tiny_config, token_ids},
    tolerance::values,
};

const N_TOKENS: usize = 12;
/// The mixture of the tiny model.
const MIXTURE: usize = 1;

fn model(device: &Device) -> Model {
    Seeded { seed: 5, dtype: DType::F64 }.model(&tiny_config(&[]), device)
}

fn ids(device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = token_ids(9, N_TOKENS, 40).into_iter().map(|id| id as i32).collect();
    Tensor::from_data(TensorData::new(ids, [1, N_TOKENS]), device)
}

fn forward(model: &Model, experts: Option<Tensor<2, Int>>) -> TrainForward {
    let experts = experts.map_or_else(BTreeMap::new, |experts| BTreeMap::from([(MIXTURE, experts)]));
    model.forward_train(TrainInput { experts, ..ids(&model.device()).into() }, IndexerTraining::Off)
}

fn chosen(experts: &Tensor<2, Int>) -> Vec<i64> {
    experts.clone().into_data().iter::<i64>().collect()
}

/// The model with another router.
fn with_router(model: &Model, edit: impl FnOnce(&mut Moe)) -> Model {
    let mut model = model.clone();
    if let FeedForward::Sparse(mixture) = &mut model.layers[MIXTURE].mlp {
        edit(mixture);
    }
    model
}

fn with_bias(model: &Model, expert_idx: usize, value: f64) -> Model {
    with_router(model, |mixture| {
        let bias = mixture.gate.e_score_correction_bias.take().unwrap();
        let mut values = values(bias.val());
        values[expert_idx] = value;
        let bias = Tensor::from_data(TensorData::new(values, [8]), (&model.device(), DType::F64));
        mixture.gate.e_score_correction_bias = Some(Param::from_tensor(bias));
    })
}

/// The model with the router's weights of one expert scaled.
fn with_scaled_gate(model: &Model, expert_idx: usize, factor: f64) -> Model {
    with_router(model, |mixture| {
        let mut values = values(mixture.gate.weight.val());
        values[expert_idx * 24..(expert_idx + 1) * 24].iter_mut().for_each(|weight| *weight *= factor);
        let weight = Tensor::from_data(TensorData::new(values, [8, 24]), (&model.device(), DType::F64));
        mixture.gate.weight = Param::from_tensor(weight);
    })
}

/// Largest difference of two passes.
fn difference(a: &TrainForward, b: &TrainForward) -> f64 {
    values(a.hidden.clone()).iter().zip(values(b.hidden.clone())).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// A model in which a token is within a hair of another expert.
fn on_the_edge() -> Model {
    let start = model(&cpu());
    let first = |bias: f64| chosen(&forward(&with_bias(&start, 0, bias), None).experts[&MIXTURE]);
    let (mut low, mut high) = (-3.0, 3.0);
    let at_low = first(low);
    assert_ne!(at_low, first(high), "a bias of three outweighs every probability");
    for _ in 0..45 {
        let middle = (low + high) / 2.0;
        if first(middle) == at_low { low = middle } else { high = middle }
    }
    with_bias(&start, 0, low)
}

#[test]
fn a_hair_in_the_router_changes_the_experts_and_kept_ones_stay() {
    let model = on_the_edge();
    let before = forward(&model, None);
    let moved = [1.0 + 1e-9, 1.0 - 1e-9].map(|factor| with_scaled_gate(&model, 0, factor));
    let flipped = moved.iter().find(|moved| chosen(&forward(moved, None).experts[&MIXTURE]) != chosen(&before.experts[&MIXTURE]));
    let flipped = flipped.expect("one of the two directions crosses the edge");
    let free = difference(&before, &forward(flipped, None));
    let kept = forward(flipped, Some(before.experts[&MIXTURE].clone()));
    assert_eq!(chosen(&kept.experts[&MIXTURE]), chosen(&before.experts[&MIXTURE]));
    // The change is of 1e-9 of a weight of order 1; an expert's contribution is of order 0.1 and more.
    assert!(free > 1e-3, "another expert shows: {free:e}");
    assert!(difference(&before, &kept) < 1e-7, "the same experts with nearly the same weights: {:e}", difference(&before, &kept));
}

#[test]
fn rows_that_were_not_recorded_choose_by_themselves() {
    let model = model(&cpu());
    let own = forward(&model, None);
    let width = 2;
    let mut some = chosen(&own.experts[&MIXTURE]);
    // The first token keeps experts that it would not have chosen, the second one's are not known.
    let others: Vec<i64> = (0..8).filter(|expert| !some[..width].contains(expert)).take(width).collect();
    some[..width].copy_from_slice(&others);
    let mut expected = some.clone();
    some[width..2 * width].fill(-1);
    let kept = Tensor::from_data(TensorData::new(some, [N_TOKENS, width]), &cpu());
    let found = forward(&model, Some(kept));
    assert_eq!(chosen(&found.experts[&MIXTURE]), expected);
    assert!(difference(&own, &found) > 1e-3, "other experts show");
    expected[..width].copy_from_slice(&chosen(&own.experts[&MIXTURE])[..width]);
    assert_eq!(chosen(&own.experts[&MIXTURE]), expected);
}

/// Sees the experts of the other forward pass.
#[derive(Default)]
struct Seen(BTreeMap<usize, Vec<i64>>);

impl Probe for Seen {
    fn experts(&mut self, layer_idx: usize, experts: &Tensor<2, Int>) {
        self.0.entry(layer_idx).or_default().extend(chosen(experts));
    }
}

#[test]
fn training_goes_to_the_experts_of_prefill() {
    let model = model(&cpu());
    let mut seen = Seen::default();
    let options = Options { attention: sferic_model::AttentionMode::Dense, ..Options::default() };
    model.prefill(&token_ids(9, N_TOKENS, 40), &mut model.new_cache(N_TOKENS), &options, &mut seen);
    let trained: BTreeMap<usize, Vec<i64>> =
        forward(&model, None).experts.iter().map(|(&layer_idx, experts)| (layer_idx, chosen(experts))).collect();
    assert_eq!(trained, seen.0);
    assert_eq!(trained.keys().collect::<Vec<_>>(), [&MIXTURE], "layer 0 is dense");
}

/// Gradients of the router with fixed experts are those of finite differences.
#[test]
fn the_routers_gradient_is_right_with_kept_experts() {
    let device = cpu().autodiff();
    let model = model(&device);
    // Not the experts that it would choose: every second one, wherever the groups are.
    let kept: Vec<i32> = (0..N_TOKENS as i32).flat_map(|row| [row % 4, 4 + row % 3]).collect();
    let kept = || Some(Tensor::from_data(TensorData::new(kept.clone(), [N_TOKENS, 2]), &device));
    let up: Tensor<3> =
        Tensor::from_data(TensorData::new(numbers(3, N_TOKENS * 24, 1.0), [1, N_TOKENS, 24]), (&device, DType::F64));
    let loss = |model: &Model| forward(model, kept()).hidden.mul(up.clone()).sum();
    let FeedForward::Sparse(mixture) = &model.layers[MIXTURE].mlp else { panic!("layer 1 is a mixture") };
    let weight = mixture.gate.weight.val();
    let expected: Vec<i64> = (0..N_TOKENS as i64).flat_map(|row| [row % 4, 4 + row % 3]).collect();
    assert_eq!(chosen(&forward(&model, kept()).experts[&MIXTURE]), expected);
    let grads = loss(&model).backward();
    let found = values(weight.grad(&grads).unwrap());
    assert!(found[7 * 24..].iter().all(|grad| *grad == 0.0), "expert 7 has no token and no gradient");
    let step = 1e-5;
    for at in [0, 25, 3 * 24 + 7, 6 * 24 + 23] {
        let [above, below] = [step, -step].map(|step| {
            let moved = with_router(&model, |mixture| {
                let mut moved = values(weight.clone());
                moved[at] += step;
                let moved = Tensor::from_data(TensorData::new(moved, [8, 24]), (&device, DType::F64));
                mixture.gate.weight = Param::from_tensor(moved);
            });
            values(loss(&moved))[0]
        });
        let expected = (above - below) / (2.0 * step);
        // Central differences are off by the third derivative times the square of the step, and by rounding over the step.
        assert!((found[at] - expected).abs() < 1e-8 * (1.0 + expected.abs()), "weight {at}: {} and {expected}", found[at]);
        assert!(expected.abs() > 1e-4, "weight {at} matters: {expected}");
    }
}

#[test]
fn loads_count_the_tokens_of_each_expert() {
    for target in device::all() {
        let experts: Tensor<2, Int> = Tensor::from_data(TensorData::new(vec![0i32, 3, 1, 3, 3, 4, 0, 3], [4, 2]), &target.device);
        assert_eq!(values(moe::loads(&experts, 6, None)), [2.0, 1.0, 0.0, 4.0, 1.0, 0.0], "{}", target.name);
        let counted = Tensor::from_floats([1.0, 0.0, 0.0, 1.0], &target.device);
        assert_eq!(values(moe::loads(&experts, 6, Some(counted))), [2.0, 0.0, 0.0, 2.0, 0.0, 0.0], "{}", target.name);
    }
}
