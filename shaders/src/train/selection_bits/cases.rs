//! The suite and the benchmarks of the kernel, as data.

use super::{Params, SelectionBits, selection_bits};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, Worst};

/// Rows, `K`, words and the first row: one token; more words than a workgroup; more rows than one dimension of a dispatch; rows that stay.
const SHAPES: [[u32; 4]; 4] = [[1, 1, 1, 0], [3, 70, 200, 0], [66_000, 2, 2, 0], [5, 40, 3, 7]];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    SHAPES.iter().map(|&shape| case(shape, device)).collect()
}

/// The benchmark cases that `device` offers: 256 of 2048 tokens.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    Ok(vec![case([2048, 256, 64, 0], device)?])
}

/// Rows of up to `k` tokens below `32 · words`, the first of them full.
fn rows([rows, k, words, _]: [u32; 4]) -> Vec<i32> {
    let mut random = Random::new(3);
    let mut found = Vec::new();
    for row in 0..rows {
        let n = if row == 0 { k } else { random.below(k + 1) };
        let mut tokens: Vec<i32> = (0..n).map(|_| random.below(32 * words) as i32).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens.resize(k as usize, -1);
        found.extend(tokens);
    }
    found
}

fn case(shape: [u32; 4], device: &Capabilities) -> Result<Case, KernelError> {
    let [n, k, words, first_row] = shape;
    let launch = SelectionBits.launch(Params { rows: n, k, words, first_row }, device)?;
    let selected = rows(shape);
    // Rows before the first keep what they held.
    let mut expected = vec![7; (first_row * words) as usize];
    let held = [expected.clone(), vec![9; (n * words) as usize]].concat();
    expected.extend(selection_bits(&selected, k as usize, words as usize));
    Ok(Case {
        name: format!("{} rows={n} K={k} words={words} first_row={first_row}", launch.program.name),
        buffers: vec![Init::i32s(&selected), Init::u32s(&held)],
        steps: vec![Step { launch, buffers: vec![0, 1] }],
        reads: vec![1],
        work: Work { bytes: 4.0 * f64::from(n * (k + words)), flops: 0.0 },
        check: Box::new(move |out| match out.u32s(1).iter().zip(&expected).position(|(found, expected)| found != expected) {
            Some(i) => Err(format!("bits[{i}] is {:#x}, expected {:#x}", out.u32s(1)[i], expected[i])),
            None => Ok(Worst(0.0)),
        }),
    })
}
