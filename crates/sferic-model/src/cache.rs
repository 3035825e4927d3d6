//! The latent and index caches of one sequence (spec §2.6).

use burn::tensor::Tensor;

/// Tokens that a buffer holds when it is first allocated.
const FIRST_ALLOCATION: usize = 64;

/// What a sequence remembers: per layer one latent row and, with an indexer, one index key per token.
///
/// The index keys are written for every token, also while the context is shorter than `index_topk` (spec §2.6).
#[derive(Clone, Debug)]
pub struct Cache {
    pub(crate) layers: Vec<LayerCache>,
    len: usize,
    capacity: usize,
}

impl Cache {
    /// Makes an empty cache for `n_layers` layers that may grow to `capacity` tokens.
    pub(crate) fn new(n_layers: usize, capacity: usize) -> Self {
        Self { layers: vec![LayerCache::default(); n_layers], len: 0, capacity }
    }

    /// Returns the number of tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of tokens that may be held.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets every token from position `n_tokens` on.
    pub fn truncate(&mut self, n_tokens: usize) {
        self.len = self.len.min(n_tokens);
    }

    /// Counts `n_tokens` more tokens, after every layer has appended them.
    pub(crate) fn advance(&mut self, n_tokens: usize) {
        self.len += n_tokens;
    }
}

/// The caches of one layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerCache {
    /// Rows `[c | kr]`: `[1, allocated, C + Dr]`
    pub latent: Rows,
    /// Index keys: `[1, allocated, Di]`
    pub index: Rows,
}

/// A growing buffer of rows; the allocation doubles, so that appending is cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows(Option<Tensor<3>>);

impl Rows {
    /// Writes `new` at position `start` and returns all rows up to its end.
    ///
    /// # Shapes
    /// - new: `[1, T, W]`
    /// - returns: `[1, start + T, W]`
    pub fn append(&mut self, new: Tensor<3>, start: usize, capacity: usize) -> Tensor<3> {
        let [n_batch, n_tokens, width] = new.dims();
        let end = start + n_tokens;
        let grown = match self.0.take() {
            Some(rows) if rows.dims()[1] >= end => rows,
            old => {
                let doubled = end.next_power_of_two().max(FIRST_ALLOCATION);
                let allocated = doubled.min(capacity.max(end));
                let empty = Tensor::zeros([n_batch, allocated, width], (&new.device(), new.dtype()));
                match old {
                    Some(rows) => {
                        let n_kept = rows.dims()[1];
                        empty.slice_assign([0..n_batch, 0..n_kept, 0..width], rows)
                    }
                    None => empty,
                }
            }
        };
        let rows = grown.slice_assign([0..n_batch, start..end, 0..width], new);
        let view = rows.clone().narrow(1, 0, end);
        self.0 = Some(rows);
        view
    }

    /// Returns the rows up to position `end`, where there are some.
    pub fn upto(&self, end: usize) -> Option<Tensor<3>> {
        self.0.clone().map(|rows| rows.narrow(1, 0, end))
    }
}
