//! Which experts the tokens of a conversation went to.

use crate::runtime::ExpertRows;
use crate::trace::Matrix;
use std::collections::BTreeMap;

/// Routed experts of the first tokens of a conversation.
#[derive(Clone, Debug, Default)]
pub(super) struct Experts {
    n_tokens: usize,
    layers: BTreeMap<usize, Matrix<i32>>,
}

impl Experts {
    /// By mixture layer, `[T, A]`.
    pub(super) fn layers(&self) -> &BTreeMap<usize, Matrix<i32>> {
        &self.layers
    }

    /// Tokens whose experts are known, in a model without mixtures likewise.
    pub(super) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Takes the experts of tokens up to `n_tokens`, row by row.
    pub(super) fn extend(&mut self, n_tokens: usize, layers: ExpertRows) {
        for (layer_idx, rows) in layers {
            self.layers.entry(layer_idx).or_default().extend(rows);
        }
        self.n_tokens = n_tokens;
    }

    pub(super) fn truncate(&mut self, n_tokens: usize) {
        self.n_tokens = self.n_tokens.min(n_tokens);
        self.layers.values_mut().for_each(|matrix| matrix.truncate(self.n_tokens));
    }
}
