//! The suite and the benchmarks of the kernel, as data.

use super::{GateUp, Params, gate_up, hidden_index};
use crate::dot;
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Outputs, RandomWeights, Step, WeightFormat, Work, Worst, compare};
use crate::moe::packed::unpacked;
use crate::moe::route::cases::{coarse_bias, compare_choice, decided_logits, with_shared};
use crate::moe::route::{Route, Rule};
use crate::moe::{Hidden, Shape, chosen, if_it_fits, quantized_stack, widen};
use crate::norm::rms_norm::rms_norm;

/// Tokens, sizes, normalised: fewer vectors than a team, ragged rows, several rounds of a team with the last one ragged, eight tokens.
const SHAPES: [(u32, Shape, bool); 4] = [
    (1, Shape { n_experts: 3, n_active: 2, d: 64, i: 32 }, true),
    (3, Shape { n_experts: 5, n_active: 3, d: 1056, i: 96 }, true),
    (2, Shape { n_experts: 2, n_active: 1, d: 4128, i: 32 }, true),
    (8, Shape { n_experts: 9, n_active: 8, d: 96, i: 160 }, false),
];
const EPS: f32 = 1e-3;

/// Sizes and rules of a choice: groups with a normalised sigmoid and one shared expert, softmax over ragged slices with two, and no shared one.
const CHOOSING: [(Shape, Route); 3] = [
    (Shape { n_experts: 17, n_active: 5, d: 96, i: 160 }, Route { n_experts: 16, n_shared: 1, rule: GROUPS }),
    (Shape { n_experts: 42, n_active: 8, d: 64, i: 64 }, Route { n_experts: 40, n_shared: 2, rule: SOFTMAX }),
    (Shape { n_experts: 8, n_active: 4, d: 1056, i: 32 }, Route { n_experts: 8, n_shared: 0, rule: GROUPS }),
];
const GROUPS: Rule = Rule { softmax: false, n_group: 4, topk_group: 2, n_summed: 2, n_active: 4, normalise: true, scale: 2.5 };
const SOFTMAX: Rule = Rule { softmax: true, n_group: 1, topk_group: 1, n_summed: 1, n_active: 6, normalise: false, scale: 1.0 };

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
            let packed = float.packed(device);
            for spec in [Some(float), packed, packed.and_then(|spec| spec.packing(device))].into_iter().flatten() {
                cases.push(case(t, spec, device)?);
            }
        }
    }
    let (t, shape, norm) = SHAPES[1];
    cases.push(case(t, GateUp::best(shape, WeightFormat::Q4, WeightFormat::F16, norm, device), device)?);
    for (shape, route) in CHOOSING {
        let packed = GateUp::float(shape, WeightFormat::Q4, WeightFormat::Q4, true, device).packed(device);
        let packing = packed.and_then(|spec| spec.packing(device));
        // Several blocks for a group as well.
        let halved = packing.map(|spec| GateUp { teams: spec.teams / 2, ..spec });
        for form in [packed, packing, halved] {
            let Some(spec) = form.and_then(|spec| spec.choosing(route, device)) else { continue };
            // A workgroup for each block, and few that go from block to block.
            for workgroups in [spec.workgroups, 7] {
                cases.push(choosing_case(3, GateUp { workgroups, ..spec }, route, device)?);
            }
        }
    }
    Ok(cases)
}

/// The self-test: what is chosen for every format, and a choice of the experts.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    let (t, shape, norm) = SHAPES[3];
    for format in WeightFormat::ALL {
        cases.push(case(t, GateUp::best(shape, format, format, norm, device), device)?);
    }
    let (shape, route) = CHOOSING[0];
    if let Some(spec) = GateUp::best(shape, WeightFormat::Q4, WeightFormat::Q4, true, device).choosing(route, device) {
        cases.push(choosing_case(3, spec, route, device)?);
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

/// The buffers of a launch up to the gain.
fn inputs(spec: GateUp, x: Init, gain: Init, weights: [Init; 2]) -> Vec<Init> {
    let [data, scales] = weights;
    let mut buffers = vec![x, data];
    if spec.format.has_scales() {
        buffers.push(scales);
    }
    if spec.norm {
        buffers.push(gain);
    }
    buffers
}

/// A case without its choice: random x and weights.
struct Sample {
    inputs: Vec<Init>,
    /// Normalised where the kernel does so.
    rows: Vec<f64>,
    weights: Vec<f64>,
    params: Params,
    spec: GateUp,
    tokens: u32,
}

impl Sample {
    fn new(random: &mut Random, tokens: u32, spec: GateUp) -> Self {
        let Shape { n_experts, d, i, .. } = spec.shape;
        let (stride, offset) = (d as usize + 8, 4);
        let x = random.vector(offset + tokens as usize * stride, 2.0);
        let gain = random.vector(d as usize, 1.5);
        let (data, scales, weights) = quantized_stack(random, spec.format, n_experts, 2 * i, d);
        let rows: Vec<f64> = (0..tokens as usize).flat_map(|t| widen(&x[offset + t * stride..][..d as usize])).collect();
        let rows = if spec.norm { rms_norm(&rows, &widen(&gain), f64::from(EPS)) } else { rows };
        let inputs = inputs(spec, Init::f32s(&x), Init::f32s(&gain), [data, scales]);
        Self { inputs, rows, weights, params: Params::given(stride as u32, offset as u32, EPS), spec, tokens }
    }

    /// A check of the hidden values in buffer `output`.
    fn check(self, experts: &[u32], output: usize) -> impl Fn(&Outputs) -> Result<Worst, String> + use<> {
        let Shape { n_active, d, i, .. } = self.spec.shape;
        let d = d as usize;
        let expected = gate_up(&self.rows, experts, &self.weights, d, i as usize);
        let projections: Vec<f64> = self.weights.chunks(d).flat_map(|row| self.rows.chunks(d).map(|x| dot(row, x))).collect();
        let allowed = allowed(self.spec, &self.rows[..d], 0.3, &projections);
        let (shape, format, tokens) = (self.spec.shape, self.spec.down_format, self.tokens);
        let largest = expected.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
        let is_packed = self.spec.hidden == Hidden::Packed;
        // Half a code of the largest value.
        let allowed = allowed + if is_packed { 0.51 / 32512.0 * largest } else { 0.0 };
        move |out| {
            let found = if is_packed {
                unpacked(&out.u32s(output), tokens, n_active * i)?
            } else {
                let found = out.f32s(output);
                let at = |k: u32| hidden_index(shape, format, k / (n_active * i), k / i % n_active, k % i);
                (0..tokens * n_active * i).map(|k| found[at(k)]).collect()
            };
            compare("hidden", &found, &expected, allowed, 5e-6)
        }
    }

    fn hidden(&self) -> Init {
        Init::Zeros(4 * (self.tokens * self.spec.shape.n_active * self.spec.shape.i) as usize)
    }
}

fn case(t: u32, spec: GateUp, device: &Capabilities) -> Result<Case, KernelError> {
    let mut random = Random::new(u64::from(spec.shape.d + t));
    let mut sample = Sample::new(&mut random, t, spec);
    let experts = chosen(&mut random, t, spec.shape);
    let launch = spec.launch(sample.params, t, device)?;
    let mut buffers = std::mem::take(&mut sample.inputs);
    buffers.extend([Init::u32s(&experts), sample.hidden()]);
    let output = buffers.len() - 1;
    Ok(Case {
        name: format!("{} T={t}", launch.program.name),
        steps: vec![Step { launch, buffers: (0..buffers.len()).collect() }],
        buffers,
        work: Work::default(),
        reads: vec![output],
        check: Box::new(sample.check(&experts, output)),
    })
}

/// Chooses by `route`, and leaves what `route` leaves.
fn choosing_case(t: u32, spec: GateUp, route: Route, device: &Capabilities) -> Result<Case, KernelError> {
    let mut random = Random::new(u64::from(spec.shape.d + t));
    let mut sample = Sample::new(&mut random, t, spec);
    let (e, slots) = (route.n_experts as usize, (t * spec.shape.n_active) as usize);
    let (stride, offset) = (e + 3, 2);
    let bias = coarse_bias(&mut random, e);
    let mut logits = vec![f32::NAN; offset + t as usize * stride];
    let mut expected = Vec::new();
    for token in 0..t as usize {
        let row = decided_logits(&mut random, &bias, &route.rule, token % 2 == 1);
        expected.extend(with_shared(&row, &bias, route));
        logits[offset + token * stride..][..e].copy_from_slice(&row);
    }
    let experts: Vec<u32> = expected.iter().map(|&(expert, _)| expert as u32).collect();
    let params = Params { logits_stride: stride as u32, logits_offset: offset as u32, ..sample.params };
    let launch = spec.launch(params, t, device)?;
    let mut buffers = std::mem::take(&mut sample.inputs);
    let first = buffers.len();
    let choice = [Init::f32s(&logits), Init::f32s(&bias), Init::Zeros(4 * slots), Init::Zeros(4 * slots)];
    buffers.extend(choice.into_iter().chain([sample.hidden()]));
    let check = sample.check(&experts, first + 4);
    Ok(Case {
        name: format!("{} T={t}, {} workgroups", launch.program.name, launch.workgroups[0]),
        steps: vec![Step { launch, buffers: (0..buffers.len()).collect() }],
        buffers,
        work: Work::default(),
        reads: vec![first + 2, first + 3, first + 4],
        check: Box::new(move |out| {
            let choice = compare_choice(&out.u32s(first + 2), &out.f32s(first + 3), &expected)?;
            Ok(Worst(choice.0.max(check(out)?.0)))
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
    let launch = spec.launch(Params::given(d, 0, EPS), t, device)?;
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
    let mut buffers = inputs(spec, Init::f32s(&x), Init::f32s(&gain), [weights.data(), weights.scales()]);
    buffers.extend([Init::u32s(&experts), Init::Zeros(4 * (t * n_active * i) as usize)]);
    let output = buffers.len() - 1;
    let (shape, format) = (spec.shape, spec.down_format);
    Ok(Case {
        name: format!("{} T={t}", launch.program.name),
        steps: vec![Step { launch, buffers: (0..buffers.len()).collect() }],
        buffers,
        work,
        reads: vec![output],
        check: Box::new(move |out| {
            let found = out.f32s(output);
            let at = |&(slot, column): &(u32, u32)| hidden_index(shape, format, slot / n_active, slot % n_active, column);
            let found: Vec<f32> = sample.iter().map(|place| found[at(place)]).collect();
            compare("sampled hidden", &found, &expected, allowed, 5e-6)
        }),
    })
}
