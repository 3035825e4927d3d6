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
        for (i, (row, slots)) in scores.chunks(n_context).zip(selected.chunks_mut(width.max(1))).enumerate() {
            let n_visible = (start + (first_row + i) % n_tokens.max(1) + 1).min(n_context);
            for (slot, token) in slots.iter_mut().zip(top_k_row(row.get(..n_visible).unwrap_or(row), width)) {
                *slot = token as i32;
            }
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
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    if k < scores.len() {
        let key = |i: &u32| scores.get(*i as usize).copied().map(F::rank);
        order.select_nth_unstable_by(k, |a, b| {
            let by_score = key(b).partial_cmp(&key(a)).unwrap_or(std::cmp::Ordering::Equal);
            by_score.then(a.cmp(b))
        });
        order.truncate(k);
        order.sort_unstable();
    }
    order
}

/// A floating-point score.
pub trait Score: Copy + PartialOrd + burn::tensor::Element {
    /// Returns whether it is a number, then its value: the order of scores, without NaN.
    fn rank(self) -> (bool, Self);
}

impl Score for f32 {
    fn rank(self) -> (bool, Self) {
        if self.is_nan() { (false, 0.0) } else { (true, self) }
    }
}

impl Score for f64 {
    fn rank(self) -> (bool, Self) {
        if self.is_nan() { (false, 0.0) } else { (true, self) }
    }
}
