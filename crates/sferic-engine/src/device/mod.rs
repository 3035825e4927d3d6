//! Which hardware a model runs on.
//!
//! `auto` takes a real GPU, discrete before integrated, and the CPU where there is none: a software rasteriser (lavapipe, WARP,
//! SwiftShader) is slower than the CPU path and is taken only on request. `gpu` takes the first adapter of any kind, `gpu:N` the
//! one that [`devices`] lists under that number.

mod adapters;
mod host;

use crate::EngineError;
use burn::tensor::Device;
use serde::Serialize;
use sferic_lightning::Capabilities;
use std::fmt;
use std::str::FromStr;

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A real GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of that number in [`devices`], or the first of any kind, software rasterisers included.
    Gpu(Option<usize>),
}

impl FromStr for DeviceChoice {
    type Err = EngineError;

    /// Parses `auto`, `cpu`, `gpu` or `gpu:N`.
    fn from_str(text: &str) -> Result<Self, EngineError> {
        let unknown = || EngineError::UnknownDeviceChoice { found: text.to_owned() };
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu(None)),
            _ => {
                let digits = text.strip_prefix("gpu:").ok_or_else(unknown)?;
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(unknown());
                }
                digits.parse().map(|index| Self::Gpu(Some(index))).map_err(|_| unknown())
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu(None) => f.write_str("gpu"),
            Self::Gpu(Some(index)) => write!(f, "gpu:{index}"),
        }
    }
}

/// What kind of hardware a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceClass {
    /// A GPU with its own memory.
    Discrete,
    /// A GPU that shares the host's memory.
    Integrated,
    /// A GPU of a virtual machine.
    Virtual,
    /// A graphics driver that runs on the CPU.
    Software,
    /// A GPU whose driver, or browser, does not say what it is.
    Unknown,
    /// The CPU, without a graphics driver.
    Cpu,
}

impl DeviceClass {
    /// Whether the device is reached through a graphics interface.
    pub fn is_gpu(self) -> bool {
        self != Self::Cpu
    }

    /// Whether the device is a GPU and not known to be a software rasteriser: what `auto` looks for.
    pub fn is_real_gpu(self) -> bool {
        self.auto_rank().is_some()
    }

    /// The order of preference of `auto`; lower is better.
    fn auto_rank(self) -> Option<u8> {
        match self {
            Self::Discrete => Some(0),
            Self::Integrated => Some(1),
            Self::Virtual => Some(2),
            // A browser does not tell; what it offers is the machine's GPU unless it was told otherwise.
            Self::Unknown => Some(3),
            Self::Software | Self::Cpu => None,
        }
    }
}

impl fmt::Display for DeviceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Software => "software",
            Self::Unknown => "unknown",
            Self::Cpu => "cpu",
        })
    }
}

/// What a GPU allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceLimits {
    /// Largest buffer.
    pub buffer_bytes: u64,
    /// Largest part of a buffer that one shader argument can reach.
    pub binding_bytes: u64,
    /// Memory shared by the invocations of a workgroup.
    pub workgroup_memory_bytes: u32,
    /// Most invocations of a workgroup.
    pub workgroup_invocations: u32,
    /// Smallest subgroup.
    pub subgroup_min: u32,
    /// Largest subgroup.
    pub subgroup_max: u32,
    /// Whether shaders can compute in half precision.
    pub has_f16: bool,
}

/// A device of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// N of `gpu:N`; `None` for the CPU.
    pub gpu_index: Option<usize>,
    /// Name as the driver gives it.
    pub name: String,
    /// Kind of hardware.
    pub class: DeviceClass,
    /// Graphics interface (`vulkan`, `metal`, …), or `native` for the CPU.
    pub api: String,
    /// Driver and its version, or the CPU's thread count.
    pub driver: String,
    /// Memory of the device where the system tells: the host's memory for devices that share it.
    pub memory_bytes: Option<u64>,
    /// Limits of the graphics interface; `None` for the CPU.
    pub limits: Option<DeviceLimits>,
}

/// A device that was taken and not started.
pub(crate) struct Chosen {
    pub(crate) info: DeviceInfo,
    pub(crate) reason: String,
    adapter: Option<adapters::Adapter>,
}

impl Chosen {
    /// Whether it is a graphics adapter.
    pub(crate) fn is_gpu(&self) -> bool {
        self.adapter.is_some()
    }

    /// The CPU in place of a GPU that cannot be used, and why.
    pub(crate) fn or_cpu(self, why: &str) -> Self {
        match self.adapter {
            Some(_) => Self { info: host::cpu(), reason: format!("{}; {why}, so the cpu", self.reason), adapter: None },
            None => self,
        }
    }

    /// Makes it ready for tensors. In browsers that is the CPU.
    pub(crate) async fn start(self) -> Result<ResolvedDevice, EngineError> {
        let Self { info, reason, adapter } = self;
        let device = match &adapter {
            #[cfg(not(target_family = "wasm"))]
            Some(adapter) => adapters::start(adapter).await?,
            _ => Device::flex(),
        };
        let capabilities = adapter.as_ref().map(adapters::capabilities);
        Ok(ResolvedDevice { info, reason, device: Some(device), capabilities })
    }

    /// Makes it ready for our kernels; `None` for the CPU.
    pub(crate) async fn start_kernels(&self) -> Option<Result<sferic_lightning::Device, EngineError>> {
        match &self.adapter {
            Some(adapter) => Some(adapters::start_kernels(adapter).await),
            None => None,
        }
    }

    /// The same device as part of an engine whose kernels hold it.
    pub(crate) fn resolved(self) -> ResolvedDevice {
        let capabilities = self.adapter.as_ref().map(adapters::capabilities);
        ResolvedDevice { info: self.info, reason: self.reason, device: None, capabilities }
    }
}

/// A device ready for tensors, and why it was taken.
#[derive(Clone, Debug)]
pub struct ResolvedDevice {
    /// What was taken.
    pub info: DeviceInfo,
    /// What was asked for and why this device follows, in one line.
    pub reason: String,
    device: Option<Device>,
    capabilities: Option<Capabilities>,
}

impl ResolvedDevice {
    /// Returns the handle on which tensors are created, the CPU's where our kernels hold the device.
    pub fn burn_device(&self) -> Device {
        self.device.clone().unwrap_or_else(Device::flex)
    }

    /// Returns what kernels find on the device, `None` for the CPU.
    pub fn capabilities(&self) -> Option<Capabilities> {
        self.capabilities
    }
}

/// Lists the devices of this machine: GPUs in the order of `gpu:N`, then the CPU.
///
/// A machine without a graphics driver has the CPU alone; that is not an error.
pub async fn devices() -> Vec<DeviceInfo> {
    let mut listed: Vec<DeviceInfo> = adapters::enumerate().await.into_iter().map(|adapter| adapter.info).collect();
    listed.push(host::cpu());
    listed
}

/// Takes the device that `choice` asks for and makes it ready.
///
/// # Errors
/// - [`EngineError::NoGpu`] when a GPU is asked for and no adapter of any kind is found.
/// - [`EngineError::GpuIndex`] when `gpu:N` names a number that [`devices`] does not list.
/// - [`EngineError::DeviceStart`] when the driver refuses to start the device.
#[cfg(not(target_family = "wasm"))]
pub async fn resolve_device(choice: &DeviceChoice) -> Result<ResolvedDevice, EngineError> {
    choose_device(choice).await?.start().await
}

/// Takes the device that `choice` asks for.
///
/// # Errors
/// Those of [`resolve_device`] but the last.
pub(crate) async fn choose_device(choice: &DeviceChoice) -> Result<Chosen, EngineError> {
    let adapters = match choice {
        // The graphics drivers of a machine may take a second to load, which the CPU need not wait for.
        DeviceChoice::Cpu => Vec::new(),
        _ => adapters::enumerate().await,
    };
    let infos: Vec<&DeviceInfo> = adapters.iter().map(|adapter| &adapter.info).collect();
    let (taken, reason) = select(choice, &infos)?;
    let adapter = taken.and_then(|gpu_index| adapters.get(gpu_index)).cloned();
    let info = adapter.as_ref().map_or_else(host::cpu, |adapter| adapter.info.clone());
    Ok(Chosen { info, reason, adapter })
}

/// Takes the GPU that `choice` asks for and makes it ready for our kernels alone.
///
/// # Errors
/// Those of [`resolve_device`], and [`EngineError::NoKernels`] where the CPU is taken.
pub async fn kernels_device(choice: &DeviceChoice) -> Result<sferic_lightning::Device, EngineError> {
    match choose_device(choice).await?.start_kernels().await {
        Some(device) => device,
        None => {
            Err(EngineError::NoKernels { why: "they need a gpu, and the cpu was taken; ask for one with `--device gpu`".into() })
        }
    }
}

/// The number of the GPU that `choice` means among `gpus`, `None` for the CPU, and why.
fn select(choice: &DeviceChoice, gpus: &[&DeviceInfo]) -> Result<(Option<usize>, String), EngineError> {
    let named = |gpu_index: usize| {
        let info = gpus[gpu_index];
        let note = if info.class == DeviceClass::Software { "; a software rasteriser that runs on the cpu" } else { "" };
        format!("gpu:{gpu_index} {} ({}, {}){note}", info.name, info.class, info.api)
    };
    match choice {
        DeviceChoice::Cpu => Ok((None, "cpu: as asked".into())),
        DeviceChoice::Gpu(Some(gpu_index)) if *gpu_index < gpus.len() => {
            Ok((Some(*gpu_index), format!("gpu:{gpu_index}: as asked, {}", named(*gpu_index))))
        }
        DeviceChoice::Gpu(Some(gpu_index)) => Err(EngineError::GpuIndex { found: *gpu_index, n_gpus: gpus.len() }),
        DeviceChoice::Gpu(None) if gpus.is_empty() => Err(EngineError::NoGpu),
        DeviceChoice::Gpu(None) => Ok((Some(0), format!("gpu: the first adapter, {}", named(0)))),
        DeviceChoice::Auto => {
            let ranked = gpus.iter().enumerate().filter_map(|(gpu_index, info)| Some((info.class.auto_rank()?, gpu_index)));
            Ok(match (ranked.min(), gpus.first()) {
                (Some((_, gpu_index)), _) => (Some(gpu_index), format!("auto: a gpu was found, {}", named(gpu_index))),
                (None, None) => (None, "auto: no gpu was found, so the cpu".into()),
                (None, Some(info)) => {
                    (None, format!("auto: the only gpu found is a software rasteriser ({}), so the cpu", info.name))
                }
            })
        }
    }
}

#[cfg(test)]
mod tests;
