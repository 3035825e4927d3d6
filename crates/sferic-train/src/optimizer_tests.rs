#![allow(clippy::unwrap_used)]

use burn::tensor::Device;
use sferic_model::Config;

use super::*;
use crate::init::RandomWeights;
use crate::test_model::toy_config;

fn train_config() -> StageConfig {
    let text = "steps = 10\nseq_len = 8\nbatch_size = 2\nlr = 0.1\nmin_lr = 0.0\nmax_grad_norm = 2.0\nweight_decay = 0.5";
    toml::from_str(text).unwrap()
}

fn muon_config() -> StageConfig {
    StageConfig { optimizer: Rule::Muon, ..train_config() }
}

fn model() -> Model {
    let config = Config::from_json(&toy_config(40)).unwrap();
    Model::load(&config, &mut RandomWeights::new(&config, 0.2, 1), &Device::flex().autodiff()).unwrap()
}

/// Gives every parameter a gradient made from its own values.
struct Fake<F> {
    gradients: GradientsParams,
    gradient: F,
}

impl<F: Fn(f32) -> f32> ModuleVisitor for Fake<F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().inner();
        let data = value.clone().try_into_vec_as::<f32>().unwrap();
        let data: Vec<f32> = data.into_iter().map(&self.gradient).collect();
        let grad = Tensor::<D>::from_data(TensorData::new(data, value.dims()), &value.device());
        self.gradients.register(param.id, grad);
    }
}

fn gradients(model: &Model, gradient: impl Fn(f32) -> f32) -> GradientsParams {
    let mut fake = Fake { gradients: GradientsParams::new(), gradient };
    model.visit(&mut fake);
    fake.gradients
}

fn values(model: &Model) -> Vec<(String, Vec<f32>)> {
    model.named_tensors().into_iter().map(|(spec, data)| (spec.name, data.iter::<f32>().collect())).collect()
}

#[test]
fn the_first_step_moves_by_the_rate_and_decays_matrices_alone() {
    let before = model();
    let mut optimizer = Optimizer::new(&train_config());
    let n_values: usize = values(&before).iter().map(|(_, values)| values.len()).sum();
    let (after, norm) = optimizer.step(before.clone(), gradients(&before, |_| 3.0), 0.1, 0).unwrap();
    let norm = norm.unwrap().into_scalar::<f32>();
    let expected = 3.0 * (n_values as f32).sqrt();
    assert!((norm / expected - 1.0).abs() < 1e-5, "{norm}, {expected}");
    // Bias correction makes the first update g/|g| = 1 whatever the clipped size.
    for ((name, before), (_, after)) in values(&before).iter().zip(values(&after)) {
        let is_matrix = !name.contains("norm");
        for (&b, a) in before.iter().zip(after) {
            let expected = if is_matrix { b * (1.0 - 0.1 * 0.5) } else { b } - 0.1;
            assert!((a - expected).abs() < 1e-5, "{name}: {a}, {expected}");
        }
    }
}

#[test]
fn clipping_bounds_the_norm_and_leaves_small_gradients_alone() {
    // The first moment after one step is (1 − β1) times the clipped gradient.
    let moment_norm = |scale: f32| {
        let model = model();
        let mut optimizer = Optimizer::new(&train_config());
        let grads = gradients(&model, |value| value * scale);
        let (_, norm) = optimizer.step(model, grads, 0.0, 0).unwrap();
        let squares = optimizer.states.iter().flatten().map(|state| state.momentum.moment_1.clone().square().sum());
        let moment = squares.reduce(Tensor::add).unwrap().sqrt().into_scalar::<f32>() / 0.1;
        (norm.unwrap().into_scalar::<f32>(), moment)
    };
    let (norm, moment) = moment_norm(100.0);
    assert!(norm > 2.0 && (moment / 2.0 - 1.0).abs() < 1e-4, "{norm}, {moment}");
    let (norm, moment) = moment_norm(1e-3);
    assert!(norm < 2.0 && (moment / norm - 1.0).abs() < 1e-4, "{norm}, {moment}");
}

#[test]
fn a_restored_optimizer_continues_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    for config in [train_config(), muon_config()] {
        let mut optimizer = Optimizer::new(&config);
        let mut model = model();
        for _ in 0..3 {
            let grads = gradients(&model, |value| value * value - 0.01);
            model = optimizer.step(model, grads, 0.01, 0).unwrap().0;
        }
        optimizer.save(3, &path).unwrap();
        let mut restored = Optimizer::new(&config);
        restored.load(&model, &path).unwrap();
        let next = |optimizer: &mut Optimizer| {
            let grads = gradients(&model, |value| -value);
            values(&optimizer.step(model.clone(), grads, 0.01, 0).unwrap().0)
        };
        let (going_on, restored, anew) = (next(&mut optimizer), next(&mut restored), next(&mut Optimizer::new(&config)));
        assert_eq!(going_on, restored, "{:?}", config.optimizer);
        // Of every tensor: norms have AdamW's moments, matrices those of their rule.
        for ((name, restored), (_, anew)) in restored.iter().zip(&anew) {
            assert_ne!(restored, anew, "{:?}: {name}", config.optimizer);
        }
    }
}

#[test]
fn muon_updates_the_matrices_between_embedding_and_head() {
    let before = model();
    let mut optimizer = Optimizer::new(&muon_config());
    let (after, _) = optimizer.step(before.clone(), gradients(&before, |_| 3.0), 0.1, 0).unwrap();
    let mut n_muon = 0;
    for ((name, before), (_, after)) in values(&before).iter().zip(values(&after)) {
        let is_matrix = !name.contains("norm");
        let is_muons = is_matrix && !name.contains("embed_tokens") && !name.contains("indexer");
        n_muon += usize::from(is_muons);
        let moved = |(&b, a): (&f32, f32)| (if is_matrix { b * (1.0 - 0.1 * 0.5) } else { b } - a) / 0.1;
        let steps: Vec<f32> = before.iter().zip(after).map(moved).collect();
        // A gradient of one value everywhere has one singular value. AdamW moves each weight by the rate; Muon makes the singular value about 1,
        // which spreads over the matrix: the root of the mean square is 0.2 divided by the root of the shorter side, at least 16 here.
        let size = (steps.iter().map(|step| step * step).sum::<f32>() / steps.len() as f32).sqrt();
        let expected = if is_muons { 0.02..0.07 } else { 0.999..1.001 };
        assert!(expected.contains(&size), "{name}: {size}");
    }
    assert_eq!(n_muon, 2 * 8, "of both layers");
}

#[test]
fn the_state_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    let mut optimizer = Optimizer::new(&train_config());
    let model = model();
    let grads = gradients(&model, |value| value);
    optimizer.step(model, grads, 0.01, 0).unwrap();
    optimizer.save(1, &path).unwrap();
    let config = Config::from_json(&toy_config(48)).unwrap();
    let other = Model::load(&config, &mut RandomWeights::new(&config, 0.2, 1), &Device::flex().autodiff()).unwrap();
    let error = optimizer.load(&other, &path).unwrap_err().to_string();
    assert!(error.contains("decayed.moment_1") && error.contains("optimizer.safetensors"), "{error}");
}

#[test]
fn a_factor_on_gradients_changes_nothing() {
    let model = model();
    let step = |loss_scale: f64| {
        let mut optimizer = Optimizer::new(&train_config()).with_loss_scale(loss_scale);
        let grads = gradients(&model, |value| 1000.0 * value * loss_scale as f32);
        let (after, norm) = optimizer.step(model.clone(), grads, 0.01, 0).unwrap();
        (values(&after), norm.unwrap().into_scalar::<f32>())
    };
    assert_eq!(step(1.0), step(1024.0));
}

#[test]
fn an_overflow_skips_the_step_and_halves_the_factor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    let model = model();
    let mut optimizer = Optimizer::new(&train_config()).with_loss_scale(1024.0);
    let (model, norm) = optimizer.step(model.clone(), gradients(&model, |_| 1.0), 0.01, 0).unwrap();
    assert!(norm.is_some());
    let overflow = |value: f32| if value > 0.3 { f32::INFINITY } else { value };
    let (after, norm) = optimizer.step(model.clone(), gradients(&model, overflow), 0.01, 1).unwrap();
    assert!(norm.is_none());
    assert_eq!(values(&after), values(&model));
    assert_eq!(optimizer.loss_scale(), 512.0);
    // Moments are as they were: the next step is the one that would have followed without the overflow.
    optimizer.save(2, &path).unwrap();
    let mut restored = Optimizer::new(&train_config()).with_loss_scale(1024.0);
    restored.load(&model, &path).unwrap();
    assert_eq!(restored.loss_scale(), 512.0);
    let mut unscaled = Optimizer::new(&train_config());
    unscaled.load(&model, &path).unwrap();
    assert_eq!(unscaled.loss_scale(), 1.0, "a device without f16 needs no factor");
    let next = |optimizer: &mut Optimizer, factor: f32| {
        values(&optimizer.step(model.clone(), gradients(&model, |value| value * factor), 0.01, 2).unwrap().0)
    };
    assert_eq!(next(&mut restored, 512.0), next(&mut unscaled, 1.0));
}
