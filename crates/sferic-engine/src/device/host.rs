//! The CPU and its memory.

use super::{DeviceClass, DeviceInfo};

/// The CPU as a device.
pub(super) fn cpu() -> DeviceInfo {
    let n_threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    DeviceInfo {
        gpu_index: None,
        name: cpu_name().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        class: DeviceClass::Cpu,
        api: "native".into(),
        driver: format!("{n_threads} threads"),
        memory_bytes: memory_bytes(),
        limits: None,
    }
}

/// Memory that the system could hand out now, where it tells.
///
/// In a browser what is left of the 4 GiB that a module can reach. On Linux the smaller of `MemAvailable` and the room left under the limit of the control group, which is what bounds a container.
pub(super) fn memory_bytes() -> Option<u64> {
    #[cfg(target_arch = "wasm32")]
    return Some((1 << 32) - ((core::arch::wasm32::memory_size::<0>() as u64) << 16));
    #[cfg(not(target_arch = "wasm32"))]
    system_memory_bytes()
}

#[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "a browser does not tell"))]
fn system_memory_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let available = available_bytes(&meminfo)?;
    let limit = read_number("/sys/fs/cgroup/memory.max").or_else(|| read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    let used =
        read_number("/sys/fs/cgroup/memory.current").or_else(|| read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes"));
    Some(match (limit, used) {
        (Some(limit), Some(used)) => available.min(limit.saturating_sub(used)),
        _ => available,
    })
}

/// `MemAvailable` of a `/proc/meminfo`, in bytes.
fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn cpu_name() -> Option<String> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        let meminfo = "MemTotal:       16000000 kB\nMemFree:          500000 kB\nMemAvailable:    8000000 kB\n";
        assert_eq!(available_bytes(meminfo), Some(8_000_000 * 1024));
    }

    #[test]
    fn a_broken_meminfo_is_unknown_memory() {
        assert_eq!(available_bytes(""), None);
        assert_eq!(available_bytes("MemAvailable: many kB"), None);
        assert_eq!(available_bytes("MemAvailable: 18446744073709551615 kB"), None);
    }

    #[test]
    fn the_cpu_is_always_there() {
        let cpu = cpu();
        assert_eq!(cpu.class, DeviceClass::Cpu);
        assert_eq!(cpu.gpu_index, None);
        assert!(!cpu.name.is_empty());
    }
}
