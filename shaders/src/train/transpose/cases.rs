//! The suite and the benchmarks of the kernel, as data.

use super::{Transpose, transpose};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Elem, Init, KernelError, Step, Work, compare};

/// Rows and columns: one value, a row, less than a tile, whole tiles, ragged ones.
const SHAPES: [(u32, u32); 5] = [(1, 1), (1, 70), (20, 9), (64, 96), (130, 50)];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let elems = if device.features.f16 { &[Elem::F32, Elem::F16][..] } else { &[Elem::F32] };
    elems.iter().flat_map(|&y| SHAPES.iter().map(move |&(rows, columns)| case(y, rows, columns, device))).collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    Ok(vec![case(if device.features.f16 { Elem::F16 } else { Elem::F32 }, 1408, 512, device)?])
}

fn case(y: Elem, rows: u32, columns: u32, device: &Capabilities) -> Result<Case, KernelError> {
    let launch = Transpose { y }.launch(rows, columns, device)?;
    let values = Random::new(u64::from(rows + columns)).vector((rows * columns) as usize, 3.0);
    let wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    let expected = transpose(&wide, columns as usize);
    // Half a unit in the last place of f16.
    let relative = if y == Elem::F16 { 2.0_f64.powi(-11) } else { 0.0 };
    Ok(Case {
        name: format!("{} R={rows} C={columns}", launch.program.name),
        buffers: vec![Init::f32s(&values), Init::Zeros(values.len() * y.bytes())],
        work: Work { bytes: f64::from(rows * columns) * (4 + y.bytes()) as f64, flops: 0.0 },
        steps: vec![Step { launch, buffers: vec![0, 1] }],
        reads: vec![1],
        check: Box::new(move |out| compare("y", &out.values(1, y), &expected, 6e-8, relative)),
    })
}
