//! Attention of one token to selected latent rows, in the absorbed form.

use macerator::Simd;

use super::simd::{Lanes, at_least, exp, load, splat, store};

/// Rows that are multiplied together with a query.
const ROWS: usize = 8;
/// Heads that are summed together.
const HEADS: usize = 4;

/// What all tokens of a chunk share.
pub struct Block<'a> {
    /// Latent rows, `[S, C + Dr]`.
    pub rows: &'a [f32],
    /// `C + Dr`
    pub width: usize,
    /// `C`
    pub d_latent: usize,
    /// `H`
    pub n_heads: usize,
    /// Factor on the scores.
    pub scale: f32,
}

/// Memory that one token after the other uses.
#[derive(Default)]
pub struct Scratch {
    /// Where the selected rows begin, `[K]`.
    starts: Vec<usize>,
    /// Queries of one group of heads, `[C + Dr][heads]`.
    queries: Vec<f32>,
    /// Scores, then probabilities before they are divided by their sum: `[groups][K][heads of a group]`.
    p: Vec<f32>,
    /// The sums, `[groups][heads of a group]`.
    sums: Vec<f32>,
}

impl Block<'_> {
    /// Attends from one token to its selection.
    ///
    /// # Shapes
    /// - q: `[H, C + Dr]`
    /// - selected: `[K]`, negative in the unfilled slots at the end
    /// - u, set: `[H, C]`
    pub fn attend(&self, q: &[f32], selected: &[i32], scratch: &mut Scratch, u: &mut [f32]) {
        let filled = selected.iter().map_while(|token| usize::try_from(*token).ok());
        scratch.starts.clear();
        scratch.starts.extend(filled.map(|token| token * self.width));
        if !scratch.starts.is_empty() {
            attend_in_lanes(self, q, scratch, u);
        }
    }
}

/// Heads lie side by side in a register for the scores, so that softmax needs no sum across one; columns do for the sum of rows.
#[macerator::with_simd]
fn attend_in_lanes<'a, S: Simd>(block: &Block<'a>, q: &[f32], scratch: &mut Scratch, u: &mut [f32]) {
    let lanes = S::lanes32();
    let Block { rows, width, n_heads, scale, .. } = *block;
    let Scratch { starts, queries, p, sums } = scratch;
    let n_groups = n_heads.div_ceil(lanes);
    let group_len = starts.len() * lanes;
    p.resize(n_groups * group_len, 0.0);
    sums.resize(n_groups * lanes, 0.0);
    queries.clear();
    queries.resize(width * lanes, 0.0);
    let groups = p.chunks_exact_mut(group_len).zip(sums.chunks_exact_mut(lanes));
    for (q, (p, sums)) in q.chunks(lanes * width).zip(groups) {
        for (head, q) in q.chunks_exact(width).enumerate() {
            for (column, value) in queries.chunks_exact_mut(lanes).zip(q) {
                column[head] = value * scale;
            }
        }
        multiply::<S>(queries, rows, starts, width, p);
        store(sums, softmax::<S>(p));
    }
    let mut head = 0;
    while head < n_heads {
        let (group_idx, first) = (head / lanes, head % lanes);
        let sums = &sums[head..];
        let part = Part { block, starts, p: &p[group_idx * group_len + first..], sums };
        let u = &mut u[head * block.d_latent..];
        if HEADS <= lanes - first && HEADS <= n_heads - head {
            part.sum_rows::<S, HEADS>(u);
            head += HEADS;
        } else {
            part.sum_rows::<S, 1>(u);
            head += 1;
        }
    }
}

/// Products of the queries of a group of heads with each row: `[K][heads]`.
#[inline(always)]
fn multiply<S: Simd>(queries: &[f32], rows: &[f32], starts: &[usize], width: usize, p: &mut [f32]) {
    let lanes = S::lanes32();
    let (blocks, rest) = starts.as_chunks::<ROWS>();
    let (p_blocks, p_rest) = p.split_at_mut(blocks.len() * ROWS * lanes);
    for (starts, p) in blocks.iter().zip(p_blocks.chunks_exact_mut(ROWS * lanes)) {
        multiply_rows::<S, ROWS>(queries, rows, starts, width, p);
    }
    for (start, p) in rest.iter().zip(p_rest.chunks_exact_mut(lanes)) {
        multiply_rows::<S, 1>(queries, rows, &[*start], width, p);
    }
}

#[inline(always)]
fn multiply_rows<S: Simd, const N: usize>(queries: &[f32], rows: &[f32], starts: &[usize; N], width: usize, p: &mut [f32]) {
    let lanes = S::lanes32();
    let rows: [&[f32]; N] = starts.map(|start| &rows[start..start + width]);
    let mut products = [splat::<S>(0.0); N];
    for (i, q) in queries.chunks_exact(lanes).take(width).enumerate() {
        let q: Lanes<S> = load(q);
        for (product, row) in products.iter_mut().zip(rows) {
            *product = splat::<S>(row[i]).mul_add(q, *product);
        }
    }
    for (p, product) in p.chunks_exact_mut(lanes).zip(products) {
        store(p, product);
    }
}

/// Makes scores `[K][heads]` to probabilities that are not divided by their sums; returns the sums.
#[inline(always)]
fn softmax<S: Simd>(p: &mut [f32]) -> Lanes<S> {
    let lanes = S::lanes32();
    let mut max = splat::<S>(f32::MIN);
    for p in p.chunks_exact(lanes) {
        max = at_least(max, load(p));
    }
    let mut sum = splat::<S>(0.0);
    for p in p.chunks_exact_mut(lanes) {
        let e = exp(load::<S>(p) - max);
        sum += e;
        store(p, e);
    }
    sum
}

/// Neighbouring heads of one group.
struct Part<'a> {
    block: &'a Block<'a>,
    starts: &'a [usize],
    /// Their probabilities at the front of each row, `[K][heads of a group]`.
    p: &'a [f32],
    /// Their sums at the front.
    sums: &'a [f32],
}

impl Part<'_> {
    /// `u_h = Σ_j p_jh · row_j / sum_h` for the first `N` heads; sets `u`, `[N, C]`.
    #[inline(always)]
    fn sum_rows<S: Simd, const N: usize>(&self, u: &mut [f32]) {
        let (lanes, d_latent) = (S::lanes32(), self.block.d_latent);
        let mut column = 0;
        while column + 2 * lanes <= d_latent {
            self.sum_columns::<S, N, 2>(column, u);
            column += 2 * lanes;
        }
        while column + lanes <= d_latent {
            self.sum_columns::<S, N, 1>(column, u);
            column += lanes;
        }
        for head in 0..N {
            for column in column..d_latent {
                let terms = self.starts.iter().zip(self.p.chunks(lanes));
                let total: f32 = terms.map(|(start, p)| p[head] * self.block.rows[start + column]).sum();
                u[head * d_latent + column] = total / self.sums[head];
            }
        }
    }

    /// The same for `W` registers of columns.
    #[inline(always)]
    fn sum_columns<S: Simd, const N: usize, const W: usize>(&self, column: usize, u: &mut [f32]) {
        let (lanes, d_latent) = (S::lanes32(), self.block.d_latent);
        let mut total = [[splat::<S>(0.0); W]; N];
        for (start, p) in self.starts.iter().zip(self.p.chunks(lanes)) {
            let row = &self.block.rows[start + column..][..W * lanes];
            let row: [Lanes<S>; W] = std::array::from_fn(|i| load(&row[i * lanes..]));
            for (total, p) in total.iter_mut().zip(&p[..N]) {
                let p = splat::<S>(*p);
                for (total, row) in total.iter_mut().zip(row) {
                    *total = p.mul_add(row, *total);
                }
            }
        }
        for (head, total) in total.iter().enumerate() {
            let inverse = splat::<S>(1.0 / self.sums[head]);
            for (i, total) in total.iter().enumerate() {
                store(&mut u[head * d_latent + column + i * lanes..], *total * inverse);
            }
        }
    }
}
