#![allow(clippy::unwrap_used, clippy::panic)]

use burn::tensor::{Device, Int, TensorData};
use serde_json::{Value, json};
use sferic_model::{Config, IndexerTraining};

use super::*;
use crate::init::RandomWeights;
use crate::test_model::toy_config;

const N_EXPERTS: usize = 8;
/// The toy's mixture.
const MIXTURE: usize = 1;

/// A toy whose second layer sends every token to two of eight experts.
fn config() -> Config {
    let mut json = toy_config(40);
    let mixture = json!({
        "first_k_dense_replace": 1, "n_routed_experts": N_EXPERTS, "n_shared_experts": 1, "moe_intermediate_size": 16,
        "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "norm_topk_prob": true, "routed_scaling_factor": 1.0,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc"
    });
    if let (Value::Object(json), Value::Object(mixture)) = (&mut json, mixture) {
        json.extend(mixture);
    }
    Config::from_json(&json).unwrap()
}

fn model() -> Model {
    let config = config();
    Model::load(&config, &mut RandomWeights::new(&config, 0.2, 1), &Device::flex().autodiff()).unwrap()
}

fn bias(model: &Model) -> Vec<f32> {
    let FeedForward::Sparse(mixture) = &model.layers[MIXTURE].mlp else { panic!("layer 1 is a mixture") };
    mixture.gate.e_score_correction_bias.as_ref().unwrap().val().into_data().iter::<f32>().collect()
}

/// A pass over 64 tokens.
fn forward(model: &Model) -> TrainForward {
    let ids: Vec<i32> = (0..64).map(|n| (n * n * 7 + n) % 40).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [2, 32]), &model.device());
    model.forward_train(ids, IndexerTraining::Off)
}

fn loads(model: &Model) -> Loads {
    let mut loads = Loads::default();
    loads.add(model, &forward(model), None);
    loads
}

#[test]
fn a_bias_rises_below_the_mean_and_falls_above_it() {
    let model = model();
    let loads: Vec<f32> = vec![5.0, 0.0, 2.0, 1.0, 2.0, 2.0, 3.0, 1.0];
    let loads = Loads(BTreeMap::from([(MIXTURE, Tensor::from_floats(loads.as_slice(), &model.device()))]));
    let step = 0.25;
    let signs = [-1.0, 1.0, 0.0, 1.0, 0.0, 0.0, -1.0, 1.0];
    let once = balance(model, &loads, step);
    assert_eq!(bias(&once), signs.map(|sign| sign * step as f32));
    assert_eq!(bias(&balance(once, &loads, step)), signs.map(|sign| 2.0 * sign * step as f32));
    assert_eq!(loads.imbalance(0).unwrap(), Some(2.5));
}

#[test]
fn loads_of_several_passes_add_up_and_rows_can_be_left_out() {
    let model = model();
    let forward = forward(&model);
    let read = |loads: &Loads| loads.of_layer(MIXTURE).unwrap().clone().into_data().iter::<f32>().collect::<Vec<_>>();
    let (mut once, mut twice, mut half) = (Loads::default(), Loads::default(), Loads::default());
    once.add(&model, &forward, None);
    for _ in 0..2 {
        twice.add(&model, &forward, None);
    }
    let counted: Vec<f32> = (0..64).map(|row| if row < 32 { 1.0 } else { 0.0 }).collect();
    half.add(&model, &forward, Some(&Tensor::from_floats(counted.as_slice(), &model.device())));
    assert_eq!(read(&once).iter().sum::<f32>(), 128.0, "64 tokens go to two experts each");
    assert_eq!(read(&twice), read(&once).iter().map(|load| 2.0 * load).collect::<Vec<_>>());
    assert_eq!(read(&half).iter().sum::<f32>(), 64.0);
    assert_eq!(once.of_layer(0).map(|_| ()), None, "layer 0 is dense");
    assert_eq!(Loads::default().imbalance(0).unwrap(), None);
}

#[test]
fn a_skewed_router_is_balanced_within_some_steps() {
    let skewed =
        Loads(BTreeMap::from([(MIXTURE, Tensor::from_floats([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], &model().device()))]));
    // Two experts are ahead of the others by more than any probability.
    let mut model = balance(model(), &skewed, -2.0);
    let at_first = loads(&model).imbalance(0).unwrap().unwrap();
    assert_eq!(at_first, N_EXPERTS as f64 / 2.0, "all tokens go to the same two");
    let mut reached = Vec::new();
    for _ in 0..200 {
        let loads = loads(&model);
        reached.push(loads.imbalance(0).unwrap().unwrap());
        model = balance(model, &loads, 0.02);
    }
    let last = &reached[180..];
    let mean = last.iter().sum::<f64>() / last.len() as f64;
    println!("largest load over the mean: {at_first} at first, {mean:.2} at last");
    assert!(mean < 1.6, "{reached:?}");
}

#[test]
fn models_without_mixtures_are_left_alone() {
    let config = Config::from_json(&toy_config(40)).unwrap();
    let model = Model::load(&config, &mut RandomWeights::new(&config, 0.2, 1), &Device::flex().autodiff()).unwrap();
    let loads = loads(&model);
    assert_eq!(loads.imbalance(0).unwrap(), None);
    let before = model.named_tensors();
    let after = balance(model, &loads, 1.0).named_tensors();
    assert!(before.iter().zip(&after).all(|((_, before), (_, after))| before == after));
}

#[test]
fn speeds_are_checked() {
    assert!(check_speed("train.bias_update_speed", BIAS_UPDATE_SPEED).is_ok());
    for speed in [-1e-3, f64::NAN, f64::INFINITY] {
        let error = check_speed("train.bias_update_speed", speed).unwrap_err();
        assert!(matches!(&error, TrainError::ConfigValue { key, .. } if key == "train.bias_update_speed"), "{error:?}");
    }
}
