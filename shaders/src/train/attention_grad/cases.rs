//! The suite and the benchmarks of the kernel, as data.

use super::{AttentionGrad, Side, attention_grad};
use crate::kernel::{Capabilities, Case, Init, KernelError, Outputs, Step, Work, Worst, compare};
use crate::train::attention::{Attention, cases::SHAPES};
use crate::train::inputs::{Setup, kinds, widen};
use crate::train::{Sizes, Tiles, Visible, Widths};

/// The correctness cases that `device` offers. Output and logarithms come from the forward kernel of the same tier.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    for tiles in tiles(device) {
        for (i, ([qk, v], [b, t, h], document, spread)) in SHAPES[..5].iter().copied().enumerate() {
            for &visible in kinds(i) {
                let specs = both(Widths { qk, v }, visible, tiles);
                if specs.iter().all(|spec| spec.fits(device)) {
                    let sizes = Sizes { b, t, h, scale: (qk as f32).powf(-0.5) };
                    found.push(case(specs, &Setup { sizes, qk, v, visible, document, spread }, device)?);
                }
            }
        }
    }
    Ok(found)
}

fn both(widths: Widths, visible: Visible, tiles: Tiles) -> [AttentionGrad; 2] {
    [Side::Queries, Side::Keys].map(|side| AttentionGrad { side, widths, visible, tiles })
}

/// The tiles that are worth a try on `device`.
fn tiles(device: &Capabilities) -> Vec<Tiles> {
    let lanes = device.subgroup.max;
    let coop = |[subgroups, row_tiles, step]: [u32; 3]| Tiles::Coop { subgroups, row_tiles, step, lanes };
    let mut found = vec![Tiles::Fma];
    if device.features.coopmat {
        found.extend([[4, 1, 32], [4, 1, 16], [8, 1, 16]].map(coop));
    }
    found.retain(|tiles| tiles.check("", device).is_ok());
    found
}

/// The benchmark cases that `device` offers: each launch by itself, at the sizes of the forward kernel's.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    let matrices = device.features.coopmat;
    let [b, t] = if matrices { [16, 2048] } else { [1, 512] };
    for tiles in tiles(device).into_iter().filter(|tiles| (*tiles != Tiles::Fma) == matrices) {
        for [qk, v] in [[64, 64], [96, 64]] {
            for spec in both(Widths { qk, v }, Visible::Causal, tiles).into_iter().filter(|spec| spec.fits(device)) {
                let sizes = Sizes { b, t, h: 8, scale: (qk as f32).powf(-0.5) };
                let setup = Setup { sizes, qk, v, visible: Visible::Causal, document: 1 << 20, spread: 2.0 };
                found.push(bench(spec, &setup, device)?);
            }
        }
    }
    Ok(found)
}

/// What rounding may do, for gradients of about `√T` terms. With multiply-adds: f32. With matrices, each term is off by the error of its probability
/// (that of its score, see the forward kernel, relative to the probability) and by three roundings to 11 bits.
fn tolerance(tiles: Tiles, spread: f32) -> f64 {
    match tiles {
        Tiles::Fma => 4e-6 * f64::from(spread) + 4e-6,
        Tiles::Coop { .. } => 1e-3 * f64::from(spread) + 2e-3,
    }
}

/// Buffers: q, k, v, what is seen, do, o, lse, stats, dq, dk with dv.
fn buffers(setup: &Setup, [q, k, v, d_o, visible]: [Init; 5]) -> Vec<Init> {
    let Sizes { b, t, h, .. } = setup.sizes;
    let floats = |width: u32| Init::Zeros(4 * (b * t * h * width) as usize);
    vec![q, k, v, visible, d_o, floats(setup.v), floats(1), floats(2), floats(setup.qk), floats(setup.qk + setup.v)]
}

fn step(spec: AttentionGrad, sizes: &Sizes, device: &Capabilities) -> Result<Step, KernelError> {
    let gradients = if spec.side == Side::Keys { 9 } else { 8 };
    Ok(Step { launch: spec.launch(sizes, device)?, buffers: vec![0, 1, 2, 3, 4, 7, gradients] })
}

fn case(specs: [AttentionGrad; 2], setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let Setup { sizes, qk, v, visible, document, spread } = *setup;
    let Sizes { b, t, h, scale } = sizes;
    let inputs = setup.inputs();
    let widened = [&inputs.q, &inputs.k, &inputs.v, &inputs.d_o].map(|values| widen(values));
    let lengths = [t as usize, h as usize, qk as usize, v as usize];
    let expected = attention_grad(widened.each_ref().map(Vec::as_slice), &inputs.keys, lengths, scale.into());
    let forward = Attention { widths: Widths { qk, v }, visible, tiles: specs[0].tiles };
    let forward = if forward.fits(device) { forward } else { Attention { tiles: Tiles::Fma, ..forward } };
    let bound = tolerance(specs[0].tiles, spread);
    let check = move |out: &Outputs| {
        let both = out.f32s(9);
        let (dk, dv) = both.split_at(expected[1].len());
        let mut worst = compare("dq", &out.f32s(8), &expected[0], bound, bound)?.0;
        worst = worst.max(compare("dk", dk, &expected[1], bound, bound)?.0);
        Ok(Worst(worst.max(compare("dv", dv, &expected[2], bound, bound)?.0)))
    };
    let floats = [&inputs.q, &inputs.k, &inputs.v, &inputs.d_o].map(|values| Init::f32s(values));
    let [q, k, values, d_o] = floats;
    Ok(Case {
        name: format!("{} B={b} T={t} H={h} document={document} spread={spread}", specs[1].program().name),
        buffers: buffers(setup, [q, k, values, d_o, inputs.visible]),
        steps: vec![
            Step { launch: forward.launch(&sizes, device)?, buffers: vec![0, 1, 2, 3, 5, 6] },
            Step { launch: AttentionGrad::dots(v, &sizes, device)?, buffers: vec![5, 4, 6, 7] },
            step(specs[0], &sizes, device)?,
            step(specs[1], &sizes, device)?,
        ],
        reads: vec![8, 9],
        work: Work::default(),
        check: Box::new(check),
    })
}

/// The launch alone, on stats of zeros, which make `p = exp(σ · q · k)` and `D = 0`; some rows of the last head are checked.
fn bench(spec: AttentionGrad, setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let Setup { sizes, qk, v, .. } = *setup;
    let Sizes { b, t, h, .. } = sizes;
    let [q, k, values, d_o] = setup.sources().map(|(width, scale, seed)| setup.random(width, scale, seed));
    let step = step(spec, &sizes, device)?;
    let products = if spec.side == Side::Keys { 2 * qk + 2 * v } else { 2 * qk + v };
    let setup = *setup;
    Ok(Case {
        name: format!("{} B={b} T={t} H={h}", step.launch.program.name),
        buffers: buffers(&setup, [q, k, values, d_o, setup.everything()]),
        reads: vec![step.buffers[6]],
        work: Work {
            bytes: 4.0 * f64::from(b * t * h) * f64::from(3 * qk + 3 * v),
            flops: 2.0 * setup.pairs() * f64::from(h * products),
        },
        check: Box::new(move |out| check_rows(out, spec, &setup)),
        steps: vec![step],
    })
}

/// Compares rows at both ends and in the middle of the last head of the last sequence, each to a share of the sum of its terms' sizes.
fn check_rows(out: &Outputs, spec: AttentionGrad, setup: &Setup) -> Result<Worst, String> {
    let Setup { sizes: Sizes { b, t, h, scale }, qk, v, spread, .. } = *setup;
    let [q, k, values, d_o] = setup.sources().map(|(width, scale, seed)| setup.last_head(width, scale, seed));
    let row = |of: &[f64], width: u32, token: u32| of[(token * width) as usize..][..width as usize].to_vec();
    let found = if spec.side == Side::Keys { out.f32s(9) } else { out.f32s(8) };
    let bound = tolerance(spec.tiles, spread);
    let mut worst = 0.0_f64;
    for own in [0, 1, t / 2 - 1, t / 2, t - 1] {
        let others = if spec.side == Side::Keys { own..t } else { 0..own + 1 };
        let (mut of_qk, mut of_v, mut sizes) = (vec![0.0; qk as usize], vec![0.0; v as usize], [0.0, 0.0]);
        for other in others {
            let (at, s) = if spec.side == Side::Keys { (other, own) } else { (own, other) };
            let p = (f64::from(scale) * crate::dot(&row(&q, qk, at), &row(&k, qk, s))).exp();
            let d = f64::from(scale) * p * crate::dot(&row(&d_o, v, at), &row(&values, v, s));
            let factors = if spec.side == Side::Keys { row(&q, qk, other) } else { row(&k, qk, other) };
            of_qk.iter_mut().zip(factors).for_each(|(sum, factor)| *sum += d * factor);
            of_v.iter_mut().zip(row(&d_o, v, other)).for_each(|(sum, factor)| *sum += p * factor);
            sizes[0] += d.abs();
            sizes[1] += p;
        }
        let at = ((b * t - t + own) * h + h - 1) as usize;
        let compared = |what, first: usize, sums: &[f64], size: f64| {
            compare(what, &found[first + at * sums.len()..][..sums.len()], sums, bound * size, 0.0).map(|worst| worst.0)
        };
        worst = worst.max(compared("the gradient", 0, &of_qk, sizes[0] * f64::from(spread))?);
        if spec.side == Side::Keys {
            worst = worst.max(compared("dv", (b * t * h * qk) as usize, &of_v, sizes[1])?);
        }
    }
    Ok(Worst(worst))
}
