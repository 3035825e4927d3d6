//! Adapters and devices.

use crate::GpuError;
use crate::runner::{Begun, Pipelines};
use crate::store::{Kept, PipelineStore};
use sferic_shaders::kernel::{Capabilities, Features, Limits, SubgroupSizes};
use std::sync::{Arc, OnceLock};

/// Which adapter to open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Selection {
    /// The fastest kind that exists: discrete, integrated, software.
    #[default]
    Best,
    /// The first one whose name contains this text, in any case.
    Named(String),
}

/// An open device with what its adapter can do.
#[derive(Debug, Clone)]
pub struct Device {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    /// The adapter's name.
    pub name: String,
    /// The driver with its version.
    pub driver: String,
    /// The API: `vulkan`, `metal`, `dx12`, `browser-webgpu`.
    pub api: String,
    /// What it can do.
    pub capabilities: Capabilities,
    pub(crate) timestamps: bool,
    /// Whether it computes on the CPU.
    pub software: bool,
    pub(crate) pipelines: Pipelines,
    pub(crate) begun: Begun,
    pub(crate) kept: Option<Arc<Kept>>,
    info: wgpu::AdapterInfo,
    /// Sizes that the adapter states, whether or not wgpu knows that it has subgroups.
    browser_subgroup: SubgroupSizes,
    /// Why the device is lost, once it is.
    lost: Arc<OnceLock<String>>,
}

/// Every adapter of this machine, best kind first.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    // A browser hands out one adapter.
    #[cfg(target_arch = "wasm32")]
    let options = wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    #[cfg(target_arch = "wasm32")]
    let mut found: Vec<_> = instance.request_adapter(&options).await.into_iter().collect();
    #[cfg(not(target_arch = "wasm32"))]
    let mut found = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    found.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    found
}

impl Device {
    /// Opens an adapter with all the features and limits that it offers.
    ///
    /// # Errors
    /// [`GpuError::NoAdapter`] naming those that exist, [`GpuError::NoDevice`] when the driver refuses.
    pub async fn open(selection: &Selection) -> Result<Self, GpuError> {
        let found = adapters().await;
        let wanted = match selection {
            Selection::Best => String::new(),
            Selection::Named(name) => name.to_lowercase(),
        };
        let fits = |adapter: &&wgpu::Adapter| adapter.get_info().name.to_lowercase().contains(&wanted);
        let Some(adapter) = found.iter().find(fits) else {
            let names: Vec<_> = found.iter().map(|adapter| adapter.get_info().name).collect();
            return Err(GpuError::NoAdapter { wanted, found: if names.is_empty() { "none".into() } else { names.join(", ") } });
        };
        Self::on(adapter).await
    }

    /// Whether it measures times by itself; otherwise the host does, with what a submission costs in them.
    pub fn has_clock(&self) -> bool {
        self.timestamps
    }

    /// States that the device has subgroups although wgpu does not say so: its browser back end passes no such feature on, while a page can ask
    /// the browser for it.
    #[must_use]
    pub fn with_browser_subgroups(mut self) -> Self {
        self.capabilities.features.subgroups = true;
        self.capabilities.subgroup = self.browser_subgroup;
        self
    }

    /// The same device, whose kernels are chosen as if it lacked some features: for features that do not work.
    #[must_use]
    pub fn without(mut self, left_out: Features) -> Self {
        self.capabilities = self.capabilities.without(left_out);
        self
    }

    /// Opens `adapter` with all the features and limits that it offers.
    ///
    /// # Errors
    /// [`GpuError::NoDevice`] when the driver refuses.
    pub async fn on(adapter: &wgpu::Adapter) -> Result<Self, GpuError> {
        let info = adapter.get_info();
        let features = adapter.features().difference(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("sferic"),
            required_features: features,
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            trace: wgpu::Trace::Off,
            experimental_features: experimental(),
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|error| GpuError::NoDevice { adapter: info.name.clone(), reason: error.to_string() })?;
        let device = Self::from_parts(adapter, device, queue);
        // Only here: a device that someone else opened keeps the callback of its owner.
        let lost = device.lost.clone();
        device.device.set_device_lost_callback(move |reason, message| {
            let _ = lost.set(format!("{reason:?}: {message}"));
        });
        Ok(device)
    }

    /// Fails once the device is lost.
    pub(crate) fn check_lost(&self) -> Result<(), GpuError> {
        // Natively the callback runs inside a poll, and a lost device has more to say than that the poll failed.
        let _ = self.device.poll(wgpu::PollType::Poll);
        match self.lost.get() {
            Some(reason) => Err(GpuError::Device(format!("it is lost ({reason}); open it again"))),
            None => Ok(()),
        }
    }

    /// What kernels find on `adapter` once all its features and limits are asked for.
    pub fn offered_by(adapter: &wgpu::Adapter) -> Capabilities {
        capabilities(adapter, &adapter.get_info())
    }

    /// Takes a device that exists: one that Burn, or an application's renderer, has opened on `adapter`.
    pub fn from_parts(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let info = adapter.get_info();
        let device = Self {
            timestamps: device.features().contains(wgpu::Features::TIMESTAMP_QUERY),
            pipelines: Pipelines::default(),
            begun: Begun::default(),
            lost: Arc::default(),
            browser_subgroup: SubgroupSizes { min: info.subgroup_min_size, max: info.subgroup_max_size },
            device,
            queue,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            api: info.backend.to_string(),
            capabilities: capabilities(adapter, &info),
            name: info.name.clone(),
            software: info.device_type == wgpu::DeviceType::Cpu,
            kept: None,
            info,
        };
        device.with_pipeline_store(PipelineStore::standard().as_ref())
    }

    /// Keeps compiled pipelines in `store`, or in no file. Devices start with [`PipelineStore::standard`].
    #[must_use]
    pub fn with_pipeline_store(mut self, store: Option<&PipelineStore>) -> Self {
        self.kept = store.and_then(|store| Kept::open(&self.device, &self.info, store)).map(Arc::new);
        self
    }

    /// Removes the file of compiled pipelines: for the loss of a device, of which a pipeline may have been the reason.
    pub fn discard_kept_pipelines(&self) {
        if let Some(kept) = &self.kept {
            kept.discard();
        }
    }
}

/// Cooperative matrices are behind this switch of wgpu.
#[allow(unsafe_code, reason = "wgpu has no other way to ask for cooperative matrices")]
fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: the obligation is to accept bugs in wgpu's unfinished features. Of these we use cooperative matrices alone, and the suites compare
    // every result of them with an oracle.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

/// Reads off an adapter what kernels ask.
pub(crate) fn capabilities(adapter: &wgpu::Adapter, info: &wgpu::AdapterInfo) -> Capabilities {
    let features = adapter.features();
    let limits = adapter.limits();
    let subgroups = features.contains(wgpu::Features::SUBGROUP);
    let f16 = features.contains(wgpu::Features::SHADER_F16);
    let coopmat = features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
        && adapter.cooperative_matrix_properties().iter().any(|shape| {
            (shape.m_size, shape.n_size, shape.k_size) == (16, 16, 16)
                && shape.ab_type == wgpu::CooperativeScalarType::F16
                && shape.cr_type == wgpu::CooperativeScalarType::F32
        });
    Capabilities {
        features: Features {
            subgroups,
            f16,
            dp4a: info.device_type != wgpu::DeviceType::Cpu,
            coopmat: coopmat && subgroups && f16,
        },
        limits: Limits {
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
        },
        subgroup: if subgroups {
            SubgroupSizes { min: info.subgroup_min_size, max: info.subgroup_max_size }
        } else {
            SubgroupSizes { min: 1, max: 1 }
        },
    }
}
