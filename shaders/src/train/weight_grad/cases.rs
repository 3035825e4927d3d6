//! The suite and the benchmarks of the kernel, as data.

use super::{Params, Tile, WeightGrad, weight_grad};
use crate::kernel::{Capabilities, Case, Elem, Init, KernelError, Outputs, Step, Work, Worst, compare, f16_bits, f16_value};
use crate::train::sum_parts::SumParts;

/// Tokens, widths of dy and x, tokens of a part: less than a step; ragged everywhere in several parts; whole tiles; one long part.
const SHAPES: [[u32; 4]; 4] = [[5, 8, 16, 64], [203, 72, 136, 64], [256, 128, 256, 128], [1000, 64, 64, 1024]];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    let elems = if device.features.f16 { &[Elem::F32, Elem::F16][..] } else { &[Elem::F32] };
    for tile in tiles(device) {
        for &dy in elems {
            for &x in elems {
                for shape in SHAPES {
                    cases.push(case(WeightGrad { dy, x, tile }, shape, device)?);
                }
            }
        }
    }
    Ok(cases)
}

/// Every tile that is worth a try on `device`.
fn tiles(device: &Capabilities) -> Vec<Tile> {
    let mut tiles = vec![Tile::Fma];
    if device.features.coopmat {
        let sizes = [
            ([128, 128, 32], [2, 2]),
            ([128, 128, 32], [2, 4]),
            ([128, 128, 64], [2, 4]),
            ([256, 128, 32], [4, 2]),
            ([128, 64, 32], [2, 1]),
            ([64, 64, 32], [1, 2]),
        ];
        tiles.extend(sizes.iter().filter_map(|&(size, groups)| Tile::coop(size, groups, device.subgroup)));
    }
    tiles.retain(|tile| tile.check(device).is_ok());
    tiles
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    for tile in tiles(device) {
        for [o, i] in [[1408, 512], [512, 1408], [512, 512]] {
            let spec = WeightGrad { dy: Elem::F32, x: Elem::F32, tile };
            cases.push(case(spec, [16_384, o, i, spec.params(16_384, o, i).rows], device)?);
        }
    }
    Ok(cases)
}

fn case(spec: WeightGrad, [t, o, i, rows]: [u32; 4], device: &Capabilities) -> Result<Case, KernelError> {
    let params = Params { t, o, i, rows };
    let launch = spec.launch(params, device)?;
    let sum = SumParts.launch(params.parts(), o * i, device)?;
    let dy = Init::Random { elem: spec.dy, n: (t * o) as usize, scale: 1.0, seed: 1 };
    let x = Init::Random { elem: spec.x, n: (t * i) as usize, scale: 1.0, seed: 2 };
    let n = (o * i) as usize;
    let buffers = vec![dy.clone(), x.clone(), Init::Zeros(4 * n * params.parts() as usize), Init::Zeros(4 * n)];
    let values = f64::from(t) * f64::from(o + i);
    Ok(Case {
        name: format!("{} T={t} O={o} I={i} Z={}", launch.program.name, params.parts()),
        buffers,
        work: Work { bytes: 4.0 * values, flops: 2.0 * f64::from(t) * f64::from(o) * f64::from(i) },
        steps: vec![Step { launch, buffers: vec![0, 1, 2] }, Step { launch: sum, buffers: vec![2, 3] }],
        reads: vec![3],
        check: Box::new(move |out| check(out, spec, params, [&dy, &x])),
    })
}

/// Compares with f64 sums of what the kernel multiplies; of a large gradient the first columns of dy.
fn check(out: &Outputs, spec: WeightGrad, params: Params, [dy, x]: [&Init; 2]) -> Result<Worst, String> {
    let inputs = Outputs(vec![dy.bytes(), x.bytes()]);
    let rounded = |v: f32| f64::from(if spec.tile.is_coop() { f16_value(f16_bits(v)) } else { v });
    let (o, i) = (params.o as usize, params.i as usize);
    let columns = if params.t > 4096 { 2 } else { o };
    let dy: Vec<f64> = inputs.values(0, spec.dy).chunks(o).flat_map(|row| row[..columns].iter().map(|&v| rounded(v))).collect();
    let x: Vec<f64> = inputs.values(1, spec.x).into_iter().map(rounded).collect();
    let expected = weight_grad(&dy, &x, columns, i);
    compare("dW", &out.f32s(3), &expected, bound(spec, params.t), 0.0)
}

/// The error of a sum of `t` products of at most 1 of random signs.
///
/// Partial sums are about `√t / 3` and each of `t` additions is off by 0.29 units in their last place, in random directions: at six deviations
/// `0.6 · 2^-23 · t`. Matrix units cut instead of rounding, once for each 16 terms and always towards zero: `2^-23 · √t · t / 16`.
fn bound(spec: WeightGrad, t: u32) -> f64 {
    let t = f64::from(t);
    let cut = if spec.tile.is_coop() { t.sqrt() * t / 16.0 } else { 0.0 };
    2e-6 * t.sqrt() + 2.0_f64.powi(-23) * (0.6 * t + cut)
}
