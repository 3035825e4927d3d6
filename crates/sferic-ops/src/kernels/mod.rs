//! Kernels of `sferic-shaders` under Burn's tensors, with or without autodiff.
//!
//! A spec of `sferic-shaders` makes a `Launch`; [`Kernel`] is that launch ready for a Burn device; [`Array`] is a Burn tensor as a launch binds
//! it; a [`Function`] is a forward and a backward pass made of launches, which [`apply`] puts on the autodiff graph.
//!
//! Kernels are for training on wgpu devices that [`enable`] was told about. Everything else keeps the stock tensor operations, which are also the
//! oracle of each function. An operation asks [`capabilities`] first and falls back where the answer is `None`.

mod array;
mod function;
mod kernel;

use std::sync::{PoisonError, RwLock};

use burn::tensor::Device;
use sferic_shaders::kernel::Capabilities;

pub use array::Array;
pub use function::{Applied, Forward, Function, Input, apply};
pub use kernel::{Cache, Kernel};

/// The devices with kernels.
static ENABLED: RwLock<Vec<(Device, Capabilities)>> = RwLock::new(Vec::new());

/// Lets operations on `device`, which is a wgpu device, use kernels for what `capabilities` says about its adapter.
///
/// Burn opens an adapter with every feature that it has, so that the capabilities of the adapter are those of the device.
/// A second call for a device replaces the first; [`Capabilities::limited_to`] makes a lower tier, for tests.
pub fn enable(device: &Device, capabilities: Capabilities) {
    let device = device.clone().inner();
    let mut enabled = ENABLED.write().unwrap_or_else(PoisonError::into_inner);
    enabled.retain(|(known, _)| *known != device);
    enabled.push((device, capabilities));
}

/// Returns operations on `device` to the stock tensor operations.
pub fn disable(device: &Device) {
    let device = device.clone().inner();
    ENABLED.write().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| *known != device);
}

/// Returns what kernels may use on `device`, or nothing where they are not to be used: on devices without autodiff, whose operations are the
/// reference path of inference, and on those that [`enable`] does not know.
pub fn capabilities(device: &Device) -> Option<Capabilities> {
    let enabled = ENABLED.read().unwrap_or_else(PoisonError::into_inner);
    if enabled.is_empty() || !device.is_autodiff() {
        return None;
    }
    let device = device.clone().inner();
    enabled.iter().find(|(known, _)| *known == device).map(|(_, capabilities)| *capabilities)
}
