//! Every operation of `sferic-ops` against its f64 oracle, on the CPU in f32 and f64 and on the GPU in f32.
//!
//! Inputs are rounded to the precision of the device before either side sees them, so what is left is the arithmetic.

use burn::tensor::{Bool, DType, Int, Tensor, TensorData};
use proptest::prelude::*;
use sferic_ops::{
    attention::{dense_mqa, mha, sparse_mqa},
    indexer, linear,
    moe::{self, GroupScore, Routing, Scoring},
    norm, quant,
    rope::{self, RopeLayout, Rotation},
    select::Selection,
};
use sferic_shaders as oracle;
use sferic_shaders::attention::sparse_mla::sparse_mla;
use sferic_testkit::{
    device::{self, TestDevice},
    model::numbers,
    tolerance::{Tol, assert_agree, values},
};

/// A random input on a device and as the oracle sees it.
struct Input<const N: usize> {
    values: Vec<f64>,
    tensor: Tensor<N>,
}

impl<const N: usize> Input<N> {
    fn new(seed: u64, shape: [usize; N], size: f64, target: &TestDevice) -> Self {
        Self::of(numbers(seed, shape.iter().product(), size), shape, target)
    }

    fn of(values: Vec<f64>, shape: [usize; N], target: &TestDevice) -> Self {
        let data = TensorData::new(values, shape).convert_dtype(target.dtype);
        let values = data.iter::<f64>().collect();
        Self { values, tensor: Tensor::from_data(data, (&target.device, target.dtype)) }
    }

    fn abs(&self) -> Vec<f64> {
        self.values.iter().map(|v| v.abs()).collect()
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |a: f64, b| a.max(b.abs()))
}

/// Name, batch, tokens, width.
const ROWS: [(&str, usize, usize, usize); 4] =
    [("one_row", 1, 1, 7), ("one_column", 1, 3, 1), ("ragged", 2, 5, 33), ("wide", 1, 2, 512)];

#[test]
fn norms() {
    for target in device::all() {
        for (name, b, t, d) in ROWS {
            let what = format!("{name} on {}", target.name);
            let x = Input::new(1, [b, t, d], 3.0, &target);
            let (g, bias) = (Input::new(2, [d], 1.0, &target), Input::new(3, [d], 1.0, &target));
            let found = values(norm::rms_norm(x.tensor.clone(), g.tensor.clone(), 1e-6));
            let expected = oracle::norm::rms_norm::rms_norm(&x.values, &g.values, 1e-6);
            assert_agree(
                &format!("rms_norm, {what}"),
                &found,
                &expected,
                Tol::for_reduction(target.dtype, d).with_magnitude(0.0),
            );
            // With one column the variance is zero and eps alone divides: 1e-6 would make 1000 of one rounding of the mean.
            let found = values(norm::layer_norm(x.tensor, g.tensor, bias.tensor, 1e-2));
            let expected = oracle::norm::layer_norm::layer_norm(&x.values, &g.values, &bias.values, 1e-2);
            let least_root = 0.1;
            let tol = Tol::for_reduction(target.dtype, 2 * d).with_magnitude(3.0 / least_root);
            assert_agree(&format!("layer_norm, {what}"), &found, &expected, tol);
        }
    }
}

#[test]
fn linear_and_silu_mul() {
    for target in device::all() {
        for (name, b, t, d_in, d_out) in [("one_row", 1, 1, 5, 3), ("ragged", 2, 9, 33, 17), ("long_sum", 1, 3, 700, 8)] {
            let (x, w) = (Input::new(4, [b, t, d_in], 2.0, &target), Input::new(5, [d_out, d_in], 0.5, &target));
            let product = |x: &[f64], w: &[f64]| -> Vec<f64> {
                x.chunks(d_in).flat_map(|x| w.chunks(d_in).map(move |w| x.iter().zip(w).map(|(a, b)| a * b).sum())).collect()
            };
            let tol = Tol::for_reduction(target.dtype, d_in).with_magnitude(largest(&product(&x.abs(), &w.abs())));
            let found = values(linear::linear(x.tensor, w.tensor));
            assert_agree(&format!("linear, {name} on {}", target.name), &found, &product(&x.values, &w.values), tol);
        }
        let (gate, up) = (Input::new(6, [3, 11], 8.0, &target), Input::new(7, [3, 11], 4.0, &target));
        let expected: Vec<f64> = gate.values.iter().zip(&up.values).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        let tol = Tol::for_reduction(target.dtype, Tol::EXP).with_magnitude(0.0);
        assert_agree(&format!("silu_mul on {}", target.name), &values(linear::silu_mul(gate.tensor, up.tensor)), &expected, tol);
    }
}

#[test]
fn yarn_frequencies() {
    let settings = [(1e4, 64, 40.0, 4096, 32.0, 1.0), (1e4, 16, 4.0, 64, 32.0, 1.0), (5e5, 32, 8.0, 8192, 16.0, 2.0)];
    for (theta, dim, factor, original, beta_fast, beta_slow) in settings {
        let ours = rope::Yarn { factor, original_max_position_embeddings: original, beta_fast, beta_slow, truncate: true };
        let theirs = oracle::rope::rotate::Yarn { factor, original: original as f64, beta_fast, beta_slow };
        let tol = Tol::for_reduction(DType::F64, 16).with_magnitude(0.0);
        for (ours, theirs) in [(None, None), (Some(&ours), Some(&theirs))] {
            let expected = oracle::rope::rotate::inv_freq(theta, dim, theirs);
            assert_agree(&format!("inv_freq({theta}, {dim})"), &rope::inv_freq(theta, dim, ours), &expected, tol);
        }
    }
}

#[test]
fn rotations() {
    use oracle::rope::rotate::Layout;
    let cases = [("first_token", 0, 1, 1, 2), ("one_head", 3, 4, 1, 8), ("ragged", 7, 5, 3, 6), ("far", 163_000, 3, 2, 64)];
    for target in device::all() {
        for (name, start, t, heads, dim) in cases {
            for (ours, theirs) in [(RopeLayout::Interleaved, Layout::Interleaved), (RopeLayout::HalfSplit, Layout::HalfSplit)] {
                let x = Input::new(8, [2, t, heads, dim], 2.0, &target);
                let frequencies = rope::inv_freq(1e4, dim, None);
                let rotation = Rotation::new(&frequencies, start, t, 1.0, &target.device, target.dtype);
                let positions: Vec<usize> = (0..2 * t * heads).map(|row| start + row / heads % t).collect();
                let expected = oracle::rope::rotate::rotate(&x.values, &positions, &frequencies, theirs);
                let tol = Tol::for_reduction(target.dtype, 2).with_magnitude(4.0);
                let what = format!("{name}, {ours:?} on {}", target.name);
                assert_agree(&what, &values(rotation.apply(x.tensor, ours)), &expected, tol);
            }
        }
    }
}

#[test]
fn hadamard_transforms() {
    for target in device::all() {
        for n in [1, 2, 8, 128] {
            let x = Input::new(9, [2, 3, 2, n], 2.0, &target);
            let tol = Tol::for_reduction(target.dtype, n).with_magnitude(2.0 * (n as f64).sqrt());
            let expected = oracle::quant::hadamard::hadamard(&x.values, n);
            assert_agree(&format!("n = {n} on {}", target.name), &values(quant::hadamard(x.tensor)), &expected, tol);
        }
    }
}

/// Rounding to an 8-bit format has one right answer: no difference is allowed.
#[test]
fn fp8_is_exact() {
    let exact = Tol { abs: 0.0, rel: 0.0 };
    for target in device::all() {
        // All sizes from below the smallest subnormal to beyond the range, ties and zeros of both signs among them.
        let mut list: Vec<f64> =
            numbers(10, 400, 1.0).iter().enumerate().map(|(i, v)| v * 2f64.powi(i as i32 % 24 - 12)).collect();
        list.extend([
            0.0,
            -0.0,
            448.0,
            -448.0,
            449.0,
            1e6,
            -1e6,
            1.0625,
            1.1875,
            17.0,
            19.0,
            432.0,
            440.0,
            2f64.powi(-10),
            3.0 * 2f64.powi(-10),
        ]);
        let n = list.len();
        let x = Input::of(list, [n], &target);
        let expected: Vec<f64> = x.values.iter().map(|v| oracle::quant::e4m3::round(*v)).collect();
        assert_agree(&format!("round_e4m3 on {}", target.name), &values(quant::round_e4m3(x.tensor)), &expected, exact);
        // Between two neighbours, on the way to the even one from either side, and the next power of two.
        let list = [0.0, -0.1, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 1.999, -3e-20];
        let x = Input::of(list.to_vec(), [6], &target);
        let expected = [0.0, -0.10009765625, 1.0, 1.015625, 2.0, -1.109375 * 2f64.powi(-65)];
        assert_agree(&format!("round_bf16 on {}", target.name), &values(quant::round_bf16(x.tensor)), &expected, exact);
        for (name, n, block) in [("one_block", 128, 128), ("ragged_tail", 200, 128), ("short", 5, 128), ("many", 64, 8)] {
            let mut x = numbers(11, 6 * n, 5.0);
            x[..n].fill(0.0);
            let x = Input::of(x, [1, 3, 2, n], &target);
            let expected: Vec<f64> = x
                .values
                .chunks(n)
                .flat_map(|row| {
                    let (codes, scales) = oracle::quant::act_quant::act_quant(row, block);
                    codes.iter().enumerate().map(|(i, q)| q * scales[i / block]).collect::<Vec<_>>()
                })
                .collect();
            let found = values(quant::act_quant(x.tensor, block));
            assert_agree(&format!("act_quant, {name} on {}", target.name), &found, &expected, exact);
        }
    }
    for exponent in -40..40 {
        let power = 2f64.powi(exponent);
        for amax in [448.0 * power, 448.0 * power * (1.0 + f64::EPSILON), power, 1.5 * power] {
            assert_eq!(quant::ue8m0_scale(amax), oracle::quant::act_quant::ue8m0_scale(amax), "{amax}");
        }
    }
}

/// Name, batch, queries, keys, heads, width.
const SCORE_CASES: [(&str, usize, usize, usize, usize, usize); 4] =
    [("first_token", 1, 1, 1, 1, 1), ("decode", 1, 1, 70, 4, 8), ("ragged", 2, 5, 9, 3, 7), ("real_width", 1, 3, 40, 16, 128)];

fn check_index_scores(what: &str, [b, t, s, heads, dim]: [usize; 5], seed: u64, target: &TestDevice) {
    let q = Input::new(seed, [b, t, heads, dim], 1.0, target);
    let k = Input::new(seed + 1, [b, s, dim], 1.0, target);
    let w = Input::new(seed + 2, [b, t, heads], 1.0, target);
    let of_batch = |q: &[f64], k: &[f64], w: &[f64]| -> Vec<f64> {
        let batches = q.chunks(t * heads * dim).zip(k.chunks(s * dim)).zip(w.chunks(t * heads));
        batches.flat_map(|((q, k), w)| oracle::indexer::index_scores::index_scores(q, k, w, heads, dim)).collect()
    };
    let magnitude = largest(&of_batch(&q.abs(), &k.abs(), &w.abs()));
    let expected = of_batch(&q.values, &k.values, &w.values);
    let found = values(indexer::index_scores(q.tensor, k.tensor, w.tensor));
    assert_agree(what, &found, &expected, Tol::for_reduction(target.dtype, dim + heads).with_magnitude(magnitude));
}

#[test]
fn index_scores() {
    for target in device::all() {
        for (name, b, t, s, heads, dim) in SCORE_CASES {
            check_index_scores(&format!("{name} on {}", target.name), [b, t, s, heads, dim], 20, &target);
        }
    }
}

/// Sizes of an attention case.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    b: usize,
    t: usize,
    s: usize,
    heads: usize,
    latent: usize,
    rope: usize,
    k: usize,
}

const ATTENTION_CASES: [(&str, Sizes); 5] = [
    ("first_token", Sizes { b: 1, t: 1, s: 1, heads: 1, latent: 2, rope: 2, k: 1 }),
    ("decode", Sizes { b: 1, t: 1, s: 50, heads: 4, latent: 16, rope: 4, k: 8 }),
    ("rows_below_topk", Sizes { b: 1, t: 6, s: 6, heads: 2, latent: 8, rope: 4, k: 4 }),
    ("ragged", Sizes { b: 2, t: 5, s: 11, heads: 3, latent: 9, rope: 2, k: 7 }),
    ("real_widths", Sizes { b: 1, t: 2, s: 40, heads: 8, latent: 512, rope: 64, k: 32 }),
];

/// Selects by random scores; the queries are the last `t` of `s` tokens.
fn selection(sizes: Sizes, seed: u64, target: &TestDevice) -> (Selection, Vec<i64>) {
    let Sizes { b, t, s, k, .. } = sizes;
    let scores = Input::new(seed, [b, t, s], 1.0, target);
    let selection = Selection::top_k(scores.tensor, s - t, k);
    let slots = selection.indices.clone().into_data().iter::<i64>().collect();
    (selection, slots)
}

fn check_attention(what: &str, sizes: Sizes, seed: u64, target: &TestDevice) {
    let Sizes { b, t, s, heads, latent, rope, k } = sizes;
    let width = latent + rope;
    let scale = (width as f64).powf(-0.5);
    let q = Input::new(seed, [b, t, heads, width], 2.0, target);
    let rows = Input::new(seed + 1, [b, s, width], 2.0, target);
    let (selection, slots) = selection(sizes, seed + 2, target);
    let all: Vec<i64> =
        (0..b * t).flat_map(|row| (0..s).map(move |at| if at <= s - t + row % t { at as i64 } else { -1 })).collect();
    let expected = |slots: &[i64], n_slots: usize| -> Vec<f64> {
        let batches = q.values.chunks(t * heads * width).zip(rows.values.chunks(s * width)).zip(slots.chunks(t * n_slots));
        batches.flat_map(|((q, rows), slots)| sparse_mla(q, rows, slots, [heads, width, n_slots], latent, scale).output).collect()
    };
    // A score is off by (width + 4) · u · Σ|terms|; its exponential by as much relatively, once for the slot and once for the sum.
    let score_terms = (scale * 4.0 * width as f64).ceil() as usize * width;
    let tol = |n_slots: usize| Tol::for_reduction(target.dtype, 2 * score_terms + 2 * n_slots + Tol::EXP).with_magnitude(2.0);
    let sparse = values(sparse_mqa(q.tensor.clone(), rows.tensor.clone(), &selection, latent, scale));
    let n_slots = k.min(s);
    assert_agree(&format!("sparse_mqa, {what}"), &sparse, &expected(&slots, n_slots), tol(n_slots));
    // The selection as a mask is the same attention.
    let masked = values(dense_mqa(q.tensor.clone(), rows.tensor.clone(), selection.to_mask(s), latent, scale));
    assert_agree(&format!("dense_mqa over the selection, {what}"), &masked, &expected(&slots, n_slots), tol(s));
    let causal: Tensor<3, Bool> = sferic_ops::select::causal_mask(t, s, s - t, &target.device).unsqueeze_dim(0);
    let dense = values(dense_mqa(q.tensor.clone(), rows.tensor.clone(), causal.clone(), latent, scale));
    assert_agree(&format!("dense_mqa, {what}"), &dense, &expected(&all, s), tol(s));
    check_mha(what, sizes, seed + 3, &all, causal, tol(s), target);
}

/// The expanded form: to the oracle each head is a row `[v | k]` of its own, asked with `[0 | q]`.
fn check_mha(what: &str, sizes: Sizes, seed: u64, slots: &[i64], mask: Tensor<3, Bool>, tol: Tol, target: &TestDevice) {
    let Sizes { b, t, s, heads, latent: d_value, rope, .. } = sizes;
    let d_key = d_value + rope;
    let scale = (d_key as f64).powf(-0.5);
    let q = Input::new(seed, [b, t, heads, d_key], 2.0, target);
    let k = Input::new(seed + 1, [b, s, heads, d_key], 2.0, target);
    let v = Input::new(seed + 2, [b, s, heads, d_value], 2.0, target);
    let width = d_value + d_key;
    let mut expected = vec![0.0; b * t * heads * d_value];
    let mut probabilities = vec![0.0; b * heads * t * s];
    for (batch, head) in (0..b).flat_map(|batch| (0..heads).map(move |head| (batch, head))) {
        let at = |row: usize, d: usize| (row * heads + head) * d;
        let rows: Vec<f64> = (batch * s..(batch + 1) * s)
            .flat_map(|row| [&v.values[at(row, d_value)..][..d_value], &k.values[at(row, d_key)..][..d_key]].concat())
            .collect();
        for token in batch * t..(batch + 1) * t {
            let query = [vec![0.0; d_value], q.values[at(token, d_key)..][..d_key].to_vec()].concat();
            let attended = sparse_mla(&query, &rows, &slots[token * s..(token + 1) * s], [1, width, s], d_value, scale);
            expected[at(token, d_value)..][..d_value].copy_from_slice(&attended.output);
            let first = ((batch * heads + head) * t + token % t) * s;
            probabilities[first..first + s].copy_from_slice(&attended.probabilities);
        }
    }
    let (output, found) = mha(q.tensor, k.tensor, v.tensor, mask, scale);
    assert_agree(&format!("mha, {what}"), &values(output), &expected, tol);
    assert_agree(&format!("probabilities of mha, {what}"), &values(found), &probabilities, tol);
}

#[test]
fn attention() {
    for target in device::all() {
        for (name, sizes) in ATTENTION_CASES {
            check_attention(&format!("{name} on {}", target.name), sizes, 30, &target);
        }
    }
}

/// Name, experts, groups, groups kept, active.
const ROUTES: [(&str, usize, usize, usize, usize); 4] =
    [("one_group", 8, 1, 1, 2), ("grouped", 16, 4, 2, 3), ("groups_of_one", 6, 6, 2, 2), ("all_active", 4, 2, 2, 4)];

#[test]
fn routing_and_experts() {
    for target in device::all() {
        for (name, e, n_group, topk_group, active) in ROUTES {
            for (scoring, group_score, shift) in [
                (Scoring::Sigmoid, GroupScore::TopTwoSum, 0.0),
                (Scoring::Sigmoid, GroupScore::TopTwoSum, -3.0),
                (Scoring::Softmax, GroupScore::Max, 0.0),
            ] {
                let routing = Routing {
                    scoring,
                    n_group,
                    topk_group,
                    group_score,
                    num_experts_per_tok: active,
                    norm_topk_prob: scoring == Scoring::Sigmoid,
                    routed_scaling_factor: 2.5,
                };
                check_moe(&format!("{name}, {scoring:?}, bias {shift:+} on {}", target.name), e, shift, &routing, &target);
            }
        }
    }
}

fn check_moe(what: &str, n_experts: usize, shift: f64, routing: &Routing, target: &TestDevice) {
    let rule = oracle::moe::route::Rule {
        softmax: routing.scoring == Scoring::Softmax,
        n_group: routing.n_group,
        topk_group: routing.topk_group,
        n_summed: if routing.group_score == GroupScore::Max { 1 } else { 2 },
        n_active: routing.num_experts_per_tok,
        normalise: routing.norm_topk_prob,
        scale: routing.routed_scaling_factor,
    };
    let (d_model, width, active) = (6, 5, routing.num_experts_per_tok);
    // One token takes the gathered path, forty the path over all experts.
    for n in [1, 40] {
        let logits = Input::new(40, [n, n_experts], 3.0, target);
        let bias = numbers(41, n_experts, 0.3).iter().map(|b| b + shift).collect();
        let bias = Input::of(bias, [n_experts], target);
        let routed = moe::route(logits.tensor.clone(), Some(bias.tensor), routing);
        let expected: Vec<(usize, f64)> =
            logits.values.chunks(n_experts).flat_map(|row| oracle::moe::route::route(row, &bias.values, &rule)).collect();
        let chosen: Vec<i64> = routed.experts.clone().into_data().iter::<i64>().collect();
        assert_eq!(chosen, expected.iter().map(|(e, _)| *e as i64).collect::<Vec<_>>(), "experts, {n} tokens, {what}");
        let weights: Vec<f64> = expected.iter().map(|(_, w)| *w).collect();
        let tol = Tol::for_reduction(target.dtype, 2 * Tol::EXP + n_experts).with_magnitude(0.0);
        assert_agree(&format!("weights, {n} tokens, {what}"), &values(routed.weights), &weights, tol);

        let weights = Input::of(weights, [n, active], target);
        let x = Input::new(42, [n, d_model], 1.0, target);
        let gate_up = Input::new(43, [n_experts, 2 * width, d_model], 1.0, target);
        let down = Input::new(44, [n_experts, d_model, width], 1.0, target);
        let all = |x: &[f64], weights: &[f64], gate_up: &[f64], down: &[f64]| -> Vec<f64> {
            let tokens = x.chunks(d_model).zip(chosen.chunks(active).zip(weights.chunks(active)));
            tokens
                .flat_map(|(x, (chosen, weights))| {
                    let chosen: Vec<(usize, f64)> = chosen.iter().zip(weights).map(|(e, w)| (*e as usize, *w)).collect();
                    oracle::moe::experts::experts(x, &chosen, gate_up, down, width)
                })
                .collect()
        };
        let magnitude = largest(&all(&x.abs(), &weights.abs(), &gate_up.abs(), &down.abs()));
        let tol = Tol::for_reduction(target.dtype, 4 * d_model + width + n_experts + Tol::EXP).with_magnitude(magnitude);
        let expected = all(&x.values, &weights.values, &gate_up.values, &down.values);
        let experts: Tensor<2, Int> = routed.experts;
        let routed = moe::Routed { experts, weights: weights.tensor };
        let found = values(moe::experts(x.tensor, &routed, gate_up.tensor, down.tensor));
        assert_agree(&format!("experts' output, {n} tokens, {what}"), &found, &expected, tol);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn index_scores_of_any_shape(b in 1usize..3, t in 1usize..6, s in 1usize..40, heads in 1usize..6, dim in 1usize..20, seed in 0u64..1000) {
        for target in device::on_cpu() {
            check_index_scores(target.name, [b, t, s, heads, dim], seed, &target);
        }
    }

    #[test]
    fn attention_of_any_shape(b in 1usize..3, t in 1usize..5, past in 0usize..20, heads in 1usize..4, latent in 1usize..12, half in 1usize..4, k in 1usize..30, seed in 0u64..1000) {
        for target in device::on_cpu() {
            let sizes = Sizes { b, t, s: past + t, heads, latent, rope: 2 * half, k };
            check_attention(target.name, sizes, seed, &target);
        }
    }
}
