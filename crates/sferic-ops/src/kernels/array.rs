//! Tensors as launches see them.

use burn::backend::tensor::IntTensor;
use burn::backend::wgpu::{CubeTensor, into_contiguous};
use burn::backend::{BackendTensor, Cube, DispatchTensor, DispatchTensorKind, TensorMetadata as _};
use burn::tensor::{DType, Int, Shape, Tensor};

/// A contiguous tensor in the memory of a wgpu device.
///
/// It shares its memory with the tensor that it comes from, which is copied first where it was not contiguous.
#[derive(Clone, Debug)]
pub struct Array(CubeTensor);

impl Array {
    /// Takes a tensor of integers, or nothing where it is not on a CubeCL device.
    pub fn from_int<const D: usize>(tensor: Tensor<D, Int>) -> Option<Self> {
        let kind = tensor.into_dispatch().kind;
        match kind {
            DispatchTensorKind::Cube(BackendTensor::Int(tensor)) => Some(Self::of_int(tensor)),
            _ => None,
        }
    }

    /// Takes the values of a tensor of floats, off the graph, or nothing where it is not on a CubeCL device.
    pub fn from_float<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        Self::of_kind(tensor.into_dispatch().kind)
    }

    /// Makes a tensor of floats without a graph.
    pub fn into_tensor<const D: usize>(self) -> Tensor<D> {
        Tensor::from_dispatch(DispatchTensor {
            kind: DispatchTensorKind::Cube(BackendTensor::Float(self.0)),
            autodiff: burn::backend::DispatchAutodiffContext::Disabled,
        })
    }

    /// Makes a tensor of integers.
    pub fn into_int_tensor<const D: usize>(self) -> Tensor<D, Int> {
        Tensor::from_dispatch(DispatchTensor {
            kind: DispatchTensorKind::Cube(BackendTensor::Int(self.0)),
            autodiff: burn::backend::DispatchAutodiffContext::Disabled,
        })
    }

    /// Returns memory on the same device with values that nobody has set.
    ///
    /// # Shapes
    /// - returns: `shape`, row-major
    pub fn empty_like(&self, shape: impl Into<Shape>, dtype: DType) -> Self {
        let shape = shape.into();
        let size_bytes = shape.iter().product::<usize>() * dtype.size();
        // Bindings are whole words.
        let handle = self.0.client.empty(size_bytes.next_multiple_of(4));
        Self(CubeTensor::new_contiguous(self.0.client.clone(), self.0.device.clone(), shape, handle, dtype))
    }

    /// The sizes of its dimensions.
    pub fn dims(&self) -> Vec<usize> {
        self.0.shape().iter().copied().collect()
    }

    /// The number of its values.
    pub fn n_values(&self) -> usize {
        self.0.shape().iter().product()
    }

    /// The format of its values.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// The same values under another shape with as many of them.
    #[must_use]
    pub fn reshape(self, shape: impl Into<Shape>) -> Self {
        let tensor = self.0;
        Self(CubeTensor::new_contiguous(tensor.client, tensor.device, shape.into(), tensor.handle, tensor.dtype))
    }

    /// Whether nobody else holds the memory, so that a launch may change it in place.
    pub fn is_unique(&self) -> bool {
        self.0.can_mut()
    }

    pub(super) fn of(tensor: CubeTensor) -> Self {
        Self(into_contiguous(tensor))
    }

    fn of_int(tensor: IntTensor<Cube>) -> Self {
        Self::of(tensor)
    }

    fn of_kind(kind: DispatchTensorKind) -> Option<Self> {
        match kind {
            DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => Some(Self::of(tensor)),
            DispatchTensorKind::Autodiff(kind) => match *kind {
                DispatchTensorKind::Cube(BackendTensor::Autodiff(tensor)) => Some(Self::of(tensor.into_primitive())),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn tensor(&self) -> &CubeTensor {
        &self.0
    }

    pub(super) fn into_primitive(self) -> CubeTensor {
        self.0
    }
}
