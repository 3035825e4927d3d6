//! Functions made of launches against the stock operations that they stand for.

use std::sync::Arc;

use burn::module::{Module as _, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{DType, Device, Distribution, Int, Tensor, TensorData};
use serde_json::json;
use sferic_engine::ResolvedDevice;
use sferic_model::{Config, IndexerTraining, Model};
use sferic_ops::kernels::{self, Array, Forward, Function, Kernel, apply};
use sferic_ops::{
    linear::{linear, silu_mul},
    norm::rms_norm,
    train,
};
use sferic_shaders::kernel::{Capabilities, Elem, Features, WeightFormat};
use sferic_shaders::linear::gemm::{Gemm, Params, Tile};
use sferic_testkit::device::resolved_gpu;
use sferic_train::init::RandomWeights;
use sferic_train::loss::{LossOptions, Targets, accumulate_gradients};

use crate::indexer_loss::{largest_errors, terms};

/// A product in f32 whose backward pass mixes launches and stock operations.
#[derive(Debug)]
struct Product {
    forward: Kernel,
    to_x: Kernel,
    sizes: [usize; 3],
}

impl Product {
    fn new([t, o, i]: [usize; 3], device: &Capabilities) -> Self {
        let launch = |o: usize, i: usize| {
            let spec = Gemm { weight: WeightFormat::F32, x: Elem::F32, y: Elem::F32, accumulate: false, tile: Tile::FMA_32 };
            let [t, o, i] = [t, o, i].map(|n| n as u32);
            let params = Params { t, o, i, x_stride: i, y_stride: o, ..Params::default() };
            Kernel::new(spec.launch(params, 1, device).unwrap())
        };
        Self { forward: launch(o, i), to_x: launch(i, o), sizes: [t, o, i] }
    }
}

impl Function for Product {
    fn forward(&self, inputs: &[Array]) -> Forward {
        let [t, o, _] = self.sizes;
        let [x, weight] = inputs else { panic!("{} inputs", inputs.len()) };
        let y = x.empty_like([t, o], DType::F32);
        self.forward.run(&[x, weight, &y]);
        Forward { output: y, saved: vec![x.clone(), weight.clone()] }
    }

    fn backward(&self, saved: &[Array], grad: Array, wanted: &[bool]) -> Vec<Option<Array>> {
        let [t, _, i] = self.sizes;
        let [x, weight] = saved else { panic!("{} saved", saved.len()) };
        let to_x = wanted[0].then(|| {
            let transposed = Array::from_float(weight.clone().into_tensor::<2>().transpose()).unwrap();
            let dx = grad.empty_like([t, i], DType::F32);
            self.to_x.run(&[&grad, &transposed, &dx]);
            dx
        });
        let to_weight = wanted[1].then(|| {
            let grad = grad.clone().into_tensor::<2>();
            Array::from_float(grad.transpose().matmul(x.clone().into_tensor::<2>())).unwrap()
        });
        vec![to_x, to_weight]
    }
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

pub fn assert_close(found: &[f32], expected: &[f32], bound: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (idx, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= bound, "{what}[{idx}] is {f}, expected {e}");
    }
}

#[test]
fn a_function_of_launches_has_the_gradients_of_the_stock_form() {
    let Some(gpu) = resolved_gpu() else { return };
    let sizes @ [t, o, i] = [37, 24, 40];
    let device = gpu.burn_device().autodiff();
    let function = Arc::new(Product::new(sizes, &gpu.capabilities().unwrap()));
    let x = random([t, i], &device).require_grad();
    let weight = random([o, i], &device).require_grad();
    let up = random([t, o], &device);

    let y = apply::<2>([x.clone().into(), weight.clone().into()], function).unwrap().output;
    // The same input twice on the graph, and operations of both kinds around the function.
    let objective = y.clone().mul(up.clone()).sum().add(x.clone().square().sum());
    let grads = objective.backward();

    let stock = x.clone().matmul(weight.clone().transpose());
    let stock_objective = stock.clone().mul(up).sum().add(x.clone().square().sum());
    let stock_grads = stock_objective.backward();
    let bound = 1e-4;
    assert_close(&values(y), &values(stock), bound, "y");
    assert_close(&values(x.grad(&grads).unwrap()), &values(x.grad(&stock_grads).unwrap()), bound, "dx");
    let [found, expected] = [&grads, &stock_grads].map(|grads| values(weight.grad(grads).unwrap()));
    assert_close(&found, &expected, bound, "dW");
}

#[test]
fn a_function_takes_constants_and_values_off_the_graph() {
    let Some(gpu) = resolved_gpu() else { return };
    let sizes @ [t, o, i] = [5, 8, 16];
    let plain = gpu.burn_device();
    let function: Arc<dyn Function> = Arc::new(Product::new(sizes, &gpu.capabilities().unwrap()));
    // Transposed on purpose: a launch reads rows.
    let (x, weight) = (random([i, t], &plain).transpose(), random([o, i], &plain));
    let expected = values(x.clone().matmul(weight.clone().transpose()));
    let off = apply::<2>([x.clone().into(), weight.clone().into()], function.clone()).unwrap();
    assert_close(&values(off.output), &expected, 1e-4, "y off the graph");
    assert_eq!(off.saved.len(), 2);

    let tracked = Tensor::<2>::from_inner(x).require_grad();
    let y = apply::<2>([tracked.clone().into(), weight.clone().into()], function).unwrap().output;
    assert_close(&values(y.clone()), &expected, 1e-4, "y");
    let grads = y.sum().backward();
    let dx = values(weight.sum_dim(0).repeat_dim(0, t));
    assert_close(&values(tracked.grad(&grads).unwrap()), &dx, 1e-4, "dx");
}

#[test]
fn functions_refuse_other_backends() {
    let device = Device::flex();
    let function: Arc<dyn Function> = Arc::new(Product::new([5, 8, 16], &Capabilities::base()));
    let (x, weight) = (random([5, 16], &device), random([8, 16], &device));
    assert!(apply::<2>([x.clone().into(), weight.into()], function).is_none());
    assert!(Array::from_float(x).is_none());
}

#[test]
fn kernels_are_for_training_on_the_devices_that_they_are_enabled_for() {
    let Some(gpu) = resolved_gpu() else { return };
    let device = gpu.burn_device();
    let enabled = kernels::enable(&device, Capabilities::base());
    assert_eq!(kernels::capabilities(&device), None);
    assert_eq!(kernels::capabilities(&device.clone().autodiff()), Some(Capabilities::base()));
    assert_eq!(kernels::capabilities(&Device::flex().autodiff()), None);
    let elsewhere = device.clone().autodiff();
    assert_eq!(std::thread::spawn(move || kernels::capabilities(&elsewhere)).join().unwrap(), None);
    drop(enabled);
    assert_eq!(kernels::capabilities(&device.autodiff()), None);
}

/// The tiers of the adapter whose kernels differ, each with its name.
pub fn tiers(gpu: &ResolvedDevice) -> Vec<(&'static str, Capabilities)> {
    let offered = gpu.capabilities().unwrap();
    let tiers = Features::TIERS.into_iter().filter(|(_, features)| offered.features.missing(*features).is_none());
    tiers.map(|(name, features)| (name, offered.limited_to(features))).collect()
}

/// How far two sums of `n_terms` products of normal numbers may be apart: additions of partial sums of about the root of their number, each off by
/// half a unit in its last place, in both; with cooperative matrices the rounding of operands to f16, at six standard deviations.
fn bound(device: &Capabilities, n_terms: usize) -> f32 {
    let n = n_terms as f32;
    let operands = if device.features.coopmat { 6.0 * 2.0_f32.powi(-11) * n.sqrt() } else { 0.0 };
    operands + 2.0 * 2.0_f32.powi(-23) * (n + 16.0)
}

#[test]
fn linear_has_the_values_and_gradients_of_the_stock_form() {
    let Some(gpu) = resolved_gpu() else { return };
    let device = gpu.burn_device().autodiff();
    // Less than a tile; ragged tiles; more than one part of the sum over tokens; a batch of one.
    for [b, t, o, i] in [[2, 5, 8, 16], [3, 43, 72, 136], [2, 300, 64, 40], [1, 33, 24, 8]] {
        let x = random([b, t, i], &device).require_grad();
        let weight = random([o, i], &device).require_grad();
        let up = random([b, t, o], &device);
        let run = || {
            let y = linear(x.clone(), weight.clone());
            let grads = y.clone().mul(up.clone()).sum().backward();
            [values(y), values(x.grad(&grads).unwrap()), values(weight.grad(&grads).unwrap())]
        };
        let expected = run();
        for (tier, capabilities) in tiers(&gpu) {
            let _enabled = kernels::enable(&device, capabilities);
            let found = run();
            assert_eq!(found, run(), "{tier}: the same inputs give the same bits");
            for (n_terms, name, (found, expected)) in [(i, "y"), (o, "dx"), (b * t, "dW")]
                .into_iter()
                .zip(found.iter().zip(&expected))
                .map(|((n, name), both)| (n, name, both))
            {
                assert_close(found, expected, bound(&capabilities, n_terms), &format!("{tier} {b}x{t}x{o}x{i} {name}"));
            }
        }
    }
}

#[test]
fn products_of_many_matrices_have_the_values_of_the_stock_form() {
    let Some(gpu) = resolved_gpu() else { return };
    let device = gpu.burn_device();
    for [z, t, o, i] in [[1, 5, 8, 16], [3, 72, 136, 40], [2, 144, 144, 512], [4, 256, 512, 256]] {
        let (x, weight) = (random([z, t, i], &device), random([z, o, i], &device));
        assert!(train::products(&x, &weight).is_none(), "kernels are not enabled");
        let expected = values(x.clone().matmul(weight.clone().swap_dims(1, 2)));
        for (tier, capabilities) in tiers(&gpu) {
            let _enabled = kernels::enable(&device, capabilities);
            // A view that is not contiguous has the same values.
            let turned = weight.clone().swap_dims(1, 2).add_scalar(0.0).swap_dims(1, 2);
            for weight in [weight.clone(), turned] {
                let found = values(train::products(&x, &weight).unwrap());
                assert_close(&found, &expected, bound(&capabilities, i), &format!("{tier} {z}x{t}x{o}x{i}"));
            }
        }
    }
}

#[test]
fn linear_keeps_to_the_stock_form_where_kernels_do_not_fit() {
    let Some(gpu) = resolved_gpu() else { return };
    let device = gpu.burn_device().autodiff();
    let _enabled = kernels::enable(&device, Capabilities::base());
    let fits = |o, i| train::linear(&random([1, 4, i], &device), &random([o, i], &device)).is_some();
    assert!(fits(8, 16));
    assert!(!fits(12, 16), "gradients of x are products over 12 columns");
    assert!(!fits(8, 12), "products over 12 columns");
    let plain = gpu.burn_device();
    assert!(train::linear(&random([1, 4, 16], &plain), &random([8, 16], &plain)).is_none(), "no autodiff");
}

/// Runs `run` with stock operations and with the kernels of every tier, twice each, and compares what it returns.
fn compare_tiers(gpu: &ResolvedDevice, n_terms: usize, what: &str, run: impl Fn() -> Vec<Vec<f32>>) {
    let device = gpu.burn_device();
    let expected = run();
    for (tier, capabilities) in tiers(gpu) {
        let _enabled = kernels::enable(&device, capabilities);
        let found = run();
        assert_eq!(found, run(), "{tier} {what}: the same inputs give the same bits");
        for (idx, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_close(found, expected, bound(&capabilities, n_terms), &format!("{tier} {what} {idx}"));
        }
    }
}

#[test]
fn norms_and_activations_have_the_values_and_gradients_of_the_stock_form() {
    let Some(gpu) = resolved_gpu() else { return };
    let device = gpu.burn_device().autodiff();
    for [b, t, d] in [[1, 1, 4], [3, 43, 20], [2, 70, 300]] {
        let [x, other, up] = [0, 1, 2].map(|_| random([b, t, d], &device).require_grad());
        let weight = random([d], &device).require_grad();
        compare_tiers(&gpu, b * t + d, &format!("rms_norm {b}x{t}x{d}"), || {
            let y = rms_norm(x.clone(), weight.clone(), 1e-5);
            let grads = y.clone().mul(up.clone().detach()).sum().backward();
            vec![values(y), values(x.grad(&grads).unwrap()), values(weight.grad(&grads).unwrap())]
        });
        compare_tiers(&gpu, 16, &format!("silu_mul {b}x{t}x{d}"), || {
            let h = silu_mul(x.clone(), other.clone());
            let grads = h.clone().mul(up.clone().detach()).sum().backward();
            vec![values(h), values(x.grad(&grads).unwrap()), values(other.grad(&grads).unwrap())]
        });
    }
}

#[test]
fn the_embedding_has_the_gradient_of_the_stock_form() {
    let Some(gpu) = resolved_gpu() else { return };
    let device = gpu.burn_device().autodiff();
    let (vocab, d, t) = (19, 300, 333);
    let weight = random([vocab, d], &device).require_grad();
    let up = random([t, d], &device);
    // Some tokens often, some never.
    let ids: Vec<i32> = (0..t as i32).map(|t| (t * t) % 19).collect();
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [t]), &device);
    compare_tiers(&gpu, t, "embedding", || {
        let rows = train::embedding(&weight, &ids).unwrap_or_else(|| weight.clone().select(0, ids.clone()));
        let grads = rows.clone().mul(up.clone()).sum().backward();
        vec![values(rows), values(weight.grad(&grads).unwrap())]
    });
}

/// Gradients of all parameters in the order of the modules.
#[derive(Default)]
struct Collect {
    gradients: GradientsParams,
    found: Vec<Vec<f32>>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push(values(self.gradients.remove::<D>(param.id).unwrap()));
    }
}

pub const ROPE_THETA: f64 = 10_000.0;

/// A model of two layers with indexers that select six tokens.
pub fn small_model(tied: bool, device: &Device) -> Model {
    let config = json!({
        "model_type": "deepseek_v32", "vocab_size": 40, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "first_k_dense_replace": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": 16, "kv_lora_rank": 16,
        "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 16, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 6,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": ROPE_THETA, "tie_word_embeddings": tied,
        "bos_token_id": 0, "eos_token_id": 1
    });
    let config = Config::from_json(&config).unwrap();
    Model::load(&config, &mut RandomWeights::new(&config, 0.2, 1), device).unwrap()
}

/// The share of its size that a value is off by after `n` products in a chain, each off by its own share.
pub fn share_of_chain(n: u8, features: Features) -> f32 {
    f32::from(n) * if features.coopmat { 2.0_f32.powi(-11) } else { 2.0_f32.powi(-20) }
}

/// About as many products follow one another in a model of two layers, there and back.
pub const PRODUCTS_OF_MODEL: u8 = 40;
/// Up to the gradients of the second layer's indexer: seven of the first layer (`q_a`, `q_b`, queries and keys, probabilities and values, `o`, `gate`,
/// `down`), three up to the index (`q_a`, `wq_b`, queries and keys), and two back (with the other side's rows, with the inputs). Nothing goes back
/// through a layer.
const PRODUCTS_OF_INDEXER: u8 = 12;

#[test]
fn a_model_has_the_loss_and_gradients_of_the_stock_form() {
    let Some(gpu) = resolved_gpu() else { return };
    let device = gpu.burn_device().autodiff();
    let [b, t] = [2_usize, 20];
    let ids = |factor: i32| (0..(b * t) as i32).map(|n| (n * factor + 1) % 40).collect::<Vec<_>>();
    let (scale, kl_weight) = (1.0, 0.5);
    let rows: Vec<Vec<u32>> = ids(7).chunks(t).map(|row| row.iter().map(|&id| id as u32).collect()).collect();
    // The head has no part in the indexers' gradients. Their loss is the mean over rows, tokens and layers.
    let oracle = small_model(true, &Device::flex().autodiff());
    let terms = terms(&oracle, &rows);
    let mean = scale * kl_weight / (b * t * 2) as f64;
    for tied in [true, false] {
        let model = small_model(tied, &device);
        let run = |loss_scale: f64, mode: IndexerTraining| {
            let inputs = Tensor::<2, Int>::from_data(TensorData::new(ids(7), [b, t]), &device);
            let targets = Tensor::<1, Int>::from_data(TensorData::new(ids(3), [b * t]), &device);
            let mut gradients = GradientsAccumulator::new();
            let options = LossOptions { scale, indexer_scale: scale, indexer_kl_weight: kl_weight, chunk_rows: 24, loss_scale };
            let forward = model.forward_train(inputs, mode);
            let targets = Targets { token_ids: targets, places: None };
            let loss = accumulate_gradients(&model, forward, &targets, &options, &mut gradients);
            let mut collect = Collect { gradients: gradients.grads(), found: Vec::new() };
            model.visit(&mut collect);
            let scaled = collect.found.into_iter().map(|grad| grad.into_iter().map(|value| value / loss_scale as f32).collect());
            let losses = vec![values(loss.cross_entropy.unwrap()), values(loss.indexer_kl.unwrap())];
            losses.into_iter().chain(scaled).collect::<Vec<Vec<f32>>>()
        };
        let expected = run(1.0, IndexerTraining::DenseWarmup);
        for (tier, capabilities) in tiers(&gpu) {
            let _enabled = kernels::enable(&device, capabilities);
            let found = run(1024.0, IndexerTraining::DenseWarmup);
            let [share, of_index] = [PRODUCTS_OF_MODEL, PRODUCTS_OF_INDEXER].map(|n| share_of_chain(n, capabilities.features));
            let of_indexers = largest_errors(&oracle, &terms, of_index.into());
            for (idx, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let largest = expected.iter().fold(0_f32, |largest, value| largest.max(value.abs()));
                // Behind the two losses come the gradients.
                let of_indexer = idx.checked_sub(2).and_then(|idx| *of_indexers.get(idx)?);
                let bound = of_indexer.map_or(share * largest, |error| (mean * error) as f32);
                assert_close(found, expected, bound, &format!("{tier} tied {tied} {idx}"));
            }
        }
    }
}
