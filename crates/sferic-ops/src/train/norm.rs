//! Root-mean-square normalisation and its gradients.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};
use sferic_shaders::kernel::{Capabilities, Features, KernelError};
use sferic_shaders::norm::rms_norm::{self as forward, RmsNorm};
use sferic_shaders::train::rms_norm_grad::{self as backward, RmsNormGrad};
use sferic_shaders::train::sum_parts::SumParts;

use crate::kernels::{Array, Cache, Forward, Function, Kernel, apply, capabilities};

/// Returns `y = g · x / sqrt(mean(x²) + eps)`, or nothing where the stock form is to be taken.
///
/// # Shapes
/// - x: `[B, T, D]` f32
/// - weight: `[D]` f32
/// - returns: `[B, T, D]` f32
pub fn rms_norm(x: &Tensor<3>, weight: &Tensor<1>, eps: f64) -> Option<Tensor<3>> {
    let device = capabilities(&x.device())?;
    if x.dtype() != DType::F32 || weight.dtype() != DType::F32 {
        return None;
    }
    let [b, t, d] = x.dims();
    let sizes = [u32::try_from(b * t).ok()?, u32::try_from(d).ok()?];
    let norm = Norm::of(sizes, eps as f32, &device).ok()?;
    apply::<3>([x.clone().into(), weight.clone().into()], norm).map(|applied| applied.output)
}

/// The launches of the norm and of its gradients.
#[derive(Debug)]
struct Norm {
    forward: Kernel,
    backward: Kernel,
    add: Kernel,
    parts: usize,
}

impl Norm {
    fn of([n, d]: [u32; 2], eps: f32, device: &Capabilities) -> Result<Arc<Self>, KernelError> {
        static NORMS: Cache<([u32; 2], u32, Features), Norm> = Cache::new();
        NORMS.get(([n, d], eps.to_bits(), device.features), |_| {
            let params = backward::Params::new(n, d, eps);
            let parts = params.parts();
            let value = RmsNorm::best(device).launch(forward::Params { n, d, x_stride: d, eps }, device)?;
            Ok(Self {
                forward: Kernel::new(value),
                backward: Kernel::new(RmsNormGrad::best(d, device).launch(params, device)?),
                add: Kernel::new(SumParts.launch(parts, d, device)?),
                parts: parts as usize,
            })
        })
    }
}

impl Function for Norm {
    fn forward(&self, inputs: &[Array]) -> Forward {
        let (x, weight) = (&inputs[0], &inputs[1]);
        let output = x.empty_like(x.dims(), DType::F32);
        self.forward.run(&[x, weight, &output]);
        Forward { output, saved: inputs.to_vec() }
    }

    fn backward(&self, saved: &[Array], grad: Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let (x, weight) = (&saved[0], &saved[1]);
        let d = weight.n_values();
        let dx = x.empty_like(x.dims(), DType::F32);
        let parts = x.empty_like([self.parts, d], DType::F32);
        self.backward.run(&[x, weight, &grad, &dx, &parts]);
        let dg = x.empty_like([d], DType::F32);
        self.add.run(&[&parts, &dg]);
        vec![Some(dx), Some(dg)]
    }
}
