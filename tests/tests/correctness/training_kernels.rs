//! Functions made of launches against the stock operations that they stand for.

use std::sync::Arc;

use burn::tensor::{DType, Device, Distribution, Tensor};
use sferic_ops::kernels::{self, Array, Forward, Function, Kernel, apply};
use sferic_shaders::kernel::{Capabilities, Elem, WeightFormat};
use sferic_shaders::linear::gemm::{Gemm, Params, Tile};
use sferic_testkit::device::resolved_gpu;

/// A product in f32 whose backward pass mixes launches and stock operations.
#[derive(Debug)]
struct Product {
    forward: Kernel,
    to_x: Kernel,
    sizes: [usize; 3],
}

impl Product {
    fn new([t, o, i]: [usize; 3], device: &Capabilities) -> Self {
        let launch = |o: usize, i: usize| {
            let spec = Gemm { weight: WeightFormat::F32, x: Elem::F32, y: Elem::F32, accumulate: false, tile: Tile::FMA_32 };
            let [t, o, i] = [t, o, i].map(|n| n as u32);
            let params = Params { t, o, i, x_stride: i, y_stride: o, ..Params::default() };
            Kernel::new(spec.launch(params, 1, device).unwrap())
        };
        Self { forward: launch(o, i), to_x: launch(i, o), sizes: [t, o, i] }
    }
}

impl Function for Product {
    fn forward(&self, inputs: &[Array]) -> Forward {
        let [t, o, _] = self.sizes;
        let [x, weight] = inputs else { panic!("{} inputs", inputs.len()) };
        let y = x.empty_like([t, o], DType::F32);
        self.forward.run(&[x, weight, &y]);
        Forward { output: y, saved: vec![x.clone(), weight.clone()] }
    }

    fn backward(&self, saved: &[Array], grad: Array, wanted: &[bool]) -> Vec<Option<Array>> {
        let [t, _, i] = self.sizes;
        let [x, weight] = saved else { panic!("{} saved", saved.len()) };
        let to_x = wanted[0].then(|| {
            let transposed = Array::from_float(weight.clone().into_tensor::<2>().transpose()).unwrap();
            let dx = grad.empty_like([t, i], DType::F32);
            self.to_x.run(&[&grad, &transposed, &dx]);
            dx
        });
        let to_weight = wanted[1].then(|| {
            let grad = grad.clone().into_tensor::<2>();
            Array::from_float(grad.transpose().matmul(x.clone().into_tensor::<2>())).unwrap()
        });
        vec![to_x, to_weight]
    }
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn assert_close(found: &[f32], expected: &[f32], bound: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (idx, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= bound, "{what}[{idx}] is {f}, expected {e}");
    }
}

#[test]
fn a_function_of_launches_has_the_gradients_of_the_stock_form() {
    let Some(gpu) = resolved_gpu() else { return };
    let sizes @ [t, o, i] = [37, 24, 40];
    let device = gpu.burn_device().autodiff();
    let function = Arc::new(Product::new(sizes, &gpu.capabilities().unwrap()));
    let x = random([t, i], &device).require_grad();
    let weight = random([o, i], &device).require_grad();
    let up = random([t, o], &device);

    let y = apply::<2>([x.clone().into(), weight.clone().into()], function).unwrap().output;
    // The same input twice on the graph, and operations of both kinds around the function.
    let objective = y.clone().mul(up.clone()).sum().add(x.clone().square().sum());
    let grads = objective.backward();

    let stock = x.clone().matmul(weight.clone().transpose());
    let stock_objective = stock.clone().mul(up).sum().add(x.clone().square().sum());
    let stock_grads = stock_objective.backward();
    let bound = 1e-4;
    assert_close(&values(y), &values(stock), bound, "y");
    assert_close(&values(x.grad(&grads).unwrap()), &values(x.grad(&stock_grads).unwrap()), bound, "dx");
    let [found, expected] = [&grads, &stock_grads].map(|grads| values(weight.grad(grads).unwrap()));
    assert_close(&found, &expected, bound, "dW");
}

#[test]
fn a_function_takes_constants_and_values_off_the_graph() {
    let Some(gpu) = resolved_gpu() else { return };
    let sizes @ [t, o, i] = [5, 8, 16];
    let plain = gpu.burn_device();
    let function: Arc<dyn Function> = Arc::new(Product::new(sizes, &gpu.capabilities().unwrap()));
    // Transposed on purpose: a launch reads rows.
    let (x, weight) = (random([i, t], &plain).transpose(), random([o, i], &plain));
    let expected = values(x.clone().matmul(weight.clone().transpose()));
    let off = apply::<2>([x.clone().into(), weight.clone().into()], function.clone()).unwrap();
    assert_close(&values(off.output), &expected, 1e-4, "y off the graph");
    assert_eq!(off.saved.len(), 2);

    let tracked = Tensor::<2>::from_inner(x).require_grad();
    let y = apply::<2>([tracked.clone().into(), weight.clone().into()], function).unwrap().output;
    assert_close(&values(y.clone()), &expected, 1e-4, "y");
    let grads = y.sum().backward();
    let dx = values(weight.sum_dim(0).repeat_dim(0, t));
    assert_close(&values(tracked.grad(&grads).unwrap()), &dx, 1e-4, "dx");
}

#[test]
fn functions_refuse_other_backends() {
    let device = Device::flex();
    let function: Arc<dyn Function> = Arc::new(Product::new([5, 8, 16], &Capabilities::base()));
    let (x, weight) = (random([5, 16], &device), random([8, 16], &device));
    assert!(apply::<2>([x.clone().into(), weight.into()], function).is_none());
    assert!(Array::from_float(x).is_none());
}

#[test]
fn kernels_are_for_training_on_the_devices_that_they_are_enabled_for() {
    let Some(gpu) = resolved_gpu() else { return };
    let device = gpu.burn_device();
    kernels::enable(&device, Capabilities::base());
    assert_eq!(kernels::capabilities(&device), None);
    assert_eq!(kernels::capabilities(&device.clone().autodiff()), Some(Capabilities::base()));
    kernels::disable(&device);
    assert_eq!(kernels::capabilities(&device.autodiff()), None);
    assert_eq!(kernels::capabilities(&Device::flex().autodiff()), None);
}
