//! Building modules from named tensors.

use burn::{
    module::Param,
    tensor::{Device, Tensor, TensorData},
};

use crate::{
    config::TensorSpec,
    modules::{LayerNorm, Linear, RmsNorm},
};

/// Where a model's tensors come from: a checkpoint, a seeded initialiser, a test.
pub trait TensorSource {
    /// Why a tensor could not be had.
    type Error;

    /// Returns the tensor called `spec.name`, of exactly `spec.shape`, in f32 or f64.
    ///
    /// # Errors
    /// Whatever the source reports; loading stops there.
    fn tensor(&mut self, spec: &TensorSpec) -> Result<TensorData, Self::Error>;
}

/// Walks the module tree, asking the source for one tensor at a time.
pub(crate) struct Loader<'a, S> {
    pub source: &'a mut S,
    pub device: &'a Device,
}

impl<S: TensorSource> Loader<'_, S> {
    /// Loads one parameter, in the precision that the source delivers.
    pub fn param<const N: usize>(&mut self, name: String, shape: [usize; N]) -> Result<Param<Tensor<N>>, S::Error> {
        let data = self.source.tensor(&TensorSpec { name, shape: shape.to_vec() })?;
        let device = self.device;
        // Weights live as long as the model: they get allocations of their own instead of slices of a pool.
        Ok(device.memory_persistent_allocations(data, |data| {
            let dtype = data.dtype();
            Param::from_tensor(Tensor::from_data(data, (device, dtype)))
        }))
    }

    /// Loads `{prefix}.weight` of shape `[out, in]`, and `{prefix}.bias` if there is one.
    pub fn linear(&mut self, prefix: &str, d_out: usize, d_in: usize, bias: bool) -> Result<Linear, S::Error> {
        let weight = self.param(format!("{prefix}.weight"), [d_out, d_in])?;
        let bias = if bias { Some(self.param(format!("{prefix}.bias"), [d_out])?) } else { None };
        Ok(Linear { weight, bias })
    }

    /// Loads `{prefix}.weight` of an RMSNorm.
    pub fn rms_norm(&mut self, prefix: &str, width: usize, eps: f64) -> Result<RmsNorm, S::Error> {
        let weight = self.param(format!("{prefix}.weight"), [width])?;
        Ok(RmsNorm { weight, eps })
    }

    /// Loads `{prefix}.weight` and `{prefix}.bias` of a LayerNorm.
    pub fn layer_norm(&mut self, prefix: &str, width: usize, eps: f64) -> Result<LayerNorm, S::Error> {
        let weight = self.param(format!("{prefix}.weight"), [width])?;
        let bias = self.param(format!("{prefix}.bias"), [width])?;
        Ok(LayerNorm { weight, bias, eps })
    }
}
