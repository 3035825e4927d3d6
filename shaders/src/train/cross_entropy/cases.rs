//! The suite and the benchmarks of the kernel, as data.

use super::{CrossEntropy, Params, cross_entropy};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, Worst, compare};

/// The correctness cases that `device` offers: one logit, a ragged row, logits far apart.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [(1, 1, 1.0), (3, 700, 4.0), (2, 256, 60.0)].iter().map(|&(rows, vocab, spread)| case(rows, vocab, spread, device)).collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    Ok(vec![case(2048, 8192, 4.0, device)?])
}

fn case(rows: u32, vocab: u32, spread: f32, device: &Capabilities) -> Result<Case, KernelError> {
    let scale = 2.0;
    let launch = CrossEntropy::best(device).launch(Params { rows, vocab, scale }, device)?;
    let mut random = Random::new(u64::from(rows + vocab));
    let logits = random.vector((rows * vocab) as usize, spread);
    let targets: Vec<usize> = (0..rows).map(|_| random.below(vocab) as usize).collect();
    let wide: Vec<f64> = logits.iter().map(|&v| f64::from(v)).collect();
    let (losses, grads) = cross_entropy(&wide, &targets, f64::from(scale));
    let ids: Vec<i32> = targets.iter().map(|&id| id as i32).collect();
    // An exponential may be off by 3 + 2·|x| units in its last place, and counts while x is above about -17.
    let exp = 40.0 * 2.0_f64.powi(-24);
    let absolute = exp + 2.0 * f64::from(spread) * 2.0_f64.powi(-23);
    Ok(Case {
        name: format!("{} R={rows} V={vocab} spread={spread}", launch.program.name),
        buffers: vec![Init::f32s(&logits), Init::i32s(&ids), Init::Zeros(4 * rows as usize)],
        work: Work { bytes: 8.0 * f64::from(rows * vocab), flops: 0.0 },
        steps: vec![Step { launch, buffers: vec![0, 1, 2] }],
        reads: vec![0, 2],
        check: Box::new(move |out| {
            let of_loss = compare("loss", &out.f32s(2), &losses, absolute, 2.0_f64.powi(-22))?;
            let of_grads = compare("gradient", &out.f32s(0), &grads, 2.0 * absolute, 2.0 * exp)?;
            Ok(Worst(of_loss.0.max(of_grads.0)))
        }),
    })
}
