//! The suite and the benchmarks of the kernel, as data.

use super::{MlaValue, Output, mla_value};
use crate::attention::mla_decode::{self, LatentFormat, MlaDecode, Slots, Tiles};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, WeightFormat, Weights, Work, compare};

/// Sizes of a case.
#[derive(Clone, Copy)]
struct Setup {
    spec: MlaValue,
    t: u32,
    h: u32,
    v: u32,
    n_splits: u32,
    /// Splits with slots.
    filled: u32,
}

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut setups = Vec::new();
    for format in WeightFormat::ALL {
        let spec = |c, rows| MlaValue { c, format, rows };
        setups.push(Setup { spec: spec(32, 32), t: 2, h: 3, v: 16, n_splits: 3, filled: 2 });
        setups.push(Setup { spec: spec(512, 32), t: 1, h: 5, v: 128, n_splits: 70, filled: 70 });
        setups.push(Setup { spec: spec(512, 128), t: 2, h: 2, v: 72, n_splits: 1, filled: 1 });
        setups.push(Setup { spec: spec(96, 256), t: 1, h: 2, v: 40, n_splits: 256, filled: 200 });
    }
    // No slot at all.
    let spec = MlaValue { c: 64, format: WeightFormat::F32, rows: 32 };
    setups.push(Setup { spec, t: 1, h: 2, v: 8, n_splits: 2, filled: 0 });
    setups.iter().map(|setup| case(setup, device)).collect()
}

/// The self-test: every format.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let setup = |format| Setup { spec: MlaValue::best(96, format, 2, 3), t: 2, h: 3, v: 40, n_splits: 5, filled: 4 };
    WeightFormat::ALL.into_iter().map(|format| case(&setup(format), device)).collect()
}

/// The benchmark cases that `device` offers: the values of V2-Lite (16 heads) and of V3.2 (128).
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let bench = |format, h, n_splits| {
        let spec = MlaValue::best(512, format, 1, h);
        case(&Setup { spec, t: 1, h, v: 128, n_splits, filled: n_splits }, device)
    };
    [bench(WeightFormat::Q4, 16, 64), bench(WeightFormat::Q4, 128, 32), bench(WeightFormat::F16, 128, 32)].into_iter().collect()
}

fn case(setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let Setup { spec, t, h, v, n_splits, filled } = *setup;
    let c = spec.c;
    // Heads of 4 leave padding where H is no multiple.
    let (format, slots, tiles) = (LatentFormat::F32, Slots::Dense, Tiles::Fma { heads: 4 });
    let decode = MlaDecode { c, r: 8, format, slots, tiles };
    let (q_stride, u_stride) = (h * (c + 8), h * c);
    let sizes = mla_decode::Sizes {
        t,
        h,
        q_stride,
        q_offset: 0,
        u_stride,
        u_offset: 0,
        n_slots: 1,
        n_splits,
        table_stride: 0,
        scale: 1.0,
    };
    let (stride, offset) = (h * v + 7, 3);
    let launch = spec.launch(decode, &sizes, Output { v, stride, offset }, device)?;
    let mut random = Random::new(u64::from(c + 31 * n_splits + h));
    let padded = h.next_multiple_of(4);
    let mut sums = random.vector((t * n_splits * padded * c) as usize, 1.0);
    let mut stats = Vec::new();
    for row in 0..t * n_splits * padded {
        let empty = row / padded % n_splits >= filled;
        stats.extend(if empty { [-3e38, 0.0] } else { [4.0 * random.signed(), 2.0 + random.signed()] });
        if empty {
            // What was not written must not count.
            sums[(row * c) as usize..((row + 1) * c) as usize].fill(f32::NAN);
        }
    }
    let values = random.vector((h * v * c) as usize, 0.1);
    let heads: Vec<_> = values.chunks((v * c) as usize).map(|head| spec.format.quantize(head, v as usize, c as usize)).collect();
    let stacked = |part: fn(&Weights) -> &Vec<u8>| heads.iter().flat_map(|head| part(head).clone()).collect();
    let weight: Vec<f32> = heads.iter().flat_map(Weights::dequantize).collect();
    let widen = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let shape = [n_splits, padded, h, v, c].map(|n| n as usize);
    let expected = mla_value(&widen(&sums), &widen(&stats), &widen(&weight), shape);
    let mut buffers = vec![Init::f32s(&sums), Init::f32s(&stats), Init::Bytes(stacked(|head| &head.data))];
    if spec.format.has_scales() {
        buffers.push(Init::Bytes(stacked(|head| &head.scales)));
    }
    let out = buffers.len();
    buffers.push(Init::Zeros(4 * (offset + t * stride) as usize));
    let row = (h * v) as usize;
    let bytes = f64::from(t * filled * h) * f64::from(4 * c)
        + f64::from(h) * (spec.format.bytes(v, c) + spec.format.scale_bytes(v, c)) as f64;
    Ok(Case {
        name: format!("{} T={t} H={h} V={v} splits={n_splits} filled={filled}", launch.program.name),
        steps: vec![Step { launch, buffers: (0..=out).collect() }],
        buffers,
        reads: vec![out],
        work: Work { bytes, flops: 2.0 * f64::from(t * h) * f64::from(c * (v + filled)) },
        // Terms of 0.1 · 1 with random signs, up to 512 of them, and exponentials of up to 8: some 2^-20 of a sum of about 1.
        check: Box::new(move |outputs| {
            let (o, mut worst) = (outputs.f32s(out), crate::kernel::Worst(0.0));
            for (t, expected) in expected.chunks(row).enumerate() {
                let at = offset as usize + t * stride as usize;
                let found = compare(&format!("o[{t}]"), &o[at..at + row], expected, 1e-5, 1e-5)?;
                worst.0 = worst.0.max(found.0);
            }
            Ok(worst)
        }),
    })
}
