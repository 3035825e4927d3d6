//! Kernels of `sferic-shaders` under Burn's tensors, with or without autodiff.
//!
//! A spec of `sferic-shaders` makes a `Launch`; [`Kernel`] is that launch ready for a Burn device; [`Array`] is a Burn tensor as a launch binds
//! it; a [`Function`] is a forward and a backward pass made of launches, which [`apply`] puts on the autodiff graph.
//!
//! Kernels are for training, on wgpu devices and threads that [`enable`] was told about. Everything else keeps the stock tensor operations, which are also the
//! oracle of each function. An operation asks [`capabilities`] first and falls back where the answer is `None`.

mod array;
mod function;
mod kernel;

use std::cell::RefCell;
use std::marker::PhantomData;

use burn::tensor::Device;

pub use array::Array;
pub use function::{Applied, Forward, Function, Input, apply};
pub use kernel::{Cache, Kernel};
pub use sferic_shaders::kernel::Capabilities;

thread_local! {
    /// The devices with kernels, the latest last.
    static ENABLED: RefCell<Vec<(Device, Capabilities)>> = const { RefCell::new(Vec::new()) };
}

/// Lets operations of this thread on `device`, which is a wgpu device, use kernels for what `capabilities` says about its adapter.
///
/// Burn opens an adapter with every feature that it has, so that the capabilities of the adapter are those of the device;
/// [`Capabilities::limited_to`] makes a lower tier. It ends when the returned value is dropped; values dropped out of order end the latest.
pub fn enable(device: &Device, capabilities: Capabilities) -> Enabled {
    ENABLED.with_borrow_mut(|enabled| enabled.push((device.clone().inner(), capabilities)));
    Enabled(PhantomData)
}

/// Kernels are in use until this is dropped.
#[derive(Debug)]
#[must_use = "kernels are in use until this is dropped"]
pub struct Enabled(PhantomData<*const ()>);

impl Drop for Enabled {
    fn drop(&mut self) {
        ENABLED.with_borrow_mut(Vec::pop);
    }
}

/// Returns what kernels may use on `device`, or nothing where they are not to be used: on devices without autodiff, whose operations are the
/// reference path of inference, and outside of [`enable`].
pub fn capabilities(device: &Device) -> Option<Capabilities> {
    ENABLED.with_borrow(|enabled| {
        // The usual answer costs nothing.
        if enabled.is_empty() || !device.is_autodiff() {
            return None;
        }
        let device = device.clone().inner();
        enabled.iter().rev().find(|(known, _)| *known == device).map(|(_, capabilities)| *capabilities)
    })
}
