//! The suite and the benchmarks of the kernel, as data.

use super::{EmbedGrad, Params, embed_grad};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, compare};
use crate::train::sum_parts::SumParts;

/// Tokens, rows of the table, width, tokens of a part: one token; ragged everywhere; many of one token over several parts.
const SHAPES: [[u32; 4]; 3] = [[1, 1, 4, 8], [700, 43, 300, 256], [900, 3, 8, 300]];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    SHAPES.iter().map(|&[t, vocab, d, rows]| case(Params { t, vocab, d, rows }, device)).collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    Ok(vec![case(Params::new(32_768, 8192, 512), device)?])
}

fn case(params: Params, device: &Capabilities) -> Result<Case, KernelError> {
    let Params { t, vocab, d, .. } = params;
    let launch = EmbedGrad.launch(params, device)?;
    let sum = SumParts.launch(params.parts(), vocab * d, device)?;
    let mut random = Random::new(u64::from(t + vocab));
    let ids: Vec<usize> = (0..t).map(|_| random.below(vocab) as usize).collect();
    let dh = random.vector((t * d) as usize, 1.0);
    let wide: Vec<f64> = dh.iter().map(|&v| f64::from(v)).collect();
    let expected = embed_grad(&ids, &wide, vocab as usize);
    let words: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let n = (vocab * d) as usize;
    let most = (0..vocab as usize).map(|id| ids.iter().filter(|&&other| other == id).count()).max().unwrap_or(0) as f64;
    let bound = 2.0_f64.powi(-24) * most * (1.0 + most.sqrt());
    Ok(Case {
        name: format!("{} T={t} V={vocab} D={d} Z={}", launch.program.name, params.parts()),
        buffers: vec![Init::i32s(&words), Init::f32s(&dh), Init::Zeros(4 * n * params.parts() as usize), Init::Zeros(4 * n)],
        work: Work { bytes: 4.0 * (f64::from(t * d) + n as f64), flops: 0.0 },
        steps: vec![Step { launch, buffers: vec![0, 1, 2] }, Step { launch: sum, buffers: vec![2, 3] }],
        reads: vec![3],
        check: Box::new(move |out| compare("dE", &out.f32s(3), &expected, bound, 0.0)),
    })
}
