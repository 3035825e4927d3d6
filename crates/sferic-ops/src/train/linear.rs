//! Products with weights, and their gradients.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};
use sferic_shaders::kernel::{Capabilities, Elem, Features, KernelError, WeightFormat};
use sferic_shaders::linear::gemm::{self, Gemm};
use sferic_shaders::train::sum_parts::SumParts;
use sferic_shaders::train::transpose::Transpose;
use sferic_shaders::train::weight_grad::{self, WeightGrad};

use crate::kernels::{Array, Cache, Forward, Function, Kernel, apply, capabilities};

/// Returns `y = x · Wᵀ`, or nothing where the stock form is to be taken.
///
/// With cooperative matrices x, W and the gradient of y are rounded to f16 on their way into the products; sums, results and what is stored
/// stay f32. Gradients have to be scaled into the range of f16 by whoever asks for them.
///
/// # Shapes
/// - x: `[B, T, I]` f32
/// - weight: `[O, I]` f32
/// - returns: `[B, T, O]` f32
pub fn linear(x: &Tensor<3>, weight: &Tensor<2>) -> Option<Tensor<3>> {
    let device = capabilities(&x.device())?;
    let ([b, t, i], [o, _]) = (x.dims(), weight.dims());
    if x.dtype() != DType::F32 || weight.dtype() != DType::F32 {
        return None;
    }
    let product = Product::of(Sizes::new(b * t, o, i)?, &device).ok()?;
    let y = apply::<2>([x.clone().reshape([b * t, i]).into(), weight.clone().into()], product)?;
    Some(y.output.reshape([b, t, o]))
}

/// Returns `y[z] = x[z] · W[z]ᵀ` off the graph, or nothing where the stock form is to be taken. The device is one without autodiff.
///
/// With cooperative matrices x and W are rounded to f16 on their way into the products; sums and results stay f32.
///
/// # Shapes
/// - x: `[Z, T, I]` f32
/// - weight: `[Z, O, I]` f32
/// - returns: `[Z, T, O]` f32
pub fn products(x: &Tensor<3>, weight: &Tensor<3>) -> Option<Tensor<3>> {
    static KERNELS: Cache<([u32; 4], Features), Kernel> = Cache::new();
    let device = capabilities(&x.device().autodiff())?;
    let ([z, t, i], [_, o, _]) = (x.dims(), weight.dims());
    if x.dtype() != DType::F32 || weight.dtype() != DType::F32 {
        return None;
    }
    let (batch, Sizes { t, o, i }) = (z.try_into().ok()?, Sizes::new(t, o, i)?);
    let kernel = KERNELS.get(([batch, t, o, i], device.features), |_| {
        let params = gemm::Params { x_batch: t * i, y_batch: t * o, ..forward_params(t, o, i) };
        Ok::<_, KernelError>(Kernel::new(forward_spec(WeightFormat::F32, t, o, &device).launch(params, batch, &device)?))
    });
    let kernel = kernel.ok()?;
    let (x, weight) = (Array::from_float(x.clone())?, Array::from_float(weight.clone())?);
    let y = x.empty_like([z, t as usize, o as usize], DType::F32);
    kernel.run(&[&x, &weight, &y]);
    Some(y.into_tensor())
}

/// How `t` rows are multiplied with `o` rows of a weight.
fn forward_spec(weight: WeightFormat, t: u32, o: u32, device: &Capabilities) -> Gemm {
    let tile = gemm::Tile::best(if device.features.coopmat { WeightFormat::F16 } else { WeightFormat::F32 }, t, o, device);
    Gemm { weight, x: Elem::F32, y: Elem::F32, accumulate: false, tile }
}

/// Sizes of a product whose rows lie one behind the other.
fn forward_params(t: u32, o: u32, i: u32) -> gemm::Params {
    gemm::Params { t, o, i, x_stride: i, y_stride: o, ..gemm::Params::default() }
}

/// Sizes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sizes {
    /// Rows.
    pub t: u32,
    /// Columns.
    pub o: u32,
    /// Terms of each sum.
    pub i: u32,
}

impl Sizes {
    /// Sizes, where they fit a launch.
    pub(super) fn new(t: usize, o: usize, i: usize) -> Option<Self> {
        Some(Self { t: t.try_into().ok()?, o: o.try_into().ok()?, i: i.try_into().ok()? })
    }
}

/// The launches of a product and of its gradients.
#[derive(Debug)]
pub(super) struct Product {
    sizes: [usize; 3],
    forward: Kernel,
    /// The weight as `to_x` reads it, and its format.
    transpose: Kernel,
    transposed: DType,
    to_x: Kernel,
    to_weight: Kernel,
    /// Parts that `to_weight` leaves, with their addition where there is more than one.
    parts: usize,
    add: Option<Kernel>,
}

impl Product {
    /// Returns the launches of a size, made the first time.
    pub(super) fn of(sizes: Sizes, device: &Capabilities) -> Result<Arc<Self>, KernelError> {
        static PRODUCTS: Cache<(Sizes, Features), Product> = Cache::new();
        PRODUCTS.get((sizes, device.features), |_| Self::new(sizes, device))
    }

    fn new(Sizes { t, o, i }: Sizes, device: &Capabilities) -> Result<Self, KernelError> {
        let coop = device.features.coopmat;
        let product = |weight, o: u32, i: u32| forward_spec(weight, t, o, device).launch(forward_params(t, o, i), 1, device);
        let transposed = if coop { Elem::F16 } else { Elem::F32 };
        let gradient = WeightGrad { dy: Elem::F32, x: Elem::F32, tile: weight_grad::Tile::best(device) };
        let params = gradient.params(t, o, i);
        let parts = params.parts();
        let add = if parts > 1 { Some(Kernel::new(SumParts.launch(parts, o * i, device)?)) } else { None };
        Ok(Self {
            sizes: [t, o, i].map(|n| n as usize),
            forward: Kernel::new(product(WeightFormat::F32, o, i)?),
            transpose: Kernel::new(Transpose { y: transposed }.launch(o, i, device)?),
            transposed: if coop { DType::F16 } else { DType::F32 },
            to_x: Kernel::new(product(if coop { WeightFormat::F16 } else { WeightFormat::F32 }, i, o)?),
            to_weight: Kernel::new(gradient.launch(params, device)?),
            parts: parts as usize,
            add,
        })
    }

    /// Returns `x · Wᵀ`.
    pub(super) fn multiply(&self, x: &Array, weight: &Array) -> Array {
        let [t, o, _] = self.sizes;
        let y = x.empty_like([t, o], DType::F32);
        self.forward.run(&[x, weight, &y]);
        y
    }

    /// Returns `dy · W`.
    pub(super) fn gradient_of_x(&self, dy: &Array, weight: &Array) -> Array {
        let [t, o, i] = self.sizes;
        let transposed = weight.empty_like([i, o], self.transposed);
        self.transpose.run(&[weight, &transposed]);
        let dx = dy.empty_like([t, i], DType::F32);
        self.to_x.run(&[dy, &transposed, &dx]);
        dx
    }

    /// Returns `dyᵀ · x`.
    pub(super) fn gradient_of_weight(&self, dy: &Array, x: &Array) -> Array {
        let [_, o, i] = self.sizes;
        let parts = dy.empty_like([self.parts, o, i], DType::F32);
        self.to_weight.run(&[dy, x, &parts]);
        let Some(add) = &self.add else { return parts.reshape([o, i]) };
        let sum = dy.empty_like([o, i], DType::F32);
        add.run(&[&parts, &sum]);
        sum
    }
}

impl Function for Product {
    fn forward(&self, inputs: &[Array]) -> Forward {
        let output = self.multiply(&inputs[0], &inputs[1]);
        Forward { output, saved: inputs.to_vec() }
    }

    fn backward(&self, saved: &[Array], grad: Array, wanted: &[bool]) -> Vec<Option<Array>> {
        let (x, weight) = (&saved[0], &saved[1]);
        let to_x = wanted[0].then(|| self.gradient_of_x(&grad, weight));
        vec![to_x, wanted[1].then(|| self.gradient_of_weight(&grad, x))]
    }
}
