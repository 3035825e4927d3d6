//! The suite and the benchmarks of the kernel, as data.

use super::{GateUp, Params, gate_up, hidden_index};
use crate::dot;
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, RandomWeights, Step, WeightFormat, Work, compare};
use crate::moe::{Shape, chosen, if_it_fits, quantized_stack, widen};
use crate::norm::rms_norm::rms_norm;

/// Tokens, sizes, normalised: fewer vectors than a team, ragged rows, several rounds of a team with the last one ragged, eight tokens.
const SHAPES: [(u32, Shape, bool); 4] = [
    (1, Shape { n_experts: 3, n_active: 2, d: 64, i: 32 }, true),
    (3, Shape { n_experts: 5, n_active: 3, d: 1056, i: 96 }, true),
    (2, Shape { n_experts: 2, n_active: 1, d: 4128, i: 32 }, true),
    (8, Shape { n_experts: 9, n_active: 8, d: 96, i: 160 }, false),
];
const EPS: f32 = 1e-3;

/// DeepSeek-V2-Lite: six experts of 64 and two shared ones.
pub(in crate::moe) const LITE: Shape = Shape { n_experts: 66, n_active: 8, d: 2048, i: 1408 };
/// DeepSeek-V3.2: eight experts and a shared one; 32 of the 257 experts are made.
pub(in crate::moe) const V3: Shape = Shape { n_experts: 32, n_active: 9, d: 7168, i: 2048 };

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    for format in WeightFormat::ALL {
        for (t, shape, norm) in SHAPES {
            let float = GateUp::float(shape, format, format, norm, device);
            for spec in [Some(float), float.packed(device)].into_iter().flatten() {
                cases.push(case(t, spec, device)?);
            }
        }
    }
    let (t, shape, norm) = SHAPES[1];
    cases.push(case(t, GateUp::best(shape, WeightFormat::Q4, WeightFormat::F16, norm, device), device)?);
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
        let spec = GateUp::best(shape, format, format, true, device);
        let mut specs = vec![spec];
        if spec.packed {
            specs.push(GateUp::float(shape, format, format, true, device));
        }
        if t == 1 && format == WeightFormat::Q4 && device.limits.max_invocations > 256 {
            let most = if shape.d == LITE.d { 8 } else { 4 };
            specs.extend(variants(spec).into_iter().take(most));
        }
        for spec in specs {
            cases.extend(if_it_fits(bench(t, spec, device))?);
        }
    }
    Ok(cases)
}

/// Other tilings of `spec`.
fn variants(spec: GateUp) -> Vec<GateUp> {
    let tilings = [(8, 1), (8, 4), (4, 2)];
    let specs = tilings.map(|(teams, rows)| GateUp { teams, rows, ..spec });
    specs.into_iter().filter(|other| *other != spec && other.team * other.teams <= 512).collect()
}

/// The buffers of a launch, and their numbers.
fn buffers(spec: GateUp, t: u32, x: Init, gain: Init, experts: &[u32], weights: [Init; 2]) -> (Vec<Init>, Vec<usize>) {
    let Shape { n_active, i, .. } = spec.shape;
    let [data, scales] = weights;
    let hidden = Init::Zeros(4 * (t * n_active * i) as usize);
    let mut buffers = vec![x, Init::u32s(experts), data];
    if spec.format.has_scales() {
        buffers.push(scales);
    }
    if spec.norm {
        buffers.push(gain);
    }
    buffers.push(hidden);
    let bound = (0..buffers.len()).collect();
    (buffers, bound)
}

fn case(t: u32, spec: GateUp, device: &Capabilities) -> Result<Case, KernelError> {
    let Shape { n_experts, n_active, d, i } = spec.shape;
    let (stride, offset) = (d as usize + 8, 4);
    let launch = spec.launch(Params { x_stride: stride as u32, x_offset: offset as u32, eps: EPS }, t, device)?;
    let mut random = Random::new(u64::from(d + t));
    let x = random.vector(offset + t as usize * stride, 2.0);
    let gain = random.vector(d as usize, 1.5);
    let experts = chosen(&mut random, t, spec.shape);
    let (data, scales, weights) = quantized_stack(&mut random, spec.format, n_experts, 2 * i, d);
    let rows: Vec<f64> = (0..t as usize).flat_map(|t| widen(&x[offset + t * stride..][..d as usize])).collect();
    let rows = if spec.norm { rms_norm(&rows, &widen(&gain), f64::from(EPS)) } else { rows };
    let expected = gate_up(&rows, &experts, &weights, d as usize, i as usize);
    let projections: Vec<f64> = weights.chunks(d as usize).flat_map(|row| rows.chunks(d as usize).map(|x| dot(row, x))).collect();
    let allowed = allowed(spec, &rows[..d as usize], 0.3, &projections);
    let (buffers, bound) = buffers(spec, t, Init::f32s(&x), Init::f32s(&gain), &experts, [data, scales]);
    let output = buffers.len() - 1;
    let (shape, format) = (spec.shape, spec.down_format);
    Ok(Case {
        name: format!("{} T={t}", launch.program.name),
        buffers,
        work: Work::default(),
        steps: vec![Step { launch, buffers: bound }],
        reads: vec![output],
        check: Box::new(move |out| {
            let found = out.f32s(output);
            let at = |k: u32| hidden_index(shape, format, k / (n_active * i), k / i % n_active, k % i);
            let found: Vec<f32> = (0..t * n_active * i).map(|k| found[at(k)]).collect();
            compare("hidden", &found, &expected, allowed, 5e-6)
        }),
    })
}

/// The error that f32 sums of `d` terms bring into silu(g)·u: g and u are each off by 1e-6·√d·|largest term|, |silu(g)| ≤ |g| and |silu'| ≤ 1.1.
/// Packed, x is off by up to half a code, 0.5 / 32512 of its group's largest value, in random directions: six standard deviations of the sum.
fn allowed(spec: GateUp, x: &[f64], weight: f64, projections: &[f64]) -> f64 {
    let largest = |values: &[f64]| values.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    let code = if spec.packed { 6.0 / 3.0_f64.sqrt() * 0.5 / 32512.0 } else { 0.0 };
    let sum = (1e-6 + code) * (x.len() as f64).sqrt() * largest(x) * weight;
    2.1 * sum * largest(projections)
}

/// The weights of every expert that some token chose, and the products of all.
pub(in crate::moe) fn bench_work(t: u32, shape: Shape, format: WeightFormat, experts: &[u32], o: u32, i: u32) -> Work {
    let mut distinct = experts.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let bytes = (format.bytes(o, i) + format.scale_bytes(o, i)) as f64 * distinct.len() as f64;
    Work { bytes, flops: 2.0 * f64::from(t * shape.n_active) * f64::from(o) * f64::from(i) }
}

/// The largest magnitude of random weights: codes times scales of at most 0.1.
pub(in crate::moe) fn largest_weight(format: WeightFormat) -> f64 {
    match format {
        WeightFormat::F32 | WeightFormat::F16 => 0.1,
        WeightFormat::Bf16 => 2.0,
        WeightFormat::Fp8 => 0.2,
        WeightFormat::Q8 => 12.8,
        WeightFormat::Q4 => 0.8,
    }
}

pub(in crate::moe) fn bench(t: u32, spec: GateUp, device: &Capabilities) -> Result<Case, KernelError> {
    let Shape { n_experts, n_active, d, i } = spec.shape;
    let launch = spec.launch(Params { x_stride: d, x_offset: 0, eps: EPS }, t, device)?;
    let experts = chosen(&mut Random::new(7), t, spec.shape);
    let mut random = Random::new(11);
    let x = random.vector((t * d) as usize, 2.0);
    let gain = random.vector(d as usize, 1.0);
    let weights = RandomWeights { format: spec.format, z: n_experts, o: 2 * i, i: d, seed: 3 };
    let rows = rms_norm(&widen(&x), &widen(&gain), f64::from(EPS));
    let sample: Vec<(u32, u32)> = (0..64).map(|_| (random.below(t * n_active), random.below(i))).collect();
    let project = |&(slot, column): &(u32, u32)| {
        let x = &rows[(slot / n_active * d) as usize..][..d as usize];
        [column, i + column].map(|row| dot(&widen(&weights.row(experts[slot as usize], row)), x))
    };
    let projections: Vec<[f64; 2]> = sample.iter().map(project).collect();
    let expected: Vec<f64> = projections.iter().map(|[gate, up]| gate / (1.0 + (-gate).exp()) * up).collect();
    let allowed = allowed(spec, &rows[..d as usize], largest_weight(spec.format), &projections.concat());
    let mut work = bench_work(t, spec.shape, spec.format, &experts, 2 * i, d);
    work.bytes += 4.0 * f64::from(t * (d + n_active * i) + d);
    let (buffers, bound) = buffers(spec, t, Init::f32s(&x), Init::f32s(&gain), &experts, [weights.data(), weights.scales()]);
    let output = buffers.len() - 1;
    let (shape, format) = (spec.shape, spec.down_format);
    Ok(Case {
        name: format!("{} T={t}", launch.program.name),
        buffers,
        work,
        steps: vec![Step { launch, buffers: bound }],
        reads: vec![output],
        check: Box::new(move |out| {
            let found = out.f32s(output);
            let at = |&(slot, column): &(u32, u32)| hidden_index(shape, format, slot / n_active, slot % n_active, column);
            let found: Vec<f32> = sample.iter().map(|place| found[at(place)]).collect();
            compare("sampled hidden", &found, &expected, allowed, 5e-6)
        }),
    })
}
