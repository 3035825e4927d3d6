//! The head with its loss, differentiated on the spot.

use burn::tensor::{DType, Int, Tensor};
use sferic_shaders::train::cross_entropy::{CrossEntropy, Params};

use super::linear::{Product, Sizes};
use crate::kernels::{Array, Kernel, capabilities};

/// The loss of some rows, and its gradients times the scale; all off the graph.
#[derive(Clone, Debug)]
pub struct HeadGradients {
    /// `−Σ_r log softmax(logits_r)[target_r]`, in nats, not scaled; `[1]`
    pub loss: Tensor<1>,
    /// `[R, D]`
    pub hidden: Tensor<2>,
    /// `[V, D]`
    pub weight: Tensor<2>,
}

/// Returns the summed cross-entropy of `hidden · Wᵀ` and the gradients of `scale` times it, or nothing where the stock form is to be taken.
///
/// The logits become their own gradient in place, so that one matrix of them is all that is held.
///
/// # Shapes
/// - hidden: `[R, D]` f32
/// - weight: `[V, D]` f32, on the device of the model
/// - targets: `[R]`, below `V`
pub fn head_gradients(hidden: &Tensor<2>, weight: &Tensor<2>, targets: &Tensor<1, Int>, scale: f64) -> Option<HeadGradients> {
    let device = capabilities(&weight.device())?;
    if hidden.dtype() != DType::F32 || weight.dtype() != DType::F32 {
        return None;
    }
    let ([rows, d], [vocab, _]) = (hidden.dims(), weight.dims());
    let sizes = Sizes::new(rows, vocab, d)?;
    let product = Product::of(sizes, &device).ok()?;
    let params = Params { rows: sizes.t, vocab: sizes.o, scale: scale as f32 };
    let cross_entropy = Kernel::new(CrossEntropy::best(&device).launch(params, &device).ok()?);
    let hidden = Array::from_float(hidden.clone().inner())?;
    let weight = Array::from_float(weight.clone().inner())?;
    let targets = Array::from_int(targets.clone().inner())?;
    let logits = product.multiply(&hidden, &weight);
    let losses = logits.empty_like([rows], DType::F32);
    cross_entropy.run(&[&logits, &targets, &losses]);
    Some(HeadGradients {
        loss: losses.into_tensor::<1>().sum(),
        hidden: product.gradient_of_x(&logits, &weight).into_tensor(),
        weight: product.gradient_of_weight(&logits, &hidden).into_tensor(),
    })
}
