//! The loss of an indexer, from attention that was streamed.

use std::sync::Arc;

use burn::tensor::{DType, Int, Tensor};
use sferic_shaders::kernel::{Capabilities, KernelError};
use sferic_shaders::train::indexer_kl::IndexerKl;
use sferic_shaders::train::{Sizes, Visible};

use super::attention::{Attended, padded};
use crate::indexer::{n_queries, padding};
use crate::kernels::{Array, Cache, Forward, Function, Kernel, apply};

impl Attended {
    /// Returns the mean over tokens of `KL(p ‖ softmax(I))` with `p` the mean over heads of this attention's probabilities, which are constants, and
    /// `I[t, s] = Σ_j w[t, j] · max(0, q[t, j] · k[s])`; or nothing where the stock form is to be taken.
    ///
    /// `lengths` says how many tokens of each row are not padding, all where it is absent; the mean is over these.
    ///
    /// # Shapes
    /// - q: `[B, T, Hi, Di]` f32
    /// - k: `[B, T, Di]` f32
    /// - weights: `[B, T, Hi]` f32
    /// - lengths: `[B]`
    /// - returns: `[1]`
    pub fn indexer_kl(&self, q: Tensor<4>, k: Tensor<3>, weights: Tensor<3>, lengths: Option<&[usize]>) -> Option<Tensor<1>> {
        let [n_batch, n_tokens, ..] = q.dims();
        // Heads and values of zeros change nothing.
        let q = padded(padded(q, 3, 16), 2, 4);
        let [_, _, n_heads, width] = q.dims();
        let rows = vec![q.reshape([n_batch, n_tokens, n_heads * width]), padded(k, 2, 16), padded(weights, 2, 4)];
        let [index_heads, index_width] = [n_heads, width].map(|n| n as u32);
        let qk = *self.q.dims().last()? as u32;
        let spec = IndexerKl::best([self.sizes.h, qk], [index_heads, index_width], self.kind, &self.device);
        let passes = Passes::of(spec, &self.sizes, &self.device).ok()?;
        let visible = match lengths {
            Some(lengths) => self.visible_but_to_padding(lengths)?,
            None => self.visible.clone(),
        };
        let function = Arc::new(Loss { passes, attended: [self.q.clone(), self.k.clone(), self.lse.clone(), visible] });
        let mean = apply::<1>([Tensor::cat(rows, 2).into()], function)?.output;
        Some(match lengths {
            // The kernels take the mean over all places.
            Some(lengths) => mean.mul_scalar((n_batch * n_tokens) as f64 / n_queries(lengths) as f64),
            None => mean,
        })
    }

    /// What tokens see, where padding sees nothing: it has no loss and no part in gradients then.
    fn visible_but_to_padding(&self, lengths: &[usize]) -> Option<Array> {
        let Sizes { b, t, .. } = self.sizes;
        let [n_batch, n_tokens] = [b, t].map(|n| n as usize);
        match self.kind {
            Visible::Causal => {
                let starts: Tensor<2, Int> = self.visible.clone().into_int_tensor();
                let padding = padding(lengths, [n_batch, n_tokens], &starts.device());
                Array::from_int(starts.mask_fill(padding, t as i32))
            }
            Visible::Selected => {
                let bits: Tensor<3, Int> = self.visible.clone().into_int_tensor();
                let padding = padding(lengths, [n_batch, n_tokens], &bits.device()).unsqueeze_dim::<3>(2);
                Array::from_int(bits.clone().mask_fill(padding.expand(bits.dims()), 0))
            }
        }
    }
}

/// The launches of a loss.
#[derive(Debug)]
struct Passes {
    logs: Kernel,
    queries: Kernel,
    keys: Kernel,
    /// `[B, T, row]`
    dims: [usize; 3],
}

impl Passes {
    fn of(spec: IndexerKl, sizes: &Sizes, device: &Capabilities) -> Result<Arc<Self>, KernelError> {
        static PASSES: Cache<(IndexerKl, [u32; 3]), Passes> = Cache::new();
        let Sizes { b, t, scale, .. } = *sizes;
        PASSES.get((spec, [b, t, scale.to_bits()]), |_| {
            let [logs, queries, keys] = spec.launches(sizes, ((b * t) as f32).recip(), device)?.map(Kernel::new);
            Ok(Self { logs, queries, keys, dims: [b, t, spec.row()].map(|n| n as usize) })
        })
    }
}

/// The loss of one call, with attention's queries, keys, logarithms and what its tokens see.
#[derive(Debug)]
struct Loss {
    passes: Arc<Passes>,
    attended: [Array; 4],
}

impl Function for Loss {
    /// Gradients come along: they take the same products as the loss.
    fn forward(&self, inputs: &[Array]) -> Forward {
        let rows = &inputs[0];
        let [q, k, lse, visible] = &self.attended;
        let [b, t, row] = self.passes.dims;
        let logs = rows.empty_like([b, t, 2], DType::F32);
        let gradients = rows.empty_like([b, t, row], DType::F32);
        self.passes.logs.run(&[visible, rows, &logs]);
        self.passes.queries.run(&[q, k, lse, visible, rows, &logs, &gradients]);
        self.passes.keys.run(&[q, k, lse, visible, rows, &logs, &gradients]);
        let mean = Array::from_float(logs.clone().into_tensor::<3>().narrow(2, 1, 1).mean());
        // What comes from the device is on the device: there always is a mean.
        Forward { output: mean.unwrap_or(logs), saved: vec![gradients] }
    }

    fn backward(&self, saved: &[Array], grad: Array, wanted: &[bool]) -> Vec<Option<Array>> {
        if !wanted[0] {
            return vec![None];
        }
        let grad = grad.into_tensor::<1>().reshape([1, 1, 1]);
        vec![Array::from_float(saved[0].clone().into_tensor::<3>().mul(grad))]
    }
}
