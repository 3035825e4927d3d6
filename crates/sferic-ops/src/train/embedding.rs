//! The embedding table and its gradient.

use std::sync::Arc;

use burn::tensor::{DType, Int, Tensor};
use sferic_shaders::kernel::{Capabilities, Features, KernelError};
use sferic_shaders::train::embed_grad::{EmbedGrad, Params};
use sferic_shaders::train::sum_parts::SumParts;

use crate::kernels::{Array, Cache, Forward, Function, Kernel, apply, capabilities};

/// Returns the rows of `weight` that `ids` name, or nothing where the stock form is to be taken.
///
/// # Shapes
/// - weight: `[V, D]` f32
/// - ids: `[T]`, below `V`
/// - returns: `[T, D]` f32
pub fn embedding(weight: &Tensor<2>, ids: &Tensor<1, Int>) -> Option<Tensor<2>> {
    let device = capabilities(&weight.device())?;
    if weight.dtype() != DType::F32 {
        return None;
    }
    let ([vocab, d], [t]) = (weight.dims(), ids.dims());
    let sizes = [t, vocab, d].map(u32::try_from);
    let [t, vocab, d] = sizes;
    let passes = Passes::of([t.ok()?, vocab.ok()?, d.ok()?], &device).ok()?;
    let ids = ids.clone().inner();
    let rows = Array::from_float(weight.clone().inner().select(0, ids.clone()))?;
    let function = Rows { passes, ids: Array::from_int(ids)?, rows };
    apply::<2>([weight.clone().into()], Arc::new(function)).map(|applied| applied.output)
}

/// The launches of the gradient.
#[derive(Debug)]
struct Passes {
    backward: Kernel,
    add: Kernel,
    /// Parts, rows of the table, width.
    dims: [usize; 3],
}

impl Passes {
    fn of(sizes: [u32; 3], device: &Capabilities) -> Result<Arc<Self>, KernelError> {
        static PASSES: Cache<([u32; 3], Features), Passes> = Cache::new();
        PASSES.get((sizes, device.features), |&([t, vocab, d], _)| {
            let params = Params::new(t, vocab, d);
            let parts = params.parts();
            Ok(Self {
                backward: Kernel::new(EmbedGrad.launch(params, device)?),
                add: Kernel::new(SumParts.launch(parts, vocab * d, device)?),
                dims: [parts, vocab, d].map(|n| n as usize),
            })
        })
    }
}

/// The rows of one call, which the stock operation has looked up.
#[derive(Debug)]
struct Rows {
    passes: Arc<Passes>,
    ids: Array,
    rows: Array,
}

impl Function for Rows {
    fn forward(&self, _inputs: &[Array]) -> Forward {
        Forward { output: self.rows.clone(), saved: Vec::new() }
    }

    fn backward(&self, _saved: &[Array], grad: Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let [parts, vocab, d] = self.passes.dims;
        let in_parts = grad.empty_like([parts, vocab, d], DType::F32);
        self.passes.backward.run(&[&self.ids, &grad, &in_parts]);
        let table = grad.empty_like([vocab, d], DType::F32);
        self.passes.add.run(&[&in_parts, &table]);
        vec![Some(table)]
    }
}
