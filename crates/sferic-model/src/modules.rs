//! Small modules shared by the blocks.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
#[cfg(not(target_family = "wasm"))]
use sferic_ops::train;
use sferic_ops::{linear, norm};

/// A linear layer `y = x · Wᵀ + b`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`, as in the checkpoint.
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Applies the layer.
    ///
    /// # Shapes
    /// - x: `[B, T, in]`
    /// - returns: `[B, T, out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let y = linear::linear(x, self.weight.val());
        match &self.bias {
            Some(bias) => y.add(bias.val().unsqueeze()),
            None => y,
        }
    }
}

/// Root-mean-square normalisation (spec §2.1).
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[D]`
    pub weight: Param<Tensor<1>>,
    /// Added to the mean square.
    #[module(skip)]
    pub eps: f64,
}

impl RmsNorm {
    /// Normalises the last dimension.
    ///
    /// # Shapes
    /// - x, returned: `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        norm::rms_norm(x, self.weight.val(), self.eps)
    }
}

/// Layer normalisation: the indexer's `k_norm` alone (spec §2.1).
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[D]`
    pub weight: Param<Tensor<1>>,
    /// `[D]`
    pub bias: Param<Tensor<1>>,
    /// Added to the variance.
    #[module(skip)]
    pub eps: f64,
}

impl LayerNorm {
    /// Normalises the last dimension.
    ///
    /// # Shapes
    /// - x, returned: `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        norm::layer_norm(x, self.weight.val(), self.bias.val(), self.eps)
    }
}

/// The token embedding table.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[vocab, D]`
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Looks tokens up.
    ///
    /// # Shapes
    /// - token_ids: `[B, T]`
    /// - returns: `[B, T, D]`
    pub fn forward(&self, token_ids: Tensor<2, burn::tensor::Int>) -> Tensor<3> {
        let [n_batch, n_tokens] = token_ids.dims();
        let weight = self.weight.val();
        let d_model = weight.dims()[1];
        let ids = token_ids.reshape([n_batch * n_tokens]);
        #[cfg(not(target_family = "wasm"))]
        if let Some(rows) = train::embedding(&weight, &ids) {
            return rows.reshape([n_batch, n_tokens, d_model]);
        }
        weight.select(0, ids).reshape([n_batch, n_tokens, d_model])
    }
}
