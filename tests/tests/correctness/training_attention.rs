//! Attention of training and the indexer's loss on kernels, against the stock operations that they stand for.

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use sferic_model::{IndexerTraining, Model, TensorSource, TensorSpec};
use sferic_ops::{
    attention::mha,
    indexer::{index_scores, indexer_kl},
    kernels,
    select::{Selection, causal_mask},
    train::{self, Visible},
};
use sferic_shaders::kernel::{Capabilities, Features};
use sferic_testkit::{
    device::resolved_gpu,
    tolerance::{Tol, assert_agree, values},
};

use crate::{
    float64_layer::assert_kl_gradients,
    tiny::{self, KL_DENSE, KL_SPARSE, TOKENS, config},
};

/// `[B, T, H, Dn + Dr, Dv]` and `[Hi, Di]`: widths that must be padded, and widths that need not be.
const SHAPES: [([usize; 5], [usize; 2]); 2] = [([2, 37, 2, 12, 8], [3, 8]), ([1, 70, 3, 32, 16], [4, 16])];

/// The adapter in tiers from none of its features to all.
fn tiers() -> Option<(Device, Vec<Capabilities>)> {
    let gpu = resolved_gpu()?;
    let all = gpu.capabilities().unwrap();
    let offered = Features::TIERS.into_iter().filter(|(_, features)| all.features.missing(*features).is_none());
    Some((gpu.burn_device(), offered.map(|(_, features)| all.limited_to(features)).collect()))
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::<D>::random(shape, Distribution::Normal(0.0, 1.0), device).require_grad()
}

#[track_caller]
fn assert_close<const D: usize>(found: Tensor<D>, expected: Tensor<D>, device: &Capabilities, what: &str) {
    // Products of f16 factors; in f32, sums in another order.
    let bound = if device.features.coopmat { 2e-2 } else { 2e-5 };
    let [found, expected] = [found, expected].map(|tensor| tensor.into_data().try_to_vec::<f32>().unwrap());
    assert_eq!(found.len(), expected.len(), "{what}");
    for (idx, (f, e)) in found.iter().zip(&expected).enumerate() {
        assert!((f - e).abs() <= bound * (1.0 + e.abs()), "{what}[{idx}] is {f}, expected {e}");
    }
}

/// Every second token before each, and itself.
fn alternate(n_batch: usize, n_tokens: usize, device: &Device) -> Selection {
    let token = |t: usize, slot: usize| if 2 * slot <= t { (t % 2 + 2 * slot) as i32 } else { -1 };
    let width = n_tokens.div_ceil(2);
    let rows = (0..n_batch * n_tokens).flat_map(|row| (0..width).map(move |slot| token(row % n_tokens, slot)));
    let data = TensorData::new(rows.collect::<Vec<_>>(), [n_batch, n_tokens, width]);
    Selection { indices: Tensor::from_data(data, device) }
}

/// The same as bits.
fn alternate_bits(n_batch: usize, n_tokens: usize, device: &Device) -> Tensor<3, Int> {
    let words = n_tokens.div_ceil(32);
    let bits = |t: usize, word: usize| {
        let tokens = (32 * word..32 * word + 32).filter(|s| *s <= t && s % 2 == t % 2);
        tokens.fold(0_u32, |bits, s| bits | 1 << (s % 32)) as i32
    };
    let rows = (0..n_batch * n_tokens).flat_map(|row| (0..words).map(move |word| bits(row % n_tokens, word)));
    Tensor::from_data(TensorData::new(rows.collect::<Vec<_>>(), [n_batch, n_tokens, words]), device)
}

#[test]
fn streamed_attention_and_the_indexers_loss_have_the_gradients_of_the_stock_form() {
    let Some((plain, tiers)) = tiers() else { return };
    let device = plain.clone().autodiff();
    for capabilities in tiers {
        for ([b, t, h, qk, v], [hi, di]) in SHAPES {
            for sparse in [false, true] {
                let _enabled = kernels::enable(&plain, capabilities);
                let what = format!("{} T={t} sparse={sparse}", capabilities.features);
                let [q, k] = [(); 2].map(|()| random([b, t, h, qk], &device));
                let [values, up] = [(); 2].map(|()| random([b, t, h, v], &device));
                let (qi, ki, w) = (random([b, t, hi, di], &device), random([b, t, di], &device), random([b, t, hi], &device));
                let visible = if sparse { Visible::Selected(alternate_bits(b, t, &plain)) } else { Visible::Causal };
                let attended = train::attention(&q, &k, &values, &visible, 0.3).unwrap();
                let loss = attended.indexer_kl(qi.clone(), ki.clone(), w.clone(), None).unwrap();
                let found = attended.output.clone().mul(up.clone()).sum().add(loss.clone().mul_scalar(5.0)).backward();

                let mask =
                    if sparse { alternate(b, t, &device).to_mask(t) } else { causal_mask(t, t, 0, &device).unsqueeze_dim(0) };
                let (output, probabilities) = mha(q.clone(), k.clone(), values.clone(), mask.clone(), 0.3);
                let stock_loss = indexer_kl(index_scores(qi.clone(), ki.clone(), w.clone()), probabilities, mask, None);
                let expected = output.clone().mul(up).sum().add(stock_loss.clone().mul_scalar(5.0)).backward();

                assert_close(attended.output, output, &capabilities, &format!("{what}: o"));
                assert_close(loss, stock_loss, &capabilities, &format!("{what}: loss"));
                for (name, tensor) in [("dq", q), ("dk", k), ("dv", values), ("dqi", qi)] {
                    let [found, expected] = [&found, &expected].map(|grads| tensor.grad(grads).unwrap());
                    assert_close(found, expected, &capabilities, &format!("{what}: {name}"));
                }
                for (name, tensor) in [("dki", ki), ("dw", w)] {
                    let [found, expected] = [&found, &expected].map(|grads| tensor.grad(grads).unwrap());
                    assert_close(found, expected, &capabilities, &format!("{what}: {name}"));
                }
            }
        }
    }
}

#[test]
fn documents_do_not_see_one_another() {
    let Some((plain, tiers)) = tiers() else { return };
    let device = plain.clone().autodiff();
    let (b, t, first) = (2, 50, 17);
    for capabilities in tiers {
        let _enabled = kernels::enable(&plain, capabilities);
        let [q, k, v] = [(); 3].map(|()| random([b, t, 2, 16], &device));
        let starts: Vec<i32> = (0..b * t).map(|row| if row % t < first { 0 } else { first as i32 }).collect();
        let starts = Tensor::from_data(TensorData::new(starts, [b, t]), &plain);
        let both = train::attention(&q, &k, &v, &Visible::Documents(starts), 0.25).unwrap().output;
        for range in [0..first, first..t] {
            let part = |tensor: &Tensor<4>| tensor.clone().slice_dim(1, range.clone());
            let alone = train::attention(&part(&q), &part(&k), &part(&v), &Visible::Causal, 0.25).unwrap().output;
            assert_close(part(&both), alone, &capabilities, "o of a document");
        }
    }
}

#[test]
fn selection_on_the_device_is_selection_on_the_host() {
    let Some((plain, tiers)) = tiers() else { return };
    let device = plain.clone().autodiff();
    let (b, t, k) = (2, 150, 20);
    for capabilities in tiers {
        let _enabled = kernels::enable(&plain, capabilities);
        // Whole numbers, so that every tier sees the same scores, ties among them.
        let whole = |tensor: Tensor<4>| tensor.round();
        let q = whole(Tensor::random([b, t, 4, 32], Distribution::Uniform(-2.0, 2.0), &device));
        let keys = whole(Tensor::random([b, t, 1, 32], Distribution::Uniform(-2.0, 2.0), &device)).reshape([b, t, 32]);
        let weights = whole(Tensor::random([b, t, 4, 1], Distribution::Uniform(-2.0, 2.0), &device)).reshape([b, t, 4]);
        let Some(Visible::Selected(found)) = train::select(&q, &keys, &weights, k) else {
            panic!("no selection on the device");
        };
        let mask = Selection::top_k(index_scores(q, keys, weights), 0, k).to_mask(t);
        let expected: Vec<bool> = mask.into_data().iter::<bool>().collect();
        let words: Vec<i32> = found.into_data().try_to_vec().unwrap();
        let per_row = t.div_ceil(32);
        for (idx, expected) in expected.iter().enumerate() {
            let (row, s) = (idx / t, idx % t);
            let bit = words[row * per_row + s / 32] >> (s % 32) & 1 == 1;
            assert_eq!(bit, *expected, "{}: row {row}, token {s}", capabilities.features);
        }
    }
}

/// The layer of the specification in f32.
struct Single;

impl TensorSource for Single {
    type Error = std::convert::Infallible;

    fn tensor(&mut self, spec: &TensorSpec) -> Result<TensorData, Self::Error> {
        tiny::Source.tensor(spec).map(|data| data.convert::<f32>())
    }
}

#[test]
fn the_layer_of_the_specification_has_its_losses_and_gradients_on_kernels() {
    let Some((plain, tiers)) = tiers() else { return };
    let device = plain.clone().autodiff();
    let Ok(model) = Model::load(&config(), &mut Single, &device);
    for capabilities in tiers {
        let _enabled = kernels::enable(&plain, capabilities);
        // Sizes that kernels refused would be right for another reason.
        let (q, k, weights) = (random([1, 6, 4, 8], &device), random([1, 6, 8], &device), random([1, 6, 4], &device));
        assert!(train::select(&q, &k, &weights, 3).is_some(), "{}", capabilities.features);
        // Sums of about 30 terms in f32, ten in a row, of values of order 1; with matrices, factors of 11 bits.
        let bound = if capabilities.features.coopmat { 5e-3 } else { 2e-6 };
        let tol = Tol { abs: bound, rel: 0.0 };
        for (stage, expected) in [(IndexerTraining::DenseWarmup, KL_DENSE), (IndexerTraining::Sparse, KL_SPARSE)] {
            let ids = Tensor::from_data(TensorData::new(TOKENS.map(|id| id as i32).to_vec(), [1, TOKENS.len()]), &device);
            let kl = model.forward_train(ids, stage).indexer_kl.unwrap();
            assert_agree(&format!("KL, {stage:?}, {}", capabilities.features), &values(kl), &[expected], tol);
        }
        assert_kl_gradients(&model, &device, tol);
    }
}
