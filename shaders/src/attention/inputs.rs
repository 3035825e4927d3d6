//! Inputs and verdicts that the suites of the attention kernels share.

use super::mla_decode::{LatentFormat, Slots, mla_decode};
use crate::kernel::random::Random;
use crate::kernel::{Check, Init, Outputs, Worst, compare, f16_value};
use crate::quant::e4m3::decode;

/// Softmax scale of every case (spec §2.3).
pub(crate) const SCALE: f32 = 0.135_233_78;
/// Where the first query starts.
pub(crate) const Q_OFFSET: u32 = 4;
/// Where the first output starts.
pub(crate) const U_OFFSET: u32 = 8;

/// What a case attends to.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    /// Latent rank `C`.
    pub(crate) c: u32,
    /// Rotated width `R`.
    pub(crate) r: u32,
    /// Format of the cache.
    pub(crate) format: LatentFormat,
    /// What is attended to.
    pub(crate) slots: Slots,
    /// Queries.
    pub(crate) t: u32,
    /// Heads.
    pub(crate) h: u32,
    /// Slots of a query; in a dense case, the context.
    pub(crate) n_slots: u32,
    /// Positions in the cache.
    pub(crate) context: u32,
    /// Standard deviation of the scores.
    pub(crate) spread: f32,
    /// How far the scores grow with the position.
    pub(crate) growth: f32,
    /// Filled slots of each query, repeated; in a dense case, positions + 1.
    pub(crate) filled: &'static [u32],
    /// Whether each query has a block table of its own.
    pub(crate) own_tables: bool,
}

/// The inputs of a case.
pub(crate) struct Inputs {
    pub(crate) q: Vec<f32>,
    pub(crate) cache: Vec<u8>,
    /// One, or one after the other for each query.
    pub(crate) block_table: Vec<u32>,
    /// Entries from the table of a query to that of the next, or 0.
    pub(crate) table_stride: u32,
    /// Positions of each query's slots, −1 where unfilled.
    pub(crate) slots: Vec<Vec<i64>>,
}

impl Inputs {
    /// The block table of query `t`.
    pub(crate) fn table(&self, t: usize) -> &[u32] {
        match self.table_stride as usize {
            0 => &self.block_table,
            stride => &self.block_table[t * stride..(t + 1) * stride],
        }
    }
}

impl Setup {
    fn width(&self) -> usize {
        (self.c + self.r) as usize
    }

    fn filled(&self, t: usize) -> u32 {
        self.filled[t % self.filled.len()]
    }

    /// Values between two rows of the query buffer.
    pub(crate) fn q_stride(&self) -> u32 {
        self.h * (self.c + self.r) + 8
    }

    /// Values between two rows of the output buffer.
    pub(crate) fn u_stride(&self) -> u32 {
        self.h * self.c + 12
    }

    /// Values of the output buffer.
    pub(crate) fn u_len(&self) -> usize {
        (U_OFFSET + self.t * self.u_stride()) as usize
    }

    /// Random inputs, the same for the same sizes.
    pub(crate) fn inputs(&self) -> Inputs {
        let mut random = Random::new(u64::from(self.n_slots * 31 + self.h));
        let width = self.width();
        // Queries and rows have a standard deviation of 0.58 and about 0.45.
        let q_scale = self.spread / (SCALE * 0.26 * (width as f32).sqrt());
        let mut q = random.vector((Q_OFFSET + self.t * self.q_stride()) as usize, q_scale);
        let pages = self.context.div_ceil(64) + 1;
        let n_tables = if self.own_tables { self.t } else { 1 };
        let mut block_table = Vec::new();
        for _ in 0..n_tables {
            let mut table: Vec<u32> = (0..pages).collect();
            for i in (1..pages).rev() {
                table.swap(i as usize, random.below(i + 1) as usize);
            }
            block_table.extend(table);
        }
        let mut cache = self.cache_rows(pages as usize * 64, &mut random);
        // Scores grow along one table.
        if self.growth > 0.0 && !self.own_tables {
            for t in 0..self.t {
                for head in 0..self.h as usize {
                    q[(Q_OFFSET + t * self.q_stride()) as usize + head * width] = self.growth / SCALE;
                }
            }
            self.grow(&mut cache, &block_table);
        }
        let slots = (0..self.t as usize).map(|t| self.slots(t, &mut random)).collect();
        Inputs { q, cache, block_table, table_stride: if self.own_tables { pages } else { 0 }, slots }
    }

    /// Sets the first value of each row to its position over the context; in e4m3, to the nearest below of 1/16 … 1.
    fn grow(&self, cache: &mut [u8], block_table: &[u32]) {
        let bytes = self.format.row_bytes(self.c, self.r) as usize;
        for s in 0..self.context {
            let at = (block_table[s as usize / 64] * 64 + s % 64) as usize * bytes;
            let value = s as f32 / self.context as f32;
            match self.format {
                LatentFormat::F32 => cache[at..at + 4].copy_from_slice(&value.to_le_bytes()),
                LatentFormat::F16 => cache[at..at + 2].copy_from_slice(&crate::kernel::f16_bits(value).to_le_bytes()),
                // 8 codes for each power of two; 0x78 is 256.
                LatentFormat::Fp8 => {
                    cache[at] = 0x58 + (value * 32.0) as u8;
                    cache[at + 512..at + 516].copy_from_slice(&(1.0 / 256.0_f32).to_le_bytes());
                }
            }
        }
    }

    fn slots(&self, t: usize, random: &mut Random) -> Vec<i64> {
        let filled = self.filled(t);
        if self.slots == Slots::Dense {
            return (0..i64::from(filled)).collect();
        }
        // Each remaining position is taken with the probability that leaves exactly enough.
        let mut slots = Vec::new();
        for s in 0..self.context {
            if random.below(self.context - s) < filled - slots.len() as u32 {
                slots.push(i64::from(s));
            }
        }
        slots.resize(self.n_slots as usize, -1);
        slots
    }

    /// The buffer of `selected` or of `positions`.
    pub(crate) fn slots_init(&self, inputs: &Inputs) -> Init {
        match self.slots {
            Slots::Selected => Init::i32s(&inputs.slots.iter().flatten().map(|&s| s as i32).collect::<Vec<_>>()),
            Slots::Dense => Init::u32s(&inputs.slots.iter().map(|slots| slots.len() as u32 - 1).collect::<Vec<_>>()),
        }
    }

    /// Filled slots of all queries.
    pub(crate) fn slots_in_all(&self, inputs: &Inputs) -> f64 {
        inputs.slots.iter().map(|s| s.iter().filter(|&&s| s >= 0).count() as f64).sum()
    }

    /// A verdict over every output in buffer `u`, against the oracle.
    pub(crate) fn check(&self, inputs: &Inputs, u: usize, tolerance: f64) -> Check {
        let (width, h, n) = (self.width(), self.h as usize, self.n_slots as usize);
        let rows: Vec<f64> = (0..inputs.table(0).len() * 64).flat_map(|row| self.row_values(&inputs.cache, row)).collect();
        let mut expected = Vec::new();
        for (t, slots) in inputs.slots.iter().enumerate() {
            let at = (Q_OFFSET + t as u32 * self.q_stride()) as usize;
            let q: Vec<f64> = inputs.q[at..at + h * width].iter().map(|&v| f64::from(v)).collect();
            let mut slots = slots.clone();
            slots.resize(n, -1);
            let sizes = [h, width, n];
            expected.push(mla_decode(&q, &rows, inputs.table(t), &slots, sizes, self.c as usize, f64::from(SCALE)));
        }
        let stride = self.u_stride();
        Box::new(move |out: &Outputs| {
            let (u, mut worst) = (out.f32s(u), 0.0_f64);
            for (t, expected) in expected.iter().enumerate() {
                let at = (U_OFFSET + t as u32 * stride) as usize;
                worst = worst.max(compare(&format!("u[{t}]"), &u[at..at + expected.len()], expected, tolerance, tolerance)?.0);
            }
            let row = stride as usize - 12;
            let between = u[U_OFFSET as usize..].chunks(stride as usize).flat_map(|chunk| &chunk[row.min(chunk.len())..]);
            if between.chain(&u[..U_OFFSET as usize]).any(|&v| v != 0.0) {
                return Err("a value between two rows of u was overwritten".into());
            }
            Ok(Worst(worst))
        })
    }

    /// A verdict that looks at the first and the last head of the last query only.
    pub(crate) fn check_ends(&self, inputs: Inputs, u: usize, tolerance: f64) -> Check {
        let (setup, width, c) = (*self, self.width(), self.c as usize);
        Box::new(move |out: &Outputs| {
            let (u, t) = (out.f32s(u), setup.t - 1);
            let slots: Vec<usize> = inputs.slots[t as usize].iter().filter_map(|&s| usize::try_from(s).ok()).collect();
            let row = |s: usize| setup.row_values(&inputs.cache, inputs.table(t as usize)[s / 64] as usize * 64 + s % 64);
            let mut worst = 0.0_f64;
            for head in [0, setup.h as usize - 1] {
                let at = (Q_OFFSET + t * setup.q_stride()) as usize + head * width;
                let q: Vec<f64> = inputs.q[at..at + width].iter().map(|&v| f64::from(v) * f64::from(SCALE)).collect();
                let scores: Vec<f64> = slots.iter().map(|&s| crate::dot(&q, &row(s))).collect();
                let largest = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
                let total: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
                let mut expected = vec![0.0; c];
                for (&s, score) in slots.iter().zip(&scores) {
                    let p = (score - largest).exp() / total;
                    expected.iter_mut().zip(row(s)).for_each(|(u, v)| *u += p * v);
                }
                let at = (U_OFFSET + t * setup.u_stride()) as usize + head * c;
                worst = worst.max(compare(&format!("u of head {head}"), &u[at..at + c], &expected, tolerance, tolerance)?.0);
            }
            Ok(Worst(worst))
        })
    }

    /// Random rows: values with random signs between 1/16 and 1 (f16, bf16), any finite codes with scales 2^-8 or 2^-9 (e4m3).
    fn cache_rows(&self, rows: usize, random: &mut Random) -> Vec<u8> {
        let bytes = rows * self.format.row_bytes(self.c, self.r) as usize;
        match self.format {
            LatentFormat::F32 => (0..bytes / 4).flat_map(|_| random.signed().to_le_bytes()).collect(),
            LatentFormat::F16 => {
                let mut cache = Vec::with_capacity(bytes + 8);
                while cache.len() < bytes {
                    // The exponent field becomes 11 to 14.
                    let halves = (random.bits() & 0x8FFF_8FFF_8FFF_8FFF) + 0x2C00_2C00_2C00_2C00;
                    cache.extend_from_slice(&halves.to_le_bytes());
                }
                cache.truncate(bytes);
                cache
            }
            LatentFormat::Fp8 => {
                let mut cache = Vec::with_capacity(bytes);
                for _ in 0..rows {
                    for _ in 0..64 {
                        let mut codes = random.bits().to_le_bytes();
                        for code in codes.iter_mut().filter(|code| **code & 0x7F == 0x7F) {
                            *code &= 0x80;
                        }
                        cache.extend_from_slice(&codes);
                    }
                    let scales = random.bits();
                    for tile in 0..4 {
                        let scale = if scales >> tile & 1 == 0 { 1.0 / 256.0 } else { 1.0 / 512.0_f32 };
                        cache.extend_from_slice(&scale.to_le_bytes());
                    }
                    for _ in 0..64 {
                        cache.extend_from_slice(&random.signed().to_le_bytes()[2..]);
                    }
                }
                cache
            }
        }
    }

    /// The values of a physical row.
    fn row_values(&self, cache: &[u8], row: usize) -> Vec<f64> {
        let bytes = self.format.row_bytes(self.c, self.r) as usize;
        let row = &cache[row * bytes..(row + 1) * bytes];
        let float = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        match self.format {
            LatentFormat::F32 => row.chunks_exact(4).map(float).collect(),
            LatentFormat::F16 => row.chunks_exact(2).map(|b| f64::from(f16_value(u16::from_le_bytes([b[0], b[1]])))).collect(),
            LatentFormat::Fp8 => {
                let latent = row[..512].iter().enumerate().map(|(i, &code)| decode(code) * float(&row[512 + i / 128 * 4..]));
                let rotated = row[528..].chunks_exact(2).map(|b| float(&[0, 0, b[0], b[1]]));
                latent.chain(rotated).collect()
            }
        }
    }
}
