//! The suite and the benchmarks of the kernel, as data.

use super::{Combine, Params, combine};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, compare};
use crate::moe::widen;

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [(1, 4, 1), (3, 68, 2), (17, 512, 9)].iter().map(|&(t, d, a)| case(t, d, a, device)).collect()
}

/// The self-test: several tokens.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    Ok(vec![case(3, 68, 2, device)?])
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [(512, 2048, 8), (512, 7168, 9)].iter().map(|&(t, d, a)| case(t, d, a, device)).collect()
}

fn case(t: u32, d: u32, n_active: u32, device: &Capabilities) -> Result<Case, KernelError> {
    let (stride, offset) = (d + 4, 8);
    let launch = Combine { n_active }.launch(Params { t, d, y_stride: stride, y_offset: offset }, device)?;
    let mut random = Random::new(u64::from(t + d));
    let parts = random.vector((t * n_active * d) as usize, 1.0);
    let weights = random.vector((t * n_active) as usize, 1.0);
    let y = random.vector((offset + t * stride) as usize, 1.0);
    let row = |t: u32| (offset + t * stride) as usize..(offset + t * stride + d) as usize;
    let rows: Vec<f64> = (0..t).flat_map(|t| widen(&y[row(t)])).collect();
    let sums = combine(&rows, &widen(&parts), &widen(&weights), d as usize);
    let mut expected = widen(&y);
    for (token, sums) in sums.chunks(d as usize).enumerate() {
        expected[row(token as u32)].copy_from_slice(sums);
    }
    let n = f64::from(t * d);
    Ok(Case {
        name: format!("{} T={t} D={d}", launch.program.name),
        buffers: vec![Init::f32s(&parts), Init::f32s(&weights), Init::f32s(&y)],
        work: Work { bytes: 4.0 * n * f64::from(n_active + 2), flops: 2.0 * n * f64::from(n_active) },
        steps: vec![Step { launch, buffers: vec![0, 1, 2] }],
        reads: vec![2],
        // One rounding for each of A + 1 terms of at most 1.
        check: Box::new(move |out| compare("y", &out.f32s(2), &expected, 1.2e-7 * f64::from(n_active + 1), 1e-7)),
    })
}
