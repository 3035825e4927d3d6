//! The indexer's loss in whole models: the sizes of what its gradients are made of, and padding.

use std::collections::HashMap;

use burn::module::{Module as _, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use sferic_model::attention::Observation;
use sferic_model::indexer::Indexer;
use sferic_model::layer::DecoderLayer;
use sferic_model::rope::{Rotation, inv_freq};
use sferic_model::{AttentionMode, IndexerTraining, Model, Options, Probe, TrainInput};
use sferic_ops::kernels;
use sferic_shaders::kernel::Features;
use sferic_testkit::device::resolved_gpu;

use crate::training_kernels::{PRODUCTS_OF_MODEL, ROPE_THETA, assert_close, share_of_chain, small_model, tiers, values};

/// One head's part `w · z` of the score of a pair of tokens, with `z = q · k`; it counts where z is above zero.
pub struct Term {
    z: f64,
    /// `Σ |q · k|` over the width of the head: what z is a sum of.
    z_size: f64,
    /// `π` of the pair, the softmax of its scores, and `p`, attention's mean over heads; both dense.
    shares: [f64; 2],
    /// `|∂(w · z)|` for the values of each parameter of the indexer.
    slopes: Vec<(ParamId, Vec<f32>)>,
}

/// The terms of the gradient of the indexers' divergence, which is `Σ (π − p) · [z > 0] · ∂(w · z)` over layers, pairs of tokens and heads, in
/// stock operations.
pub fn terms(model: &Model, rows: &[Vec<u32>]) -> Vec<Term> {
    rows.iter().flat_map(|row| terms_of_row(model, row)).collect()
}

fn terms_of_row(model: &Model, row: &[u32]) -> Vec<Term> {
    let all: Vec<usize> = (0..row.len()).collect();
    let mut observed = Vec::new();
    model.observe(row, &all, &mut |_, found| observed.push(found));
    let mut hidden = Hidden(Vec::new());
    let options = Options { attention: AttentionMode::Dense, ..Options::default() };
    model.prefill(row, &mut model.new_cache(row.len()), &options, &mut hidden);
    let ids: Vec<i32> = row.iter().map(|&id| id as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, row.len()]), &model.device());
    let inputs = std::iter::once(model.embed_tokens.forward(ids)).chain(hidden.0);
    let layers = model.layers.iter().zip(inputs).zip(observed);
    layers.flat_map(|((layer, h), observed)| Inputs::of(layer, h).terms(&observed, row.len())).collect()
}

/// Outputs of layers.
struct Hidden(Vec<Tensor<3>>);

impl Probe for Hidden {
    fn hidden(&mut self, _: usize, hidden: &Tensor<3>) {
        self.0.push(hidden.clone());
    }
}

/// An indexer with what it reads.
struct Inputs<'a> {
    indexer: &'a Indexer,
    x: Tensor<3>,
    qr: Tensor<3>,
    rotation: Rotation,
}

impl<'a> Inputs<'a> {
    fn of(layer: &'a DecoderLayer, h: Tensor<3>) -> Self {
        let attention = &layer.self_attn;
        let x = layer.input_layernorm.forward(h).detach();
        let (q_a, norm) = (attention.q_a_proj.as_ref().unwrap(), attention.q_a_layernorm.as_ref().unwrap());
        let qr = norm.forward(q_a.forward(x.clone())).detach();
        let inv_freq = inv_freq(ROPE_THETA, attention.indexer.as_ref().unwrap().qk_rope_head_dim, None);
        let rotation = Rotation::new(&inv_freq, 0, x.dims()[1], 1.0, &x.device(), x.dtype());
        Self { indexer: attention.indexer.as_ref().unwrap(), x, qr, rotation }
    }

    /// Query of a head, key and weight of a pair of tokens: `[Di]`, `[Di]` and `[1]`.
    fn factors(&self, t: usize, s: usize, head: usize) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
        let options = Options::default();
        let width = self.indexer.index_head_dim;
        let q = self.indexer.queries(self.qr.clone(), &self.rotation, &options).narrow(1, t, 1).narrow(2, head, 1);
        let k = self.indexer.keys(self.x.clone(), &self.rotation, &options).narrow(1, s, 1);
        let w = self.indexer.weights(self.x.clone()).narrow(1, t, 1).narrow(2, head, 1);
        (q.reshape([width]), k.reshape([width]), w.reshape([1]))
    }

    fn terms(&self, observed: &Observation, n_tokens: usize) -> Vec<Term> {
        let [p, scores] = [observed.attention.clone(), observed.scores.clone().unwrap()].map(values);
        let mut found = Vec::new();
        for (t, s) in (0..n_tokens).flat_map(|t| (0..=t).map(move |s| (t, s))) {
            let exponentials = scores[t * n_tokens..][..=t].iter().map(|&score| f64::from(score).exp()).collect::<Vec<_>>();
            let shares = [exponentials[s] / exponentials.iter().sum::<f64>(), p[t * n_tokens + s].into()];
            for head in 0..self.indexer.index_n_heads {
                // A graph is gone after one backward pass, so each term has its own.
                let (q, k, w) = self.factors(t, s, head);
                let products = q.mul(k);
                let of_width = values(products.clone());
                let grads = products.sum().mul(w).backward();
                let mut slopes = Slopes { gradients: GradientsParams::from_grads(grads, self.indexer), found: Vec::new() };
                self.indexer.visit(&mut slopes);
                let z = of_width.iter().copied().map(f64::from).sum();
                let z_size = of_width.iter().map(|product| f64::from(product.abs())).sum();
                found.push(Term { z, z_size, shares, slopes: slopes.found });
            }
        }
        found
    }
}

struct Slopes {
    gradients: GradientsParams,
    found: Vec<(ParamId, Vec<f32>)>,
}

impl ModuleVisitor for Slopes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let slopes = values(self.gradients.remove::<D>(param.id).unwrap()).into_iter().map(f32::abs);
        self.found.push((param.id, slopes.collect()));
    }
}

/// How far the gradient may be off where everything is off by `share` of the sizes of what it is a sum of: for each parameter in the order of the
/// modules the most over its values; nothing where no indexer has it.
///
/// Two things add up. The gradient is a difference: where a score is off by ε, its `π` or `p` is off by the factor `e^ε`, and what is left of
/// `π − p` does not count. So a term is off by shares of `(π + p) · |∂(w · z)|`. And a product z that is a smaller share of its own size than
/// `share` may get the other sign; then the whole term `|π − p| · |∂(w · z)|` comes or goes. An H100 was seen to do this: of 1680 products that of
/// `z = −1.5e-3`, whose terms are of size 7.9 in all, moves the gradient of a value of `wq_b` by 1.2e-4 when it comes to lie above zero, where
/// gradients are up to 5e-3. Rounding to f16 that keeps all signs moves them by 1.3e-5.
pub fn largest_errors(model: &Model, terms: &[Term], share: f64) -> Vec<Option<f64>> {
    let mut errors = Errors::default();
    for Term { z, z_size, shares: [pi, p], slopes } in terms {
        let may_flip = z.abs() <= share * z_size;
        let of_signs = if may_flip { (pi - p).abs() } else { 0.0 };
        let of_sizes = if *z > 0.0 || may_flip { share * (pi + p) } else { 0.0 };
        for (param, slopes) in slopes {
            let sums = errors.sums.entry(*param).or_insert_with(|| vec![0.0; slopes.len()]);
            sums.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += (of_signs + of_sizes) * f64::from(*slope));
        }
    }
    model.visit(&mut errors);
    errors.found
}

#[derive(Default)]
struct Errors {
    sums: HashMap<ParamId, Vec<f64>>,
    found: Vec<Option<f64>>,
}

impl ModuleVisitor for Errors {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push(self.sums.get(&param.id).map(|sums| sums.iter().copied().fold(0.0, f64::max)));
    }
}

/// Loss of the indexers and their gradients for rows of one length, with what `documents` and `lengths` say of them.
fn loss_and_gradients(model: &Model, rows: &[&[i32]], documents: Option<&[i32]>, lengths: Option<Vec<usize>>) -> Vec<Vec<f32>> {
    let shape = [rows.len(), rows[0].len()];
    let ids = |values: &[i32]| Tensor::<2, Int>::from_data(TensorData::new(values.to_vec(), shape), &model.device());
    let input = TrainInput { documents: documents.map(ids), lengths, ..ids(&rows.concat()).into() };
    // Six tokens are selected; with documents attention is dense.
    let loss = model.forward_train(input, IndexerTraining::Sparse).indexer_kl.unwrap();
    // As in training, where gradients have to lie in the range of f16.
    let grads = loss.clone().mul_scalar(1024.0).backward();
    let mut found = vec![values(loss)];
    for layer in &model.layers {
        let indexer = layer.self_attn.indexer.as_ref().unwrap();
        let matrices = [&indexer.wq_b, &indexer.wk, &indexer.weights_proj];
        found.extend(matrices.map(|linear| values(linear.weight.grad(&grads).unwrap())));
        found.extend([&indexer.k_norm.weight, &indexer.k_norm.bias].map(|param| values(param.grad(&grads).unwrap())));
    }
    found
}

fn assert_padding_changes_nothing(device: &Device, features: Features, what: &str) {
    let model = small_model(true, device);
    let row: Vec<i32> = (0..20).map(|n| n * 7 % 40).collect();
    let starts: Vec<i32> = (0..20).map(|n| if n < 13 { 0 } else { 13 }).collect();
    // Rows of 64, so that whole tiles are padding; the second row is nothing but padding.
    let (padded, padding) = ([row.clone(), vec![2; 44]].concat(), vec![2; 64]);
    let padded_starts = [starts.clone(), vec![20; 44], vec![0; 64]].concat();
    for (starts, padded_starts) in [(None, None), (Some(&starts[..]), Some(&padded_starts[..]))] {
        let what = format!("{what}, documents {}", starts.is_some());
        let expected = loss_and_gradients(&model, &[&row], starts, None);
        assert!(expected.iter().all(|values| values.iter().any(|value| *value != 0.0)), "{what}: nothing to compare");
        let found = loss_and_gradients(&model, &[&padded, &padding], padded_starts, Some(vec![20, 0]));
        for (idx, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let largest = expected.iter().fold(0_f32, |largest, value| largest.max(value.abs()));
            assert_close(found, expected, share_of_chain(PRODUCTS_OF_MODEL, features) * largest, &format!("{what} {idx}"));
        }
        // All of it would be different if padding counted.
        let counted = loss_and_gradients(&model, &[&padded, &padding], padded_starts, None);
        assert!((counted[0][0] - expected[0][0]).abs() > 0.1 * expected[0][0], "{what}: {} {}", counted[0][0], expected[0][0]);
        let nothing = loss_and_gradients(&model, &[&padding], None, Some(vec![0]));
        assert!(nothing.iter().flatten().all(|value| *value == 0.0), "{what}: {nothing:?}");
    }
}

#[test]
fn padding_is_no_query_of_the_indexers_loss() {
    assert_padding_changes_nothing(&Device::flex().autodiff(), Features::BASE, "stock, CPU");
    let Some(gpu) = resolved_gpu() else { return };
    let device = gpu.burn_device().autodiff();
    assert_padding_changes_nothing(&device, Features::BASE, "stock");
    for (tier, capabilities) in tiers(&gpu) {
        let _enabled = kernels::enable(&gpu.burn_device(), capabilities);
        assert_padding_changes_nothing(&device, capabilities.features, tier);
    }
}
