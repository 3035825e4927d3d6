//! Scores of the lightning indexer for a run of tokens.

use macerator::Simd;
use rayon::prelude::*;

use super::simd::{Lanes, at_least, load, splat, store};

/// Registers in a row of a panel: with four heads twelve sums, which is what keeps two multipliers busy.
const WIDTH: usize = 3;
/// Heads that are computed together.
const HEADS: usize = 4;

/// Index keys in panels of neighbouring tokens: `[panel][Di][tokens of the panel]`.
pub struct Panels {
    values: Vec<f32>,
    dim: usize,
    width: usize,
}

impl Panels {
    /// Packs keys `[S, Di]`.
    pub fn new(keys: &[f32], dim: usize) -> Self {
        let width = panel_width();
        let n_tokens = keys.len() / dim;
        let mut values = vec![0.0; n_tokens.div_ceil(width) * width * dim];
        values.par_chunks_mut(width * dim).zip(keys.par_chunks(width * dim)).for_each(|(panel, keys)| {
            for (i, key) in keys.chunks_exact(dim).enumerate() {
                for (row, value) in panel.chunks_exact_mut(width).zip(key) {
                    row[i] = *value;
                }
            }
        });
        Self { values, dim, width }
    }

    /// Tokens rounded up to whole panels.
    pub fn padded(&self, n_tokens: usize) -> usize {
        n_tokens.next_multiple_of(self.width)
    }
}

#[macerator::with_simd]
fn panel_width<S: Simd>() -> usize {
    WIDTH * S::lanes32()
}

/// Queries `[T, Hi, Di]` as `score` reads them: `[T][groups of heads][Di][heads of the group]`.
fn interleaved(q: &[f32], n_heads: usize, dim: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(q.len());
    for token in q.chunks_exact(n_heads * dim) {
        let (groups, rest) = token.split_at(n_heads / HEADS * HEADS * dim);
        for group in groups.chunks_exact(HEADS * dim) {
            values.extend((0..dim).flat_map(|d| (0..HEADS).map(move |head| group[head * dim + d])));
        }
        values.extend_from_slice(rest);
    }
    values
}

/// Scores of `T` tokens, each for as many cached tokens as its row of `scores` has; that is a multiple of a panel's.
///
/// # Shapes
/// - q: `[T, Hi, Di]`
/// - weights: `[T, Hi]`
/// - scores: `[T, S]`
pub fn score(q: &[f32], weights: &[f32], n_heads: usize, panels: &Panels, scores: &mut [f32]) {
    score_run(&interleaved(q, n_heads, panels.dim), weights, n_heads, &panels.values, panels.dim, scores);
}

#[macerator::with_simd]
fn score_run<S: Simd>(q: &[f32], weights: &[f32], n_heads: usize, panels: &[f32], dim: usize, scores: &mut [f32]) {
    let width = WIDTH * S::lanes32();
    let stride = scores.len() / (weights.len() / n_heads);
    // A panel stays in the nearest cache while all tokens use it.
    for (panel_idx, panel) in panels.chunks_exact(width * dim).take(stride / width).enumerate() {
        let queries = q.chunks_exact(n_heads * dim).zip(weights.chunks_exact(n_heads));
        for (row, (q, weights)) in scores.chunks_exact_mut(stride).zip(queries) {
            let row = &mut row[panel_idx * width..][..width];
            for (lanes, total) in row.chunks_exact_mut(S::lanes32()).zip(score_panel::<S>(q, weights, panel, dim)) {
                store(lanes, total);
            }
        }
    }
}

#[inline(always)]
fn score_panel<S: Simd>(q: &[f32], weights: &[f32], panel: &[f32], dim: usize) -> [Lanes<S>; WIDTH] {
    let mut total = [splat::<S>(0.0); WIDTH];
    let (groups, rest) = weights.as_chunks::<HEADS>();
    let (q_groups, q_rest) = q.split_at(groups.len() * HEADS * dim);
    for (weights, q) in groups.iter().zip(q_groups.chunks_exact(HEADS * dim)) {
        add_heads::<S, HEADS>(q, weights, panel, &mut total);
    }
    for (weight, q) in rest.iter().zip(q_rest.chunks_exact(dim)) {
        add_heads::<S, 1>(q, &[*weight], panel, &mut total);
    }
    total
}

/// Adds `Σ_h w_h · max(0, q_h · k)` of `N` heads.
#[inline(always)]
fn add_heads<S: Simd, const N: usize>(q: &[f32], weights: &[f32; N], panel: &[f32], total: &mut [Lanes<S>; WIDTH]) {
    let lanes = S::lanes32();
    let mut products = [[splat::<S>(0.0); WIDTH]; N];
    for (q, keys) in q.as_chunks::<N>().0.iter().zip(panel.chunks_exact(WIDTH * lanes)) {
        let keys: [Lanes<S>; WIDTH] = std::array::from_fn(|i| load(&keys[i * lanes..]));
        for (products, q) in products.iter_mut().zip(q) {
            let q = splat::<S>(*q);
            for (product, key) in products.iter_mut().zip(keys) {
                *product = q.mul_add(key, *product);
            }
        }
    }
    for (products, weight) in products.iter().zip(weights) {
        for (total, product) in total.iter_mut().zip(products) {
            *total = splat::<S>(*weight).mul_add(at_least(*product, splat(0.0)), *total);
        }
    }
}
