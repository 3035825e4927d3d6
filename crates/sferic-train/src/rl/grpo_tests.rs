#![allow(clippy::unwrap_used)]

use burn::tensor::Device;

use super::*;

fn matrix(values: &[f32], n_columns: usize, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / n_columns, n_columns]), device)
}

fn vector(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn logs(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

/// One reply for each probability, of one token each.
fn replies(old: &[f32], reference: Option<&[f32]>, advantages: &[f32], device: &Device) -> Replies {
    Replies {
        valid: matrix(&vec![1.0; old.len()], 1, device),
        old: matrix(&logs(old), 1, device),
        reference: reference.map(|reference| matrix(&logs(reference), 1, device)),
        advantages: vector(advantages, device),
        kl_weights: vector(&vec![1.0; advantages.len()], device),
    }
}

const PLAIN: Objective = Objective { clip: [0.2, 0.2], unbiased_kl: false, off_policy_threshold: None };

fn value(tensor: Tensor<1>) -> f64 {
    f64::from(tensor.into_scalar::<f32>())
}

#[test]
fn advantages_are_centred_in_each_group() {
    assert_eq!(advantages(&[1.0, 0.0, 0.0, 0.0, 2.0, 4.0, 2.0, 4.0], 4), [0.75, -0.25, -0.25, -0.25, -1.0, 1.0, -1.0, 1.0]);
}

/// The numbers of spec §11.1.
#[test]
fn the_divergence_estimate_has_the_golden_values() {
    let device = Device::flex();
    let unbiased = Objective { unbiased_kl: true, ..PLAIN };
    for (current, old, reference, expected) in [(0.2, 0.25, 0.3, 0.075_627_913_5), (0.01, 0.25, 0.3, 1.023_952_104_7)] {
        let replies = replies(&[old], Some(&[reference]), &[0.0], &device);
        let outcome = unbiased.loss(matrix(&logs(&[current]), 1, &device), &replies);
        assert!((value(outcome.kl) - expected).abs() < 3e-7, "{current}");
        assert!((value(outcome.loss) - expected).abs() < 3e-7, "without advantage the loss is the divergence");
    }
}

/// Over all replies that the old policy draws, the mean gradient of the estimate is that of KL(π_θ ‖ π_ref); without the ratio it is not.
#[test]
fn only_the_weighted_estimate_has_the_gradient_of_the_divergence() {
    let device = Device::flex().autodiff();
    let (logits, old, reference) = ([0.3f32, -1.0, 0.8], [0.5f32, 0.3, 0.2], [0.2f32, 0.2, 0.6]);
    let exact = {
        let leaf = matrix(&logits, 3, &device).require_grad();
        let current = activation::log_softmax(leaf.clone(), 1);
        let kl = current.clone().exp().mul(current.sub(matrix(&logs(&reference), 3, &device))).sum();
        leaf.grad(&kl.backward()).unwrap().try_into_vec_as::<f32>().unwrap()
    };
    let estimate = |unbiased_kl: bool| {
        let leaf = matrix(&logits, 3, &device).require_grad();
        let current = activation::log_softmax(leaf.clone(), 1).reshape([3, 1]);
        let objective = Objective { unbiased_kl, ..PLAIN };
        let mut total = Tensor::<1>::zeros([1], &device);
        for (token, &weight) in old.iter().enumerate() {
            let one = replies(&[old[token]], Some(&[reference[token]]), &[0.0], &device);
            let outcome = objective.loss(current.clone().narrow(0, token, 1), &one);
            total = total.add(outcome.loss.mul_scalar(weight));
        }
        leaf.grad(&total.backward()).unwrap().try_into_vec_as::<f32>().unwrap()
    };
    let distance = |found: &[f32]| found.iter().zip(&exact).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
    assert!(distance(&estimate(true)) < 1e-6, "{:?} {exact:?}", estimate(true));
    assert!(distance(&estimate(false)) > 1e-2, "the plain estimate has the same gradient here, so the test says nothing");
}

/// Ratios inside the range push, those beyond it in the direction of the push do not.
#[test]
fn the_ratio_is_clipped_where_it_has_gone_far_enough() {
    let device = Device::flex().autodiff();
    // π_θ/π_old is 1, 1.5, 0.5, 1.5, 0.5.
    let (current, old) = ([0.3f32, 0.6, 0.2, 0.6, 0.2], [0.3f32, 0.4, 0.4, 0.4, 0.4]);
    let replies = replies(&old, None, &[1.0, 1.0, -1.0, -1.0, 1.0], &device);
    let leaf = matrix(&logs(&current), 1, &device).require_grad();
    let outcome = PLAIN.loss(leaf.clone(), &replies);
    let objective = (1.0 + 1.2 - 0.8 - 1.5 + 0.5) / 5.0;
    assert!((value(outcome.loss.clone()) + objective).abs() < 1e-6);
    assert!((value(outcome.clipped) - 0.8).abs() < 1e-6);
    let grad = leaf.grad(&outcome.loss.backward()).unwrap().try_into_vec_as::<f32>().unwrap();
    let expected = [-0.2, 0.0, 0.0, 0.3, -0.1];
    assert!(grad.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6), "{grad:?}");
}

/// A reply counts by its own length, and padding counts nothing.
#[test]
fn replies_weigh_the_same_whatever_their_length() {
    let device = Device::flex();
    let replies = Replies {
        valid: matrix(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], 3, &device),
        old: matrix(&logs(&[0.5, 0.9, 0.9, 0.5, 0.5, 0.5]), 3, &device),
        reference: None,
        advantages: vector(&[1.0, -1.0], &device),
        kl_weights: vector(&[0.0, 0.0], &device),
    };
    let current = matrix(&logs(&[0.55, 0.1, 0.2, 0.55, 0.5, 0.45]), 3, &device);
    let outcome = PLAIN.loss(current, &replies);
    let objective = (1.1 - (1.1 + 1.0 + 0.9) / 3.0) / 2.0;
    assert!((value(outcome.loss) + objective).abs() < 1e-6);
}

/// Of four replies, near or strayed, good or bad, only the bad one that has strayed is left out; without the mask it dominates.
#[test]
fn bad_replies_that_have_become_unlikely_are_left_out() {
    let device = Device::flex().autodiff();
    let (current, old) = ([0.4f32, 0.4, 0.004, 0.004], [0.4f32; 4]);
    let replies = replies(&old, None, &[1.0, -1.0, 1.0, -1.0], &device);
    let grad = |threshold: Option<f64>| {
        let leaf = matrix(&logs(&current), 1, &device).require_grad();
        let objective = Objective { clip: [1.0, 1.0], off_policy_threshold: threshold, ..PLAIN };
        let outcome = objective.loss(leaf.clone(), &replies);
        let left_out = value(outcome.left_out.clone());
        (leaf.grad(&outcome.loss.backward()).unwrap().try_into_vec_as::<f32>().unwrap(), left_out)
    };
    let ((masked, left_out), (all, none)) = (grad(Some(2.0)), grad(None));
    assert_eq!((left_out, none), (0.25, 0.0));
    assert_eq!(masked[..3], all[..3]);
    assert_eq!(masked[3], 0.0);
    assert!(all[3] != 0.0);
    // ln 100 is the distance: a higher threshold keeps it.
    assert_eq!(grad(Some(4.7)).1, 0.0);
    assert_eq!(grad(Some(4.5)).1, 0.25);
}

/// A draw from the two best of four tokens: both policies share that support, so a policy that has not changed has the ratio 1.
#[test]
fn a_cut_distribution_is_compared_with_one_that_is_cut_alike() {
    let device = Device::flex();
    let logits = matrix(&[2.0, 1.0, 0.0, -1.0, 2.0, 1.0, 0.0, -1.0], 4, &device);
    let targets = || Tensor::<1, Int>::from_data(TensorData::new(vec![1, 2], [2]), &device);
    let kept = [vec![0, 1], vec![]];
    let found = log_probs(logits.clone(), targets(), Some(&kept)).try_into_vec_as::<f32>().unwrap();
    let whole = log_probs(logits, targets(), None).try_into_vec_as::<f32>().unwrap();
    let cut = -(1.0 + 1f32.exp()).ln();
    assert!((found[0] - cut).abs() < 1e-6, "{found:?}");
    assert_eq!(found[1], whole[1], "an empty list keeps all");
    assert!((whole[0] - cut).abs() > 0.1);
}

/// The gradient of a cut distribution is its own: `1 − p` at the target, `−p` at the other kept tokens, nothing outside.
#[test]
fn the_gradient_of_a_cut_distribution_stays_inside_it() {
    let device = Device::flex().autodiff();
    let leaf = matrix(&[2.0, 1.0, 0.0, -1.0, 0.5, 0.5, 0.5, 0.5], 4, &device).require_grad();
    let targets = Tensor::<1, Int>::from_data(TensorData::new(vec![1, 2], [2]), &device);
    let found = log_probs(leaf.clone(), targets, Some(&[vec![0, 1], vec![0, 1, 2]]));
    let grad = leaf.grad(&found.sum().backward()).unwrap().try_into_vec_as::<f32>().unwrap();
    let p = 1.0 / (1.0 + 1f32.exp());
    let expected = [-(1.0 - p), 1.0 - p, 0.0, 0.0, -1.0 / 3.0, -1.0 / 3.0, 2.0 / 3.0, 0.0];
    assert!(grad.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6), "{grad:?}");
}

/// Each reply's divergence has the weight of its own task.
#[test]
fn the_divergence_is_weighed_reply_by_reply() {
    let device = Device::flex();
    let mut replies = replies(&[0.25, 0.25], Some(&[0.3, 0.3]), &[0.0, 0.0], &device);
    let loss = |replies: &Replies| value(PLAIN.loss(matrix(&logs(&[0.2, 0.01]), 1, &device), replies).loss);
    let both = loss(&replies);
    replies.kl_weights = vector(&[1.0, 0.0], &device);
    let first = loss(&replies);
    replies.kl_weights = vector(&[0.0, 2.0], &device);
    let twice_the_second = loss(&replies);
    assert!(first > 0.0 && (first + twice_the_second / 2.0 - both).abs() < 1e-6, "{first} {twice_the_second} {both}");
}
