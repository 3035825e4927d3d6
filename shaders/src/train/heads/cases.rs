//! The suite and the benchmarks of the kernel, as data.

use super::{Heads, Pass, heads, heads_grad};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, Worst, compare};
use crate::rope::rotate::{Layout, inv_freq};
use crate::train::Widths;

/// Heads, `Dn`, `Dr`, `Dv`, `QK`, `V`, sequences, tokens: padded rows; whole ones; nothing that is not rotated.
const SHAPES: [[u32; 8]; 3] = [[2, 12, 4, 8, 16, 16, 2, 5], [3, 48, 16, 64, 64, 64, 1, 7], [1, 0, 32, 16, 32, 16, 3, 2]];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        for layout in [Layout::Interleaved, Layout::HalfSplit] {
            for pass in [Pass::Forward, Pass::Backward] {
                cases.push(case(pass, shape, layout, device)?);
            }
        }
    }
    Ok(cases)
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let shape = [8, 48, 16, 64, 64, 64, 8, 1024];
    [Pass::Forward, Pass::Backward].iter().map(|&pass| case(pass, shape, Layout::Interleaved, device)).collect()
}

fn case(pass: Pass, shape: [u32; 8], layout: Layout, device: &Capabilities) -> Result<Case, KernelError> {
    let [n_heads, d_nope, d_rope, d_value, qk, v, b, t] = shape;
    let spec = Heads { n_heads, d_nope, d_rope, d_value, widths: Widths { qk, v }, layout };
    let n = b * t;
    let launch = spec.launch(pass, n, t, device)?;
    let frequencies = inv_freq(10_000.0, d_rope as usize, None);
    let angles = (0..t).flat_map(|t| frequencies.iter().map(move |f| f64::from(t) * f));
    let turns: Vec<f32> = angles.flat_map(|angle| [angle.cos() as f32, angle.sin() as f32]).collect();
    let mut random = Random::new(u64::from(n + qk));
    let rows = [n * n_heads * (d_nope + d_rope), n * n_heads * (d_nope + d_value), n * d_rope].map(|n| n as usize);
    let padded = [n * n_heads * qk, n * n_heads * qk, n * n_heads * v].map(|n| n as usize);
    let (read, written) = if pass == Pass::Forward { (rows, padded) } else { (padded, rows) };
    let inputs = read.map(|n| random.vector(n, 1.0));
    let wide = inputs.each_ref().map(|values| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>());
    let of = if pass == Pass::Forward { heads } else { heads_grad };
    let expected = of(&spec, t as usize, wide.each_ref().map(Vec::as_slice), &frequencies);
    let mut buffers: Vec<Init> = match pass {
        Pass::Forward => inputs.iter().map(|values| Init::f32s(values)).collect(),
        Pass::Backward => vec![Init::f32s(&inputs[0]), Init::f32s(&[&inputs[1][..], &inputs[2]].concat())],
    };
    buffers.push(Init::f32s(&turns));
    let first = buffers.len();
    buffers.extend(written.map(|n| Init::Zeros(4 * n)));
    let n_values: usize = read.iter().chain(&written).sum();
    // Cosines rounded to f32, two products and a sum, for each head of the shared key.
    let bound = f64::from(n_heads + 1) * 4.0 * 2.0_f64.powi(-24);
    Ok(Case {
        name: format!("{} B={b} T={t} QK={qk} V={v}", launch.program.name),
        steps: vec![Step { launch, buffers: (0..buffers.len()).collect() }],
        reads: (first..buffers.len()).collect(),
        buffers,
        work: Work { bytes: 4.0 * n_values as f64, flops: 0.0 },
        check: Box::new(move |out| {
            let mut worst = 0.0_f64;
            for (idx, expected) in expected.iter().enumerate() {
                let what = format!("output {idx}");
                worst = worst.max(compare(&what, &out.f32s(first + idx), expected, bound, 0.0)?.0);
            }
            Ok(Worst(worst))
        }),
    })
}
