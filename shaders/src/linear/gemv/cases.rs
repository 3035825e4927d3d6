//! The suite and the benchmarks of the kernel, as data.

use super::{Arithmetic, Form, Gemv, Params, gemv};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, RandomWeights, Step, WeightFormat, Work, Worst, compare};
use crate::norm::rms_norm::rms_norm;

/// The error of a sum in f32 as a share of the sum of its terms' magnitudes: a path of at most 64 roundings, which add up like a random
/// walk, 8 · 2^-24.
const FLOAT_ERROR: f64 = 4.8e-7;
/// Half a unit of a 16-bit code as a share of the group's largest value.
const CODE_ERROR: f64 = 0.5 / 32512.0;

/// What a case is about.
#[derive(Clone, Copy)]
struct Setup {
    spec: Gemv,
    params: Params,
}

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut setups = Vec::new();
    for format in WeightFormat::ALL {
        let packed = matches!(format, WeightFormat::Q8 | WeightFormat::Q4);
        let kinds: &[Arithmetic] = if packed { &[Arithmetic::Float, Arithmetic::Packed] } else { &[Arithmetic::Float] };
        for &arithmetic in kinds {
            setups.extend(
                shapes(format)
                    .into_iter()
                    .map(|params| Setup { spec: Gemv::fitted(format, arithmetic, &params, device), params }),
            );
            // Every option with every row count that has its own program, in a part of wide buffers.
            for t in [1, 2, 3, 8] {
                let params =
                    Params { x_stride: 324, x_offset: 12, y_stride: 93, y_offset: 5, eps: 0.5, ..Params::dense(t, 77, 288) };
                let spec = Gemv::fitted(format, arithmetic, &params, device).with_norm().with_accumulate();
                setups.push(Setup { spec, params });
            }
            setups.extend(forms(format, arithmetic, device));
        }
    }
    setups.into_iter().map(|setup| small_case(setup, device)).collect()
}

/// One row, ragged rows, widths below one vector for each lane and above what workgroup memory holds, heads.
fn shapes(format: WeightFormat) -> Vec<Params> {
    let least = format.alignment();
    let heads = Params { z: 3, x_batch: 196, y_stride: 120, y_batch: 37, ..Params::dense(2, 37, 96) };
    vec![
        Params::dense(1, 1, least),
        Params::dense(1, 33, 3 * least),
        Params::dense(1, 130, 416),
        Params::dense(5, 35, 7 * 32),
        Params::dense(1, 9, 9248),
        Params::dense(7, 10, 2080),
        Params { x_stride: 600, ..heads },
    ]
}

/// Forms that [`Gemv::best`] does not choose at small sizes.
fn forms(format: WeightFormat, arithmetic: Arithmetic, device: &Capabilities) -> Vec<Setup> {
    let params = Params::dense(2, 45, 1312);
    let best = Gemv::fitted(format, arithmetic, &params, device);
    let mut forms = vec![
        Gemv { rows: 4, split: best.split.max(2), ..best },
        Gemv { rows: 2, split: if best.lanes > 1 { 1 } else { 4 }, ..best },
        Gemv { rows: 1, wg_size: best.slices().max(64), ..best },
    ];
    if best.form == Form::Direct {
        // What large matrices take, and what more than two rows take without packed products.
        let words = if best.words == 4 { 4.min(32 / format.values_per_vector()) } else { 4 };
        forms.push(Gemv { words: words.max(1), rows: 8, split: 1, steps: 2, ..best });
        forms.push(Gemv { form: Form::Staged, words: 4, rows: 4, split: 1, wg_size: 256, ..best });
    }
    forms.into_iter().map(|spec| Setup { spec: spec.with_steps(params.i, &device.limits), params }).collect()
}

/// The self-test: what is chosen for one token and for several, in every format.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut setups = Vec::new();
    for format in WeightFormat::ALL {
        for params in [Params::dense(1, 130, 416), Params::dense(8, 77, 288)] {
            setups.push(Setup { spec: Gemv::best(format, &params, device).with_norm(), params });
        }
    }
    setups.into_iter().map(|setup| small_case(setup, device)).collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let large = Params::dense(1, 18_432, 7168);
    let heads = |o, i| Params { z: 16, x_batch: i, y_batch: o, ..Params::dense(1, o, i) };
    let mut setups = Vec::new();
    for format in [WeightFormat::F16, WeightFormat::Fp8, WeightFormat::Q8, WeightFormat::Q4] {
        for params in [large, Params { t: 2, ..large }, Params { t: 8, ..large }] {
            setups.push(Setup { spec: Gemv::best(format, &params, device), params });
        }
    }
    // What an adapter without packed products takes.
    setups.push(Setup { spec: Gemv::fitted(WeightFormat::Q4, Arithmetic::Float, &large, device), params: large });
    for format in [WeightFormat::F16, WeightFormat::Q4] {
        let square = Params::dense(1, 2048, 2048);
        for params in [
            square,
            Params::dense(1, 3072, 2048),
            Params::dense(1, 576, 2048),
            Params::dense(1, 2048, 10_944),
            heads(512, 128),
            heads(128, 512),
        ] {
            setups.push(Setup { spec: Gemv::best(format, &params, device), params });
        }
        setups.push(Setup { spec: Gemv::best(format, &square, device).with_norm(), params: square });
    }
    let head = Params::dense(1, 102_400, 2048);
    setups.push(Setup { spec: Gemv::best(WeightFormat::Q4, &head, device), params: head });
    setups.into_iter().map(|setup| large_case(setup, device)).collect()
}

/// The expected values of some outputs, and how far off they may be.
struct Expected {
    /// Element of y, value.
    values: Vec<(usize, f64)>,
    /// The tolerance for all of them.
    absolute: f64,
}

fn small_case(setup: Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let Params { o, i, z, .. } = setup.params;
    let mut random = Random::new(u64::from(o * 10_000 + i));
    let (o, i, z) = (o as usize, i as usize, z as usize);
    let matrices: Vec<_> = (0..z).map(|_| setup.spec.format.quantize(&random.vector(o * i, 1.0), o, i)).collect();
    let weights = [
        Init::Bytes(matrices.iter().flat_map(|matrix| matrix.data.clone()).collect()),
        Init::Bytes(matrices.iter().flat_map(|matrix| matrix.scales.clone()).collect()),
    ];
    let rows: Vec<usize> = (0..o).collect();
    case(setup, weights, &rows, |matrix, row| matrices[matrix].dequantize_row(row), device)
}

/// Weights that are made on the device's side of the test only; a sample of the rows is checked.
fn large_case(setup: Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let Params { o, i, z, .. } = setup.params;
    let weights = RandomWeights { format: setup.spec.format, z, o, i, seed: u64::from(o + i) };
    let mut random = Random::new(1);
    let rows: Vec<usize> = [0, o - 1].into_iter().chain((0..16).map(|_| random.below(o))).map(|row| row as usize).collect();
    case(setup, [weights.data(), weights.scales()], &rows, |matrix, row| weights.row(matrix as u32, row as u32), device)
}

fn case(
    setup: Setup,
    [data, scales]: [Init; 2],
    rows: &[usize],
    weight: impl Fn(usize, usize) -> Vec<f32>,
    device: &Capabilities,
) -> Result<Case, KernelError> {
    let Setup { spec, params } = setup;
    let launch = spec.launch(params, device)?;
    let [z, t, i] = [params.z, params.t, params.i].map(|n| n as usize);
    let mut random = Random::new(u64::from(params.o));
    let last = |batch: u32, stride: u32, offset: u32, width: u32| {
        ((params.z - 1) * batch + (params.t - 1) * stride + offset + width) as usize
    };
    // The end of y is a fence that must stay.
    let y_before = random.vector(last(params.y_batch, params.y_stride, params.y_offset, params.o) + 3, 1.0);
    let x = random.vector(last(params.x_batch, params.x_stride, params.x_offset, params.i), 2.0);
    let gain = random.vector(i, 1.0);
    let mut expected = Expected { values: Vec::new(), absolute: 0.0 };
    for matrix in 0..z {
        for token in 0..t {
            let at = matrix * params.x_batch as usize + token * params.x_stride as usize + params.x_offset as usize;
            let inputs = inputs(&spec, &widen(&x[at..][..i]), &widen(&gain), params.eps);
            let largest = inputs.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
            for &row in rows {
                let weights = widen(&weight(matrix, row));
                let at = matrix * params.y_batch as usize + token * params.y_stride as usize + params.y_offset as usize + row;
                let before = if spec.accumulate { f64::from(y_before[at]) } else { 0.0 };
                expected.values.push((at, before + gemv(&inputs, &weights, 1, i)[0]));
                expected.absolute = expected.absolute.max(tolerance(&spec, &inputs, &weights, largest));
            }
        }
    }
    let flops = 2.0 * f64::from(params.z * params.t) * f64::from(params.o) * f64::from(params.i);
    let weight_bytes = spec.format.bytes(params.o, params.i) + spec.format.scale_bytes(params.o, params.i);
    let bytes = f64::from(params.z) * (weight_bytes as f64 + 4.0 * f64::from(params.t) * f64::from(params.i + params.o));
    let mut buffers = vec![Init::f32s(&x), data];
    buffers.extend(spec.format.has_scales().then_some(scales));
    buffers.extend(spec.norm.then(|| Init::f32s(&gain)));
    buffers.push(Init::f32s(&y_before));
    let y = buffers.len() - 1;
    let whole = rows.len() == params.o as usize;
    Ok(Case {
        name: format!("{} Z={} T={} O={} I={}", launch.program.name, params.z, params.t, params.o, params.i),
        steps: vec![Step { launch, buffers: (0..buffers.len()).collect() }],
        buffers,
        reads: vec![y],
        work: Work { bytes, flops },
        check: Box::new(move |out| expected.check(&out.f32s(y), &y_before, whole)),
    })
}

/// x, normalised where the permutation does it.
fn inputs(spec: &Gemv, x: &[f64], gain: &[f64], eps: f32) -> Vec<f64> {
    if spec.norm { rms_norm(x, gain, f64::from(eps)) } else { x.to_vec() }
}

/// How far off an output may be: the rounding of the sum, and that of x where it is packed, six standard deviations of it.
fn tolerance(spec: &Gemv, x: &[f64], weights: &[f64], largest: f64) -> f64 {
    let terms: f64 = x.iter().zip(weights).map(|(x, w)| (x * w).abs()).sum();
    let norm = weights.iter().map(|w| w * w).sum::<f64>().sqrt();
    let codes = if spec.arithmetic == Arithmetic::Packed { 6.0 / 3.0_f64.sqrt() * CODE_ERROR * largest * norm } else { 0.0 };
    // One rounding more where y is read.
    FLOAT_ERROR * terms + codes + if spec.accumulate { 2.0_f64.powi(-24) * 2.0 } else { 0.0 }
}

impl Expected {
    /// Compares the outputs that are known, and with `whole` that nothing else has changed.
    fn check(&self, y: &[f32], before: &[f32], whole: bool) -> Result<Worst, String> {
        let found: Vec<f32> = self.values.iter().map(|&(at, _)| y[at]).collect();
        let values: Vec<f64> = self.values.iter().map(|&(_, value)| value).collect();
        let worst = compare("y", &found, &values, self.absolute, 1e-6)?;
        if whole {
            let mut written = vec![false; y.len()];
            self.values.iter().for_each(|&(at, _)| written[at] = true);
            if let Some(at) = (0..before.len()).find(|&at| !written[at] && y[at] != before[at]) {
                return Err(format!("y[{at}], which is no output, has changed to {}", y[at]));
            }
        }
        Ok(worst)
    }
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}
