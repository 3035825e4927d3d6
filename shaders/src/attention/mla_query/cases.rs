//! The suite and the benchmarks of the kernel, as data.

use super::{MlaQuery, Params, mla_query};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, WeightFormat, Weights, Work, compare};
use crate::rope::rotate::{Layout, inv_freq};
use crate::rope::step::step_rows;

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    use Layout::{HalfSplit, Interleaved};
    let mut found = Vec::new();
    for format in WeightFormat::ALL {
        found.push(case(MlaQuery::best(format, 128, 512, 64, Interleaved), 1, 3, device)?);
        // Rows that the workgroups do not divide; an invocation for a whole row.
        let spec = MlaQuery { rows: 256, ..MlaQuery::best(format, 32, 72, 8, HalfSplit) };
        found.push(case(spec, 3, 2, device)?);
        found.push(case(MlaQuery { rows: 16, ..MlaQuery::best(format, 96, 40, 24, HalfSplit) }, 2, 5, device)?);
    }
    Ok(found)
}

/// The self-test: every format.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let spec = |format| MlaQuery::best(format, 32, 72, 8, Layout::HalfSplit);
    WeightFormat::ALL.into_iter().map(|format| case(spec(format), 3, 2, device)).collect()
}

/// The benchmark cases that `device` offers: the queries of V2-Lite (16 heads) and of V3.2 (128).
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [(WeightFormat::Q4, 16), (WeightFormat::Q4, 128), (WeightFormat::F16, 128)]
        .into_iter()
        .map(|(format, heads)| case(MlaQuery::best(format, 128, 512, 64, Layout::Interleaved), 1, heads, device))
        .collect()
}

fn case(spec: MlaQuery, t: u32, heads: u32, device: &Capabilities) -> Result<Case, KernelError> {
    let MlaQuery { format, nope, latent, rope, layout, .. } = spec;
    let q_offset = 4;
    let params = Params { heads, q_stride: q_offset + heads * (nope + rope) + 8, q_offset };
    let launch = spec.launch(t, params, device)?;
    let mut random = Random::new(u64::from(latent + 31 * nope + heads));
    let queries = random.vector((t * params.q_stride) as usize, 1.0);
    let (rows, columns) = (latent as usize, nope as usize);
    let values = random.vector(heads as usize * rows * columns, 0.1);
    let matrices: Vec<_> = values.chunks(rows * columns).map(|head| format.quantize(head, rows, columns)).collect();
    let stacked = |part: fn(&Weights) -> &Vec<u8>| matrices.iter().flat_map(|head| part(head).clone()).collect();
    let inv_freq = inv_freq(1e4, rope as usize, None);
    let positions: Vec<u32> = (37..37 + t).collect();
    let angles = (0..64).flat_map(|p| inv_freq.iter().map(move |f| f64::from(p) * f));
    let table: Vec<u32> = angles.flat_map(|a| [(a.cos() as f32).to_bits(), (a.sin() as f32).to_bits()]).collect();
    let mut buffers = vec![
        Init::f32s(&queries),
        Init::u32s(&step_rows(&table, rope as usize, &positions, &[0])),
        Init::Bytes(stacked(|head| &head.data)),
    ];
    if format.has_scales() {
        buffers.push(Init::Bytes(stacked(|head| &head.scales)));
    }
    let out = buffers.len();
    let width = (latent + rope) as usize;
    buffers.push(Init::f32s(&vec![f32::NAN; t as usize * heads as usize * width]));
    let widen = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let mut expected = Vec::new();
    for (token, position) in positions.iter().enumerate() {
        for (head, matrix) in matrices.iter().enumerate() {
            let at = token * params.q_stride as usize + q_offset as usize + head * (nope + rope) as usize;
            let q = widen(&queries[at..at + (nope + rope) as usize]);
            expected.extend(mla_query(&q, &widen(&matrix.dequantize()), *position as usize, &inv_freq, layout));
        }
    }
    let bytes = u64::from(heads) * (format.bytes(latent, nope) + format.scale_bytes(latent, nope));
    Ok(Case {
        name: format!("{} T={t} H={heads}", launch.program.name),
        steps: vec![Step { launch, buffers: (0..=out).collect() }],
        buffers,
        reads: vec![out],
        work: Work { bytes: bytes as f64, flops: 2.0 * f64::from(t * heads) * f64::from(latent * nope) },
        // Up to 128 terms below 0.1: 2⁻²⁴ for each of as many additions to a sum of about 1.
        check: Box::new(move |outputs| compare("qfull", &outputs.f32s(out), &expected, 2e-6, 2e-6)),
    })
}
