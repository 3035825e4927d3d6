//! The suite and the benchmarks of the kernel, as data.

use super::{Params, RmsNormGrad, rms_norm_grad};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, compare};
use crate::train::sum_parts::SumParts;

/// Rows, width, rows of a part: one value of each; ragged parts and columns; widths of both workgroup sizes.
const SHAPES: [(u32, u32, u32); 5] = [(1, 4, 4), (7, 20, 3), (9, 512, 4), (5, 260, 2), (6, 1536, 4)];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    SHAPES.iter().map(|&(n, d, rows)| case(Params { n, d, rows, eps: 1e-3 }, device)).collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    Ok(vec![case(Params::new(32_768, 512, 1e-6), device)?])
}

fn case(params: Params, device: &Capabilities) -> Result<Case, KernelError> {
    let Params { n, d, eps, .. } = params;
    let launch = RmsNormGrad::best(d, device).launch(params, device)?;
    let sum = SumParts.launch(params.parts(), d, device)?;
    let mut random = Random::new(u64::from(n * 10_000 + d));
    let (n_values, width) = ((n * d) as usize, d as usize);
    let (x, weight, dy) = (random.vector(n_values, 3.0), random.vector(width, 1.0), random.vector(n_values, 1.0));
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (dx, dg) = rms_norm_grad(&wide(&x), &wide(&weight), &wide(&dy), f64::from(eps));
    let zeros = |n: usize| Init::Zeros(4 * n);
    // Rows are as long as their root mean square says, so that x · r is about one; a sum over rows is off by about their number.
    let (of_x, of_weight) = (2e-6, 1e-6 * f64::from(n).sqrt() + f64::from(n) * 2.0_f64.powi(-24));
    Ok(Case {
        name: format!("{} N={n} D={d} Z={}", launch.program.name, params.parts()),
        buffers: vec![
            Init::f32s(&x),
            Init::f32s(&weight),
            Init::f32s(&dy),
            zeros(n_values),
            zeros(width * params.parts() as usize),
            zeros(width),
        ],
        work: Work { bytes: 12.0 * n_values as f64, flops: 0.0 },
        steps: vec![Step { launch, buffers: vec![0, 1, 2, 3, 4] }, Step { launch: sum, buffers: vec![4, 5] }],
        reads: vec![3, 5],
        check: Box::new(move |out| {
            let worst = compare("dx", &out.f32s(3), &dx, of_x, 4e-6)?;
            Ok(crate::kernel::Worst(worst.0.max(compare("dg", &out.f32s(5), &dg, of_weight, 0.0)?.0)))
        }),
    })
}
