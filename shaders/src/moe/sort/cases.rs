//! The suite and the benchmarks of the kernel, as data.

use super::{Params, Sort, sort, tiles};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Outputs, Step, Work, Worst};

/// Assignments, experts, tile, experts that are used: one, fewer than invocations, one expert takes all, ragged stretches, many experts.
const SHAPES: [(u32, u32, u32, u32); 6] =
    [(1, 1, 32, 1), (40, 7, 4, 7), (700, 66, 32, 1), (4099, 66, 64, 66), (513, 257, 32, 257), (2000, 1024, 16, 900)];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    SHAPES.iter().map(|&(n, e, tile, used)| case(n, Sort { n_experts: e, tile }, used, device)).collect()
}

/// The self-test: few experts and many.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let [_, few, _, _, many, _] = SHAPES;
    [few, many].iter().map(|&(n, e, tile, used)| case(n, Sort { n_experts: e, tile }, used, device)).collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let shapes = [(512 * 8, 66), (512 * 9, 257), (4096 * 9, 257)];
    shapes.iter().map(|&(n, e)| case(n, Sort { n_experts: e, tile: 64 }, e, device)).collect()
}

fn case(n: u32, spec: Sort, used: u32, device: &Capabilities) -> Result<Case, KernelError> {
    let launch = spec.launch(Params { n }, device)?;
    let mut random = Random::new(u64::from(n));
    // The last expert of those used is one that exists, so that a sort which forgets it fails.
    let experts: Vec<u32> = (0..n).map(|i| if i == n / 2 { used - 1 } else { random.below(used) }).collect();
    let (order, offsets) = sort(&experts, spec.n_experts);
    let tiles = tiles(&offsets, spec.tile);
    let mut pairs = vec![tiles.len() as u32, 0];
    pairs.extend(tiles.iter().flat_map(|&(expert, first)| [expert, first]));
    let words = |n: u32| Init::Zeros(4 * n as usize);
    let bytes = 4.0 * (2.0 * f64::from(n) + f64::from(spec.n_experts) + pairs.len() as f64);
    Ok(Case {
        name: format!("{} N={n}", launch.program.name),
        buffers: vec![Init::u32s(&experts), words(n), words(spec.n_experts + 1), words(2 + 2 * spec.max_tiles(n))],
        work: Work { bytes, flops: 0.0 },
        steps: vec![Step { launch, buffers: vec![0, 1, 2, 3] }],
        reads: vec![1, 2, 3],
        check: Box::new(move |out| {
            same("order", out, 1, &order)?;
            same("offsets", out, 2, &offsets)?;
            same("tiles", out, 3, &pairs)
        }),
    })
}

fn same(what: &str, out: &Outputs, buffer: usize, expected: &[u32]) -> Result<Worst, String> {
    let found = out.u32s(buffer);
    match found.iter().zip(expected).position(|(found, expected)| found != expected) {
        Some(i) => Err(format!("{what}[{i}] is {}, expected {}", found[i], expected[i])),
        None => Ok(Worst(0.0)),
    }
}
