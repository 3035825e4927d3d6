//! The suite and the benchmark of the kernel, as data.

use super::{Copy, Params, copy};
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, Worst};

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [1, 255, 256, 100_001].into_iter().map(|n| case(n, device)).collect()
}

/// The self-test: a mebibyte, and a part of a workgroup.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    Ok(vec![case((1 << 16) + 1, device)?])
}

/// The benchmark cases that `device` offers: 64 MiB each way, within the base tier's binding.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    Ok(vec![case(64 << 16, device)?])
}

fn case(n: u32, device: &Capabilities) -> Result<Case, KernelError> {
    let launch = Copy.launch(Params { n }, device)?;
    let x = Init::RandomWords { n: 4 * n as usize, seed: u64::from(n) };
    let expected = copy(bytemuck::cast_slice(&x.bytes()));
    Ok(Case {
        name: format!("{} n={n}", launch.program.name),
        buffers: vec![x, Init::Zeros(16 * n as usize)],
        work: Work { bytes: 32.0 * f64::from(n), flops: 0.0 },
        steps: vec![Step { launch, buffers: vec![0, 1] }],
        reads: vec![1],
        check: Box::new(move |out| match out.u32s(1).iter().zip(&expected).position(|(found, expected)| found != expected) {
            Some(i) => Err(format!("word {i} differs")),
            None => Ok(Worst(0.0)),
        }),
    })
}
