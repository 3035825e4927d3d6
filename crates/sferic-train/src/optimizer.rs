//! AdamW on the model as long vectors: matrices, which decay, and the rest, which does not; or Muon on the matrices between embedding and head.
//!
//! One vector takes a dozen launches where a tensor at a time would take a dozen for each of some hundred tensors, the global norm
//! is one sum, and the state is two tensors per vector. The update itself is Burn's.

use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsParams, Optimizer as _};
use burn::tensor::{Tensor, TensorData};
use sferic_model::Model;
use sferic_weights::{Dtype, SafeFile, TensorMeta, bytes_from_f32, write_safetensors};

use crate::TrainError;
use crate::config::{Rule, StageConfig};
use crate::loss::on_graph_of;
use crate::muon;

/// Names of the vectors in a checkpoint.
const GROUPS: [&str; 2] = ["decayed", "plain"];
/// Index of the vector of matrices that take Muon.
const MUON: usize = 2;
/// Name of their momentum in a checkpoint.
const MUON_MOMENTUM: &str = "muon.momentum";
/// Modules whose matrices take AdamW in any case: rows of tokens and of experts, and the indexer, whose stages have their own rates.
const ADAMW_MODULES: [&str; 4] = ["embed_tokens", "lm_head", "gate", "indexer"];
/// Name of the factor on gradients in a checkpoint's metadata.
const LOSS_SCALE: &str = "loss_scale";

/// AdamW, or Muon for matrices, with decoupled weight decay on matrices and clipping by the global norm.
///
/// A parameter that takes no gradient stays as it is. One that does and has none counts as one with a zero gradient.
///
/// Source: Loshchilov and Hutter 2019, algorithm 2.
#[derive(Clone)]
pub struct Optimizer {
    rules: [AdamW; 2],
    states: [Option<AdamWState<1>>; 2],
    rule: Rule,
    weight_decay: f64,
    muon: Option<Tensor<1>>,
    max_grad_norm: f64,
    loss_scale: f64,
}

impl std::fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let steps = self.states.each_ref().map(|state| state.as_ref().map_or(0, |state| state.momentum.time));
        f.debug_struct("Optimizer").field("steps", &steps).field("max_grad_norm", &self.max_grad_norm).finish()
    }
}

impl Optimizer {
    /// Returns an optimiser without history.
    pub fn new(train: &StageConfig) -> Self {
        let adamw = Self::adamw(train.betas, train.eps, train.weight_decay, train.max_grad_norm);
        Self { rule: train.optimizer, ..adamw }
    }

    /// Returns an optimiser without history, from AdamW's numbers and the largest norm of a gradient.
    pub fn adamw(betas: [f64; 2], eps: f64, weight_decay: f64, max_grad_norm: f64) -> Self {
        let rule = |weight_decay: f64| {
            AdamWConfig::new()
                .with_beta_1(betas[0] as f32)
                .with_beta_2(betas[1] as f32)
                .with_epsilon(eps as f32)
                .with_weight_decay(weight_decay as f32)
                .build()
        };
        Self {
            rules: [rule(weight_decay), rule(0.0)],
            states: [None, None],
            rule: Rule::Adamw,
            weight_decay,
            muon: None,
            max_grad_norm,
            loss_scale: 1.0,
        }
    }

    /// Sets the factor that gradients carry, a power of two; 1 unless products round to f16.
    #[must_use]
    pub fn with_loss_scale(self, loss_scale: f64) -> Self {
        Self { loss_scale, ..self }
    }

    /// The factor that the next step's gradients have to carry.
    pub fn loss_scale(&self) -> f64 {
        self.loss_scale
    }

    /// Takes the factor out of the gradients, clips them, updates the model and returns it with the gradient's norm before clipping, `[1]` on the
    /// device.
    ///
    /// The gradient is scaled by `min(1, max_grad_norm / norm)`. Nothing is read from the device while the factor is 1. With a factor the norm is
    /// read: where it is not finite the step is skipped, the factor is halved, and there is no norm.
    ///
    /// # Errors
    /// [`TrainError::Device`] when the norm cannot be read; `step` only goes into the message.
    pub fn step(
        &mut self,
        model: Model,
        gradients: GradientsParams,
        lr: f64,
        step: usize,
    ) -> Result<(Model, Option<Tensor<1>>), TrainError> {
        let none = || [Vec::new(), Vec::new(), Vec::new()];
        let mut flat = Flatten { gradients, values: none(), grads: none(), shapes: Vec::new(), place: Place::new(self.rule) };
        model.visit(&mut flat);
        let grads = flat.grads.map(cat);
        let values = flat.values.map(cat);
        let squares = grads.iter().flatten().map(|grad| grad.clone().square().sum());
        let mut norm = squares.reduce(Tensor::add).unwrap_or_else(|| Tensor::zeros([1], &model.device().inner())).sqrt();
        let scaled = self.loss_scale > 1.0;
        if scaled {
            norm = norm.div_scalar(self.loss_scale);
            let action = "reading the gradient's norm";
            let error = |error: String| TrainError::Device { step, action, message: error };
            let value = norm.clone().try_into_scalar::<f32>().map_err(|failed| error(failed.to_string()))?;
            if !value.is_finite() {
                self.loss_scale /= 2.0;
                return Ok((model, None));
            }
        }
        let mut scale = norm.clone().recip().mul_scalar(self.max_grad_norm).clamp_max(1.0);
        if scaled {
            scale = scale.div_scalar(self.loss_scale);
        }
        let mut updated = [None, None, None];
        for (group_idx, (value, grad)) in values.into_iter().zip(grads).enumerate() {
            let (Some(value), Some(grad)) = (value, grad) else { continue };
            if group_idx == MUON {
                let (update, momentum) = muon::step(grad.mul(scale.clone()), self.muon.take(), &flat.shapes);
                updated[MUON] = Some(value.mul_scalar(1.0 - lr * self.weight_decay).sub(update.mul_scalar(lr)));
                self.muon = Some(momentum);
                continue;
            }
            let (rule, state) = (&self.rules[group_idx], self.states[group_idx].take());
            let (value, state) = rule.step(lr, value, grad.mul(scale.clone()), state);
            updated[group_idx] = Some(value);
            self.states[group_idx] = state;
        }
        Ok((model.map(&mut Replace { updated, offsets: [0; 3], place: Place::new(self.rule) }), Some(norm)))
    }

    /// Writes the moments to a safetensors file.
    ///
    /// # Errors
    /// [`TrainError::Device`] when the moments cannot be read, [`TrainError::Weights`] when the file cannot be written.
    pub fn save(&self, step: usize, path: &Path) -> Result<(), TrainError> {
        let mut tensors = Vec::new();
        let mut metadata = std::collections::BTreeMap::new();
        metadata.insert(LOSS_SCALE.to_owned(), self.loss_scale.to_string());
        let mut named: Vec<(String, &Tensor<1>)> = Vec::new();
        for (group, state) in GROUPS.iter().zip(&self.states) {
            let Some(AdamWState { momentum }) = state else { continue };
            metadata.insert(format!("{group}.time"), momentum.time.to_string());
            named.push((format!("{group}.moment_1"), &momentum.moment_1));
            named.push((format!("{group}.moment_2"), &momentum.moment_2));
        }
        named.extend(self.muon.iter().map(|momentum| (MUON_MOMENTUM.to_owned(), momentum)));
        for (name, tensor) in named {
            let values = tensor.clone().try_into_vec_as::<f32>().map_err(|error| TrainError::Device {
                step,
                action: "reading the optimiser's state",
                message: error.to_string(),
            })?;
            let meta = TensorMeta::new(name, Dtype::F32, [values.len()]);
            tensors.push((meta, bytes_from_f32(&values, Dtype::F32).unwrap_or_default().into()));
        }
        Ok(write_safetensors(path, tensors, &metadata)?)
    }

    /// Restores moments, and a factor that has been halved, from a file of [`Optimizer::save`] for a model of the same shape.
    ///
    /// # Errors
    /// [`TrainError::Weights`] when the file is damaged, [`TrainError::Checkpoint`] when it belongs to another model.
    pub fn load(&mut self, model: &Model, path: &Path) -> Result<(), TrainError> {
        let file = SafeFile::open(path)?;
        let mut sizes = Sizes([0; 3], Place::new(self.rule));
        model.visit(&mut sizes);
        let device = model.device().inner();
        // A run on another device may need no factor, or a smaller one.
        let halved = file.metadata().get(LOSS_SCALE).and_then(|value| value.parse::<f64>().ok());
        self.loss_scale = halved.filter(|_| self.loss_scale > 1.0).map_or(self.loss_scale, |halved| halved.max(1.0));
        let wrong = |what: String, expected: String, found: String| TrainError::Checkpoint {
            what,
            expected,
            found,
            path: path.to_path_buf(),
        };
        let read = |name: String, n_values: usize| -> Result<Tensor<1>, TrainError> {
            let values = file.f32(&name)?;
            if values.len() != n_values {
                return Err(wrong(name, format!("{n_values} values"), format!("{} values", values.len())));
            }
            Ok(Tensor::from_data(TensorData::new(values, [n_values]), &device))
        };
        for (group_idx, group) in GROUPS.iter().enumerate() {
            let time_key = format!("{group}.time");
            let Some(time) = file.metadata().get(&time_key) else { continue };
            let time = time.parse().map_err(|_| wrong(time_key, "a number of steps".to_owned(), time.clone()))?;
            let moment = |moment: &str| read(format!("{group}.{moment}"), sizes.0[group_idx]);
            let momentum =
                AdaptiveMomentumState { time, moment_1: moment("moment_1")?, moment_2: moment("moment_2")?, max_moment_2: None };
            self.states[group_idx] = Some(AdamWState { momentum });
        }
        if self.rule == Rule::Muon && sizes.0[MUON] > 0 && file.contains(MUON_MOMENTUM) {
            self.muon = Some(read(MUON_MOMENTUM.to_owned(), sizes.0[MUON])?);
        }
        Ok(())
    }
}

/// Where a visitor stands, which says what rule a tensor takes.
struct Place {
    rule: Rule,
    modules: Vec<String>,
}

impl Place {
    fn new(rule: Rule) -> Self {
        Self { rule, modules: Vec::new() }
    }

    /// Index of the vector that a tensor of `rank` dimensions belongs to.
    fn group_idx(&self, rank: usize) -> usize {
        let takes_adamw = || self.modules.iter().any(|module| ADAMW_MODULES.contains(&module.as_str()));
        if rank == 2 && self.rule == Rule::Muon && !takes_adamw() { MUON } else { usize::from(rank < 2) }
    }
}

fn cat(tensors: Vec<Tensor<1>>) -> Option<Tensor<1>> {
    if tensors.is_empty() { None } else { Some(Tensor::cat(tensors, 0)) }
}

/// Collects parameters and gradients as vectors, in the order of the modules.
struct Flatten {
    gradients: GradientsParams,
    values: [Vec<Tensor<1>>; 3],
    grads: [Vec<Tensor<1>>; 3],
    /// Of the matrices that take Muon.
    shapes: Vec<[usize; 2]>,
    place: Place,
}

impl ModuleVisitor for Flatten {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.place.modules.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.modules.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(value) = trainable(param) else { return };
        let value = value.inner();
        let n_values = value.dims().iter().product::<usize>();
        let grad = self.gradients.remove::<D>(param.id).unwrap_or_else(|| value.zeros_like());
        let group_idx = self.place.group_idx(D);
        if group_idx == MUON {
            let dims = value.dims();
            self.shapes.push([dims[0], dims[D - 1]]);
        }
        self.values[group_idx].push(value.reshape([n_values]));
        self.grads[group_idx].push(grad.reshape([n_values]));
    }
}

/// Puts updated vectors back into the parameters, in the same order.
struct Replace {
    updated: [Option<Tensor<1>>; 3],
    offsets: [usize; 3],
    place: Place,
}

impl ModuleMapper for Replace {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.place.modules.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.modules.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let group_idx = self.place.group_idx(D);
        let Some(flat) = self.updated[group_idx].clone().filter(|_| trainable(&param).is_some()) else { return param };
        let from = self.offsets[group_idx];
        param.map(|tensor| {
            let to = from + tensor.dims().iter().product::<usize>();
            self.offsets[group_idx] = to;
            let updated = flat.narrow(0, from, to - from).reshape(tensor.dims());
            on_graph_of(&tensor, updated).set_require_grad(tensor.is_require_grad())
        })
    }
}

/// The value of a parameter that takes gradients.
fn trainable<const D: usize>(param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
    Some(param.val()).filter(Tensor::is_require_grad)
}

/// Counts the values of each vector.
struct Sizes([usize; 3], Place);

impl ModuleVisitor for Sizes {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.1.modules.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.1.modules.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0[self.1.group_idx(D)] += trainable(param).map_or(0, |value| value.dims().iter().product::<usize>());
    }
}

#[cfg(test)]
#[path = "optimizer_tests.rs"]
mod tests;
