//! The graphics adapters of this machine and how Burn is told to take one. In browsers Burn takes none: they are for our kernels alone.
//!
//! Burn addresses an adapter as "the n-th discrete GPU" of one graphics interface. Adapters are numbered here as Burn numbers them, so
//! that a number in our list and Burn's selector mean the same one; a test in `tests.rs` starts each adapter that it lists.
//!
//! OpenGL is left out: it does not say what kind of GPU it runs on, so `auto` could not tell a real one from a rasteriser.

use super::{DeviceClass, DeviceInfo, DeviceLimits, host};
use crate::EngineError;
#[cfg(not(target_family = "wasm"))]
use burn::tensor::{Device, DeviceKind, wgpu::WgpuBackend};
use sferic_lightning::wgpu;
#[cfg(not(target_family = "wasm"))]
use std::sync::{Mutex, PoisonError};

/// An adapter, with Burn's selector for it where Burn has GPUs.
#[derive(Clone, Debug)]
pub(super) struct Adapter {
    pub(super) info: DeviceInfo,
    #[cfg(not(target_family = "wasm"))]
    kind: DeviceKind,
    #[cfg(not(target_family = "wasm"))]
    api: WgpuBackend,
    adapter: wgpu::Adapter,
}

/// What kernels find on `adapter`.
pub(super) fn capabilities(adapter: &Adapter) -> sferic_lightning::Capabilities {
    sferic_lightning::Device::offered_by(&adapter.adapter)
}

/// Makes `adapter` ready for our kernels, with a device of their own.
pub(super) async fn start_kernels(adapter: &Adapter) -> Result<sferic_lightning::Device, EngineError> {
    sferic_lightning::Device::on(&adapter.adapter).await.map_err(|source| failed(adapter, &source))
}

/// The graphics interfaces, best first.
#[cfg(target_os = "macos")]
const APIS: &[(wgpu::Backend, WgpuBackend)] = &[(wgpu::Backend::Metal, WgpuBackend::Metal)];
#[cfg(not(any(target_os = "macos", target_family = "wasm")))]
const APIS: &[(wgpu::Backend, WgpuBackend)] =
    &[(wgpu::Backend::Vulkan, WgpuBackend::Vulkan), (wgpu::Backend::Dx12, WgpuBackend::Dx12)];

/// The adapters of the first interface that has a real GPU or, failing that, of the first that has any.
pub(super) async fn enumerate() -> Vec<Adapter> {
    #[cfg(target_family = "wasm")]
    return browser().await;
    #[cfg(not(target_family = "wasm"))]
    {
        let mut software_only = Vec::new();
        for &(api, burn_api) in APIS {
            let found = list(&instance(api).enumerate_adapters(api.into()).await, burn_api);
            if found.iter().any(|adapter| adapter.info.class != DeviceClass::Software) {
                return found;
            }
            if software_only.is_empty() {
                software_only = found;
            }
        }
        software_only
    }
}

/// Makes `adapter` ready for tensors.
///
/// Burn starts an adapter once per process; starting it again returns the running one.
#[cfg(not(target_family = "wasm"))]
pub(super) async fn start(adapter: &Adapter) -> Result<Device, EngineError> {
    static STARTED: Mutex<Vec<(DeviceKind, Device)>> = Mutex::new(Vec::new());
    // Held while the driver starts, which is one call outside browsers: a second caller must find the device and not a half-started one.
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = started.iter().find(|(kind, _)| *kind == adapter.kind) {
        return Ok(device.clone());
    }
    // The interface is pinned: left to itself, Burn would look through all of them again.
    let options = Device::wgpu_options().device_kind(adapter.kind.clone()).graphics_api(adapter.api);
    let device = options.init().map_err(|source| failed(adapter, &source))?;
    started.push((adapter.kind.clone(), device.clone()));
    Ok(device)
}

fn failed(adapter: &Adapter, source: &dyn std::fmt::Display) -> EngineError {
    EngineError::DeviceStart { name: adapter.info.name.clone(), message: source.to_string() }
}

/// One instance per interface for the life of the process: creating and dropping instances on several threads crashes some
/// drivers' loaders.
#[cfg(not(target_family = "wasm"))]
fn instance(api: wgpu::Backend) -> wgpu::Instance {
    static INSTANCES: Mutex<Vec<(wgpu::Backend, wgpu::Instance)>> = Mutex::new(Vec::new());
    let mut instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, instance)) = instances.iter().find(|(known, _)| *known == api) {
        return instance.clone();
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: api.into(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    instances.push((api, instance.clone()));
    instance
}

/// Numbers `adapters` in the order of the driver, each kind from zero as Burn does. Adapters that Burn cannot address are left out.
#[cfg(not(target_family = "wasm"))]
fn list(adapters: &[wgpu::Adapter], api: WgpuBackend) -> Vec<Adapter> {
    let (mut n_discrete, mut n_integrated, mut n_virtual, mut has_software) = (0, 0, 0, false);
    let mut listed: Vec<Adapter> = Vec::new();
    for adapter in adapters {
        let kind = match adapter.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu(next(&mut n_discrete)),
            wgpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu(next(&mut n_integrated)),
            wgpu::DeviceType::VirtualGpu => DeviceKind::VirtualGpu(next(&mut n_virtual)),
            // Burn's selector for software adapters has no number: the first one it is.
            wgpu::DeviceType::Cpu if !has_software => {
                has_software = true;
                DeviceKind::Cpu
            }
            // No selector exists for what the driver does not name; alone, it is the default.
            wgpu::DeviceType::Other if adapters.len() == 1 => DeviceKind::DefaultDevice,
            wgpu::DeviceType::Cpu | wgpu::DeviceType::Other => continue,
        };
        listed.push(Adapter { info: describe(adapter, Some(listed.len())), kind, api, adapter: adapter.clone() });
    }
    listed
}

#[cfg(not(target_family = "wasm"))]
fn next(count: &mut usize) -> usize {
    *count += 1;
    *count - 1
}

/// The browser hands out one adapter and does not say what it is.
#[cfg(target_family = "wasm")]
async fn browser() -> Vec<Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..wgpu::RequestAdapterOptions::default()
    };
    match instance.request_adapter(&options).await {
        Ok(adapter) => vec![Adapter { info: describe(&adapter, Some(0)), adapter }],
        Err(_) => Vec::new(),
    }
}

fn describe(adapter: &wgpu::Adapter, gpu_index: Option<usize>) -> DeviceInfo {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let class = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => DeviceClass::Discrete,
        wgpu::DeviceType::IntegratedGpu => DeviceClass::Integrated,
        wgpu::DeviceType::VirtualGpu => DeviceClass::Virtual,
        wgpu::DeviceType::Cpu => DeviceClass::Software,
        wgpu::DeviceType::Other => DeviceClass::Unknown,
    };
    let shares_host_memory = matches!(class, DeviceClass::Integrated | DeviceClass::Software);
    DeviceInfo {
        gpu_index,
        name: if info.name.is_empty() { "unnamed gpu".into() } else { info.name },
        class,
        api: api_name(info.backend).into(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        memory_bytes: if shares_host_memory { host::memory_bytes() } else { None },
        limits: Some(DeviceLimits {
            buffer_bytes: limits.max_buffer_size,
            binding_bytes: limits.max_storage_buffer_binding_size,
            workgroup_memory_bytes: limits.max_compute_workgroup_storage_size,
            workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            subgroup_min: info.subgroup_min_size,
            subgroup_max: info.subgroup_max_size,
            has_f16: adapter.features().contains(wgpu::Features::SHADER_F16),
        }),
    }
}

fn api_name(backend: wgpu::Backend) -> &'static str {
    match backend {
        wgpu::Backend::Noop => "none",
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        wgpu::Backend::Gl => "opengl",
        wgpu::Backend::BrowserWebGpu => "webgpu",
    }
}
