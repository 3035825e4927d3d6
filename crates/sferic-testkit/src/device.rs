//! The devices that tests run on.

use std::sync::OnceLock;

use burn::tensor::{DType, Device};
use sferic_engine::{DeviceChoice, EngineError, ResolvedDevice, resolve_device};

/// A device with the precision that a test uses on it.
#[derive(Clone, Debug)]
pub struct TestDevice {
    /// `cpu f32`, `cpu f64` or `gpu f32`, for messages.
    pub name: &'static str,
    /// The device.
    pub device: Device,
    /// `F32` or `F64`.
    pub dtype: DType,
}

/// Returns the CPU.
pub fn cpu() -> Device {
    Device::flex()
}

/// Returns the first adapter of any kind, a software rasteriser included.
///
/// Without one this prints `skipped: no wgpu adapter` and returns nothing.
///
/// # Panics
/// When there is none although `SFERIC_REQUIRE_GPU` is `1`, and when the driver does not start.
pub fn gpu() -> Option<Device> {
    resolved_gpu().map(|resolved| resolved.burn_device())
}

/// As [`gpu`], with what kernels find on the adapter.
///
/// # Panics
/// As [`gpu`].
pub fn resolved_gpu() -> Option<ResolvedDevice> {
    static DEVICE: OnceLock<Option<ResolvedDevice>> = OnceLock::new();
    let device = DEVICE.get_or_init(|| match pollster::block_on(resolve_device(&DeviceChoice::Gpu(None))) {
        Ok(resolved) => {
            println!("{}", resolved.reason);
            Some(resolved)
        }
        Err(EngineError::NoGpu) => None,
        Err(error) => panic!("the wgpu adapter does not start: {error}"),
    });
    if device.is_none() {
        let required = std::env::var("SFERIC_REQUIRE_GPU").is_ok_and(|value| value == "1");
        assert!(!required, "SFERIC_REQUIRE_GPU=1 and there is no wgpu adapter");
        println!("skipped: no wgpu adapter");
    }
    device.clone()
}

/// Returns the CPU in f32 and in f64.
pub fn on_cpu() -> [TestDevice; 2] {
    [
        TestDevice { name: "cpu f32", device: cpu(), dtype: DType::F32 },
        TestDevice { name: "cpu f64", device: cpu(), dtype: DType::F64 },
    ]
}

/// Returns the CPU in f32 and in f64, and the GPU in f32 where there is one.
pub fn all() -> Vec<TestDevice> {
    let gpu = gpu().map(|device| TestDevice { name: "gpu f32", device, dtype: DType::F32 });
    on_cpu().into_iter().chain(gpu).collect()
}
