//! The suite and the benchmarks of the kernel, as data.

use super::{Down, Params, down};
use crate::dot;
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, RandomWeights, Step, WeightFormat, Work, Worst, compare};
use crate::moe::gate_up::cases::{LITE, V3, bench_work, largest_weight};
use crate::moe::gate_up::{self, GateUp, hidden_index};
use crate::moe::packed::packed;
use crate::moe::{Hidden, Shape, chosen, if_it_fits, quantized_stack, widen};

/// Tokens and sizes: fewer vectors than a workgroup, ragged rows, several rounds with the last one ragged, eight tokens.
const SHAPES: [(u32, Shape); 4] = [
    (1, Shape { n_experts: 3, n_active: 2, d: 64, i: 32 }),
    (3, Shape { n_experts: 5, n_active: 3, d: 61, i: 1056 }),
    (2, Shape { n_experts: 2, n_active: 1, d: 33, i: 4128 }),
    (8, Shape { n_experts: 9, n_active: 8, d: 40, i: 352 }),
];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    for format in WeightFormat::ALL {
        for (t, shape) in SHAPES {
            let spec = Down::best(shape, format, device);
            for spec in [Some(spec), spec.packed()].into_iter().flatten() {
                cases.push(case(t, spec, device)?);
            }
        }
    }
    Ok(cases)
}

/// The self-test: what is chosen for every format.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let (t, shape) = SHAPES[3];
    let mut cases = Vec::new();
    for format in WeightFormat::ALL {
        let spec = Down::best(shape, format, device);
        for spec in [Some(spec), spec.packed().filter(|_| device.features.dp4a)].into_iter().flatten() {
            cases.push(case(t, spec, device)?);
        }
    }
    Ok(cases)
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    // With one token every run chooses the same experts: a stack of those alone lets copies of it fill the memory.
    let [lite, v3] = [LITE, V3].map(|shape| Shape { n_experts: shape.n_active, ..shape });
    for (t, shape, format) in [
        (1, lite, WeightFormat::Q4),
        (1, lite, WeightFormat::Q8),
        (1, lite, WeightFormat::Fp8),
        (1, lite, WeightFormat::F16),
        (8, LITE, WeightFormat::Q4),
        (1, v3, WeightFormat::Q4),
        (1, v3, WeightFormat::Fp8),
        (8, V3, WeightFormat::Q4),
    ] {
        let spec = Down::best(shape, format, device);
        let mut specs = vec![spec];
        if t == 1 && format == WeightFormat::Q4 && device.limits.max_invocations > 256 {
            let most = if shape.d == LITE.d { 8 } else { 4 };
            specs.extend(variants(spec).into_iter().take(most));
        }
        for spec in specs {
            cases.extend(if_it_fits(bench(t, spec, device))?);
        }
    }
    for (t, shape) in [(1, lite), (8, LITE), (1, v3), (8, V3)] {
        cases.extend(if_it_fits(both(t, shape, WeightFormat::Q4, device))?);
    }
    Ok(cases)
}

/// Other tilings of `spec`.
fn variants(spec: Down) -> Vec<Down> {
    let tilings = [(64, 8), (96, 4), (96, 8), (192, 4), (192, 8), (352, 4), (352, 8)];
    let specs = tilings.map(|(wg_size, rows)| Down { wg_size, rows, ..spec });
    specs.into_iter().filter(|other| *other != spec).collect()
}

/// Hidden values in the order in which the kernel reads them.
fn arranged(hidden: &[f32], shape: Shape, format: WeightFormat) -> Vec<f32> {
    let mut out = vec![0.0; hidden.len()];
    for (k, value) in hidden.iter().enumerate() {
        let k = k as u32;
        let Shape { n_active, i, .. } = shape;
        out[hidden_index(shape, format, k / (n_active * i), k / i % n_active, k % i)] = *value;
    }
    out
}

fn case(t: u32, spec: Down, device: &Capabilities) -> Result<Case, KernelError> {
    let Shape { n_experts, n_active, d, i } = spec.shape;
    let (stride, offset) = (d as usize + 3, 5);
    let launch = spec.launch(Params { y_stride: stride as u32, y_offset: offset as u32 }, t, device)?;
    let mut random = Random::new(u64::from(i + t));
    let slots = (t * n_active) as usize;
    let y = random.vector(offset + t as usize * stride, 2.0);
    let hidden = random.vector(slots * i as usize, 1.0);
    // Codes are exact: what they stand for is what is multiplied.
    let (input, hidden) = if spec.hidden == Hidden::Packed {
        let (words, rounded) = packed(&hidden, (n_active * i) as usize);
        (Init::u32s(&words), rounded)
    } else {
        (Init::f32s(&arranged(&hidden, spec.shape, spec.format)), hidden)
    };
    let experts = chosen(&mut random, t, spec.shape);
    let expert_weights = random.vector(slots, 1.0);
    let (data, scales, weights) = quantized_stack(&mut random, spec.format, n_experts, d, i);
    let rows: Vec<f64> = (0..t as usize).flat_map(|t| widen(&y[offset + t * stride..][..d as usize])).collect();
    let sums = down(&rows, &widen(&hidden), &experts, &widen(&expert_weights), &weights, d as usize);
    // What lies between the rows stays.
    let mut expected = widen(&y);
    for (t, row) in sums.chunks(d as usize).enumerate() {
        expected[offset + t * stride..][..d as usize].copy_from_slice(row);
    }
    // Terms are at most 0.3.
    let allowed = 1e-6 * f64::from(n_active * i).sqrt() * 0.3;
    let mut buffers = vec![input, Init::u32s(&experts), Init::f32s(&expert_weights), data];
    if spec.format.has_scales() {
        buffers.push(scales);
    }
    buffers.push(Init::f32s(&y));
    let output = buffers.len() - 1;
    Ok(Case {
        name: format!("{} T={t}", launch.program.name),
        buffers,
        work: Work::default(),
        steps: vec![Step { launch, buffers: (0..=output).collect() }],
        reads: vec![output],
        check: Box::new(move |out| compare("y", &out.f32s(output), &expected, allowed, 1e-6)),
    })
}

/// Random weights, their experts and outputs to look at: a benchmark checks a sample.
struct Sample {
    weights: RandomWeights,
    experts: Vec<u32>,
    factors: Vec<f32>,
    /// Token and row.
    places: Vec<(u32, u32)>,
}

impl Sample {
    fn new(t: u32, spec: Down) -> Self {
        let Shape { n_experts, n_active, d, i } = spec.shape;
        let experts = chosen(&mut Random::new(7), t, spec.shape);
        let mut random = Random::new(13);
        let factors = random.vector((t * n_active) as usize, 1.0);
        let places = (0..64).map(|_| (random.below(t), random.below(d))).collect();
        Self { weights: RandomWeights { format: spec.format, z: n_experts, o: d, i, seed: 4 }, experts, factors, places }
    }

    /// Compares the sampled outputs, `[T, D]`, with those of hidden values `[T, A, I]`.
    fn check(&self, found: &[f32], hidden: &[f32], n_active: u32) -> Result<Worst, String> {
        let (i, d) = (self.weights.i as usize, self.weights.o);
        let value = |&(token, row): &(u32, u32)| -> f64 {
            let slots = (token * n_active) as usize..((token + 1) * n_active) as usize;
            let term = |slot: usize| {
                let row = widen(&self.weights.row(self.experts[slot], row));
                f64::from(self.factors[slot]) * dot(&row, &widen(&hidden[slot * i..][..i]))
            };
            slots.map(term).sum()
        };
        let expected: Vec<f64> = self.places.iter().map(value).collect();
        let found: Vec<f32> = self.places.iter().map(|&(token, row)| found[(token * d + row) as usize]).collect();
        let largest = hidden.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        let term = f64::from(largest) * largest_weight(self.weights.format);
        compare("sampled y", &found, &expected, 1e-6 * ((n_active as usize * i) as f64).sqrt() * term, 1e-6)
    }

    /// The buffers of a launch after its hidden values, with the outputs last.
    fn buffers(&self, t: u32) -> Vec<Init> {
        let mut buffers = vec![Init::u32s(&self.experts), Init::f32s(&self.factors), self.weights.data()];
        if self.weights.format.has_scales() {
            buffers.push(self.weights.scales());
        }
        buffers.push(Init::Zeros(4 * (t * self.weights.o) as usize));
        buffers
    }
}

fn bench(t: u32, spec: Down, device: &Capabilities) -> Result<Case, KernelError> {
    let Shape { n_active, d, i, .. } = spec.shape;
    let launch = spec.launch(Params { y_stride: d, y_offset: 0 }, t, device)?;
    let sample = Sample::new(t, spec);
    let hidden = Random::new(12).vector((t * n_active * i) as usize, 1.0);
    let mut work = bench_work(t, spec.shape, spec.format, &sample.experts, d, i);
    work.bytes += 4.0 * f64::from(t * (2 * d + n_active * i));
    let mut buffers = vec![Init::f32s(&arranged(&hidden, spec.shape, spec.format))];
    buffers.extend(sample.buffers(t));
    let output = buffers.len() - 1;
    Ok(Case {
        name: format!("{} T={t}", launch.program.name),
        buffers,
        work,
        steps: vec![Step { launch, buffers: (0..=output).collect() }],
        reads: vec![output],
        check: Box::new(move |out| sample.check(&out.f32s(output), &hidden, n_active)),
    })
}

/// Both halves of a layer's experts. Each half is checked with what it was given.
fn both(t: u32, shape: Shape, format: WeightFormat, device: &Capabilities) -> Result<Case, KernelError> {
    let first = gate_up::cases::bench(t, GateUp::best(shape, format, format, true, device), device)?;
    let spec = Down::best(shape, format, device);
    let launch = spec.launch(Params { y_stride: shape.d, y_offset: 0 }, t, device)?;
    let sample = Sample::new(t, spec);
    let second = bench_work(t, shape, format, &sample.experts, shape.d, shape.i);
    let mut buffers = first.buffers;
    let hidden = buffers.len() - 1;
    buffers.extend(sample.buffers(t));
    let output = buffers.len() - 1;
    let mut steps = first.steps;
    steps.push(Step { launch, buffers: (hidden..=output).collect() });
    Ok(Case {
        name: format!("moe/gate_up + {} T={t}", steps[1].launch.program.name),
        buffers,
        work: Work { bytes: first.work.bytes + second.bytes, flops: first.work.flops + second.flops },
        steps,
        reads: vec![hidden, output],
        check: Box::new(move |out| {
            let one = (first.check)(out)?;
            let found = out.f32s(hidden);
            let Shape { n_active, i, .. } = shape;
            let at = |k: u32| hidden_index(shape, format, k / (n_active * i), k / i % n_active, k % i);
            let plain: Vec<f32> = (0..t * n_active * i).map(|k| found[at(k)]).collect();
            let two = sample.check(&out.f32s(output), &plain, n_active)?;
            Ok(Worst(one.0.max(two.0)))
        }),
    })
}
