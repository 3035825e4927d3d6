//! The suite and the benchmarks of the kernel, as data.

use super::{Params, RopeStep, step_rows};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, Worst};

/// The correctness cases that `device` offers: tokens, rotated width, table rows, pages. The last positions have no row.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [(1, 64, 300, 5), (37, 16, 200, 2), (130, 64, 130, 3), (5, 4, 300, 5)].iter().map(|&shape| case(shape, device)).collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [(1, 64, 4096, 64), (512, 64, 4096, 64)].iter().map(|&shape| case(shape, device)).collect()
}

fn case((t, rope, rows, pages): (u32, u32, u32, u32), device: &Capabilities) -> Result<Case, KernelError> {
    let launch = RopeStep { rope }.launch(Params { t, rows, pages }, device)?;
    let mut random = Random::new(u64::from(t));
    let table: Vec<u32> = random.vector((rows * rope) as usize, 1.0).iter().map(|v| v.to_bits()).collect();
    let positions: Vec<u32> = (0..t).map(|i| if t == 1 { 77 } else { i * (rows + 10) / t }).collect();
    let blocks: Vec<u32> = (0..pages).map(|_| random.below(1 << 20)).collect();
    let expected = step_rows(&table, rope as usize, &positions, &blocks);
    Ok(Case {
        name: format!("{} T={t} P={rows} pages={pages}", launch.program.name),
        work: Work { bytes: 8.0 * f64::from(t * (rope + 2)), flops: 0.0 },
        buffers: vec![Init::u32s(&table), Init::u32s(&positions), Init::u32s(&blocks), Init::Zeros(4 * expected.len())],
        steps: vec![Step { launch, buffers: vec![0, 1, 2, 3] }],
        reads: vec![3],
        check: Box::new(move |out| match out.u32s(3).iter().zip(&expected).position(|(found, expected)| found != expected) {
            Some(i) => Err(format!("word {i} differs")),
            None => Ok(Worst(0.0)),
        }),
    })
}
