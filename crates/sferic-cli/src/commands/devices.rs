//! `sferic devices`: what this machine can compute on.

use crate::cli::DevicesArgs;
use crate::failure::ExitStatus;
use crate::output::{bytes, print, print_json, row, table};
use anyhow::Result;
use sferic_engine::DeviceInfo;

/// Lists the devices, each with the name that `--device` takes.
pub fn run(args: &DevicesArgs) -> Result<ExitStatus> {
    let devices = pollster::block_on(sferic_engine::devices());
    if args.json {
        print_json(&devices)?;
        return Ok(ExitStatus::Done);
    }
    let mut rows = vec![row(["DEVICE", "NAME", "KIND", "API", "MEMORY", "LARGEST BINDING", "F16", "DRIVER"])];
    rows.extend(devices.iter().map(device_row));
    print(&table(&rows))?;
    Ok(ExitStatus::Done)
}

fn device_row(device: &DeviceInfo) -> Vec<String> {
    let limits = device.limits.as_ref();
    let unknown = || "-".to_owned();
    vec![
        device.gpu_index.map_or_else(|| "cpu".to_owned(), |gpu_index| format!("gpu:{gpu_index}")),
        device.name.clone(),
        device.class.to_string(),
        device.api.clone(),
        device.memory_bytes.map_or_else(unknown, bytes),
        limits.map_or_else(unknown, |limits| bytes(limits.binding_bytes)),
        limits.map_or_else(unknown, |limits| if limits.has_f16 { "yes" } else { "no" }.to_owned()),
        device.driver.clone(),
    ]
}
