//! Storage formats of weight matrices `[O, I]`: their bytes, their rounding on the host, and random ones for cases.
//!
//! A matrix is row-major and bound as `array<vec4<u32>>`. FP8 has one f32 scale for each block of 128×128; q8 and q4 have one f16 scale for
//! each group of 32 along `I`, and `value = code · scale`. Stacked matrices `[Z, O, I]` lie one after the other, and so do their scales.

use self::quantize::Fp8Scale;
use super::random::Random;
use super::{Elem, Init, KernelError, Limits, f16_bits, f16_value};

mod quantize;

/// Number format of a stored weight matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// e4m3fn with f32 scales `[ceil(O/128), ceil(I/128)]`.
    Fp8,
    /// Signed bytes with f16 scales `[O, I/32]`.
    Q8,
    /// Nibbles, lower first, less 8, with f16 scales `[O, I/32]`.
    Q4,
}

impl WeightFormat {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::Bf16, Self::Fp8, Self::Q8, Self::Q4];
    /// Values along `I` that share a scale in q8 and q4.
    pub const GROUP: usize = 32;
    /// The side of the block that shares a scale in FP8.
    pub const BLOCK: usize = 128;

    /// Its name in permutation ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// Values in 16 bytes.
    pub fn values_per_vector(self) -> u32 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 8,
            Self::Fp8 | Self::Q8 => 16,
            Self::Q4 => 32,
        }
    }

    /// What `I` must be a multiple of.
    pub fn alignment(self) -> u32 {
        if self == Self::Q8 { Self::GROUP as u32 } else { self.values_per_vector() }
    }

    /// Whether the values have scales, in a buffer of their own.
    pub fn has_scales(self) -> bool {
        matches!(self, Self::Fp8 | Self::Q8 | Self::Q4)
    }

    /// Bytes of the values of one matrix.
    pub fn bytes(self, o: u32, i: u32) -> u64 {
        u64::from(o) * u64::from(i) * 16 / u64::from(self.values_per_vector())
    }

    /// Bytes of the scales of one matrix, not padded to words.
    pub fn scale_bytes(self, o: u32, i: u32) -> u64 {
        let block = Self::BLOCK as u32;
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 0,
            Self::Fp8 => 4 * u64::from(o.div_ceil(block)) * u64::from(i.div_ceil(block)),
            Self::Q8 | Self::Q4 => 2 * u64::from(o) * u64::from(i / Self::GROUP as u32),
        }
    }

    /// Checks that `z` stacked matrices `[o, i]` can be stored and bound.
    ///
    /// # Errors
    /// [`KernelError`] for an empty or ragged `I`, no rows, or more bytes than one binding.
    pub fn check(self, kernel: &str, z: u32, o: u32, i: u32, limits: &Limits) -> Result<(), KernelError> {
        if i == 0 || !i.is_multiple_of(self.alignment()) {
            let expected = format!("a multiple of {} for {} weights", self.alignment(), self.name());
            return Err(KernelError::shape(kernel, "width I", expected, u64::from(i)));
        }
        for (what, n) in [("rows O", o), ("matrices Z", z)] {
            if n == 0 {
                return Err(KernelError::shape(kernel, what, "at least 1", 0));
            }
        }
        let bytes = u64::from(z) * self.bytes(o, i);
        if bytes > limits.max_binding_bytes {
            return Err(KernelError::limit(kernel, "bytes of weights in one binding", bytes, limits.max_binding_bytes));
        }
        Ok(())
    }

    /// Rounds `values`, `[o, i]` row-major, to this format.
    pub fn quantize(self, values: &[f32], o: usize, i: usize) -> Weights {
        assert_eq!(values.len(), o * i, "one value for each element");
        assert!(i.is_multiple_of(self.alignment() as usize), "I suits the format");
        let (data, scales) = match self {
            Self::F32 => (values.iter().flat_map(|v| v.to_le_bytes()).collect(), Vec::new()),
            Self::F16 => (values.iter().flat_map(|&v| f16_bits(v).to_le_bytes()).collect(), Vec::new()),
            Self::Bf16 => (values.iter().flat_map(|&v| bf16_bits(v).to_le_bytes()).collect(), Vec::new()),
            Self::Fp8 => quantize::fp8(values, o, i, Fp8Scale::Best),
            Self::Q8 => quantize::q8(values),
            Self::Q4 => quantize::q4(values),
        };
        Weights { format: self, o, i, data, scales }
    }

    /// Rounds `values`, `[o, i]` row-major, to FP8 whose scales are powers of two, as DeepSeek-V3.2 stores them.
    pub fn quantize_fp8_by_powers_of_two(values: &[f32], o: usize, i: usize) -> Weights {
        assert_eq!(values.len(), o * i, "one value for each element");
        let (data, scales) = quantize::fp8(values, o, i, Fp8Scale::PowerOfTwo);
        Weights { format: Self::Fp8, o, i, data, scales }
    }

    /// Appends the values of one row, widened: `data` holds its codes, `scales` its scales, those of its row of blocks in FP8.
    pub fn dequantize_row(self, data: &[u8], scales: &[u8], out: &mut Vec<f32>) {
        let half = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
        match self {
            Self::F32 => out.extend(data.chunks_exact(4).map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]]))),
            Self::F16 => out.extend(data.chunks_exact(2).map(|v| f16_value(half(v)))),
            Self::Bf16 => out.extend(data.chunks_exact(2).map(|v| f32::from_bits(u32::from(half(v)) << 16))),
            Self::Fp8 => {
                for (codes, scale) in data.chunks(Self::BLOCK).zip(scales.chunks_exact(4)) {
                    let scale = f32::from_le_bytes([scale[0], scale[1], scale[2], scale[3]]);
                    out.extend(codes.iter().map(|&code| e4m3_value(code) * scale));
                }
            }
            Self::Q8 => {
                for (codes, scale) in data.chunks_exact(Self::GROUP).zip(scales.chunks_exact(2)) {
                    let scale = f16_value(half(scale));
                    out.extend(codes.iter().map(|&code| f32::from(code as i8) * scale));
                }
            }
            Self::Q4 => {
                for (codes, scale) in data.chunks_exact(Self::GROUP / 2).zip(scales.chunks_exact(2)) {
                    let scale = f16_value(half(scale));
                    out.extend(
                        codes.iter().flat_map(|&pair| [pair & 0xF, pair >> 4]).map(|code| (f32::from(code) - 8.0) * scale),
                    );
                }
            }
        }
    }
}

/// A matrix `[o, i]` as a kernel binds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Format of the values.
    pub format: WeightFormat,
    /// Rows.
    pub o: usize,
    /// Columns.
    pub i: usize,
    /// The values.
    pub data: Vec<u8>,
    /// Their scales; empty where the format has none.
    pub scales: Vec<u8>,
}

impl Weights {
    /// The stored values, widened: what a kernel computes with.
    pub fn dequantize(&self) -> Vec<f32> {
        (0..self.o).flat_map(|row| self.dequantize_row(row)).collect()
    }

    /// One row of [`Self::dequantize`].
    pub fn dequantize_row(&self, row: usize) -> Vec<f32> {
        let bytes = self.format.bytes(1, self.i as u32) as usize;
        let scale_bytes = self.format.scale_bytes(1, self.i as u32) as usize;
        let scale_row = if self.format == WeightFormat::Fp8 { row / WeightFormat::BLOCK } else { row };
        let mut values = Vec::with_capacity(self.i);
        let scales = &self.scales[scale_row * scale_bytes..][..scale_bytes];
        self.format.dequantize_row(&self.data[row * bytes..][..bytes], scales, &mut values);
        values
    }
}

/// Random stacked matrices that are made on demand: weights of a benchmark, too large to keep twice.
#[derive(Debug, Clone, Copy)]
pub struct RandomWeights {
    /// Format of the values.
    pub format: WeightFormat,
    /// Matrices in the stack.
    pub z: u32,
    /// Rows of each.
    pub o: u32,
    /// Columns of each.
    pub i: u32,
    /// Where the generator starts.
    pub seed: u64,
}

impl RandomWeights {
    /// Bits of random words that stay: e4m3 codes, f16 and bf16 numbers below 2, so that none is NaN.
    const MASK: u32 = 0xBFBF_BFBF;
    const MASK_HALVES: u32 = 0xBFFF_BFFF;
    /// Half the width of the range of f32 values and of scales.
    const SCALE: f32 = 0.1;

    /// The buffer of the values.
    pub fn data(&self) -> Init {
        self.values(self.z as usize * self.o as usize, self.seed)
    }

    /// The buffer of the scales.
    pub fn scales(&self) -> Init {
        let bytes = u64::from(self.z) * self.format.scale_bytes(self.o, self.i);
        let elem = if self.format == WeightFormat::Fp8 { Elem::F32 } else { Elem::F16 };
        Init::Random { elem, n: bytes as usize / elem.bytes(), scale: Self::SCALE, seed: !self.seed }
    }

    /// Row `row` of matrix `z`, dequantised, without making the rest.
    pub fn row(&self, z: u32, row: u32) -> Vec<f32> {
        let i = self.i as usize;
        let at = z as usize * self.o as usize + row as usize;
        // One draw for a float, or for a word.
        let draws = match self.format {
            WeightFormat::F32 => i,
            _ => self.format.bytes(1, self.i) as usize / 4,
        };
        let data = self.values(1, Random::new(self.seed).skip(at * draws).state()).bytes();
        let (first, n) = match self.format {
            WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16 => (0, 0),
            WeightFormat::Fp8 => {
                let (rows, columns) = ((self.o as usize).div_ceil(WeightFormat::BLOCK), i.div_ceil(WeightFormat::BLOCK));
                ((z as usize * rows + row as usize / WeightFormat::BLOCK) * columns, columns)
            }
            WeightFormat::Q8 | WeightFormat::Q4 => (at * i / WeightFormat::GROUP, i / WeightFormat::GROUP),
        };
        let elem = if self.format == WeightFormat::Fp8 { Elem::F32 } else { Elem::F16 };
        let seed = Random::new(!self.seed).skip(first).state();
        let scales = Init::Random { elem, n, scale: Self::SCALE, seed }.bytes();
        Weights { format: self.format, o: 1, i, data, scales }.dequantize_row(0)
    }

    fn values(&self, rows: usize, seed: u64) -> Init {
        let n = rows * self.i as usize;
        let words = rows * self.format.bytes(1, self.i) as usize / 4;
        match self.format {
            WeightFormat::F32 => Init::Random { elem: Elem::F32, n, scale: Self::SCALE, seed },
            WeightFormat::F16 | WeightFormat::Bf16 => Init::RandomMasked { n: words, mask: Self::MASK_HALVES, seed },
            WeightFormat::Fp8 => Init::RandomMasked { n: words, mask: Self::MASK, seed },
            WeightFormat::Q8 | WeightFormat::Q4 => Init::RandomWords { n: words, seed },
        }
    }
}

/// Rounds to the nearest bf16, ties to even.
pub fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) as u16
}

/// Widens an e4m3fn code.
pub fn e4m3_value(code: u8) -> f32 {
    if code & 0x7F == 0x7F {
        return f32::NAN;
    }
    // Sign, exponent and mantissa at the places of an f16, whose bias is larger by 8.
    f16_value(u16::from(code & 0x80) << 8 | u16::from(code & 0x7F) << 7) * 256.0
}

/// Rounds to the nearest e4m3fn code, ties to even; values beyond ±448 become ±448.
pub fn e4m3_bits(value: f32) -> u8 {
    let sign = (value.to_bits() >> 24) as u8 & 0x80;
    let magnitude = value.abs();
    if magnitude.is_nan() {
        return sign | 0x7F;
    }
    // The addition rounds the mantissa to three bits, or to multiples of 2^-9 below the smallest normal number.
    let exponent = ((magnitude.to_bits() >> 23) as i32 - 127).max(-6);
    let unit = 2.0_f32.powi(exponent - 3);
    let rounded = (magnitude / unit).round_ties_even() * unit;
    sign | (f16_bits(rounded.min(448.0) / 256.0) >> 7) as u8
}

#[cfg(test)]
mod tests;
