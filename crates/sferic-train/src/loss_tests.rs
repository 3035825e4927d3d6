#![allow(clippy::unwrap_used)]

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, TensorData};
use sferic_model::{Config, IndexerTraining};

use super::*;
use crate::init::RandomWeights;
use crate::test_model::toy_config;

fn logits(values: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn targets(values: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

/// The same sum in f64, from the definition.
fn reference(logits: &[f64], n_classes: usize, targets: &[i32]) -> f64 {
    let row_loss = |(row, target): (&[f64], &i32)| row.iter().map(|value| value.exp()).sum::<f64>().ln() - row[*target as usize];
    logits.chunks(n_classes).zip(targets).map(row_loss).sum()
}

#[test]
fn uniform_logits_cost_the_logarithm_of_the_vocabulary() {
    let device = Device::flex();
    let loss = cross_entropy_sum(logits(&[0.5; 8], [2, 4], &device), targets(&[0, 3], &device));
    let loss = loss.into_scalar::<f32>();
    assert!((loss - 2.0 * 4f32.ln()).abs() < 1e-6, "{loss}");
}

#[test]
fn huge_logits_stay_finite() {
    let device = Device::flex();
    let loss = cross_entropy_sum(logits(&[3e4, -3e4, 1e4], [1, 3], &device), targets(&[2], &device));
    assert_eq!(loss.into_scalar::<f32>(), 2e4);
}

#[test]
fn the_gradient_matches_finite_differences() {
    let device = Device::flex().autodiff();
    let values = [0.3f32, -1.2, 2.0, 0.1, 0.0, 0.7, 0.7, -0.4, 1.5, -2.0, 0.2, 0.9];
    let wanted = [2, 0, 3];
    let leaf = logits(&values, [3, 4], &device).require_grad();
    let grads = cross_entropy_sum(leaf.clone(), targets(&wanted, &device)).backward();
    let grad = leaf.grad(&grads).unwrap().try_into_vec_as::<f32>().unwrap();
    let values: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
    let h = 1e-5;
    for (value_idx, &found) in grad.iter().enumerate() {
        let at = |delta: f64| {
            let mut moved = values.clone();
            moved[value_idx] += delta;
            reference(&moved, 4, &wanted)
        };
        let expected = (at(h) - at(-h)) / (2.0 * h);
        // The derivative lies in [-1, 1] and is a difference of f32 numbers of that size: a few roundings.
        assert!((f64::from(found) - expected).abs() < 8.0 * f64::from(f32::EPSILON), "{value_idx}: {found}, {expected}");
    }
}

/// Collects `(largest magnitude, values)` of every gradient, in the order of the modules.
struct Collect {
    gradients: GradientsParams,
    found: Vec<Option<Vec<f32>>>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let grad = self.gradients.remove::<D>(param.id);
        self.found.push(grad.map(|grad| grad.try_into_vec_as::<f32>().unwrap()));
    }
}

fn collect(model: &Model, gradients: GradientsParams) -> Vec<Option<Vec<f32>>> {
    let mut collect = Collect { gradients, found: Vec::new() };
    model.visit(&mut collect);
    collect.found
}

#[test]
fn chunked_gradients_equal_those_of_the_whole_expression() {
    let device = Device::flex().autodiff();
    let config = Config::from_json(&toy_config(40)).unwrap();
    let model = Model::load(&config, &mut RandomWeights::new(&config, 0.2, 1), &device).unwrap();
    let (n_batch, n_tokens) = (2, 8);
    let ids: Vec<i32> = (0..n_batch * n_tokens).map(|n| (n * 7 % 40) as i32).collect();
    let wanted = targets(&ids.iter().map(|id| (id * 3 + 1) % 40).collect::<Vec<_>>(), &device);
    let forward = || {
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [n_batch, n_tokens]), &device);
        model.forward_train(ids, IndexerTraining::DenseWarmup)
    };
    let whole = {
        let TrainForward { hidden, indexer_kl, .. } = forward();
        let logits = model.logits(hidden).reshape([n_batch * n_tokens, 40]);
        let loss = cross_entropy_sum(logits, wanted.clone()).div_scalar((n_batch * n_tokens) as f64);
        let grads = loss.add(indexer_kl.unwrap().mul_scalar(0.5)).backward();
        collect(&model, GradientsParams::from_grads(grads, &model))
    };
    let mut losses = Vec::new();
    for (chunk_rows, loss_scale) in [(3, 1.0), (1000, 1.0), (1000, 4096.0)] {
        let mut gradients = GradientsAccumulator::new();
        let options = LossOptions { scale: 1.0, indexer_scale: 1.0, indexer_kl_weight: 0.5, chunk_rows, loss_scale };
        let targets = Targets { token_ids: wanted.clone(), places: None };
        let loss = accumulate_gradients(&model, forward(), &targets, &options, &mut gradients);
        losses.push(loss.cross_entropy.unwrap().into_scalar::<f32>());
        let chunked = collect(&model, gradients.grads());
        assert_eq!(chunked.len(), whole.len());
        for (tensor_idx, (chunked, whole)) in chunked.iter().zip(&whole).enumerate() {
            let (chunked, whole) = (chunked.as_ref().unwrap(), whole.as_ref().unwrap());
            let largest = whole.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            assert!(largest > 0.0, "tensor {tensor_idx} has no gradient");
            // Two orders of a sum of n terms differ by at most n roundings of its largest partial sum; n = rows · width.
            let bound = (n_batch * n_tokens * config.hidden_size) as f32 * f32::EPSILON * largest;
            for (a, b) in chunked.iter().zip(whole) {
                let a = a / loss_scale as f32;
                assert!((a - b).abs() <= bound, "tensor {tensor_idx}, chunks of {chunk_rows}: {a}, {b}");
            }
        }
    }
    assert_eq!(losses[1], losses[2], "the factor is not part of the loss");
}

#[test]
fn places_that_do_not_count_change_nothing() {
    let device = Device::flex().autodiff();
    let config = Config::from_json(&toy_config(40)).unwrap();
    let model = Model::load(&config, &mut RandomWeights::new(&config, 0.2, 1), &device).unwrap();
    let ids: Vec<i32> = (0..16).map(|n| n * 7 % 40).collect();
    let run = |wanted: &[i32], places: Option<&[i32]>| {
        let input = Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), [2, 8]), &device);
        let places = places.map(|places| targets(places, &device.clone().inner()));
        let targets = Targets { token_ids: targets(wanted, &device), places };
        let mut gradients = GradientsAccumulator::new();
        let options = LossOptions { scale: 1.0, indexer_scale: 1.0, indexer_kl_weight: 0.0, chunk_rows: 3, loss_scale: 1.0 };
        let forward = model.forward_train(input, IndexerTraining::Off);
        let loss = accumulate_gradients(&model, forward, &targets, &options, &mut gradients);
        (loss.cross_entropy.unwrap().into_scalar::<f32>(), collect(&model, gradients.grads()))
    };
    let wanted: Vec<i32> = (0..16).map(|n| n * 3 % 40).collect();
    let all: Vec<i32> = (0..16).collect();
    let (whole, of_whole) = run(&wanted, None);
    let (listed, of_listed) = run(&wanted, Some(&all));
    assert_eq!(whole, listed);
    assert_eq!(of_whole, of_listed);
    // The mean over half of the places: those of the first sequence alone.
    let (half, of_half) = run(&wanted[..8], Some(&all[..8]));
    let alone = {
        let logits = model.logits(
            model
                .forward_train(
                    Tensor::<2, Int>::from_data(TensorData::new(ids[..8].to_vec(), [1, 8]), &device),
                    IndexerTraining::Off,
                )
                .hidden,
        );
        let loss = cross_entropy_sum(logits.reshape([8, 40]), targets(&wanted[..8], &device)).div_scalar(8.0);
        (loss.clone().into_scalar::<f32>(), collect(&model, GradientsParams::from_grads(loss.backward(), &model)))
    };
    assert!((half - alone.0).abs() < 8.0 * f32::EPSILON * half, "{half}, {}", alone.0);
    for (found, expected) in of_half.iter().zip(&alone.1) {
        let (Some(found), Some(expected)) = (found, expected) else { continue };
        let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 256.0 * f32::EPSILON * largest, "{found}, {expected}");
        }
    }
}

#[test]
fn the_warm_up_moves_the_indexer_alone() {
    let device = Device::flex().autodiff();
    let config = Config::from_json(&toy_config(40)).unwrap();
    let model = Model::load(&config, &mut RandomWeights::new(&config, 0.2, 1), &device).unwrap();
    let ids = || Tensor::<2, Int>::from_data(TensorData::new((0..16).collect::<Vec<i32>>(), [2, 8]), &device);
    let options = LossOptions { scale: 1.0, indexer_scale: 1.0, indexer_kl_weight: 0.5, chunk_rows: 8, loss_scale: 1.0 };
    let run = |model: &Model| {
        let mut gradients = GradientsAccumulator::new();
        let forward = model.forward_train(ids(), IndexerTraining::DenseWarmup);
        let loss = accumulate_indexer_gradients(model, forward, &options, &mut gradients);
        assert!(loss.cross_entropy.is_none() && loss.indexer_kl.is_some());
        collect(model, gradients.grads())
    };
    let free = run(&model);
    let frozen_model = model.clone().with_frozen_trunk();
    let frozen = run(&frozen_model);
    let names: Vec<bool> = {
        struct Trainable(Vec<bool>);
        impl ModuleVisitor for Trainable {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.push(param.val().is_require_grad());
            }
        }
        let mut trainable = Trainable(Vec::new());
        frozen_model.visit(&mut trainable);
        trainable.0
    };
    // Five tensors in each of two indexers.
    assert_eq!(names.iter().filter(|is_trainable| **is_trainable).count(), 10);
    for ((free, frozen), is_indexer) in free.iter().zip(&frozen).zip(names) {
        assert_eq!(free, frozen, "freezing changes no gradient of the indexer");
        assert_eq!(frozen.is_some(), is_indexer);
    }
}
