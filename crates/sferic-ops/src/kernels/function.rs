//! Operations on the autodiff graph whose passes are launches.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, BackendTensor, Cube, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind};
use burn::tensor::Tensor;

use super::Array;

/// Most inputs of a function.
const MAX_INPUTS: usize = 8;

/// A differentiable operation of up to eight tensors of floats.
///
/// Neither pass fails: whoever makes the function has made its kernels, and with them checked every size.
pub trait Function: Debug + Send + Sync + 'static {
    /// Computes the output, and what the backward pass needs besides.
    fn forward(&self, inputs: &[Array]) -> Forward;

    /// Returns the gradient of each input from the one of the output.
    ///
    /// `wanted` tells which inputs have use for theirs; the others may be left out. A gradient has the shape and format of its input.
    fn backward(&self, saved: &[Array], grad: Array, wanted: &[bool]) -> Vec<Option<Array>>;
}

/// What a forward pass returns.
#[derive(Debug)]
pub struct Forward {
    /// The value that goes on the graph.
    pub output: Array,
    /// What the backward pass receives: inputs and intermediate values.
    pub saved: Vec<Array>,
}

/// A tensor of floats that goes into a function.
#[derive(Debug)]
pub struct Input(DispatchTensor);

impl<const D: usize> From<Tensor<D>> for Input {
    fn from(tensor: Tensor<D>) -> Self {
        Self(tensor.into_dispatch())
    }
}

/// What [`apply`] returns.
#[derive(Debug)]
pub struct Applied<const D: usize> {
    /// The output, on the graph where an input is.
    pub output: Tensor<D>,
    /// What the forward pass has saved, off the graph.
    pub saved: Vec<Array>,
}

/// Applies `function`; nothing where an input is not on a CubeCL device or there are more than eight.
///
/// Inputs on an autodiff graph put the output on it; the others are constants.
pub fn apply<const D: usize>(inputs: impl IntoIterator<Item = Input>, function: Arc<dyn Function>) -> Option<Applied<D>> {
    let inputs: Vec<DispatchTensor> = inputs.into_iter().map(|input| input.0).collect();
    let context = inputs.iter().fold(DispatchAutodiffContext::Disabled, |context, input| context.merge(input.autodiff));
    let tracked = inputs.into_iter().map(|input| tracked(input.kind)).collect::<Option<Vec<_>>>()?;
    if context == DispatchAutodiffContext::Disabled {
        let inputs: Vec<Array> = tracked.into_iter().map(|input| Array::of(input.into_primitive())).collect();
        let Forward { output, saved } = function.forward(&inputs);
        return Some(Applied { output: output.into_tensor(), saved });
    }
    let (output, saved) = match tracked.len() {
        1 => record::<1>(tracked, function),
        2 => record::<2>(tracked, function),
        3 => record::<3>(tracked, function),
        4 => record::<4>(tracked, function),
        5 => record::<5>(tracked, function),
        6 => record::<6>(tracked, function),
        7 => record::<7>(tracked, function),
        MAX_INPUTS => record::<MAX_INPUTS>(tracked, function),
        _ => None,
    }?;
    let kind = DispatchTensorKind::Cube(BackendTensor::Autodiff(output));
    let output = DispatchTensor { kind: DispatchTensorKind::Autodiff(Box::new(kind)), autodiff: context };
    Some(Applied { output: Tensor::from_dispatch(output), saved })
}

type Tracked = FloatTensor<Autodiff<Cube>>;

/// The tensor as a node of a graph; a node of its own where it is on none.
fn tracked(kind: DispatchTensorKind) -> Option<Tracked> {
    match kind {
        DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => Some(Tracked::new(tensor)),
        DispatchTensorKind::Autodiff(kind) => match *kind {
            DispatchTensorKind::Cube(BackendTensor::Autodiff(tensor)) => Some(tensor),
            _ => None,
        },
        _ => None,
    }
}

/// Runs the forward pass and puts it on the graph.
fn record<const N: usize>(inputs: Vec<Tracked>, function: Arc<dyn Function>) -> Option<(Tracked, Vec<Array>)> {
    let arrays: Vec<Array> = inputs.iter().map(|input| Array::of(input.primitive().clone())).collect();
    let nodes = inputs.into_iter().map(|input| input.node()).collect::<Vec<_>>().try_into().ok()?;
    let Forward { output, saved } = function.forward(&arrays);
    drop(arrays);
    let step = Step::<N>(function);
    let output = output.into_primitive();
    let output = match step.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(saved.clone(), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    };
    Some((output, saved))
}

/// A function on the graph.
#[derive(Debug)]
struct Step<const N: usize>(Arc<dyn Function>);

impl<const N: usize> Backward<Cube, N> for Step<N> {
    type State = Vec<Array>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = Array::of(grads.consume::<Cube>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = self.0.backward(&ops.state, grad, &wanted);
        for (parent, grad) in ops.parents.into_iter().zip(found) {
            if let Some((parent, grad)) = parent.zip(grad) {
                grads.register::<Cube>(parent.id, grad.into_primitive());
            }
        }
    }
}
