//! The suite and the benchmarks of the kernel, as data.

use super::{IndexerKl, indexer_kl};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Elem, Init, KernelError, Outputs, Step, Work, Worst, compare};
use crate::train::attention::Attention;
use crate::train::inputs::{Setup, kinds, widen};
use crate::train::{Sizes, Visible, Widths};

/// Sizes of a case.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// `[H, QK]`
    attention: [u32; 2],
    /// `[HI, DI]`
    index: [u32; 2],
    /// `[B, T]`
    tokens: [u32; 2],
    /// Tokens of a document.
    document: u32,
    /// Tokens at the end of each sequence that see nothing: padding. A case without any comes beside it.
    padding: u32,
}

const fn shape(attention: [u32; 2], index: [u32; 2], tokens: [u32; 2], document: u32, padding: u32) -> Shape {
    Shape { attention, index, tokens, document, padding }
}

/// One token; ragged ends and documents, and tiles of nothing but padding; many heads; wide ones.
const SHAPES: [Shape; 4] = [
    shape([1, 16], [4, 16], [1, 1], 1, 0),
    shape([2, 32], [4, 32], [2, 161], 50, 90),
    shape([8, 64], [8, 64], [1, 130], 1000, 0),
    shape([2, 96], [4, 96], [1, 70], 1000, 0),
];

/// What the gradients are multiplied by.
const COEFFICIENT: f32 = 0.5;
/// Inputs of the index are whole multiples of this: their products are exact in f16, and every tier sees the same signs.
const GRID: f32 = 0.125;

/// The correctness cases that `device` offers. The logarithms of attention come from the forward kernel.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    for (i, Shape { attention, index, tokens: [b, t], document, padding }) in SHAPES.into_iter().enumerate() {
        let paddings = if padding > 0 { vec![0, padding] } else { vec![0] };
        for (&visible, padding) in kinds(i).iter().flat_map(|visible| paddings.iter().map(move |&padding| (visible, padding))) {
            let [heads, qk] = attention;
            let spec = IndexerKl::best(attention, index, visible, device);
            let sizes = Sizes { b, t, h: heads, scale: (qk as f32).powf(-0.5) };
            let setup = Setup { sizes, qk, v: 16, visible, document, spread: 2.0 };
            found.push(case(spec, &setup, padding, device)?);
        }
    }
    Ok(found)
}

/// The benchmark cases that `device` offers: all launches of the loss for 32,768 tokens, eight heads of attention, and the
/// forward pass before them with values of 16, whose part is small.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let [b, t] = if device.features.coopmat { [16, 2048] } else { [1, 256] };
    let sizes = Sizes { b, t, h: 8, scale: 0.125 };
    let shapes = [[4, 32], [8, 64]].into_iter();
    shapes
        .map(|[index_heads, index_width]| {
            let spec = IndexerKl::best([8, 64], [index_heads, index_width], Visible::Causal, device);
            let setup = Setup { sizes, qk: 64, v: 16, visible: Visible::Causal, document: 1 << 20, spread: 2.0 };
            bench(spec, &setup, device)
        })
        .collect()
}

/// Rows of the index on a grid; weights are of about `HI^(−1/2) · DI^(−1/2)`.
fn index_rows(spec: IndexerKl, rows: u32) -> Vec<f32> {
    let weight = ((spec.index_heads * spec.index_width) as f32).powf(-0.5);
    let mut random = Random::new(9);
    let mut found = Vec::new();
    for _ in 0..rows {
        let values = (spec.index_heads + 1) * spec.index_width;
        found.extend((0..values).map(|_| (random.below(17) as f32 - 8.0) * GRID));
        found.extend(random.vector(spec.index_heads as usize, 4.0 * weight));
    }
    found
}

/// Compares each value with its bound. With multiply-adds that is f32. With matrices it is a share of the sizes of the value's terms: g, and q and k
/// that p comes from, are rounded to 11 bits, each by up to 2^-11 of its size and at random.
fn compare_terms(what: &str, spec: IndexerKl, found: &[f32], expected: &[f64], sizes: &[f64]) -> Result<Worst, String> {
    if spec.lanes.is_none() {
        return compare(what, found, expected, 2e-6, 4e-6);
    }
    let mut worst = 0.0_f64;
    for (i, ((found, expected), size)) in found.iter().zip(expected).zip(sizes).enumerate() {
        let bound = 2.0_f64.powi(-11) * size + 2e-6;
        worst = worst.max(compare(&format!("{what}[{i}]"), &[*found], &[*expected], bound, 0.0)?.0);
    }
    Ok(Worst(worst))
}

/// Buffers: q, k, v, what attention sees, o, lse, index, logs, gradients, what is seen here. The gradients are to be overwritten.
fn with(spec: IndexerKl, setup: &Setup, inputs: [Init; 6], device: &Capabilities) -> Result<Case, KernelError> {
    let Sizes { b, t, h, .. } = setup.sizes;
    let rows = (b * t) as usize;
    let forward = Attention::best(Widths { qk: spec.qk, v: 16 }, spec.visible, device);
    let [logs, queries, keys] = spec.launches(&setup.sizes, COEFFICIENT, device)?;
    let [q, k, v, visible, index, seen] = inputs;
    let floats = |n: u32| Init::Zeros(4 * rows * n as usize);
    let name = format!("{} B={b} T={t} document={}", queries.program.name, setup.document);
    let gradients = vec![0, 1, 5, 9, 6, 7, 8];
    let unwritten = Init::Random { elem: Elem::F32, n: rows * spec.row() as usize, scale: 1e6, seed: 13 };
    Ok(Case {
        name,
        buffers: vec![q, k, v, visible, floats(16 * h), floats(h), index, floats(2), unwritten, seen],
        steps: vec![
            Step { launch: forward.launch(&setup.sizes, device)?, buffers: vec![0, 1, 2, 3, 4, 5] },
            Step { launch: logs, buffers: vec![9, 6, 7] },
            Step { launch: queries, buffers: gradients.clone() },
            Step { launch: keys, buffers: gradients },
        ],
        reads: vec![7, 8],
        work: Work {
            bytes: 4.0 * rows as f64 * f64::from(2 * h * spec.qk + 2 * spec.row()),
            flops: 2.0 * setup.pairs() * f64::from(2 * spec.heads * spec.qk + 5 * spec.index_heads * spec.index_width),
        },
        check: Box::new(|_| Ok(Worst(0.0))),
    })
}

fn case(spec: IndexerKl, setup: &Setup, padding: u32, device: &Capabilities) -> Result<Case, KernelError> {
    let Sizes { b, t, h, scale } = setup.sizes;
    let inputs = setup.inputs();
    let index = index_rows(spec, b * t);
    let sizes = [t, h, spec.qk, spec.index_heads, spec.index_width].map(|n| n as usize);
    let (q, k) = (widen(&inputs.q), widen(&inputs.k));
    let mut keys = inputs.keys;
    keys.chunks_mut(t as usize).for_each(|sequence| sequence[(t - padding) as usize..].fill(Vec::new()));
    let seen = setup.visible(&keys);
    let (loss, gradients, sizes_of_terms) = indexer_kl([&q, &k, &widen(&index)], &keys, sizes, scale.into(), COEFFICIENT.into());
    let floats = [&inputs.q, &inputs.k, &inputs.v, &index].map(|values| Init::f32s(values));
    let [q, k, v, rows] = floats;
    let case = with(spec, setup, [q, k, v, inputs.visible, rows, seen], device)?;
    let name = format!("{} padding={padding}", case.name);
    let check = move |out: &Outputs| {
        let found: Vec<f32> = out.f32s(7).into_iter().skip(1).step_by(2).collect();
        let [of_loss, of_gradients] = &sizes_of_terms;
        let worst = compare_terms("loss", spec, &found, &loss, of_loss)?.0;
        Ok(Worst(worst.max(compare_terms("gradients", spec, &out.f32s(8), &gradients, of_gradients)?.0)))
    };
    Ok(Case { name, check: Box::new(check), ..case })
}

/// The losses and the gradients of queries and weights of the last sequence's first and last tokens are checked.
fn bench(spec: IndexerKl, setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let Sizes { b, t, h, scale } = setup.sizes;
    let [q, k, v, _] = setup.sources();
    let index = index_rows(spec, b * t);
    let last = ((b - 1) * t * spec.row()) as usize;
    let last_index = widen(&index[last..]);
    let [q, k, v] = [q, k, v];
    let inits = [q, k, v].map(|(width, scale, seed)| setup.random(width, scale, seed));
    let [q_init, k_init, v_init] = inits;
    let case = with(spec, setup, [q_init, k_init, v_init, setup.everything(), Init::f32s(&index), setup.everything()], device)?;
    let setup = *setup;
    let check = move |out: &Outputs| {
        let [q, k] = [q, k].map(|(width, scale, seed)| setup.last_sequence(width, scale, seed));
        let sizes = [t, h, spec.qk, spec.index_heads, spec.index_width].map(|n| n as usize);
        let keys: Vec<Vec<u32>> = (0..t).map(|s| if s < 2 || s == t - 1 { (0..=s).collect() } else { vec![s] }).collect();
        let (loss, gradients, sizes_of_terms) = indexer_kl([&q, &k, &last_index], &keys, sizes, scale.into(), COEFFICIENT.into());
        let (row, weights) = (spec.row() as usize, spec.index_heads as usize);
        let queries = row - weights - spec.index_width as usize;
        let (logs, found, [of_loss, of_gradients]) = (out.f32s(7), out.f32s(8), &sizes_of_terms);
        let mut worst = 0.0_f64;
        for token in [0, 1, t as usize - 1] {
            let at = (b * t - t) as usize + token;
            let one = token..=token;
            let loss = compare_terms("loss", spec, &logs[2 * at + 1..][..1], &loss[one.clone()], &of_loss[one])?;
            worst = worst.max(loss.0);
            let first = token * row;
            for (what, part) in [("dqi", 0..queries), ("dw", row - weights..row)] {
                let expected = first + part.start..first + part.end;
                let found = &found[at * row + part.start..at * row + part.end];
                let compared = compare_terms(what, spec, found, &gradients[expected.clone()], &of_gradients[expected])?;
                worst = worst.max(compared.0);
            }
        }
        Ok(Worst(worst))
    };
    Ok(Case { check: Box::new(check), ..case })
}
