#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use burn::tensor::Tensor;

fn gpu(class: DeviceClass, name: &str) -> DeviceInfo {
    DeviceInfo {
        gpu_index: Some(0),
        name: name.into(),
        class,
        api: "vulkan".into(),
        driver: String::new(),
        memory_bytes: None,
        limits: None,
    }
}

/// The choice among GPUs of the given classes, and its reason.
fn selected(choice: &str, classes: &[DeviceClass]) -> Result<(Option<usize>, String), EngineError> {
    let gpus: Vec<DeviceInfo> = classes.iter().map(|&class| gpu(class, &format!("card {class}"))).collect();
    select(&choice.parse().unwrap(), &gpus.iter().collect::<Vec<_>>())
}

#[test]
fn choices_are_parsed_and_written() {
    for (text, choice) in [
        ("auto", DeviceChoice::Auto),
        ("cpu", DeviceChoice::Cpu),
        ("gpu", DeviceChoice::Gpu(None)),
        ("gpu:0", DeviceChoice::Gpu(Some(0))),
        ("gpu:12", DeviceChoice::Gpu(Some(12))),
    ] {
        assert_eq!(text.parse::<DeviceChoice>().unwrap(), choice);
        assert_eq!(choice.to_string(), text);
    }
}

#[test]
fn other_names_are_refused_with_the_known_ones() {
    for text in ["", "GPU", "gpu:", "gpu:-1", "gpu:+1", "gpu:x", "gpu: 1", "cuda", "gpu:99999999999999999999999"] {
        let message = text.parse::<DeviceChoice>().unwrap_err().to_string();
        assert!(message.contains(&format!("{text:?}")) && message.contains("gpu:N"), "{message}");
    }
}

#[test]
fn auto_prefers_real_gpus_and_the_cpu_to_a_rasteriser() {
    use DeviceClass::{Discrete, Integrated, Software, Virtual};
    assert_eq!(selected("auto", &[Software, Integrated, Discrete]).unwrap().0, Some(2));
    assert_eq!(selected("auto", &[Software, Integrated]).unwrap().0, Some(1));
    assert_eq!(selected("auto", &[Virtual, Integrated]).unwrap().0, Some(1));
    assert_eq!(selected("auto", &[Discrete, Discrete]).unwrap().0, Some(0));
    let (taken, reason) = selected("auto", &[Software]).unwrap();
    assert_eq!(taken, None);
    assert!(reason.contains("software rasteriser") && reason.contains("cpu"), "{reason}");
    let (taken, reason) = selected("auto", &[]).unwrap();
    assert_eq!(taken, None);
    assert!(reason.contains("no gpu"), "{reason}");
}

#[test]
fn gpu_takes_any_adapter_and_says_so() {
    use DeviceClass::{Discrete, Software};
    let (taken, reason) = selected("gpu", &[Software, Discrete]).unwrap();
    assert_eq!(taken, Some(0));
    assert!(reason.contains("software rasteriser") && reason.contains("card software"), "{reason}");
    assert_eq!(selected("gpu:1", &[Software, Discrete]).unwrap().0, Some(1));
    assert!(!selected("gpu:1", &[Software, Discrete]).unwrap().1.contains("rasteriser"));
    assert_eq!(selected("cpu", &[Discrete]).unwrap().0, None);
}

#[test]
fn a_gpu_that_is_not_there_is_an_error() {
    assert!(matches!(selected("gpu", &[]), Err(EngineError::NoGpu)));
    let error = selected("gpu:3", &[DeviceClass::Discrete]).unwrap_err();
    assert!(matches!(error, EngineError::GpuIndex { found: 3, n_gpus: 1 }), "{error:?}");
    assert!(error.to_string().contains("gpu:3"), "{error}");
}

#[test]
fn the_list_ends_with_the_cpu_and_numbers_the_gpus() {
    let listed = pollster::block_on(devices());
    let (cpu, gpus) = listed.split_last().unwrap();
    assert_eq!(cpu.class, DeviceClass::Cpu);
    for (gpu_index, info) in gpus.iter().enumerate() {
        assert_eq!(info.gpu_index, Some(gpu_index));
        assert!(info.class.is_gpu());
        let limits = info.limits.as_ref().unwrap();
        assert!(limits.binding_bytes >= 128 << 20, "WebGPU guarantees 128 MiB: {limits:?}");
    }
}

/// On a machine with any adapter: the one we name is the one that Burn starts.
#[test]
fn the_device_that_is_started_is_the_one_that_is_named() {
    let listed = pollster::block_on(devices());
    for info in listed.iter().filter(|info| info.class.is_gpu()) {
        let choice = DeviceChoice::Gpu(info.gpu_index);
        let resolved = pollster::block_on(resolve_device(&choice)).unwrap();
        // Free memory changes from one moment to the next.
        assert_eq!(resolved.info, DeviceInfo { memory_bytes: resolved.info.memory_bytes, ..info.clone() });
        let again = pollster::block_on(resolve_device(&choice)).unwrap();
        assert_eq!(resolved.burn_device(), again.burn_device());
        let sum = Tensor::<1>::from_floats([1.0, 2.0], &resolved.burn_device()).sum();
        assert_eq!(sum.try_into_vec_as::<f32>().unwrap(), [3.0]);
    }
    if listed.len() == 1 {
        assert!(matches!(pollster::block_on(resolve_device(&DeviceChoice::Gpu(None))), Err(EngineError::NoGpu)));
    }
}

#[test]
fn the_cpu_can_always_be_taken() {
    let resolved = pollster::block_on(resolve_device(&DeviceChoice::Cpu)).unwrap();
    assert_eq!(resolved.info.class, DeviceClass::Cpu);
    assert_eq!(resolved.burn_device(), Device::flex());
}
