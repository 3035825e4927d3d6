//! The gated activation and its gradients.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};
use sferic_shaders::kernel::{Features, KernelError};
use sferic_shaders::train::silu_mul::SiluMul;

use crate::kernels::{Array, Cache, Forward, Function, Kernel, apply, capabilities};

/// Returns `silu(gate) · up`, or nothing where the stock form is to be taken.
///
/// # Shapes
/// - gate, up, returned: the same shape, f32
pub fn silu_mul<const N: usize>(gate: &Tensor<N>, up: &Tensor<N>) -> Option<Tensor<N>> {
    static GATES: Cache<(u32, Features), Gate> = Cache::new();
    let device = capabilities(&gate.device())?;
    if gate.dtype() != DType::F32 || up.dtype() != DType::F32 || gate.dims() != up.dims() {
        return None;
    }
    let n = u32::try_from(gate.dims().iter().product::<usize>()).ok()?;
    let made: Result<Arc<Gate>, KernelError> = GATES.get((n, device.features), |_| {
        let launch = |spec: SiluMul| spec.launch(n, &device).map(Kernel::new);
        Ok(Gate { forward: launch(SiluMul::Forward)?, backward: launch(SiluMul::Backward)? })
    });
    apply::<N>([gate.clone().into(), up.clone().into()], made.ok()?).map(|applied| applied.output)
}

/// The launches of the activation and of its gradients.
#[derive(Debug)]
struct Gate {
    forward: Kernel,
    backward: Kernel,
}

impl Function for Gate {
    fn forward(&self, inputs: &[Array]) -> Forward {
        let (gate, up) = (&inputs[0], &inputs[1]);
        let output = gate.empty_like(gate.dims(), DType::F32);
        self.forward.run(&[gate, up, &output]);
        Forward { output, saved: inputs.to_vec() }
    }

    fn backward(&self, saved: &[Array], grad: Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let (gate, up) = (&saved[0], &saved[1]);
        let [dgate, dup] = [gate, up].map(|input| input.empty_like(input.dims(), DType::F32));
        self.backward.run(&[gate, up, &grad, &dgate, &dup]);
        vec![Some(dgate), Some(dup)]
    }
}
