//! The suite and the benchmarks of the kernel, as data.

use super::{Grouped, Params, Part, Tile, grouped};
use crate::dot;
use crate::kernel::random::Random;
use crate::kernel::{
    Capabilities, Case, Elem, Init, KernelError, Outputs, RandomWeights, Step, WeightFormat, Work, compare, f16_bits, f16_value,
};
use crate::moe::combine::{self, Combine};
use crate::moe::down::down;
use crate::moe::gate_up::cases::{LITE, V3, bench_work, largest_weight};
use crate::moe::gate_up::gate_up;
use crate::moe::sort::{self, sort, tiles};
use crate::moe::{Shape, chosen, if_it_fits, quantized_stack, widen};

/// Tokens and sizes: one token, ragged widths, some experts with several tiles and one with none, one with full tiles only.
const SHAPES: [(u32, Shape); 4] = [
    (1, Shape { n_experts: 3, n_active: 2, d: 64, i: 32 }),
    (23, Shape { n_experts: 5, n_active: 3, d: 160, i: 96 }),
    (150, Shape { n_experts: 4, n_active: 2, d: 96, i: 160 }),
    (128, Shape { n_experts: 1, n_active: 1, d: 288, i: 64 }),
];
/// Rows that end inside a step.
const RAGGED: Shape = Shape { n_experts: 3, n_active: 2, d: 72, i: 40 };
/// Half the last place of an f16, relative; and what `exp` and the division add to silu.
const HALF: f64 = 4.9e-4;
const SILU: f64 = 5e-6;

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut cases = Vec::new();
    for format in WeightFormat::ALL {
        for (t, shape) in SHAPES {
            for part in [Part::GateUp, Part::Down] {
                cases.push(case(t, Grouped::best(part, shape, format, device), device)?);
            }
        }
        let (t, shape) = SHAPES[1];
        cases.push(layer(t, Grouped::best(Part::GateUp, shape, format, device), device)?);
    }
    for format in [WeightFormat::F32, WeightFormat::F16] {
        for part in [Part::GateUp, Part::Down] {
            cases.push(case(9, Grouped::best(part, RAGGED, format, device), device)?);
        }
    }
    if Tile::best(WeightFormat::Q4, device).is_coop() {
        let (t, shape) = SHAPES[2];
        for tile in tiles_to_try() {
            for part in [Part::GateUp, Part::Down] {
                cases.push(case(t, Grouped { part, shape, format: WeightFormat::Q4, tile }, device)?);
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
    let (t, shape) = SHAPES[1];
    let mut cases = Vec::new();
    for format in WeightFormat::ALL {
        for part in [Part::GateUp, Part::Down] {
            cases.push(case(t, Grouped::best(part, shape, format, device), device)?);
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
    for (shape, format) in [(LITE, WeightFormat::Q4), (LITE, WeightFormat::F16), (V3, WeightFormat::Q4)] {
        let mut specs = vec![Grouped::best(Part::GateUp, shape, format, device)];
        if shape == LITE && format == WeightFormat::Q4 && Tile::best(format, device).is_coop() {
            specs.extend(tiles_to_try().map(|tile| Grouped { tile, ..specs[0] }));
            specs.push(Grouped { tile: Tile::Fma, ..specs[0] });
        }
        for spec in specs {
            cases.extend(if_it_fits(bench(512, spec, device))?);
        }
    }
    Ok(cases)
}

/// Other tilings with cooperative matrices.
fn tiles_to_try() -> [Tile; 4] {
    [(2, 4, 1, 4, 32), (2, 4, 2, 2, 64), (2, 2, 2, 4, 32), (4, 4, 1, 2, 32)]
        .map(|(tiles_t, tiles_o, groups_t, groups_o, k)| Tile::Coop { tiles_t, tiles_o, groups_t, groups_o, k })
}

/// The experts of each token and what `sort` makes of them.
struct Assigned {
    experts: Vec<u32>,
    order: Vec<u32>,
    offsets: Vec<u32>,
    tiles: Vec<u32>,
}

impl Assigned {
    fn new(t: u32, spec: Grouped) -> Self {
        let experts = chosen(&mut Random::new(7), t, spec.shape);
        let (order, offsets) = sort(&experts, spec.shape.n_experts);
        let found = tiles(&offsets, spec.tile.tile_t());
        let mut pairs = vec![found.len() as u32, 0];
        pairs.extend(found.iter().flat_map(|&(expert, first)| [expert, first]));
        // Room for the most tiles; those past the number are never read.
        pairs.resize(2 + 2 * spec.sort().max_tiles(experts.len() as u32) as usize, u32::MAX);
        Self { experts, order, offsets, tiles: pairs }
    }

    fn buffers(&self) -> [Init; 3] {
        [&self.order, &self.offsets, &self.tiles].map(|words| Init::u32s(words))
    }
}

/// What the kernel multiplies with: values as they are, or rounded to f16.
fn rounded(values: &[f32], tile: Tile) -> Vec<f64> {
    let round = |v: &f32| f64::from(if tile.is_coop() { f16_value(f16_bits(*v)) } else { *v });
    values.iter().map(round).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// 1e-6·√K·|largest term|: the error of an f32 sum.
fn sum_error(k: u32, x: &[f64], weight: f64) -> f64 {
    1e-6 * f64::from(k).sqrt() * largest(x) * weight
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0_f64, |most, v| most.max(v.abs()))
}

/// One half: hidden values from x, or contributions from hidden values.
fn case(t: u32, spec: Grouped, device: &Capabilities) -> Result<Case, KernelError> {
    let Shape { n_experts, n_active, d, i } = spec.shape;
    let n = t * n_active;
    let is_first = spec.part == Part::GateUp;
    let (stride, offset) = if is_first { (d as usize + 8, 4) } else { (i as usize, 0) };
    let launch = spec.launch(Params { x_stride: stride as u32, x_offset: offset as u32 }, n, device)?;
    let mut random = Random::new(u64::from(d + t));
    let assigned = Assigned::new(t, spec);
    let [o, k] = spec.weights();
    let rows = if is_first { t } else { n } as usize;
    let x = random.vector(offset + rows * stride, 2.0);
    let (data, scales, weights) = quantized_stack(&mut random, spec.format, n_experts, o, k);
    let weights = rounded(&narrow(&weights), spec.tile);
    let x_rows: Vec<f64> = (0..rows).flat_map(|row| rounded(&x[offset + row * stride..][..k as usize], spec.tile)).collect();
    let x_elem = if is_first { Elem::F32 } else { spec.hidden() };
    let mut buffers = vec![Init::values(x_elem, &x)];
    buffers.extend(assigned.buffers());
    buffers.push(data);
    if spec.format.has_scales() {
        buffers.push(scales);
    }
    let output = buffers.len();
    let columns = if is_first { i } else { d };
    let (expected, allowed, relative, y_elem) = if is_first {
        let hidden = gate_up(&x_rows, &assigned.experts, &weights, d as usize, i as usize);
        let expected = by_order(&hidden, &assigned.order, i as usize);
        let products = weights.chunks(k as usize).flat_map(|row| x_rows.chunks(k as usize).map(|x| dot(row, x)));
        let allowed = 2.1 * sum_error(k, &x_rows, 0.3) * largest(&products.collect::<Vec<_>>());
        let relative = SILU + if spec.hidden() == Elem::F16 { HALF } else { 0.0 };
        (expected, allowed + 1e-7, relative, spec.hidden())
    } else {
        // Row p of x belongs to assignment order[p]; contributions lie by assignment.
        let mut by_assignment = vec![0.0; x_rows.len()];
        for (p, assignment) in assigned.order.iter().enumerate() {
            let (i, to) = (i as usize, *assignment as usize);
            by_assignment[to * i..][..i].copy_from_slice(&x_rows[p * i..][..i]);
        }
        let expected = grouped(&by_assignment, &assigned.experts, &weights, d as usize);
        (expected, sum_error(k, &x_rows, 0.3), 1e-6, Elem::F32)
    };
    buffers.push(Init::Zeros(y_elem.bytes() * (n * columns) as usize));
    Ok(Case {
        name: format!("{} T={t}", launch.program.name),
        buffers,
        work: Work::default(),
        steps: vec![Step { launch, buffers: (0..=output).collect() }],
        reads: vec![output],
        check: Box::new(move |out| compare("y", &out.values(output, y_elem), &expected, allowed, relative)),
    })
}

/// Rows of assignments in the order of the sort.
fn by_order(rows: &[f64], order: &[u32], width: usize) -> Vec<f64> {
    order.iter().flat_map(|assignment| rows[*assignment as usize * width..][..width].to_vec()).collect()
}

/// The four launches of a layer and their buffers: x, experts, expert weights, order, offsets, tiles, gate and up weights, down weights, scales where
/// the format has them, hidden values, contributions, y.
struct Chain {
    steps: Vec<Step>,
    buffers: Vec<Init>,
    hidden: usize,
    y: usize,
}

impl Chain {
    fn new(
        t: u32,
        first: Grouped,
        [x, experts, factors, y]: [Init; 4],
        weights: [[Init; 2]; 2],
        device: &Capabilities,
    ) -> Result<Self, KernelError> {
        let Shape { n_experts, n_active, d, i } = first.shape;
        let n = t * n_active;
        let second = Grouped { part: Part::Down, ..first };
        let words = |n: u32| Init::Zeros(4 * n as usize);
        let mut buffers = vec![x, experts, factors, words(n), words(n_experts + 1), words(2 + 2 * first.sort().max_tiles(n))];
        let mut bound = Vec::new();
        for [data, scales] in weights {
            let mut these = vec![buffers.len()];
            buffers.push(data);
            if first.format.has_scales() {
                these.push(buffers.len());
                buffers.push(scales);
            }
            bound.push(these);
        }
        let hidden = buffers.len();
        let (parts, last) = (hidden + 1, hidden + 2);
        buffers.push(Init::Zeros(first.hidden().bytes() * (n * i) as usize));
        buffers.push(words(n * d));
        buffers.push(y);
        let params = Params { x_stride: d, x_offset: 0 };
        let sizes = combine::Params { t, d, y_stride: d, y_offset: 0 };
        let step = |launch, buffers: Vec<usize>| Step { launch, buffers };
        let steps = vec![
            step(first.sort().launch(sort::Params { n }, device)?, vec![1, 3, 4, 5]),
            step(first.launch(params, n, device)?, [vec![0, 3, 4, 5], bound[0].clone(), vec![hidden]].concat()),
            step(second.launch(params, n, device)?, [vec![hidden, 3, 4, 5], bound[1].clone(), vec![parts]].concat()),
            step(Combine { n_active }.launch(sizes, device)?, vec![parts, 2, last]),
        ];
        Ok(Self { steps, buffers, hidden, y: last })
    }
}

/// A whole layer's experts, from experts and x to y.
fn layer(t: u32, spec: Grouped, device: &Capabilities) -> Result<Case, KernelError> {
    let Shape { n_experts, n_active, d, i } = spec.shape;
    let mut random = Random::new(u64::from(t) + 77);
    let experts = chosen(&mut random, t, spec.shape);
    let x = random.vector((t * d) as usize, 1.0);
    let factors = random.vector((t * n_active) as usize, 1.0);
    let y = random.vector((t * d) as usize, 1.0);
    let (data, scales, first) = quantized_stack(&mut random, spec.format, n_experts, 2 * i, d);
    let (down_data, down_scales, second) = quantized_stack(&mut random, spec.format, n_experts, d, i);
    let [first, second] = [first, second].map(|weights| rounded(&narrow(&weights), spec.tile));
    let hidden = gate_up(&rounded(&x, spec.tile), &experts, &first, d as usize, i as usize);
    let expected = down(&widen(&y), &hidden, &experts, &widen(&factors), &second, d as usize);
    // Hidden values are off by a share of themselves, which the sums of magnitudes carry to y.
    let magnitudes = |values: &[f64]| -> Vec<f64> { values.iter().map(|v| v.abs()).collect() };
    let sums = down(
        &vec![0.0; y.len()],
        &magnitudes(&hidden),
        &experts,
        &magnitudes(&widen(&factors)),
        &magnitudes(&second),
        d as usize,
    );
    let share = if spec.hidden() == Elem::F16 { HALF } else { 0.0 };
    let allowed = largest(&sums) * (share + 1e-5);
    let inputs = [Init::f32s(&x), Init::u32s(&experts), Init::f32s(&factors), Init::f32s(&y)];
    let Chain { steps, buffers, y, .. } = Chain::new(t, spec, inputs, [[data, scales], [down_data, down_scales]], device)?;
    Ok(Case {
        name: format!("layer of {} T={t}", steps[1].launch.program.name),
        buffers,
        work: Work::default(),
        steps,
        reads: vec![y],
        check: Box::new(move |out| compare("y", &out.f32s(y), &expected, allowed, 1e-6)),
    })
}

/// A layer at a model's size, with a sample of outputs checked: hidden values against x, and y against the hidden values that were found.
fn bench(t: u32, spec: Grouped, device: &Capabilities) -> Result<Case, KernelError> {
    let Shape { n_experts, n_active, d, i } = spec.shape;
    let n = t * n_active;
    let assigned = Assigned::new(t, spec);
    let mut random = Random::new(5);
    let x = random.vector((t * d) as usize, 1.0);
    let factors = random.vector(n as usize, 1.0);
    let format = spec.format;
    let first = RandomWeights { format, z: n_experts, o: 2 * i, i: d, seed: 3 };
    let second = RandomWeights { format, z: n_experts, o: d, i, seed: 4 };
    let inputs = [Init::f32s(&x), Init::u32s(&assigned.experts), Init::f32s(&factors), Init::Zeros(4 * (t * d) as usize)];
    let weights = [&first, &second].map(|weights| [weights.data(), weights.scales()]);
    let Chain { steps, buffers, hidden, y } = Chain::new(t, spec, inputs, weights, device)?;
    let one = bench_work(t, spec.shape, format, &assigned.experts, 2 * i, d);
    let two = bench_work(t, spec.shape, format, &assigned.experts, d, i);
    let bytes = one.bytes + two.bytes + 4.0 * f64::from(t) * f64::from(d) * 3.0;
    let places: Vec<(u32, u32)> = (0..32).map(|_| (random.below(n), random.below(i))).collect();
    let outputs: Vec<(u32, u32)> = (0..16).map(|_| (random.below(t), random.below(d))).collect();
    let row = move |weights: &RandomWeights, expert: u32, row: u32| rounded(&weights.row(expert, row), spec.tile);
    let relative = SILU + if spec.hidden() == Elem::F16 { HALF } else { 0.0 };
    let check = move |out: &Outputs| {
        let found = out.values(hidden, spec.hidden());
        let project = |&(place, column): &(u32, u32)| {
            let assignment = assigned.order[place as usize];
            let x = rounded(&x[(assignment / n_active * d) as usize..][..d as usize], spec.tile);
            [column, i + column].map(|at| dot(&row(&first, assigned.experts[assignment as usize], at), &x))
        };
        let projections: Vec<[f64; 2]> = places.iter().map(project).collect();
        let expected: Vec<f64> = projections.iter().map(|[gate, up]| gate / (1.0 + (-gate).exp()) * up).collect();
        let sampled: Vec<f32> = places.iter().map(|&(place, column)| found[(place * i + column) as usize]).collect();
        let error = 1e-6 * f64::from(d).sqrt() * largest_weight(format) * largest(&projections.concat());
        compare("sampled hidden", &sampled, &expected, 2.1 * error + 1e-7, relative)?;

        let mut places_of = vec![0; n as usize];
        for (place, assignment) in assigned.order.iter().enumerate() {
            places_of[*assignment as usize] = place;
        }
        let term = |slot: u32, at: u32| {
            let hidden = &found[places_of[slot as usize] * i as usize..][..i as usize];
            f64::from(factors[slot as usize]) * dot(&row(&second, assigned.experts[slot as usize], at), &widen(hidden))
        };
        let value = |&(token, at): &(u32, u32)| (token * n_active..(token + 1) * n_active).map(|slot| term(slot, at)).sum();
        let expected: Vec<f64> = outputs.iter().map(value).collect();
        let all = out.f32s(y);
        let sampled: Vec<f32> = outputs.iter().map(|&(token, at)| all[(token * d + at) as usize]).collect();
        let error = 1e-6 * f64::from(n_active * i).sqrt() * largest_weight(format) * largest(&widen(&found));
        compare("sampled y", &sampled, &expected, error, 1e-6)
    };
    Ok(Case {
        name: format!("layer of {} T={t}", steps[1].launch.program.name),
        buffers,
        work: Work { bytes, flops: one.flops + two.flops },
        steps,
        reads: vec![hidden, y],
        check: Box::new(check),
    })
}
