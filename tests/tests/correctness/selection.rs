//! Selection: named edges, random rows against the oracle, and agreement of all devices.

use burn::tensor::{DType, Device, Tensor, TensorData};
use proptest::prelude::*;
use sferic_ops::select::{Selection, causal_mask, top_k_row};
use sferic_shaders::indexer::top_k::top_k;
use sferic_testkit::{
    device::{self, TestDevice},
    model::numbers,
};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

/// Name, scores of one row, `k`.
const EDGES: [(&str, &[f64], usize); 14] = [
    ("distinct", &[0.5, 2.0, -1.0, 0.25, 3.0], 2),
    ("ties", &[1.0, 2.0, 1.0, 1.0, 2.0, 1.0], 4),
    ("all_equal", &[0.0; 9], 4),
    ("plateau_below_some", &[0.0, 0.0, 1.0, 0.0, 2.0, 0.0], 4),
    ("zeros_of_both_signs", &[-0.0, 0.0, -0.0, 0.0], 2),
    ("zeros_of_both_signs_reversed", &[0.0, -0.0, 0.0, -0.0], 3),
    ("nan_in_front", &[NAN, -5.0, NAN, 1.0], 2),
    ("more_nan_than_room", &[NAN, NAN, 1.0, NAN], 3),
    ("infinities", &[-INF, 3.0, INF, 2.0, -INF], 3),
    ("all_minus_infinity", &[-INF; 5], 2),
    ("context_below_topk", &[1.0, 2.0], 5),
    ("context_equals_topk", &[1.0, 2.0, 0.0], 3),
    ("first_token", &[-7.0], 1),
    ("k_one", &[1.0, 5.0, 5.0, 2.0], 1),
];

/// Selects from the last row of a square of scores, which sees all of them, through tensors.
fn through_tensors(scores: &[f64], k: usize, target: &TestDevice) -> Vec<i64> {
    let n = scores.len();
    let tensor = tensor(scores, [1, 1, n], &target.device, target.dtype);
    let selection = Selection::top_k(tensor, n - 1, k);
    selection.indices.into_data().iter::<i64>().collect()
}

fn tensor<const N: usize>(values: &[f64], shape: [usize; N], device: &Device, dtype: DType) -> Tensor<N> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape).convert_dtype(dtype), (device, dtype))
}

fn oracle(scores: &[f64], k: usize) -> Vec<i64> {
    top_k(scores, k).into_iter().map(|s| s as i64).collect()
}

#[test]
fn named_edges_on_every_device() {
    for target in device::all() {
        for (name, scores, k) in EDGES {
            assert_eq!(through_tensors(scores, k, &target), oracle(scores, k), "{name} on {}", target.name);
        }
    }
}

/// Rows that see fewer tokens than there are slots end in `−1`, and no row sees its future.
#[test]
fn causal_windows_and_unfilled_slots() {
    // The best scores stand in the future of most rows.
    let scores: Vec<f64> = (0..4 * 6).map(|n| f64::from(n % 6)).collect();
    let expected: [i64; 12] = [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5];
    for target in device::all() {
        let selection = Selection::top_k(tensor(&scores, [1, 4, 6], &target.device, target.dtype), 2, 3);
        assert_eq!(selection.indices.clone().into_data().iter::<i64>().collect::<Vec<_>>(), expected, "{}", target.name);
        let selection = Selection::top_k(tensor(&scores[..12], [1, 2, 6], &target.device, target.dtype), 0, 3);
        let slots: Vec<i64> = selection.indices.clone().into_data().iter::<i64>().collect();
        assert_eq!(slots, [0, -1, -1, 0, 1, -1], "{}", target.name);
        let mask: Vec<bool> = selection.to_mask(6).into_data().iter::<bool>().collect();
        assert_eq!(mask, [true, false, false, false, false, false, true, true, false, false, false, false], "{}", target.name);
        let valid: Vec<bool> = selection.valid().into_data().iter::<bool>().collect();
        assert_eq!(valid, [true, false, false, true, true, false], "{}", target.name);
    }
}

#[test]
fn all_tokens_and_the_causal_mask_agree() {
    for target in device::all() {
        let selection = Selection::all(2, 3, 2, &target.device);
        let slots: Vec<i64> = selection.indices.clone().into_data().iter::<i64>().collect();
        let once = [0, 1, 2, -1, -1, 0, 1, 2, 3, -1, 0, 1, 2, 3, 4];
        assert_eq!(slots, [once, once].concat(), "{}", target.name);
        let mask: Vec<bool> = selection.to_mask(5).into_data().iter::<bool>().collect();
        let causal: Vec<bool> = causal_mask(3, 5, 2, &target.device).into_data().iter::<bool>().collect();
        assert_eq!(mask, [causal.clone(), causal].concat(), "{}", target.name);
    }
}

/// A matrix large enough to be shared between threads, each of which has to know where its rows stand.
#[test]
fn many_rows_match_the_oracle_row_by_row() {
    let (n_batch, n_tokens, n_context, k) = (1, 291, 1000, 9);
    let start = n_context - n_tokens;
    // Few different values, so that ties decide most rows, and the larger the later, so that the future would win.
    let noise = numbers(3, n_batch * n_tokens * n_context, 6.0);
    let scores: Vec<f64> = noise.iter().enumerate().map(|(i, v)| (v + 0.05 * (i % n_context) as f64).round()).collect();
    let [target, _] = device::on_cpu();
    let selection = Selection::top_k(tensor(&scores, [n_batch, n_tokens, n_context], &target.device, target.dtype), start, k);
    let slots: Vec<i64> = selection.indices.into_data().iter::<i64>().collect();
    for (row_idx, (row, slots)) in scores.chunks(n_context).zip(slots.chunks(k)).enumerate() {
        let n_visible = start + row_idx % n_tokens + 1;
        assert_eq!(slots, oracle(&row[..n_visible], k), "row {row_idx}");
    }
}

/// Batch entries do not mix, and each counts its positions from the start.
#[test]
fn batches_are_apart() {
    // Two queries each; the best score stands in the future of the first.
    let (first, second) = ([3.0, 1.0, 2.0, 9.0], [0.0, 2.0, 1.0, 9.0]);
    for target in device::all() {
        let scores = tensor(&[first, first, second, second].concat(), [2, 2, 4], &target.device, target.dtype);
        let slots: Vec<i64> = Selection::top_k(scores, 2, 2).indices.into_data().iter::<i64>().collect();
        assert_eq!(slots, [0, 2, 0, 3, 1, 2, 1, 3], "{}", target.name);
    }
}

/// Scores that collide often: few values, zeros of both signs, NaN and infinities.
fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-3i8..4).prop_map(|v| f64::from(v) / 2.0),
        2 => prop::num::f32::NORMAL.prop_map(f64::from),
        1 => prop::sample::select(vec![0.0, -0.0, NAN, INF, -INF, 1e-40f32 as f64]),
    ]
}

proptest! {
    /// The same set as the oracle, in both precisions, and the same again when repeated.
    #[test]
    fn rows_match_the_oracle(scores in prop::collection::vec(score(), 1..200), k in 0usize..220) {
        let expected: Vec<u32> = top_k(&scores, k).into_iter().map(|s| s as u32).collect();
        let single: Vec<f32> = scores.iter().map(|v| *v as f32).collect();
        prop_assert_eq!(&top_k_row(&scores, k), &expected);
        prop_assert_eq!(&top_k_row(&single, k), &expected);
        prop_assert_eq!(top_k_row(&single, k), expected);
    }

    /// Rows that are long enough for a sample to tell where the best lie, also where it misleads: every sixteenth is sampled, and the best may
    /// all be there or none of them.
    #[test]
    fn long_rows_match_the_oracle(
        few in prop::collection::vec(score(), 1..40),
        n in 1025usize..1500,
        k in 0usize..200,
        high in 0usize..90,
        sampled: bool,
    ) {
        let mut scores: Vec<f64> = few.iter().copied().cycle().take(n).collect();
        let raised = scores.iter_mut().enumerate().filter(|(i, _)| (i % 16 == 0) == sampled);
        raised.take(high).for_each(|(i, score)| *score = 9.0 + i as f64);
        let expected: Vec<u32> = top_k(&scores, k).into_iter().map(|s| s as u32).collect();
        let single: Vec<f32> = scores.iter().map(|v| *v as f32).collect();
        prop_assert_eq!(&top_k_row(&scores, k), &expected);
        prop_assert_eq!(&top_k_row(&single, k), &expected);
    }

    /// Selecting in each of several shards and then among the winners is selecting at once (spec §5.5).
    #[test]
    fn shards_merge_to_the_global_selection(scores in prop::collection::vec(score(), 1..200), k in 1usize..40, shard in 1usize..50) {
        let mut winners: Vec<u32> = Vec::new();
        for (shard_idx, part) in scores.chunks(shard).enumerate() {
            winners.extend(top_k_row(part, k).iter().map(|s| s + (shard_idx * shard) as u32));
        }
        let scores_of_winners: Vec<f64> = winners.iter().map(|s| scores[*s as usize]).collect();
        let merged: Vec<u32> = top_k_row(&scores_of_winners, k).iter().map(|i| winners[*i as usize]).collect();
        prop_assert_eq!(merged, top_k_row(&scores, k));
    }
}
