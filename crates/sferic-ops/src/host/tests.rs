#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use burn::tensor::{Device, Tensor, TensorData};

use super::{TILE, select, sparse_mqa};
use crate::{attention, indexer::index_scores, select::Selection};

/// Small whole numbers, whose sums of products are exact in any order, and often equal.
fn whole(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 24) % 7) as f32 - 3.0
    };
    (0..n).map(|_| next()).collect()
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn indices(selection: &Selection) -> Vec<i64> {
    selection.indices.clone().into_data().iter::<i64>().collect()
}

/// Rows of another length than any register, whole and broken tiles, groups of heads with a rest, and rows long enough to be sampled.
#[test]
fn selections_are_those_of_the_stock_form() {
    let cases = [
        ("one tile", [TILE, 40, 4, 8], 16),
        ("a broken tile", [TILE + 3, 61, 6, 5], 7),
        ("one head", [2 * TILE, 50, 1, 3], 49),
        ("everything", [TILE, TILE, 3, 4], 20),
        ("long rows", [2 * TILE + 1, 3000, 5, 16], 300),
    ];
    let (cpu, graph) = (Device::flex(), Device::flex().autodiff());
    for (name, [n_tokens, n_context, heads, dim], k) in cases {
        let on = |device: &Device| {
            let q = tensor(whole(1, n_tokens * heads * dim), [1, n_tokens, heads, dim], device);
            let keys = tensor(whole(2, n_context * dim), [1, n_context, dim], device);
            (q, keys, tensor(whole(3, n_tokens * heads), [1, n_tokens, heads], device))
        };
        let start = n_context - n_tokens;
        let (q, keys, weights) = on(&cpu);
        let found = select(&q, &keys, &weights, start, k).unwrap();
        let (q, keys, weights) = on(&graph);
        assert!(select(&q, &keys, &weights, start, k).is_none(), "{name}: a graph was lost");
        let expected = Selection::top_k(index_scores(q, keys, weights), start, k);
        assert_eq!(indices(&found), indices(&expected), "{name}");
    }
}

/// Fewer and more heads than a register has, widths that end within one, unfilled slots, and a cache that is larger than what is in it.
#[test]
fn attention_is_that_of_the_stock_form() {
    let cases = [
        ("one of each", [1, 1, 1, 1, 1], 1),
        ("few heads", [3, 30, 3, 9, 2], 12),
        ("eight heads", [9, 70, 8, 128, 16], 33),
        ("many heads", [2, 40, 21, 48, 5], 40),
    ];
    let (cpu, graph) = (Device::flex(), Device::flex().autodiff());
    for (name, [n_tokens, n_context, heads, latent, rope], k) in cases {
        let (width, scale) = (latent + rope, 0.05);
        let start = n_context - n_tokens;
        let on = |device: &Device| {
            let q = tensor(whole(4, n_tokens * heads * width), [1, n_tokens, heads, width], device);
            let cache = tensor(whole(5, 2 * n_context * width), [1, 2 * n_context, width], device);
            // The earlier half of the queries sees less than is selected.
            let scores = tensor(whole(6, n_tokens * n_context), [1, n_tokens, n_context], device);
            (q, cache.narrow(1, 0, n_context), Selection::top_k(scores, start.min(k - 1), k))
        };
        let (q, rows, selection) = on(&cpu);
        let found = sparse_mqa(&q, &rows, &selection, latent, scale).unwrap();
        let (q, rows, selection) = on(&graph);
        assert!(sparse_mqa(&q, &rows, &selection, latent, scale).is_none(), "{name}: a graph was lost");
        let expected = attention::sparse_mqa(q, rows, &selection, latent, scale);
        assert_eq!(found.dims(), expected.dims(), "{name}");
        let (found, expected) = (found.into_data(), expected.into_data());
        for (i, (found, expected)) in found.iter::<f32>().zip(expected.iter::<f32>()).enumerate() {
            // Values are below 3, and a score is a sum of `width` exact terms that is rounded once.
            assert!((found - expected).abs() < 3.0 * 64.0 * f32::EPSILON, "{name}: {found} and not {expected} at {i}");
        }
    }
}

/// What is not a number stays that, so that the engine can say so.
#[test]
fn nan_is_not_hidden() {
    let device = Device::flex();
    let mut values = whole(7, TILE * 2 * 4);
    values[5] = f32::NAN;
    let q = tensor(values, [1, TILE, 2, 4], &device);
    let rows = tensor(whole(8, TILE * 4), [1, TILE, 4], &device);
    let selection = Selection::all(1, TILE, 0, &device);
    let u: Vec<f32> = sparse_mqa(&q, &rows, &selection, 3, 0.5).unwrap().into_data().iter::<f32>().collect();
    let (first_token, others) = u.split_at(6);
    assert!(first_token[3..].iter().all(|value| value.is_nan()), "{first_token:?}");
    assert!(first_token[..3].iter().chain(others).all(|value| value.is_finite()), "{u:?}");
}
