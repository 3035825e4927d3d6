//! The suite and the benchmarks of the kernel, as data.

use super::{Params, Route, Rule, route};
use crate::indexer::top_k::top_k;
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Outputs, Step, Work, Worst, compare};

const V3: Rule = Rule { softmax: false, n_group: 8, topk_group: 4, n_summed: 2, n_active: 8, normalise: true, scale: 2.5 };
const V2: Rule = Rule { softmax: true, n_group: 8, topk_group: 3, n_summed: 1, n_active: 6, normalise: false, scale: 16.0 };
const LITE: Rule = Rule { n_group: 1, topk_group: 1, scale: 1.0, ..V2 };
/// The mini router of the spec's goldens.
const MINI: Rule = Rule { n_group: 4, topk_group: 2, n_active: 2, ..V3 };
const GLM: Rule = Rule { n_group: 1, topk_group: 1, ..V3 };

/// Tokens, routed and shared experts, rule: models, one expert, ragged slices, every expert of every kept group, groups of one, a sum of three.
const SHAPES: [(u32, u32, u32, Rule); 12] = [
    (5, 256, 1, V3),
    (5, 160, 2, V2),
    (70, 64, 2, LITE),
    (9, 8, 0, MINI),
    (3, 256, 1, GLM),
    (3, 1, 0, Rule { n_active: 1, ..GLM }),
    (4, 77, 3, Rule { n_active: 40, ..LITE }),
    (4, 33, 0, Rule { n_active: 33, normalise: true, ..LITE }),
    (4, 512, 1, Rule { n_active: 10, ..GLM }),
    (4, 24, 1, Rule { n_group: 6, topk_group: 3, n_active: 12, ..V3 }),
    (4, 16, 0, Rule { n_group: 16, topk_group: 5, n_summed: 1, n_active: 4, ..V3 }),
    (4, 512, 2, Rule { n_group: 2, topk_group: 1, n_summed: 3, n_active: 16, softmax: true, ..V3 }),
];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let random = SHAPES.iter().map(|&(t, e, shared, rule)| case(t, Route { n_experts: e, n_shared: shared, rule }, device));
    random.chain([degenerate(device)]).collect()
}

/// The self-test: models of three families.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    [SHAPES[0], SHAPES[2], SHAPES[4]]
        .iter()
        .map(|&(t, e, shared, rule)| case(t, Route { n_experts: e, n_shared: shared, rule }, device))
        .collect()
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let v3 = Route { n_experts: 256, n_shared: 1, rule: V3 };
    let lite = Route { n_experts: 64, n_shared: 2, rule: LITE };
    [(1, lite), (512, lite), (1, v3), (512, v3)].iter().map(|&(t, spec)| case(t, spec, device)).collect()
}

/// Two scores closer than this may change places in f32: sigmoid and softmax of logits below 4 are exact to a few units of 2⁻²⁴, and a sum
/// of two adds half a unit at 2.
const MARGIN: f64 = 2e-6;

fn case(t: u32, spec: Route, device: &Capabilities) -> Result<Case, KernelError> {
    let (e, rule) = (spec.n_experts as usize, spec.rule);
    let (stride, offset) = (e + 5, 3);
    let launch = spec.launch(params(t, stride, offset), device)?;
    let mut random = Random::new(u64::from(t) * 1000 + e as u64);
    let bias = coarse_bias(&mut random, e);
    let mut logits = vec![f32::NAN; offset + t as usize * stride];
    let mut expected = Vec::new();
    for token in 0..t as usize {
        let row = decided_logits(&mut random, &bias, &rule, token % 2 == 1);
        expected.extend(with_shared(&row, &bias, spec));
        logits[offset + token * stride..][..e].copy_from_slice(&row);
    }
    let slots = t as usize * (rule.n_active + spec.n_shared as usize);
    Ok(Case {
        name: format!("{} T={t}", launch.program.name),
        buffers: vec![Init::f32s(&logits), Init::f32s(&bias), Init::Zeros(4 * slots), Init::Zeros(4 * slots)],
        work: Work { bytes: 4.0 * (f64::from(t + 1) * e as f64 + 2.0 * slots as f64), flops: 0.0 },
        steps: vec![Step { launch, buffers: vec![0, 1, 2, 3] }],
        reads: vec![2, 3],
        check: Box::new(move |out| judge(out, &expected)),
    })
}

fn params(t: u32, stride: usize, offset: usize) -> Params {
    Params { t, logits_stride: stride as u32, logits_offset: offset as u32, scale: 0.0 }
}

/// A coarse bias below zero makes some scores negative; where it is equal, so are the scores of equal logits.
pub(in crate::moe) fn coarse_bias(random: &mut Random, e: usize) -> Vec<f32> {
    (0..e).map(|_| random.below(3) as f32 * 0.125 - 0.25).collect()
}

/// Logits whose experts f32 and f64 agree on.
pub(in crate::moe) fn decided_logits(random: &mut Random, bias: &[f32], rule: &Rule, ties: bool) -> Vec<f32> {
    loop {
        let row = random_logits(random, bias.len(), ties);
        if is_decided(&row, bias, rule) {
            return row;
        }
    }
}

/// Rows of ties take few different values.
fn random_logits(random: &mut Random, e: usize, ties: bool) -> Vec<f32> {
    let logits = (0..e).map(|_| if ties { random.below(9) as f32 * 0.5 - 2.0 } else { random.signed() * 3.0 });
    logits.collect()
}

/// The experts of a token with their weights, the shared ones included.
pub(in crate::moe) fn with_shared(logits: &[f32], bias: &[f32], spec: Route) -> Vec<(usize, f64)> {
    let mut chosen = route(&widen(logits), &widen(bias), &spec.rule);
    chosen.extend((0..spec.n_shared as usize).map(|s| (spec.n_experts as usize + s, 1.0)));
    chosen
}

/// Whether f32 must choose as f64 does: scores are equal for equal inputs or differ by more than the margin, where the choice ends.
fn is_decided(logits: &[f32], bias: &[f32], rule: &Rule) -> bool {
    let without_norm = Rule { n_active: logits.len(), n_group: 1, normalise: false, scale: 1.0, ..*rule };
    let p = route(&widen(logits), &widen(&vec![0.0; bias.len()]), &without_norm);
    let scores: Vec<f64> = p.iter().zip(bias).map(|((_, p), b)| p + f64::from(*b)).collect();
    let size = logits.len() / rule.n_group;
    let sum = |group: &[f64]| top_k(group, rule.n_summed).iter().map(|i| group[*i]).sum::<f64>();
    let mut reachable = scores.clone();
    if rule.n_group > 1 {
        let sums: Vec<f64> = scores.chunks(size).map(sum).collect();
        let kept = top_k(&sums, rule.topk_group);
        reachable = kept.iter().flat_map(|g| scores[g * size..(g + 1) * size].to_vec()).collect();
        if !is_gap_wide(sums, rule.topk_group) {
            return false;
        }
    }
    is_gap_wide(reachable, rule.n_active)
}

/// Whether the last of the `k` best stands clear of every other score, or ties exactly.
fn is_gap_wide(mut scores: Vec<f64>, k: usize) -> bool {
    scores.sort_by(|a, b| b.total_cmp(a));
    let Some(&last) = scores.get(k - 1) else { return false };
    scores.iter().all(|score| *score == last || (score - last).abs() > MARGIN)
}

/// NaN never wins while numbers are left, infinities and zeros of both signs order as numbers, and a row of nothing but NaN still names experts
/// that exist: softmax of the equal row is 1/8 for each.
fn degenerate(device: &Capabilities) -> Result<Case, KernelError> {
    let spec = Route { n_experts: 8, n_shared: 1, rule: Rule { n_active: 3, normalise: false, scale: 1.0, ..GLM } };
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let rows = [
        [nan, 0.0, nan, -0.0, nan, -1.0, -inf, nan],
        [nan; 8],
        [0.0, -0.0, 0.0, -0.0, 0.0, -0.0, 0.0, inf],
        [-inf, nan, -inf, -inf, -inf, nan, -inf, -inf],
    ];
    let launch = spec.launch(params(4, 8, 0), device)?;
    let half = [(1, 0.5), (3, 0.5), (5, 1.0 / (1.0 + 1.0_f64.exp())), (8, 1.0)];
    let unknown = [(0, f64::NAN), (1, f64::NAN), (2, f64::NAN), (8, 1.0)];
    let ties = [(0, 0.5), (1, 0.5), (7, 1.0), (8, 1.0)];
    let zeros = [(0, 0.0), (2, 0.0), (3, 0.0), (8, 1.0)];
    let expected = [half, unknown, ties, zeros].concat();
    Ok(Case {
        name: format!("{} degenerate", launch.program.name),
        buffers: vec![Init::f32s(&rows.concat()), Init::f32s(&[0.0; 8]), Init::Zeros(64), Init::Zeros(64)],
        work: Work::default(),
        steps: vec![Step { launch, buffers: vec![0, 1, 2, 3] }],
        reads: vec![2, 3],
        check: Box::new(move |out| judge(out, &expected)),
    })
}

fn judge(out: &Outputs, expected: &[(usize, f64)]) -> Result<Worst, String> {
    compare_choice(&out.u32s(2), &out.f32s(3), expected)
}

/// Compares experts and their weights with those of [`with_shared`].
pub(in crate::moe) fn compare_choice(experts: &[u32], weights: &[f32], expected: &[(usize, f64)]) -> Result<Worst, String> {
    for (i, (found, (expert, _))) in experts.iter().zip(expected).enumerate() {
        if *found as usize != *expert {
            return Err(format!("experts[{i}] is {found}, expected {expert}"));
        }
    }
    // WGSL allows exp(z) an error of 3 + 2|z| units; the sum of the active ones adds as many again.
    let expected: Vec<f64> = expected.iter().map(|(_, weight)| *weight).collect();
    compare("expert_weights", weights, &expected, 1e-12, 3e-6)
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}
