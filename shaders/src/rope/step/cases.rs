//! The suite and the benchmarks of the kernel, as data.

use super::{Params, RopeStep, step_rows};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, Worst};

/// The correctness cases that `device` offers: tokens, rotated width, table rows, pages, and what a block table of each
/// token's own is longer than its pages. The last positions have no row.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let shapes =
        [(1, 64, 300, 5, None), (37, 16, 200, 2, None), (130, 64, 130, 3, None), (5, 4, 300, 5, None), (9, 16, 300, 5, Some(2))];
    shapes.iter().map(|&shape| case(shape, device)).collect()
}

/// The self-test: several tokens, the last ones without a row.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    Ok(vec![case((37, 16, 200, 2, None), device)?])
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [(1, 64, 4096, 64, None), (512, 64, 4096, 64, None)].iter().map(|&shape| case(shape, device)).collect()
}

fn case((t, rope, rows, pages, own): (u32, u32, u32, u32, Option<u32>), device: &Capabilities) -> Result<Case, KernelError> {
    let launch = RopeStep { rope }.launch(Params { t, rows, pages, table_stride: own.map_or(0, |more| pages + more) }, device)?;
    let mut random = Random::new(u64::from(t));
    let rope_table: Vec<u32> = random.vector((rows * rope) as usize, 1.0).iter().map(|v| v.to_bits()).collect();
    let positions: Vec<u32> = (0..t).map(|i| if t == 1 { 77 } else { i * (rows + 10) / t }).collect();
    let tables: Vec<Vec<u32>> = (0..own.map_or(1, |_| t)).map(|_| (0..pages).map(|_| random.below(1 << 20)).collect()).collect();
    let expected: Vec<u32> = match &tables[..] {
        [table] => step_rows(&rope_table, rope as usize, &positions, table),
        tables => {
            tables.iter().zip(&positions).flat_map(|(table, &p)| step_rows(&rope_table, rope as usize, &[p], table)).collect()
        }
    };
    let gap = vec![u32::MAX; own.unwrap_or(0) as usize];
    let blocks: Vec<u32> = tables.iter().flat_map(|table| table.iter().chain(&gap)).copied().collect();
    Ok(Case {
        name: format!("{} T={t} P={rows} pages={pages}{}", launch.program.name, if own.is_some() { " own" } else { "" }),
        work: Work { bytes: 8.0 * f64::from(t * (rope + 2)), flops: 0.0 },
        buffers: vec![Init::u32s(&rope_table), Init::u32s(&positions), Init::u32s(&blocks), Init::Zeros(4 * expected.len())],
        steps: vec![Step { launch, buffers: vec![0, 1, 2, 3] }],
        reads: vec![3],
        check: Box::new(move |out| match out.u32s(3).iter().zip(&expected).position(|(found, expected)| found != expected) {
            Some(i) => Err(format!("word {i} differs")),
            None => Ok(Worst(0.0)),
        }),
    })
}
