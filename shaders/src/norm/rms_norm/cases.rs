//! The suite and the benchmarks of the kernel, as data.

use super::{Params, RmsNorm, rms_norm};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, compare};

/// Rows and width: one value, less than a workgroup, a whole one, a ragged one, the widths of real models.
const SHAPES: [(u32, u32); 6] = [(1, 1), (3, 7), (2, 256), (5, 257), (1, 7168), (4, 1536)];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    SHAPES.iter().map(|&(n, d)| case(n, d, device)).collect()
}

/// The self-test: a ragged row and wide ones.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [(5, 257), (4, 1536)].iter().map(|&(n, d)| case(n, d, device)).collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [(1, 7168), (512, 7168)].iter().map(|&(n, d)| case(n, d, device)).collect()
}

fn case(n: u32, d: u32, device: &Capabilities) -> Result<Case, KernelError> {
    let spec = RmsNorm::best(device);
    let eps = 1e-6;
    // Some rows stand apart, as those of a part of wider rows do.
    let x_stride = d + (n - 1) % 3;
    let launch = spec.launch(Params { n, d, x_stride, eps }, device)?;
    let mut random = Random::new(u64::from(n * 10_000 + d));
    let x = random.vector((n * x_stride) as usize, 3.0);
    let weight = random.vector(d as usize, 1.0);
    let rows: Vec<f32> = x.chunks(x_stride as usize).flat_map(|row| &row[..d as usize]).copied().collect();
    let expected = rms_norm(&widen(&rows), &widen(&weight), f64::from(eps));
    Ok(Case {
        name: format!("{} N={n} D={d}", launch.program.name),
        buffers: vec![Init::f32s(&x), Init::f32s(&weight), Init::Zeros(4 * (n * d) as usize)],
        work: Work { bytes: 4.0 * f64::from(2 * n * d + d), flops: 4.0 * f64::from(n * d) },
        steps: vec![Step { launch, buffers: vec![0, 1, 2] }],
        reads: vec![2],
        check: Box::new(move |out| compare("y", &out.f32s(2), &expected, 1e-6, 2e-6)),
    })
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}
