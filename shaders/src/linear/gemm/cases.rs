//! The suite and the benchmarks of the kernel, as data.

use super::{Gemm, Params, Tile};
use crate::kernel::random::Random;
use crate::kernel::{
    Capabilities, Case, Elem, Init, KernelError, Outputs, RandomWeights, Step, WeightFormat, Work, Worst, f16_bits, f16_value,
};

/// A shape `[batch, T, O, I]` with the room around rows of x and y.
#[derive(Debug, Clone, Copy)]
struct Shape {
    batch: u32,
    t: u32,
    o: u32,
    i: u32,
    /// Elements between rows beyond their width, and before the first.
    room: u32,
}

const fn shape(batch: u32, t: u32, o: u32, i: u32, room: u32) -> Shape {
    Shape { batch, t, o, i, room }
}

/// Less than a tile; ragged along all sides; whole tiles; a batch with room around rows; few rows of few and of many columns.
const SHAPES: [Shape; 8] = [
    shape(1, 9, 3, 32, 0),
    shape(1, 130, 140, 96, 4),
    shape(1, 128, 256, 128, 0),
    shape(3, 33, 70, 288, 12),
    shape(1, 1, 1, 32, 0),
    shape(1, 16, 64, 160, 0),
    shape(1, 64, 96, 288, 4),
    shape(1, 40, 4300, 32, 0),
];

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    for weight in WeightFormat::ALL {
        // Steps of 16, 32 or 64 along I leave a rest.
        let rest = Shape { i: 64 + weight.alignment().max(8), ..SHAPES[1] };
        for shape in SHAPES.into_iter().chain([rest]) {
            cases.push(case(Gemm::best(weight, shape.t, shape.o, device), shape, device)?);
        }
    }
    for tile in tiles(device) {
        for weight in [WeightFormat::F16, WeightFormat::Q4] {
            for shape in [SHAPES[1], SHAPES[2], SHAPES[3]] {
                let plain = Gemm { weight, x: Elem::F32, y: Elem::F32, accumulate: false, tile };
                cases.push(case(Gemm { accumulate: true, ..plain }, shape, device)?);
                if device.features.f16 {
                    cases.push(case(Gemm { x: Elem::F16, ..plain }, shape, device)?);
                    cases.push(case(Gemm { y: Elem::F16, accumulate: true, ..plain }, shape, device)?);
                }
            }
        }
    }
    Ok(cases)
}

/// Every tile that is worth a try on `device`.
fn tiles(device: &Capabilities) -> Vec<Tile> {
    let mut tiles = vec![Tile::FMA_128, Tile::FMA_64, Tile::FMA_32, Tile::FMA_16];
    if device.features.coopmat {
        let sizes: [([u32; 3], [u32; 2], u32); 12] = [
            ([128, 128, 32], [2, 2], 1),
            ([128, 128, 32], [2, 2], 2),
            ([128, 128, 32], [2, 4], 1),
            ([128, 128, 64], [2, 4], 1),
            ([128, 128, 32], [2, 4], 2),
            ([256, 128, 32], [4, 2], 1),
            ([128, 256, 32], [2, 4], 1),
            ([256, 128, 16], [4, 2], 2),
            ([128, 64, 64], [2, 2], 1),
            ([16, 32, 128], [1, 2], 1),
            ([32, 32, 128], [1, 2], 1),
            ([32, 64, 64], [1, 4], 1),
        ];
        tiles.extend(sizes.map(|(size, groups, buffers)| Tile::coop(size, groups, buffers, device.subgroup)));
        tiles.push(Tile::coop([32, 128, 32], [1, 4], 1, device.subgroup));
    }
    tiles.retain(|tile| tile.check("", device).is_ok());
    tiles
}

/// The self-test: what is chosen for few rows and for many, in every format.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    for weight in WeightFormat::ALL {
        for shape in [SHAPES[5], SHAPES[6]] {
            cases.push(case(Gemm::best(weight, shape.t, shape.o, device), shape, device)?);
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
    for tile in tiles(device) {
        let spec = Gemm { weight: WeightFormat::F16, x: Elem::F32, y: Elem::F32, accumulate: false, tile };
        let x = if tile.is_coop() { Elem::F16 } else { Elem::F32 };
        cases.push(case(Gemm { x, ..spec }, shape(1, 4096, 4096, 4096, 0), device)?);
    }
    // Training: rows of f32 in f16 products, with weights as they are or rounded before.
    for tile in tiles(device).into_iter().filter(|tile| tile.is_coop()) {
        for weight in [WeightFormat::F32, WeightFormat::F16] {
            for (o, i) in [(1408, 512), (512, 1408)] {
                let spec = Gemm { weight, x: Elem::F32, y: Elem::F32, accumulate: false, tile };
                cases.push(case(spec, shape(1, 8192, o, i, 0), device)?);
            }
        }
    }
    for weight in [WeightFormat::F16, WeightFormat::Q8, WeightFormat::Q4] {
        for t in [512, 2048] {
            for (o, i) in [(7168, 2048), (18_432, 7168)] {
                cases.push(case(Gemm::best(weight, t, o, device), shape(1, t, o, i, 0), device)?);
            }
        }
    }
    Ok(cases)
}

/// The largest values of x.
const SCALE: f32 = 1.0;

fn case(spec: Gemm, shape: Shape, device: &Capabilities) -> Result<Case, KernelError> {
    let Shape { batch, t, o, i, room } = shape;
    let (x_stride, y_stride) = (i + room, o + room / 2);
    let params =
        Params { t, o, i, x_stride, x_offset: room, x_batch: t * x_stride, y_stride, y_offset: room / 2, y_batch: t * y_stride };
    let launch = spec.launch(params, batch, device)?;
    let weights = RandomWeights { format: spec.weight, z: batch, o, i, seed: 2 };
    let n_x = (batch * t * x_stride + room) as usize;
    let n_y = (batch * t * y_stride + room) as usize;
    let x = Init::Random { elem: spec.x, n: n_x, scale: SCALE, seed: 1 };
    let y = if spec.accumulate || n_y < 1 << 20 {
        Init::Random { elem: spec.y, n: n_y, scale: SCALE, seed: 3 }
    } else {
        Init::Zeros(n_y * spec.y.bytes())
    };
    let products = f64::from(batch) * f64::from(t) * f64::from(o);
    let stored = spec.weight.bytes(o, i) + spec.weight.scale_bytes(o, i);
    let bytes = f64::from(batch) * (stored as f64 + f64::from(t * i) * spec.x.bytes() as f64) + products * spec.y.bytes() as f64;
    let mut buffers = vec![x.clone(), weights.data()];
    if spec.weight.has_scales() {
        buffers.push(weights.scales());
    }
    buffers.push(y.clone());
    let n = buffers.len();
    Ok(Case {
        name: format!("{} Z={batch} T={t} O={o} I={i}", launch.program.name),
        buffers,
        steps: vec![Step { launch, buffers: (0..n).collect() }],
        reads: vec![n - 1],
        work: Work { bytes, flops: 2.0 * products * f64::from(i) },
        check: Box::new(move |out| check(out, spec, params, &weights, [&x, &y])),
    })
}

/// Rows and columns of the outputs that are compared: all of a small product, else a sample with the corners.
fn sample(n: u32, most: u32, random: &mut Random) -> Vec<u32> {
    if n <= most {
        return (0..n).collect();
    }
    let mut picked = vec![0, n - 1];
    picked.extend((2..most.min(32)).map(|_| random.below(n)));
    picked
}

/// Compares with f64 sums of what the kernel reads; what lies between the rows of y must be as it was.
fn check(out: &Outputs, spec: Gemm, params: Params, weights: &RandomWeights, [x, y]: [&Init; 2]) -> Result<Worst, String> {
    let inputs = Outputs(vec![x.bytes(), y.bytes()]);
    let (x, before) = (inputs.values(0, spec.x), inputs.values(1, spec.y));
    let found = out.values(buffer_of_y(spec), spec.y);
    let mut expected: Vec<f64> = Vec::new();
    let mut places = Vec::new();
    let mut random = Random::new(7);
    let mut largest = 0.0_f32;
    for z in 0..weights.z {
        let rows = sample(params.t, 256, &mut random);
        for column in sample(params.o, 512, &mut random) {
            let w = weights.row(z, column);
            largest = w.iter().fold(largest, |most, w| most.max(w.abs()));
            for &row in &rows {
                let from = (params.x_offset + z * params.x_batch + row * params.x_stride) as usize;
                let to = (params.y_offset + z * params.y_batch + row * params.y_stride + column) as usize;
                let terms = x[from..][..params.i as usize].iter().zip(&w);
                let sum: f64 = terms.map(|(x, w)| rounded(spec, *x) * rounded(spec, *w)).sum();
                expected.push(sum + if spec.accumulate { f64::from(before[to]) } else { 0.0 });
                places.push(to);
            }
        }
    }
    let mut worst = 0.0_f64;
    let bound = bound(spec, params.i, f64::from(largest * SCALE));
    let relative = if spec.y == Elem::F16 { 5e-4 } else { 0.0 };
    for (&to, e) in places.iter().zip(expected) {
        let f = f64::from(found[to]);
        let share = (f - e).abs() / (bound + relative * e.abs());
        // A NaN fails too.
        if share > 1.0 || share.is_nan() {
            return Err(format!("y[{to}] is {f}, expected {e} (allowed {bound:e} + {relative:e} relative)"));
        }
        worst = worst.max(share);
    }
    untouched(params, weights.z, &found, &before)?;
    Ok(Worst(worst))
}

/// The format's place of y among the buffers.
fn buffer_of_y(spec: Gemm) -> usize {
    if spec.weight.has_scales() { 3 } else { 2 }
}

/// What a kernel of cooperative matrices makes of an input: it rounds to f16.
fn rounded(spec: Gemm, value: f32) -> f64 {
    f64::from(if spec.tile.is_coop() { f16_value(f16_bits(value)) } else { value })
}

/// The error of a sum of `i` terms of at most `largest`, of random signs.
///
/// A partial sum is about `√i` terms and each addition is off by at most 2^-24 of it, in random directions: `2^-24 · i` in all, of which 2e-6 · √i
/// is far more for any `i` here. Matrix units cut instead of rounding, once for each 16 terms and always towards zero: `2^-23 · √i · i / 16`.
fn bound(spec: Gemm, i: u32, largest: f64) -> f64 {
    let root = f64::from(i).sqrt();
    let cut = if spec.tile.is_coop() { 2.0_f64.powi(-23) * root * f64::from(i) / 16.0 } else { 0.0 };
    (2e-6 * root + cut) * largest
}

/// Checks that nothing is written outside the rows of y.
fn untouched(params: Params, batch: u32, found: &[f32], before: &[f32]) -> Result<(), String> {
    let gap = (params.y_stride - params.o) as usize;
    let mut gaps = Vec::new();
    gaps.push(0..params.y_offset as usize);
    for row in 0..if gap > 0 { batch * params.t } else { 0 } {
        let end = (params.y_offset + row * params.y_stride + params.o) as usize;
        gaps.push(end..end + gap);
    }
    for at in gaps.into_iter().flatten() {
        if found[at].to_bits() != before[at].to_bits() {
            return Err(format!("y[{at}] lies outside the rows and became {}, from {}", found[at], before[at]));
        }
    }
    Ok(())
}
