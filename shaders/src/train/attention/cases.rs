//! The suite and the benchmarks of the kernel, as data.

use super::{Attention, attention};
use crate::kernel::{Capabilities, Case, Init, KernelError, Outputs, Step, Work, Worst, compare};
use crate::train::inputs::{Setup, kinds, widen};
use crate::train::{Sizes, Tiles, Visible, Widths};

/// Widths, sizes `[B, T, H]`, tokens of a document and the spread of scores: one token; ragged ends; documents; scores that grow.
pub(in crate::train) const SHAPES: [([u32; 2], [u32; 3], u32, f32); 6] = [
    ([16, 16], [1, 1, 1], 1, 1.0),
    ([64, 64], [2, 70, 3], 1000, 2.0),
    ([96, 64], [1, 300, 2], 1000, 4.0),
    ([32, 48], [2, 161, 2], 50, 2.0),
    ([64, 64], [1, 257, 1], 130, 12.0),
    ([128, 128], [1, 200, 1], 1000, 2.0),
];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    for tiles in tiles(device) {
        for (i, ([qk, v], [b, t, h], document, spread)) in SHAPES.into_iter().enumerate() {
            for &visible in kinds(i) {
                let spec = Attention { widths: Widths { qk, v }, visible, tiles };
                if !spec.fits(device) {
                    continue;
                }
                let sizes = Sizes { b, t, h, scale: (qk as f32).powf(-0.5) };
                found.push(case(spec, &Setup { sizes, qk, v, visible, document, spread }, device)?);
            }
        }
    }
    Ok(found)
}

/// The tiles that are worth a try on `device`.
fn tiles(device: &Capabilities) -> Vec<Tiles> {
    let lanes = device.subgroup.max;
    let coop = |[subgroups, row_tiles, step]: [u32; 3]| Tiles::Coop { subgroups, row_tiles, step, lanes };
    let mut found = vec![Tiles::Fma];
    if device.features.coopmat {
        found.extend([[8, 1, 32], [8, 1, 16], [4, 1, 16], [4, 2, 32], [4, 2, 16], [4, 1, 64]].map(coop));
    }
    found.retain(|tiles| tiles.check("", device).is_ok());
    found
}

/// The benchmark cases that `device` offers: 32,768 tokens in sequences of 2048 and of 16,384, eight heads.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    let matrices = device.features.coopmat;
    let [few, many] = if matrices { [[16, 2048], [2, 16_384]] } else { [[1, 512], [1, 1024]] };
    for tiles in tiles(device).into_iter().filter(|tiles| (*tiles != Tiles::Fma) == matrices) {
        for ([b, t], [qk, v]) in [(few, [64, 64]), (few, [96, 64]), (many, [64, 64])] {
            let sizes = Sizes { b, t, h: 8, scale: (qk as f32).powf(-0.5) };
            for visible in [Visible::Causal, Visible::Selected] {
                let spec = Attention { widths: Widths { qk, v }, visible, tiles };
                if spec.fits(device)
                    && (visible == Visible::Causal || tiles == Attention::best(spec.widths, visible, device).tiles)
                {
                    let setup = Setup { sizes, qk, v, visible, document: 1 << 20, spread: 2.0 };
                    found.push(bench(spec, &setup, device)?);
                }
            }
        }
    }
    Ok(found)
}

/// What rounding may do. With multiply-adds: f32. With matrices, an error of a score and of its exponential: a product of rounded q and k is off by
/// at most 2^-11 of its size, at random, of which five standard deviations for QK products of two uniform factors divided by √QK are 8e-4 · spread;
/// probabilities and values, at most 1, are rounded to 11 bits.
fn tolerance(tiles: Tiles, spread: f32) -> f64 {
    match tiles {
        Tiles::Fma => 2e-6 * f64::from(spread) + 2e-6,
        Tiles::Coop { .. } => 8e-4 * f64::from(spread) + 5e-4,
    }
}

fn with(spec: Attention, setup: &Setup, buffers: Vec<Init>, device: &Capabilities) -> Result<Case, KernelError> {
    let Sizes { b, t, h, .. } = setup.sizes;
    let launch = spec.launch(&setup.sizes, device)?;
    let Widths { qk, v } = spec.widths;
    Ok(Case {
        name: format!("{} B={b} T={t} H={h} document={} spread={}", launch.program.name, setup.document, setup.spread),
        steps: vec![Step { launch, buffers: (0..buffers.len()).collect() }],
        buffers,
        reads: vec![4, 5],
        work: Work {
            bytes: 4.0 * f64::from(b * t * h) * f64::from(2 * qk + 2 * v),
            flops: 2.0 * setup.pairs() * f64::from(h * (qk + v)),
        },
        check: Box::new(|_| Ok(Worst(0.0))),
    })
}

fn case(spec: Attention, setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let Sizes { b, t, h, scale } = setup.sizes;
    let Widths { qk, v } = spec.widths;
    let inputs = setup.inputs();
    let sizes = [t as usize, h as usize, qk as usize, v as usize];
    let (q, k, values) = (widen(&inputs.q), widen(&inputs.k), widen(&inputs.v));
    let (o, lse) = attention(&q, &k, &values, &inputs.keys, sizes, scale.into());
    let rows = (b * t * h) as usize;
    let buffers = vec![
        Init::f32s(&inputs.q),
        Init::f32s(&inputs.k),
        Init::f32s(&inputs.v),
        inputs.visible,
        Init::Zeros(4 * rows * v as usize),
        Init::Zeros(4 * rows),
    ];
    let bound = tolerance(spec.tiles, setup.spread);
    let check = move |out: &Outputs| {
        let worst = compare("o", &out.f32s(4), &o, bound, 0.0)?.0;
        Ok(Worst(worst.max(compare("lse", &out.f32s(5), &lse, bound, 1e-6)?.0)))
    };
    Ok(Case { check: Box::new(check), ..with(spec, setup, buffers, device)? })
}

/// Inputs are too large to keep twice; some rows of the last sequence are checked.
fn bench(spec: Attention, setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let Sizes { b, t, h, .. } = setup.sizes;
    let rows = (b * t * h) as usize;
    let [q, k, values, _] = setup.sources().map(|(width, scale, seed)| setup.random(width, scale, seed));
    let buffers = vec![q, k, values, setup.everything(), Init::Zeros(4 * rows * setup.v as usize), Init::Zeros(4 * rows)];
    let setup = *setup;
    let check = move |out: &Outputs| check_rows(out, &setup, tolerance(spec.tiles, setup.spread));
    Ok(Case { check: Box::new(check), ..with(spec, &setup, buffers, device)? })
}

/// Compares rows at both ends and in the middle of the last head of the last sequence.
fn check_rows(out: &Outputs, setup: &Setup, bound: f64) -> Result<Worst, String> {
    let Setup { sizes: Sizes { b, t, h, scale }, qk, v, .. } = *setup;
    let [q, k, values, _] = setup.sources().map(|(width, scale, seed)| setup.last_head(width, scale, seed));
    let (o, lse) = (out.f32s(4), out.f32s(5));
    let mut worst = 0.0_f64;
    for token in [0, 1, t / 2 - 1, t / 2, t - 1].map(|token| token as usize) {
        let keys = vec![(0..=token as u32).collect::<Vec<_>>()];
        let query = &q[token * qk as usize..][..qk as usize];
        // One token that stands first: its query comes first, and keys keep their places.
        let (row, log_sum) = attention(query, &k, &values, &keys, [1, 1, qk as usize, v as usize], scale.into());
        let at = ((b * t - t) as usize + token) * h as usize + h as usize - 1;
        worst = worst.max(compare("o", &o[at * v as usize..][..v as usize], &row, bound, 0.0)?.0);
        let at = (b * h - 1) as usize * t as usize + token;
        worst = worst.max(compare("lse", &lse[at..=at], &log_sum, bound, 1e-6)?.0);
    }
    Ok(Worst(worst))
}
