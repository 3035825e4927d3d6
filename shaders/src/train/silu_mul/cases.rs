//! The suite and the benchmarks of the kernel, as data.

use super::{SiluMul, silu_mul, silu_mul_grad};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, compare};

/// The correctness cases that `device` offers: one quad, a ragged workgroup; gates far out.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let shapes = [(4, 3.0), (1028, 3.0), (512, 200.0)];
    let both = [SiluMul::Forward, SiluMul::Backward];
    both.iter().flat_map(|&spec| shapes.map(|(n, scale)| case(spec, n, scale, device))).collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [SiluMul::Forward, SiluMul::Backward].iter().map(|&spec| case(spec, 8192 * 1408, 3.0, device)).collect()
}

fn case(spec: SiluMul, n: u32, scale: f32, device: &Capabilities) -> Result<Case, KernelError> {
    let launch = spec.launch(n, device)?;
    let mut random = Random::new(u64::from(n));
    let [gate, up, dh] = [scale, 1.0, 1.0].map(|scale| random.vector(n as usize, scale));
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let [g, u, d] = [&gate, &up, &dh].map(|values| wide(values));
    let zeros = Init::Zeros(4 * n as usize);
    let mut buffers = vec![Init::f32s(&gate), Init::f32s(&up)];
    let expected = match spec {
        SiluMul::Forward => vec![silu_mul(&g, &u)],
        SiluMul::Backward => {
            buffers.push(Init::f32s(&dh));
            silu_mul_grad(&g, &u, &d).to_vec()
        }
    };
    let first = buffers.len();
    buffers.extend(expected.iter().map(|_| zeros.clone()));
    let n_buffers = buffers.len();
    // The exponential may be off by 3 + 2·|x| units in its last place; its argument matters up to about 20, where the sigmoid leaves f32.
    let relative = 50.0 * 2.0_f64.powi(-24);
    Ok(Case {
        name: format!("{} N={n} scale={scale}", launch.program.name),
        buffers,
        work: Work { bytes: 4.0 * f64::from(n) * n_buffers as f64, flops: 0.0 },
        steps: vec![Step { launch, buffers: (0..n_buffers).collect() }],
        reads: (first..n_buffers).collect(),
        check: Box::new(move |out| {
            let mut worst = compare("first output", &out.f32s(first), &expected[0], 5e-6, relative)?;
            if let Some(second) = expected.get(1) {
                worst.0 = worst.0.max(compare("dup", &out.f32s(first + 1), second, 5e-6, relative)?.0);
            }
            Ok(worst)
        }),
    })
}
