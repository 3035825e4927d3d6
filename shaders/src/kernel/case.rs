//! Cases: kernels with their inputs and what their outputs must be, as data that any runner can take.

use super::{Elem, Launch, random::Random};

/// What a buffer holds before the first step.
#[derive(Debug, Clone)]
pub enum Init {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many zero bytes.
    Zeros(usize),
    /// Random numbers in `[-scale, scale)`: for benchmarks, whose buffers are too large to keep twice.
    Random {
        /// Format of the values.
        elem: Elem,
        /// How many.
        n: usize,
        /// Half the width of the range.
        scale: f32,
        /// Where the generator starts.
        seed: u64,
    },
    /// So many random 32-bit words: packed weights of a benchmark.
    RandomWords {
        /// How many.
        n: usize,
        /// Where the generator starts.
        seed: u64,
    },
    /// So many random 32-bit words with only the bits of a mask.
    RandomMasked {
        /// How many.
        n: usize,
        /// The bits that may be set.
        mask: u32,
        /// Where the generator starts.
        seed: u64,
    },
}

impl Init {
    /// 32-bit floats.
    pub fn f32s(values: &[f32]) -> Self {
        Self::Bytes(bytemuck::cast_slice(values).to_vec())
    }

    /// 32-bit words.
    pub fn u32s(values: &[u32]) -> Self {
        Self::Bytes(bytemuck::cast_slice(values).to_vec())
    }

    /// Signed 32-bit words.
    pub fn i32s(values: &[i32]) -> Self {
        Self::Bytes(bytemuck::cast_slice(values).to_vec())
    }

    /// Values rounded to `elem`.
    pub fn values(elem: Elem, values: &[f32]) -> Self {
        match elem {
            Elem::F32 => Self::f32s(values),
            Elem::F16 => Self::Bytes(values.iter().flat_map(|&v| f16_bits(v).to_le_bytes()).collect()),
        }
    }

    /// The bytes, padded to whole words.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Zeros(n) => vec![0; *n],
            Self::Random { elem, n, scale, seed } => {
                let mut random = Random::new(*seed);
                match elem {
                    Elem::F32 => (0..*n).flat_map(|_| (random.signed() * scale).to_le_bytes()).collect(),
                    Elem::F16 => (0..*n).flat_map(|_| f16_bits(random.signed() * scale).to_le_bytes()).collect(),
                }
            }
            Self::RandomWords { n, seed } => random_words(*n, u32::MAX, *seed),
            Self::RandomMasked { n, mask, seed } => random_words(*n, *mask, *seed),
        };
        bytes.resize(bytes.len().next_multiple_of(4).max(4), 0);
        bytes
    }
}

fn random_words(n: usize, mask: u32, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let words: Vec<u32> = (0..n).map(|_| random.bits() as u32 & mask).collect();
    bytemuck::cast_slice(&words).to_vec()
}

/// One launch of a case with the buffers that it binds, as indices into [`Case::buffers`].
#[derive(Debug, Clone)]
pub struct Step {
    /// The launch.
    pub launch: Launch,
    /// Its buffers, in the order of the program's bindings.
    pub buffers: Vec<usize>,
}

/// What a case moves and computes at least, for its rates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// Bytes that must cross the memory bus once.
    pub bytes: f64,
    /// Floating-point operations, two for a multiply-add.
    pub flops: f64,
}

/// The buffers after the last step.
#[derive(Debug)]
pub struct Outputs(pub Vec<Vec<u8>>);

impl Outputs {
    /// Buffer `i` as 32-bit floats.
    pub fn f32s(&self, i: usize) -> Vec<f32> {
        self.0[i].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// Buffer `i` as words.
    pub fn u32s(&self, i: usize) -> Vec<u32> {
        self.0[i].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// Buffer `i` as signed words.
    pub fn i32s(&self, i: usize) -> Vec<i32> {
        self.0[i].chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// Buffer `i` in `elem`, widened.
    pub fn values(&self, i: usize, elem: Elem) -> Vec<f32> {
        match elem {
            Elem::F32 => self.f32s(i),
            Elem::F16 => self.0[i].chunks_exact(2).map(|b| f16_value(u16::from_le_bytes([b[0], b[1]]))).collect(),
        }
    }
}

/// Judges the buffers after the last step; the error says what is wrong where.
pub type Check = Box<dyn Fn(&Outputs) -> Result<Worst, String> + Send + Sync>;

/// A test or a benchmark: inputs, launches, verdict.
pub struct Case {
    /// Permutation and shape, unique in its suite.
    pub name: String,
    /// What each buffer holds at first.
    pub buffers: Vec<Init>,
    /// The launches, in order.
    pub steps: Vec<Step>,
    /// Buffers that the check reads; the others come back empty.
    pub reads: Vec<usize>,
    /// Its work.
    pub work: Work,
    /// Its verdict.
    pub check: Check,
}

/// The largest error of a comparison as a share of what was allowed; below 1 passes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Worst(pub f64);

/// Compares with `|found − expected| ≤ absolute + relative·|expected|` everywhere.
///
/// # Errors
/// The first index that differs by more, with both values; or the two lengths.
pub fn compare(what: &str, found: &[f32], expected: &[f64], absolute: f64, relative: f64) -> Result<Worst, String> {
    if found.len() < expected.len() {
        return Err(format!("{what}: {} values, expected {}", found.len(), expected.len()));
    }
    let mut worst = 0.0_f64;
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        if f64::from(f) == e || (f.is_nan() && e.is_nan()) {
            continue;
        }
        let share = (f64::from(f) - e).abs() / (absolute + relative * e.abs());
        if share > 1.0 || share.is_nan() {
            return Err(format!("{what}[{i}] is {f}, expected {e} (allowed {absolute:e} + {relative:e} relative)"));
        }
        worst = worst.max(share);
    }
    Ok(Worst(worst))
}

/// Rounds to the nearest f16, ties to even.
pub fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7FFF_FFFF;
    if magnitude > 0x7F80_0000 {
        return sign | 0x7E00;
    }
    if magnitude >= 0x477F_F000 {
        return sign | 0x7C00;
    }
    if magnitude < 0x3880_0000 {
        // Below the smallest normal: the addition rounds at the last bit of an f16 subnormal.
        let scaled = f32::from_bits(magnitude) + 0.5;
        return sign | (scaled.to_bits() - 0x3F00_0000) as u16;
    }
    let odd = (magnitude >> 13) & 1;
    sign | ((magnitude - 0x3800_0000 + 0xFFF + odd) >> 13) as u16
}

/// Widens an f16.
pub fn f16_value(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1F;
    let fraction = u32::from(bits) & 0x3FF;
    match exponent {
        0 => f32::from_bits(sign) + if sign == 0 { 1.0 } else { -1.0 } * fraction as f32 * 2.0_f32.powi(-24),
        31 => f32::from_bits(sign | 0x7F80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}
