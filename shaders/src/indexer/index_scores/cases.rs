//! The suite and the benchmarks of the kernel, as data.

use super::spec::PAGE;
use super::{IndexScores, KeyFormat, Params, Tiling, Unit};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Outputs, Step, Work, Worst, f16_bits, f16_value};

/// One case: sizes, where the queries stand, and what of the result is checked.
struct Shape {
    spec: IndexScores,
    t: u32,
    s: u32,
    /// Position of the first query; the others follow it.
    first: u32,
    /// Random outputs that are checked; 0 checks all.
    samples: u32,
    /// Positions of the queries, each with a block table of its own; else they follow the first one with one table.
    own: &'static [u32],
}

/// The correctness cases that `device` offers: head counts from fewer than a padded row group to more than one round, every width, queries that end
/// in a page's first and last key, in the middle of a bucket, and in its last key.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    for keys in [KeyFormat::F32, KeyFormat::F16, KeyFormat::Fp8] {
        for (heads, dim, t, s, first) in [
            (64, 128, 1, 200, 199),
            (64, 128, 5, 400, 318),
            (16, 128, 3, 130, 62),
            (4, 32, 9, 70, 0),
            (4, 64, 2, 512, 100),
            (6, 48, 4, 65, 61),
            (96, 32, 2, 64, 62),
        ] {
            let spec = IndexScores::best(heads, dim, keys, t, device);
            found.push(case(&Shape { spec, t, s, first, samples: 0, own: &[] }, device)?);
        }
    }
    for keys in [KeyFormat::F32, KeyFormat::F16, KeyFormat::Fp8] {
        for (heads, dim) in [(4, 32), (64, 128), (96, 32)] {
            let spec = IndexScores::best_alone(heads, dim, keys, device);
            let own: &[u32] = &[0, 299, 64, 63, 130, 200];
            found.push(case(&Shape { spec, t: 6, s: 320, first: 0, samples: 0, own }, device)?);
        }
    }
    if device.features.coopmat {
        for tiling in tilings(device.subgroup.max) {
            let shapes =
                [(KeyFormat::F16, 64, 128), (KeyFormat::F16, 32, 64), (KeyFormat::F16, 16, 128), (KeyFormat::F16, 5, 32)];
            for (keys, heads, dim) in shapes.into_iter().chain([(KeyFormat::Fp8, 64, 128), (KeyFormat::Fp8, 5, 32)]) {
                let spec = IndexScores { heads, dim, keys, unit: Unit::Coopmat(tiling) };
                // Not every layout takes every number of heads.
                if spec.check(device).is_ok() {
                    found.push(case(&Shape { spec, t: 5, s: 400, first: 318, samples: 0, own: &[] }, device)?);
                }
            }
        }
    }
    Ok(found)
}

/// Layouts with every count of strips, groups, tiles and areas, with and without a block under way.
fn tilings(lanes: u32) -> Vec<Tiling> {
    let sizes = [
        (4, 1, 1, 4, 64, 1, false),
        (4, 4, 1, 1, 64, 1, true),
        (4, 4, 1, 1, 32, 2, false),
        (4, 4, 2, 1, 32, 1, true),
        (2, 8, 1, 1, 32, 2, true),
        (2, 2, 1, 2, 64, 2, false),
        (2, 2, 2, 2, 64, 1, true),
        (4, 1, 1, 1, 16, 1, false),
        (2, 4, 1, 1, 32, 1, true),
        (1, 4, 1, 2, 32, 2, true),
        (1, 1, 1, 4, 64, 1, false),
    ];
    let tiling = |(strips, groups, wide, key_groups, block, buffers, prefetch)| Tiling {
        lanes,
        strips,
        groups,
        wide,
        key_groups,
        block,
        buffers,
        workgroups: 4,
        prefetch,
    };
    sizes.map(tiling).to_vec()
}

/// The self-test: what is chosen for one query and for several, with keys of every format.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    for keys in [KeyFormat::F32, KeyFormat::F16, KeyFormat::Fp8] {
        for (heads, dim, t, s, first) in [(16, 128, 1, 200, 199), (4, 64, 5, 400, 318)] {
            let spec = IndexScores::best(heads, dim, keys, t, device);
            found.push(case(&Shape { spec, t, s, first, samples: 0, own: &[] }, device)?);
        }
    }
    Ok(found)
}

/// The benchmark cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    if !device.features.coopmat {
        for (keys, t, s) in [
            (KeyFormat::F32, 1, 131_072),
            (KeyFormat::F16, 1, 131_072),
            (KeyFormat::Fp8, 1, 131_072),
            (KeyFormat::F16, 16, 65_536),
        ] {
            let spec = IndexScores::best(64, 128, keys, t, device);
            found.push(case(&Shape { spec, t, s, first: s - t, samples: 4000, own: &[] }, device)?);
        }
        return Ok(found);
    }
    for keys in [KeyFormat::F16, KeyFormat::Fp8] {
        for (heads, t, s) in [
            (64, 1, 16_384),
            (64, 1, 131_072),
            (64, 2, 131_072),
            (64, 16, 16_384),
            (64, 16, 131_072),
            (64, 2048, 65_536),
            (16, 1, 4096),
            (16, 1, 131_072),
        ] {
            let spec = IndexScores::best(heads, 128, keys, t, device);
            let first = if t > 16 { s - 1 } else { s - t };
            found.push(case(&Shape { spec, t, s, first, samples: 4000, own: &[] }, device)?);
        }
    }
    Ok(found)
}

/// The value of an e4m3 byte without NaN.
fn e4m3(byte: u8) -> f64 {
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f64::from(byte & 7));
    let magnitude = if exponent == 0 { fraction * 2f64.powi(-9) } else { (1.0 + fraction / 8.0) * 2f64.powi(exponent - 7) };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// Random keys of `n_pages` pages, as the words of a cache.
fn random_cache(keys: KeyFormat, dim: u32, n_pages: u32, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed);
    let words = (n_pages * keys.page_bytes(dim) / 4) as usize;
    let half = |random: &mut Random| u32::from(f16_bits(random.signed()));
    match keys {
        KeyFormat::F32 => (0..words).map(|_| random.signed().to_bits()).collect(),
        KeyFormat::F16 => (0..words).map(|_| half(&mut random) | half(&mut random) << 16).collect(),
        KeyFormat::Fp8 => {
            let (page, planar) = (keys.page_bytes(dim) as usize / 4, (PAGE * dim / 4) as usize);
            let word = |i: usize| match i % page < planar {
                // Every byte but the two NaN, which differ from the largest finite value in one bit.
                true => (0..4).fold(0, |word, b| {
                    let byte = random.bits() as u32 & 0xFF;
                    word | (if byte & 0x7F == 0x7F { byte ^ 1 } else { byte }) << (8 * b)
                }),
                false => (2f32.powi(random.below(8) as i32 - 12)).to_bits(),
            };
            (0..words).map(word).collect()
        }
    }
}

/// Key `row` of a cache, widened, with its scale apart.
fn key_of(keys: KeyFormat, dim: u32, cache: &[u32], row: u32) -> (Vec<f64>, f64) {
    let (page, i) = (row / PAGE, row % PAGE);
    let start = (page * keys.page_bytes(dim) / 4) as usize;
    let dims = 0..dim as usize;
    match keys {
        KeyFormat::F32 => {
            let at = start + (i * dim) as usize;
            (dims.map(|d| f64::from(f32::from_bits(cache[at + d]))).collect(), 1.0)
        }
        KeyFormat::F16 => {
            let at = start + (i * dim / 2) as usize;
            (dims.map(|d| f64::from(f16_value((cache[at + d / 2] >> (16 * (d % 2))) as u16))).collect(), 1.0)
        }
        KeyFormat::Fp8 => {
            let at = start + (i * dim / 4) as usize;
            let scale = f32::from_bits(cache[start + (PAGE * dim / 4 + i) as usize]);
            (dims.map(|d| e4m3((cache[at + d / 4] >> (8 * (d % 4))) as u8)).collect(), f64::from(scale))
        }
    }
}

fn case(shape: &Shape, device: &Capabilities) -> Result<Case, KernelError> {
    let &Shape { spec, t, s, first, samples, own } = shape;
    let IndexScores { heads, dim, keys, .. } = spec;
    let (q_offset, w_offset) = (8, 3);
    let (q_stride, w_stride, scores_stride) = (heads * dim + 16, heads + 5, s.next_multiple_of(64));
    let n_pages = s.div_ceil(PAGE);
    let table_stride = if own.is_empty() { 0 } else { n_pages + 1 };
    let params = Params { t, s, q_stride, q_offset, w_stride, w_offset, scores_stride, table_stride };
    let launch = spec.launch(params, device)?;
    let mut random = Random::new(u64::from(t * 1000 + s + heads));
    // Queries are exact in f16, so that every permutation has the same truth.
    let rounded = |random: &mut Random| f16_value(f16_bits(random.signed()));
    let q: Vec<f32> = (0..q_offset + t * q_stride).map(|_| rounded(&mut random)).collect();
    let weights = random.vector((w_offset + t * w_stride) as usize, 1.0);
    // The last bucketed query may stand before the bucket's end, and the last page is one that only some queries reach.
    let following = || (0..t).map(|i| (first + i).min(s - 1)).collect();
    let positions: Vec<u32> = if own.is_empty() { following() } else { own.to_vec() };
    let mut block_table = Vec::new();
    for _ in 0..if own.is_empty() { 1 } else { t } {
        let mut table: Vec<u32> = (0..n_pages).collect();
        for i in (1..n_pages).rev() {
            table.swap(i as usize, random.below(i + 1) as usize);
        }
        block_table.extend(table);
        block_table.resize(block_table.len().next_multiple_of(table_stride.max(1) as usize), u32::MAX);
    }
    let cache = random_cache(keys, dim, n_pages, u64::from(s));
    let touched = f64::from(positions.iter().max().map_or(0, |&p| p + 1));
    let scored: f64 = positions.iter().map(|&p| f64::from(p + 1)).sum();
    let key_bytes = f64::from(keys.page_bytes(dim)) / f64::from(PAGE);
    let (rows, width) = (f64::from(t * heads), f64::from(dim));
    let work = Work {
        bytes: touched * key_bytes + 4.0 * (rows * (width + 1.0) + scored),
        flops: 2.0 * scored * f64::from(heads) * width,
    };
    let buffers = vec![
        Init::f32s(&q),
        Init::f32s(&weights),
        Init::u32s(&cache),
        Init::u32s(&block_table),
        Init::u32s(&positions),
        Init::Zeros((4 * t * scores_stride) as usize),
    ];
    let truth = move |t: u32, s: u32| {
        let (key, scale) = key_of(keys, dim, &cache, block_table[(t * table_stride + s / PAGE) as usize] * PAGE + s % PAGE);
        let at = (q_offset + t * q_stride) as usize;
        let q: Vec<f64> = q[at..at + (heads * dim) as usize].iter().map(|&v| f64::from(v)).collect();
        let at = (w_offset + t * w_stride) as usize;
        let w: Vec<f64> = weights[at..at + heads as usize].iter().map(|&v| f64::from(v)).collect();
        let score = super::index_scores(&q, &key, &w, heads as usize, dim as usize)[0] * scale;
        // An upper bound of what the sums add up, for their rounding.
        let absolute = |v: &[f64]| v.iter().map(|v| v.abs()).collect::<Vec<_>>();
        let terms = super::index_scores(&absolute(&q), &absolute(&key), &absolute(&w), heads as usize, dim as usize)[0];
        (score, terms * scale)
    };
    let check = move |out: &Outputs| {
        let found = out.f32s(5);
        let mut worst = 0f64;
        let mut judge = |t: u32, s: u32| {
            let (score, terms) = truth(t, s);
            let value = f64::from(found[(t * scores_stride + s) as usize]);
            // Sums of n terms in f32, in any order: their rounding errors walk at random, of 2^-24 each.
            let share = (value - score).abs() / (1e-6 * terms);
            worst = worst.max(share);
            if share <= 1.0 { Ok(()) } else { Err(format!("score[{t}, {s}] is {value}, expected {score} of terms {terms}")) }
        };
        if samples == 0 {
            for (t, &last) in positions.iter().enumerate() {
                (0..=last).try_for_each(|s| judge(t as u32, s))?;
                // What a query does not see is not written.
                let row = &found[t * scores_stride as usize..(t + 1) * scores_stride as usize];
                if let Some(s) = row.iter().skip(last as usize + 1).position(|&v| v != 0.0) {
                    return Err(format!("score[{t}, {}] is written, though the query stands at {last}", s + last as usize + 1));
                }
            }
        } else {
            let mut random = Random::new(7);
            for _ in 0..samples {
                let t = random.below(positions.len() as u32);
                judge(t, random.below(positions[t as usize] + 1))?;
            }
        }
        Ok(Worst(worst))
    };
    Ok(Case {
        name: format!("{} T={t} S={s}{}", launch.program.name, if own.is_empty() { "" } else { " own tables" }),
        buffers,
        steps: vec![Step { launch, buffers: vec![0, 1, 2, 3, 4, 5] }],
        reads: vec![5],
        work,
        check: Box::new(check),
    })
}
