//! Loads of experts, and the rule that evens them out without a gradient.
//!
//! The bias that takes part in the choice of experts, and not in their weights, rises for those with too few tokens and falls for those with too
//! many. A loss would pull the router away from what the language model wants of it; the bias only moves the edge between two experts.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::Tensor;
use sferic_model::feed_forward::FeedForward;
use sferic_model::{Model, TrainForward, moe};

use crate::TrainError;

/// The usual step of a bias.
pub const BIAS_UPDATE_SPEED: f64 = 1e-3;

/// Tokens of each expert since the last update, on the device.
#[derive(Debug, Clone, Default)]
pub struct Loads(BTreeMap<usize, Tensor<1>>);

impl Loads {
    /// Adds the experts of a forward pass.
    ///
    /// # Shapes
    /// - counted: `[B · T]`, 1 for tokens that count and 0 for those that fill a row; every token counts without it
    pub fn add(&mut self, model: &Model, forward: &TrainForward, counted: Option<&Tensor<1>>) {
        let Some(n_experts) = model.config().moe.as_ref().map(|moe| moe.n_routed_experts) else { return };
        for (&layer_idx, experts) in &forward.experts {
            let loads = moe::loads(experts, n_experts, counted.cloned()).detach();
            let sum = match self.0.remove(&layer_idx) {
                Some(before) => before.add(loads),
                None => loads,
            };
            self.0.insert(layer_idx, sum);
        }
    }

    /// Returns the loads of a layer, `[E]`.
    pub fn of_layer(&self, layer_idx: usize) -> Option<&Tensor<1>> {
        self.0.get(&layer_idx)
    }

    /// Returns the largest load of an expert over the mean, of the layer where that is largest: 1 where all are equal, `E / A` where all tokens go
    /// to the same experts; `None` where nothing was counted.
    ///
    /// # Errors
    /// [`TrainError::Device`] when the loads cannot be read; `step` only goes into the message.
    pub fn imbalance(&self, step: usize) -> Result<Option<f64>, TrainError> {
        let mut largest: Option<f64> = None;
        for loads in self.0.values() {
            let read = loads.clone().try_into_vec_as::<f32>();
            let action = "reading the loads of experts";
            let loads = read.map_err(|error| TrainError::Device { step, action, message: error.to_string() })?;
            let sum: f64 = loads.iter().copied().map(f64::from).sum();
            let most = loads.iter().copied().map(f64::from).fold(0.0, f64::max);
            if sum > 0.0 {
                let ratio = most * loads.len() as f64 / sum;
                largest = Some(largest.map_or(ratio, |largest| largest.max(ratio)));
            }
        }
        Ok(largest)
    }
}

/// Moves the bias of every expert by `speed`: up where its load is below the mean of its layer, down where it is above.
///
/// `bias_e += speed · sign(mean load − load_e)`, after each optimiser step. Layers without loads or without a bias stay as they are; nothing is
/// read from the device.
///
/// # Source
/// DeepSeek-V3 report, section 2.1.2 (auxiliary-loss-free load balancing); spec §4.2.
#[must_use]
pub fn balance(mut model: Model, loads: &Loads, speed: f64) -> Model {
    for (layer_idx, layer) in model.layers.iter_mut().enumerate() {
        let (FeedForward::Sparse(mixture), Some(loads)) = (&mut layer.mlp, loads.of_layer(layer_idx)) else { continue };
        let update = |bias: Tensor<1>| {
            let is_trained = bias.is_require_grad();
            let missing = loads.clone().mean().sub(loads.clone()).sign().cast(bias.dtype());
            bias.detach().add(missing.mul_scalar(speed)).detach().set_require_grad(is_trained)
        };
        let bias = mixture.gate.e_score_correction_bias.take();
        mixture.gate.e_score_correction_bias = bias.map(|bias: Param<Tensor<1>>| bias.map(update));
    }
    model
}

/// Checks a step of the bias that was read from a configuration.
///
/// # Errors
/// [`TrainError::ConfigValue`] for a negative number or none.
pub fn check_speed(key: &str, speed: f64) -> Result<(), TrainError> {
    if speed.is_finite() && speed >= 0.0 {
        return Ok(());
    }
    Err(TrainError::config(key, "a number of at least 0", speed.to_string()))
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
