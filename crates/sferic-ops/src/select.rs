//! Exact deterministic selection of the `K` best past tokens (spec §§3.6, 3.7).
//!
//! Order: score descending, then index ascending. `−0.0` equals `+0.0`; NaN never wins.
//! Rows are selected on the host: this is the oracle that the GPU kernels are held to, and on the CPU device it is also the fast way.

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};

/// Score matrices below this size are selected on the calling thread.
const MIN_PARALLEL_SCORES: usize = 1 << 18;

/// The tokens that each query attends to.
#[derive(Clone, Debug)]
pub struct Selection {
    /// `[B, T, K]`, ascending token indices, `−1` in the unfilled slots at the end of a row.
    pub indices: Tensor<3, Int>,
}

impl Selection {
    /// Selects for each query the `k` best-scored tokens among those at or before its own position.
    ///
    /// Query row `t` stands at position `start + t`. Rows that can see no more than `k` tokens select all of them.
    ///
    /// # Shapes
    /// - scores: `[B, T, S]` with `S >= start + T`
    pub fn top_k(scores: Tensor<3>, start: usize, k: usize) -> Self {
        let device = scores.device();
        let [n_batch, n_tokens, n_context] = scores.dims();
        let width = k.min(n_context);
        let rows = match scores.dtype() {
            DType::F64 => select_rows::<f64>(&scores.detach().into_data(), n_tokens, start, width),
            _ => select_rows::<f32>(&scores.detach().into_data(), n_tokens, start, width),
        };
        let data = TensorData::new(rows, [n_batch, n_tokens, width]);
        Self { indices: Tensor::from_data(data, &device) }
    }

    /// Selects every token at or before each query's position: dense attention as a selection of width `start + n_tokens`.
    pub fn all(n_batch: usize, n_tokens: usize, start: usize, device: &Device) -> Self {
        let width = start + n_tokens;
        let rows: Vec<i32> = (0..n_batch * n_tokens)
            .flat_map(|row| {
                let n_visible = start + row % n_tokens + 1;
                (0..width).map(move |s| if s < n_visible { s as i32 } else { -1 })
            })
            .collect();
        let data = TensorData::new(rows, [n_batch, n_tokens, width]);
        Self { indices: Tensor::from_data(data, device) }
    }

    /// Returns the mask that is true at the slots holding a token.
    ///
    /// # Shapes
    /// - returns: `[B, T, K]`
    pub fn valid(&self) -> Tensor<3, Bool> {
        self.indices.clone().greater_equal_scalar(0)
    }

    /// Returns the selection as a mask over the context, true where a query attends.
    ///
    /// # Shapes
    /// - returns: `[B, T, S]`
    pub fn to_mask(&self, n_context: usize) -> Tensor<3, Bool> {
        let device = self.indices.device();
        let [n_batch, n_tokens, width] = self.indices.dims();
        let mut mask = vec![false; n_batch * n_tokens * n_context];
        let data = self.indices.clone().into_data();
        for (slot, token) in data.iter::<i64>().enumerate() {
            if let Ok(token) = usize::try_from(token)
                && let Some(cell) = mask.get_mut(slot / width * n_context + token)
            {
                *cell = true;
            }
        }
        Tensor::from_data(TensorData::new(mask, [n_batch, n_tokens, n_context]), &device)
    }
}

/// Returns the causal mask, true where query row `t` at position `start + t` sees token `s`.
///
/// # Shapes
/// - returns: `[T, S]`
pub fn causal_mask(n_tokens: usize, n_context: usize, start: usize, device: &Device) -> Tensor<2, Bool> {
    let rows: Vec<bool> = (0..n_tokens).flat_map(|t| (0..n_context).map(move |s| s <= start + t)).collect();
    Tensor::from_data(TensorData::new(rows, [n_tokens, n_context]), device)
}

/// Selects all rows of a `[B·T, S]` score matrix; unfilled slots are `−1`.
fn select_rows<F: Score>(data: &TensorData, n_tokens: usize, start: usize, width: usize) -> Vec<i32> {
    let scores: Vec<F> = data.iter::<F>().collect();
    let n_context = data.shape().last().copied().unwrap_or(0).max(1);
    let mut selected = vec![-1; scores.len() / n_context * width];
    let select = |first_row: usize, scores: &[F], selected: &mut [i32]| {
        let mut finder = Finder::default();
        for (i, (row, slots)) in scores.chunks(n_context).zip(selected.chunks_mut(width.max(1))).enumerate() {
            let n_visible = (start + (first_row + i) % n_tokens.max(1) + 1).min(n_context);
            finder.find(row.get(..n_visible).unwrap_or(row), slots);
        }
    };
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    if n_threads == 1 || scores.len() < MIN_PARALLEL_SCORES {
        select(0, &scores, &mut selected);
        return selected;
    }
    let rows_per_thread = (scores.len() / n_context).div_ceil(n_threads).max(1);
    std::thread::scope(|scope| {
        let pieces = scores.chunks(rows_per_thread * n_context).zip(selected.chunks_mut((rows_per_thread * width).max(1)));
        for (piece_idx, (scores, selected)) in pieces.enumerate() {
            let select = &select;
            scope.spawn(move || select(piece_idx * rows_per_thread, scores, selected));
        }
    });
    selected
}

/// Returns the ascending indices of the `k` best scores of one row.
///
/// Order: score descending, then index ascending; NaN never wins over a number, negative infinity included.
/// Linear in the row's length on average.
pub fn top_k_row<F: Score>(scores: &[F], k: usize) -> Vec<u32> {
    let mut selected = vec![-1; k.min(scores.len())];
    Finder::default().find(scores, &mut selected);
    selected.into_iter().map(|token| token as u32).collect()
}

/// Rows up to this length are selected from whole.
const SHORT_ROW: usize = 1024;
/// One in so many keys of a longer row tells about where the `k`-th best lies.
const SAMPLED: usize = 16;

/// Selects from one row after another in the same memory.
#[derive(Debug)]
pub(crate) struct Finder<F: Score> {
    /// The row's keys.
    keys: Vec<F::Key>,
    /// Keys in which a position of the order is looked up.
    order: Vec<F::Key>,
    /// The keys that may be among the best, and where they stand.
    near: Vec<F::Key>,
    near_indices: Vec<i32>,
}

impl<F: Score> Default for Finder<F> {
    fn default() -> Self {
        Self { keys: Vec::new(), order: Vec::new(), near: Vec::new(), near_indices: Vec::new() }
    }
}

impl<F: Score> Finder<F> {
    /// Writes the ascending indices of the best scores into the slots, and `−1` into those that are left over.
    pub(crate) fn find(&mut self, scores: &[F], slots: &mut [i32]) {
        let k = slots.len().min(scores.len());
        let mut filled = 0;
        if k == scores.len() {
            slots.iter_mut().zip(0..k).for_each(|(slot, i)| *slot = i as i32);
            filled = k;
        } else if k > 0 {
            self.keys.clear();
            self.keys.extend(scores.iter().map(|score| score.key()));
            self.narrow(k);
            let (worst, mut n_ties) = self.worst(k);
            for (key, i) in self.near.iter().zip(&self.near_indices) {
                let is_tie = *key == worst && n_ties > 0;
                n_ties -= usize::from(is_tie);
                if let Some(slot) = slots.get_mut(filled) {
                    *slot = *i;
                }
                filled += usize::from(is_tie || *key > worst);
            }
        }
        slots.iter_mut().skip(filled).for_each(|slot| *slot = -1);
    }

    /// Leaves `k` keys or more in `near`, the best among them. In a long row these are few, unless the sample was not typical.
    fn narrow(&mut self, k: usize) {
        let n = self.keys.len();
        if n > SHORT_ROW {
            self.order.clear();
            self.order.extend(self.keys.iter().step_by(SAMPLED));
            // A quarter more than would do on average, and a few against bad luck with a small `k`.
            let place = k.div_ceil(SAMPLED) * 5 / 4 + 8;
            if place < self.order.len() {
                let (_, bound, _) = self.order.select_nth_unstable_by(place, |a, b| b.cmp(a));
                let bound = *bound;
                self.keep(|key| key >= bound);
                if self.near.len() >= k {
                    return;
                }
            }
        }
        self.keep(|_| true);
    }

    fn keep(&mut self, is_near: impl Fn(F::Key) -> bool) {
        let n = self.keys.len();
        self.near.resize(n, F::Key::default());
        self.near_indices.resize(n, 0);
        let mut n_near = 0;
        for (i, key) in self.keys.iter().enumerate() {
            // Written at once and kept or not: a branch would often be guessed wrong.
            if let (Some(near), Some(index)) = (self.near.get_mut(n_near), self.near_indices.get_mut(n_near)) {
                (*near, *index) = (*key, i as i32);
            }
            n_near += usize::from(is_near(*key));
        }
        self.near.truncate(n_near);
        self.near_indices.truncate(n_near);
    }

    /// The `k`-th best key of `near`, and how many that equal it belong to the best `k`.
    fn worst(&mut self, k: usize) -> (F::Key, usize) {
        self.order.clone_from(&self.near);
        let (better, worst, _) = self.order.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
        (*worst, k - better.iter().filter(|key| *key > worst).count())
    }
}

/// A floating-point score.
pub trait Score: Copy + burn::tensor::Element {
    /// An integer that is ordered as scores are.
    type Key: Copy + Ord + Default + std::fmt::Debug;

    /// Returns the key: `−0.0` has that of `+0.0`, and NaN comes before all numbers.
    fn key(self) -> Self::Key;
}

impl Score for f32 {
    type Key = u32;

    fn key(self) -> u32 {
        // The bits of a negative number grow with its size. Minus zero and zero add up to zero.
        let bits = (self + 0.0).to_bits();
        let key = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
        if self.is_nan() { 0 } else { key }
    }
}

impl Score for f64 {
    type Key = u64;

    fn key(self) -> u64 {
        let bits = (self + 0.0).to_bits();
        let key = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
        if self.is_nan() { 0 } else { key }
    }
}
