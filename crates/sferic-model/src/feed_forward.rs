//! Feed-forward blocks: the dense SwiGLU block and the mixture of experts (spec §4).

use burn::{
    module::{Module, Param},
    tensor::{Int, Tensor},
};
use sferic_ops::{
    linear::silu_mul,
    moe::{self, Routing},
};

use crate::{
    config::{Config, MoeConfig},
    load::{Loader, TensorSource},
    modules::Linear,
};

/// A layer's feed-forward block.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "one per layer, never moved in a loop")]
pub enum FeedForward {
    /// One block for every token.
    Dense(Mlp),
    /// A few of many experts for each token.
    Sparse(Moe),
}

impl FeedForward {
    pub(crate) fn load<S: TensorSource>(
        config: &Config,
        layer_idx: usize,
        loader: &mut Loader<S>,
        prefix: &str,
    ) -> Result<Self, S::Error> {
        match &config.moe {
            Some(moe) if config.is_moe(layer_idx) => Ok(Self::Sparse(Moe::load(config, moe, loader, prefix)?)),
            _ => Ok(Self::Dense(Mlp::load(config.hidden_size, config.intermediate_size, loader, prefix)?)),
        }
    }

    /// Applies the block; in a mixture to the experts in `kept`, where there are some, and returns the experts beside the result.
    ///
    /// # Shapes
    /// - x, returned: `[B, T, D]`
    /// - kept, returned: `[B · T, A]`, as in [`moe::route_kept`]
    pub fn forward(&self, x: Tensor<3>, kept: Option<Tensor<2, Int>>) -> (Tensor<3>, Option<Tensor<2, Int>>) {
        match self {
            Self::Dense(mlp) => (mlp.forward(x), None),
            Self::Sparse(moe) => {
                let (y, experts) = moe.forward(x, kept);
                (y, Some(experts))
            }
        }
    }
}

/// `down(silu(gate x) · up x)`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `W_1`: `[I, D]`
    pub gate_proj: Linear,
    /// `W_3`: `[I, D]`
    pub up_proj: Linear,
    /// `W_2`: `[D, I]`
    pub down_proj: Linear,
}

impl Mlp {
    fn load<S: TensorSource>(d_model: usize, width: usize, loader: &mut Loader<S>, prefix: &str) -> Result<Self, S::Error> {
        Ok(Self {
            gate_proj: loader.linear(&format!("{prefix}.gate_proj"), width, d_model, false)?,
            up_proj: loader.linear(&format!("{prefix}.up_proj"), width, d_model, false)?,
            down_proj: loader.linear(&format!("{prefix}.down_proj"), d_model, width, false)?,
        })
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - x, returned: `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = silu_mul(self.gate_proj.forward(x.clone()), self.up_proj.forward(x));
        self.down_proj.forward(hidden)
    }
}

/// A mixture of experts with an always-active shared block.
#[derive(Module, Debug)]
pub struct Moe {
    /// The router.
    pub gate: Gate,
    /// The routed experts.
    pub experts: Experts,
    /// The shared block, unweighted.
    pub shared_experts: Option<Mlp>,
    /// How experts are chosen.
    #[module(skip)]
    pub routing: Routing,
}

/// The router's parameters.
#[derive(Module, Debug)]
pub struct Gate {
    /// `[E, D]`
    pub weight: Param<Tensor<2>>,
    /// `[E]`; takes part in the choice only, and is trained by load balancing, not by gradients.
    pub e_score_correction_bias: Option<Param<Tensor<1>>>,
}

/// The routed experts, stacked.
#[derive(Module, Debug)]
pub struct Experts {
    /// `[E, 2I, D]`, gate rows first.
    pub gate_up_proj: Param<Tensor<3>>,
    /// `[E, D, I]`
    pub down_proj: Param<Tensor<3>>,
}

impl Moe {
    fn load<S: TensorSource>(config: &Config, moe: &MoeConfig, loader: &mut Loader<S>, prefix: &str) -> Result<Self, S::Error> {
        let (n_experts, width, d_model) = (moe.n_routed_experts, moe.moe_intermediate_size, config.hidden_size);
        let gate = Gate {
            weight: loader.param(format!("{prefix}.gate.weight"), [n_experts, d_model])?,
            e_score_correction_bias: if moe.has_correction_bias {
                Some(loader.param(format!("{prefix}.gate.e_score_correction_bias"), [n_experts])?)
            } else {
                None
            },
        };
        let experts = Experts {
            gate_up_proj: loader.param(format!("{prefix}.experts.gate_up_proj"), [n_experts, 2 * width, d_model])?,
            down_proj: loader.param(format!("{prefix}.experts.down_proj"), [n_experts, d_model, width])?,
        };
        let shared_experts = match moe.n_shared_experts {
            0 => None,
            n_shared => Some(Mlp::load(d_model, width * n_shared, loader, &format!("{prefix}.shared_experts"))?),
        };
        Ok(Self { gate, experts, shared_experts, routing: moe.routing })
    }

    /// Applies the block to the experts in `kept`, or to those that it chooses, and returns them beside the result.
    ///
    /// # Shapes
    /// - x, returned: `[B, T, D]`
    /// - kept, returned: `[B · T, A]`, as in [`moe::route_kept`]
    pub fn forward(&self, x: Tensor<3>, kept: Option<Tensor<2, Int>>) -> (Tensor<3>, Tensor<2, Int>) {
        let [n_batch, n_tokens, d_model] = x.dims();
        let flat = x.clone().reshape([n_batch * n_tokens, d_model]);
        let logits = flat.clone().matmul(self.gate.weight.val().transpose()); // [N, E]
        let bias = self.gate.e_score_correction_bias.as_ref().map(|bias| bias.val().detach());
        let routed = match kept {
            Some(kept) => moe::route_kept(logits, bias, &self.routing, kept),
            None => moe::route(logits, bias, &self.routing),
        };
        let y = moe::experts(flat, &routed, self.experts.gate_up_proj.val(), self.experts.down_proj.val());
        let y = y.reshape([n_batch, n_tokens, d_model]);
        let y = match &self.shared_experts {
            Some(shared) => y.add(shared.forward(x)),
            None => y,
        };
        (y, routed.experts)
    }
}
