//! The suite and the benchmarks of the kernel, as data.

use super::{Params, SAMPLE, TopK, key};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Launch, Outputs, Step, Work, Worst};

/// Rows of one case: what the scores are, how far each row sees, how many are selected.
struct Rows {
    name: &'static str,
    scores: Vec<f32>,
    stride: u32,
    positions: Vec<u32>,
    k: u32,
}

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let spec = TopK::best(device);
    let mut found = Vec::new();
    for rows in all_rows() {
        let params = rows.params();
        let (one, stream) = (spec.launch(params, device)?, spec.stream(params, device)?);
        if rows.stride >= 4096 {
            found.push(case(&rows, spec.split(params, device)?, spec.split_words(params)));
        }
        if one.program != stream.program {
            found.push(case(&rows, alone(stream), 0));
        }
        found.push(case(&rows, alone(one), 0));
    }
    Ok(found)
}

/// A launch that gives each row to one workgroup.
fn alone(launch: Launch) -> Vec<Step> {
    vec![Step { launch, buffers: vec![0, 1, 2] }]
}

/// A value for each index of rows that share `stride`; beyond what a row sees lies garbage that would win.
fn rows(name: &'static str, k: u32, stride: u32, lens: &[u32], mut value: impl FnMut(usize, u32, &mut Random) -> f32) -> Rows {
    let mut random = Random::new(u64::from(stride) * 31 + u64::from(k));
    let mut scores = Vec::with_capacity(lens.len() * stride as usize);
    for (row, &len) in lens.iter().enumerate() {
        for i in 0..stride {
            let garbage = if i % 2 == 0 { f32::INFINITY } else { f32::NAN };
            scores.push(if i < len { value(row, i, &mut random) } else { garbage });
        }
    }
    Rows { name, scores, stride, positions: lens.iter().map(|len| len - 1).collect(), k }
}

/// A number with a bell-shaped distribution of variance 1.
fn normal(random: &mut Random) -> f32 {
    (0..12).map(|_| random.signed()).sum::<f32>() * 0.5
}

/// The index that split.wgsl takes as sample `i` of a row of `len` scores.
fn sample_index(i: u32, len: u32) -> u32 {
    let mixed = (i ^ (i >> 4)).wrapping_mul(0x9E37_79B1);
    i * len / SAMPLE + (mixed >> 16) % (len / SAMPLE).max(1)
}

/// Rows of `len` scores of which all that are sampled are `sampled`, higher or lower than any other.
fn misled(name: &'static str, k: u32, len: u32, sampled: f32) -> Rows {
    let indices: Vec<u32> = (0..SAMPLE).map(|i| sample_index(i, len)).collect();
    rows(name, k, len, &[len, len], |row, i, random| {
        // The second row is sampled evenly.
        if row == 0 && indices.contains(&i) { sampled } else { random.signed() }
    })
}

/// What an indexer gives: sums over heads of what is left of products when negative ones are cut off.
fn head_sum(random: &mut Random) -> f32 {
    (0..16).map(|h| normal(random).max(0.0) * (h as f32 - 6.5) * 0.01).sum()
}

/// Any bits: denormals, infinities and NaN of both signs among them.
fn any_bits(random: &mut Random) -> f32 {
    f32::from_bits(random.bits() as u32)
}

fn all_rows() -> Vec<Rows> {
    let special =
        [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-45, -1e-45, 1e-39, f32::MIN_POSITIVE, 1.0];
    let mut all = vec![
        rows("L=1", 1, 4, &[1, 1], |_, _, random| random.signed()),
        rows("first token", 2048, 2052, &[1, 2, 3], |_, _, random| normal(random)),
        rows("L=k and L=k+1", 64, 72, &[64, 65, 63, 66, 1, 2], |_, _, random| normal(random)),
        rows("k=1", 1, 5000, &[4999, 5000, 1, 2, 4097], |_, _, random| normal(random)),
        rows("k=4096", 4096, 12_300, &[4096, 4097, 12_299, 8193, 100], |_, _, random| normal(random)),
        rows("ragged", 100, 2052, &[101, 257, 1023, 1025, 2047, 2050, 333], |_, _, random| normal(random)),
        rows("all equal", 2048, 9000, &[9000, 2049, 8999], |_, _, _| 0.25),
        rows("all NaN", 300, 1000, &[1000, 301], |_, _, _| f32::NAN),
        rows("NaN and −inf", 300, 9000, &[9000, 8999, 301], |_, i, _| if i % 64 == 7 { f32::NEG_INFINITY } else { f32::NAN }),
        rows(
            "NaN but one number too few",
            300,
            9000,
            &[9000],
            |_, i, _| if i % 31 == 30 && i < 31 * 299 { -1.0 } else { f32::NAN },
        ),
        rows("all −inf but few", 300, 6000, &[6000, 5999], |_, i, _| if i % 777 == 5 { 1.0 } else { f32::NEG_INFINITY }),
        rows("zeros of both signs", 1000, 5004, &[5001, 1001], |_, i, _| if i % 3 == 0 { -0.0 } else { 0.0 }),
        rows("plateau of zeros", 2048, 20_000, &[20_000, 19_997], |_, _, random| normal(random).max(1.0) - 1.0),
        rows("plateau above few", 2048, 20_000, &[20_000], |_, _, random| normal(random).min(-1.0)),
        rows("narrow", 500, 20_000, &[19_999, 7000], |_, _, random| 1.0 + random.signed() * 1e-4),
        rows("narrow with ties", 500, 20_000, &[19_999, 7000], |_, _, random| 1.0 + random.below(3) as f32 * 1.2e-7),
        rows("sums of heads", 2048, 8192, &[8192, 4112, 2049], |_, _, random| head_sum(random)),
        rows("sums of heads, long", 2048, 40_000, &[39_990, 2050, 20_001], |_, _, random| head_sum(random)),
        rows("one far above all", 2048, 16_384, &[16_384, 9000], |_, i, random| if i == 77 { 1e30 } else { normal(random) }),
        rows("more bins than one round tells apart", 500, 20_000, &[19_999, 7000], |_, i, random| {
            normal(random) * 10f32.powi(-((i % 9) as i32) * 4)
        }),
        rows("largest numbers", 300, 9000, &[9000, 8999], |_, _, random| random.signed() * f32::MAX),
        rows(
            "few steps above a plateau",
            2048,
            40_000,
            &[40_000, 39_001],
            |_, i, _| if i % 21 == 0 { (i % 5) as f32 } else { 0.0 },
        ),
        rows("longer than K by little", 4096, 8192, &[4097, 4200, 4608, 5300], |_, _, random| random.below(900) as f32),
        misled("sampled scores are the highest", 2048, 40_000, 2.0),
        misled("sampled scores are the lowest", 2048, 140_000, -2.0),
        rows("any bits", 700, 5000, &[5000, 4999, 701, 703], |_, _, random| any_bits(random)),
        rows("denormals", 700, 5000, &[5000, 4999], |_, _, random| f32::from_bits((random.bits() as u32) & 0x8000_00FF)),
        rows("special values", 37, 400, &[400, 399, 38, 200], move |_, _, random| special[random.below(11) as usize]),
        rows("borders of bins", 900, 8000, &[8000, 7998], |_, _, random| {
            let border = (random.below(8) + 0xC00) << (20 - random.below(2) * 10);
            f32::from_bits(border.wrapping_add(random.below(3)).wrapping_sub(1) & 0x7FFF_FFFF)
        }),
        rows("one bin, many keys", 2500, 40_000, &[39_998], |_, _, random| f32::from_bits(0x3F80_0000 + random.below(1 << 19))),
        rows("rising", 2048, 40_000, &[40_000, 33_000], |_, i, _| i as f32),
        rows("falling", 2048, 40_000, &[40_000, 33_000], |_, i, _| -(i as f32)),
        rows("beyond one map", 2048, 140_000, &[140_000, 131_073, 131_071], |_, _, random| normal(random)),
        rows(
            "equal beyond one map",
            4096,
            140_000,
            &[140_000, 135_000],
            |_, i, _| if i < 132_000 { 0.0 } else { (i % 2) as f32 },
        ),
    ];
    for (name, values, k) in [("2 values", 2, 100), ("3 values", 3, 2048), ("50 values", 50, 2048), ("1000 values", 1000, 777)] {
        all.push(rows(name, k, 9004, &[9001, 4500, 2049, 9004], move |_, _, random| {
            random.below(values) as f32 - values as f32 / 2.0
        }));
    }
    all
}

/// The selection of one row, by sorting: what the oracle says, in time for long rows.
pub(super) fn expected(scores: &[f32], k: usize) -> Vec<i32> {
    let mut order: Vec<i32> = (0..scores.len() as i32).collect();
    order.sort_by_key(|&i| (!key(scores[i as usize]), i));
    order.truncate(k);
    order.sort_unstable();
    order.resize(k, -1);
    order
}

fn expected_rows(rows: &Rows) -> Vec<i32> {
    let each = rows.scores.chunks(rows.stride as usize).zip(&rows.positions);
    each.flat_map(|(scores, &position)| expected(&scores[..=position as usize], rows.k as usize)).collect()
}

impl Rows {
    fn params(&self) -> Params {
        Params { rows: self.positions.len() as u32, k: self.k, stride: self.stride }
    }
}

fn case(rows: &Rows, steps: Vec<Step>, scratch_words: u64) -> Case {
    let t = rows.positions.len() as u32;
    let expected = expected_rows(rows);
    let seen: u32 = rows.positions.iter().map(|position| position + 1).sum();
    Case {
        name: format!("{} {} T={t} S={} K={}", steps[0].launch.program.name, rows.name, rows.stride, rows.k),
        buffers: vec![
            Init::f32s(&rows.scores),
            Init::u32s(&rows.positions),
            Init::RandomWords { n: (t * rows.k) as usize, seed: 1 },
            Init::RandomWords { n: scratch_words as usize, seed: 2 },
        ],
        work: Work { bytes: 4.0 * f64::from(seen + t * rows.k), flops: 0.0 },
        steps,
        reads: vec![2],
        check: Box::new(move |out| same(out, 2, &expected)),
    }
}

fn same(out: &Outputs, buffer: usize, expected: &[i32]) -> Result<Worst, String> {
    let found = out.i32s(buffer);
    match found.iter().zip(expected).position(|(found, expected)| found != expected) {
        Some(i) => Err(format!("selected[{i}] is {}, expected {}", found[i], expected[i])),
        None => Ok(Worst(0.0)),
    }
}

/// The self-test: rows with and without ties, in one launch and in two.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let spec = TopK::best(device);
    let mut found = Vec::new();
    for rows in [
        rows("ragged", 100, 2052, &[101, 257, 1023, 2050], |_, _, random| normal(random)),
        rows("sums of heads", 2048, 8192, &[8192, 4112, 2049], |_, _, random| head_sum(random)),
        rows("narrow with ties", 500, 8192, &[8192, 7000], |_, _, random| 1.0 + random.below(3) as f32 * 1.2e-7),
    ] {
        let params = rows.params();
        if rows.stride >= 4096 {
            found.push(case(&rows, spec.split(params, device)?, spec.split_words(params)));
        }
        found.push(case(&rows, alone(spec.launch(params, device)?), 0));
    }
    Ok(found)
}

/// The benchmark cases that `device` offers: decode and prefill of long contexts.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let spec = TopK::best(device);
    let mut found = Vec::new();
    for fill in [Fill::Normal, Fill::Heads, Fill::Equal] {
        found.push(bench(spec, fill, 1, 8192, false, device)?);
    }
    for len in [16_384, 65_536, 131_072] {
        for t in [1, 16] {
            found.push(bench(spec, Fill::Normal, t, len, false, device)?);
            found.push(bench(spec, Fill::Normal, t, len, true, device)?);
        }
    }
    for fill in [Fill::Heads, Fill::Equal, Fill::Plateau, Fill::Narrow] {
        found.push(bench(spec, fill, 1, 131_072, false, device)?);
        found.push(bench(spec, fill, 1, 131_072, true, device)?);
    }
    // A binding of the base tier holds no more than 512 such rows.
    let t = (device.limits.max_binding_bytes / (4 * 65_536)).min(2048) as u32;
    for fill in [Fill::Normal, Fill::Equal, Fill::Plateau, Fill::Narrow] {
        found.push(bench(spec, fill, t, 65_536, false, device)?);
    }
    Ok(found)
}

/// What the rows of a benchmark hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    Normal,
    /// Sums over heads, as an indexer gives them.
    Heads,
    /// One value.
    Equal,
    /// Most scores are one value, fewer than `K` are above it.
    Plateau,
    /// All in a ten-thousandth of their size.
    Narrow,
}

/// Rows of `len` scores, each in one workgroup or, where `split`, in many.
fn bench(spec: TopK, fill: Fill, t: u32, len: u32, split: bool, device: &Capabilities) -> Result<Case, KernelError> {
    let k = 2048;
    let params = Params { rows: t, k, stride: len };
    let (steps, scratch_words) = match split {
        true => (spec.split(params, device)?, spec.split_words(params)),
        false => (alone(spec.launch(params, device)?), 0),
    };
    // Few different rows, repeated: every row is its own memory, and the expected rows stay cheap.
    let different = t.min(8);
    let mut random = Random::new(u64::from(len));
    let mut value = || match fill {
        Fill::Normal => normal(&mut random),
        Fill::Heads => head_sum(&mut random),
        Fill::Equal => 0.0,
        Fill::Plateau => normal(&mut random).max(2.2) - 2.2,
        Fill::Narrow => 1.0 + normal(&mut random) * 1e-4,
    };
    let scores: Vec<f32> = (0..different * len).map(|_| value()).collect();
    let expected: Vec<i32> = scores.chunks(len as usize).flat_map(|row| expected(row, k as usize)).collect();
    let repeated: Vec<u8> = bytemuck::cast_slice(&scores).repeat((t / different) as usize);
    let name = format!("{} {fill:?} T={t} S={len} K={k}", steps[0].launch.program.name);
    Ok(Case {
        name,
        buffers: vec![
            Init::Bytes(repeated),
            Init::u32s(&vec![len - 1; t as usize]),
            Init::Zeros((4 * t * k) as usize),
            Init::Zeros(4 * scratch_words as usize),
        ],
        work: Work { bytes: 4.0 * f64::from(t) * f64::from(len + k), flops: 0.0 },
        steps,
        reads: vec![2],
        check: Box::new(move |out| same(out, 2, &expected.repeat((t / different) as usize))),
    })
}
