//! The suite and the benchmark of the kernel, as data.

use super::{Embed, Params, embed};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, WeightFormat, Work, compare};

/// The correctness cases that `device` offers: one token, several with the first, the last and a repeated one, strides.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    for format in WeightFormat::ALL {
        cases.push(case(format, Params { v: 3, i: 32, t: 1, y_stride: 32, y_offset: 0 }, device)?);
        cases.push(case(format, Params { v: 150, i: 1312, t: 5, y_stride: 1320, y_offset: 4 }, device)?);
    }
    Ok(cases)
}

/// The self-test: every format.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let params = Params { v: 150, i: 1312, t: 5, y_stride: 1320, y_offset: 4 };
    WeightFormat::ALL.into_iter().map(|format| case(format, params, device)).collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let params = |t| Params { v: 1024, i: 7168, t, y_stride: 7168, y_offset: 0 };
    [1, 512].into_iter().map(|t| case(WeightFormat::F16, params(t), device)).collect()
}

fn case(format: WeightFormat, params: Params, device: &Capabilities) -> Result<Case, KernelError> {
    let launch = Embed { format }.launch(params, device)?;
    let [v, i, t, stride, offset] = [params.v, params.i, params.t, params.y_stride, params.y_offset].map(|n| n as usize);
    let mut random = Random::new(u64::from(params.i));
    let weights = format.quantize(&random.vector(v * i, 1.0), v, i);
    let mut tokens: Vec<u32> = (0..t).map(|_| random.below(params.v)).collect();
    tokens[0] = params.v - 1;
    if t > 2 {
        tokens[1] = 0;
        tokens[t - 1] = tokens[0];
    }
    let table: Vec<f64> = weights.dequantize().into_iter().map(f64::from).collect();
    let rows = embed(&table, &tokens, i);
    // What lies between the rows must stay.
    let mut expected = vec![7.0; t * stride + offset];
    for (row, values) in rows.chunks(i).enumerate() {
        expected[row * stride + offset..][..i].copy_from_slice(values);
    }
    let before = vec![7.0_f32; expected.len()];
    let mut buffers = vec![Init::u32s(&tokens), Init::Bytes(weights.data)];
    buffers.extend(format.has_scales().then_some(Init::Bytes(weights.scales)));
    buffers.push(Init::f32s(&before));
    let y = buffers.len() - 1;
    let row_bytes = format.bytes(1, params.i) + format.scale_bytes(1, params.i);
    Ok(Case {
        name: format!("{} V={v} I={i} T={t}", launch.program.name),
        work: Work { bytes: f64::from(params.t) * (row_bytes as f64 + 4.0 * f64::from(params.i)), flops: 0.0 },
        steps: vec![Step { launch, buffers: (0..buffers.len()).collect() }],
        buffers,
        reads: vec![y],
        check: Box::new(move |out| compare("y", &out.f32s(y), &expected, 0.0, 2e-7)),
    })
}
