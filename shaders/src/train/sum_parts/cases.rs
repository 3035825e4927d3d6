//! The suite and the benchmarks of the kernel, as data.

use super::{SumParts, sum_parts};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, compare};

/// Parts and values: one of each, a ragged workgroup, many parts for one lane and for several.
const SHAPES: [(u32, u32); 6] = [(1, 4), (3, 1028), (2, 256), (40, 8), (64, 36), (1030, 20)];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    SHAPES.iter().map(|&(parts, n)| case(parts, n, device)).collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [(6, 1408 * 512), (16, 512 * 512), (1024, 512)].iter().map(|&(parts, n)| case(parts, n, device)).collect()
}

fn case(parts: u32, n: u32, device: &Capabilities) -> Result<Case, KernelError> {
    let launch = SumParts.launch(parts, n, device)?;
    let values = Random::new(u64::from(parts + n)).vector((parts * n) as usize, 1.0);
    let wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    let expected = sum_parts(&wide, n as usize);
    Ok(Case {
        name: format!("{} Z={parts} N={n}", launch.program.name),
        buffers: vec![Init::f32s(&values), Init::Zeros(4 * n as usize)],
        work: Work { bytes: 4.0 * f64::from((parts + 1) * n), flops: f64::from(parts * n) },
        steps: vec![Step { launch, buffers: vec![0, 1] }],
        reads: vec![1],
        // Each addition of partial sums of at most Z is off by half a unit in its last place.
        check: Box::new(move |out| compare("y", &out.f32s(1), &expected, f64::from(parts * parts) * 2.0_f64.powi(-24), 0.0)),
    })
}
