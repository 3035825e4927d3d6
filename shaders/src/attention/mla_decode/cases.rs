//! The suite and the benchmarks of the kernel, as data.

use super::{LatentFormat, MlaDecode, Sizes, Slots, Tiles, mla_decode};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Step, Work, compare, f16_value};
use crate::quant::e4m3::decode;

/// Softmax scale of every case (spec §2.3).
const SCALE: f32 = 0.135_233_78;

/// What a case attends to.
struct Setup {
    spec: MlaDecode,
    t: u32,
    h: u32,
    /// Slots of a query; in a dense case, the context.
    n_slots: u32,
    /// Positions in the cache.
    context: u32,
    n_splits: u32,
    /// Standard deviation of the scores.
    spread: f32,
    /// How far the scores grow with the position.
    growth: f32,
    /// Filled slots of each query, repeated; in a dense case, positions + 1.
    filled: &'static [u32],
}

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    use LatentFormat::{F16, F32, Fp8};
    use Slots::{Dense, Selected};
    let fma = |c, r, heads, format, slots| MlaDecode { c, r, format, slots, tiles: Tiles::Fma { heads } };
    let mut setups = vec![
        setup(fma(32, 16, 4, F32, Selected), [3, 2, 70, 200], 2, &[70, 65, 3]),
        setup(fma(64, 24, 8, F16, Dense), [2, 8, 200, 200], 3, &[200, 130]),
        setup(fma(40, 8, 4, F32, Dense), [1, 3, 64, 64], 1, &[64]),
        setup(fma(64, 32, 8, F32, Dense), [1, 5, 64, 64], 2, &[1]),
    ];
    let mut specs: Vec<_> =
        [F32, F16, Fp8].into_iter().flat_map(|f| [fma(512, 64, 16, f, Selected), fma(512, 64, 16, f, Dense)]).collect();
    specs.extend(coop_specs(device));
    for spec in specs {
        let heads = if spec.heads() == 32 { 40 } else { 16 };
        match spec.slots {
            Selected => {
                setups.push(setup(spec, [4, heads, 100, 300], 3, &[100, 0, 1, 70]));
                setups.push(setup(spec, [1, 16, 64, 64], 1, &[64]));
            }
            Dense => setups.push(setup(spec, [3, heads, 200, 200], 2, &[200, 1, 97])),
        }
        // Scores that grow along one split: the running maximum must rise in every step.
        setups.push(Setup { growth: 60.0, spread: 1.0, ..setup(spec, [1, 16, 256, 256], 1, &[256]) });
    }
    setups.iter().map(|setup| case(setup, device)).collect()
}

/// The permutations with cooperative matrices, or what emulates them where an adapter has subgroups of 8 and no matrices.
fn coop_specs(device: &Capabilities) -> Vec<MlaDecode> {
    let (lanes, fixed) = (device.subgroup.max, device.subgroup.min == device.subgroup.max);
    let emulated = !device.features.coopmat && device.features.subgroups && device.features.f16 && lanes == 8;
    let mut specs = Vec::new();
    if !fixed || !(emulated || device.features.coopmat) {
        return specs;
    }
    for (format, slots) in [
        (LatentFormat::F16, Slots::Selected),
        (LatentFormat::F16, Slots::Dense),
        (LatentFormat::Fp8, Slots::Selected),
        (LatentFormat::Fp8, Slots::Dense),
    ] {
        for head_tiles in [1, 2] {
            let spec = MlaDecode { c: 512, r: 64, format, slots, tiles: Tiles::Coop { head_tiles, lanes, emulated } };
            if spec.workgroup_bytes() <= device.limits.max_workgroup_bytes {
                specs.push(spec);
            }
        }
    }
    specs
}

/// The benchmark cases that `device` offers: the shapes of V3.2 (128 heads) and of V2-Lite (16).
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    for (t, h, format) in [
        (1, 128, LatentFormat::F16),
        (16, 128, LatentFormat::F16),
        (1, 128, LatentFormat::Fp8),
        (16, 128, LatentFormat::Fp8),
        (1, 16, LatentFormat::F16),
    ] {
        let spec = MlaDecode::best(512, 64, h, format, Slots::Selected, device);
        for n_splits in splits_to_try(spec, t, h, 2048) {
            let filled: &[u32] = &[2048];
            found.push(bench(&setup(spec, [t, h, 2048, 16_384], n_splits, filled), device)?);
        }
    }
    for (h, context, filled) in
        [(128, 4096, &[4096_u32]), (128, 16_384, &[16_384]), (128, 131_072, &[131_072]), (16, 16_384, &[16_384])]
    {
        if u64::from(context) * 1152 > device.limits.max_binding_bytes {
            continue;
        }
        let spec = MlaDecode::best(512, 64, h, LatentFormat::F16, Slots::Dense, device);
        for n_splits in splits_to_try(spec, 1, h, context) {
            found.push(bench(&setup(spec, [1, h, context, context], n_splits, filled), device)?);
        }
    }
    Ok(found)
}

/// The splits that the kernel chooses, half and twice as many.
fn splits_to_try(spec: MlaDecode, t: u32, h: u32, n_slots: u32) -> Vec<u32> {
    let chosen = spec.splits(t, h, n_slots);
    vec![chosen, (chosen / 2).max(1)]
}

fn setup(spec: MlaDecode, [t, h, n_slots, context]: [u32; 4], n_splits: u32, filled: &'static [u32]) -> Setup {
    Setup { spec, t, h, n_slots, context, n_splits, spread: 2.0, growth: 0.0, filled }
}

/// The inputs of a case.
struct Inputs {
    q: Vec<f32>,
    cache: Vec<u8>,
    block_table: Vec<u32>,
    /// Positions of each query's slots, −1 where unfilled.
    slots: Vec<Vec<i64>>,
}

impl Setup {
    fn width(&self) -> usize {
        (self.spec.c + self.spec.r) as usize
    }

    fn filled(&self, t: usize) -> u32 {
        self.filled[t % self.filled.len()]
    }

    fn sizes(&self) -> Sizes {
        let (q_row, u_row) = (self.h * (self.spec.c + self.spec.r), self.h * self.spec.c);
        Sizes {
            t: self.t,
            h: self.h,
            q_stride: q_row + 8,
            q_offset: 4,
            u_stride: u_row + 12,
            u_offset: 8,
            n_slots: self.n_slots,
            n_splits: self.n_splits,
            scale: SCALE,
        }
    }

    fn inputs(&self) -> Inputs {
        let mut random = Random::new(u64::from(self.n_slots * 31 + self.h));
        let (sizes, width) = (self.sizes(), self.width());
        // Queries and rows have a standard deviation of 0.58 and about 0.45.
        let q_scale = self.spread / (SCALE * 0.26 * (width as f32).sqrt());
        let mut q = random.vector((sizes.q_offset + self.t * sizes.q_stride) as usize, q_scale);
        let pages = self.context.div_ceil(64) + 1;
        let mut block_table: Vec<u32> = (0..pages).collect();
        for i in (1..pages).rev() {
            block_table.swap(i as usize, random.below(i + 1) as usize);
        }
        let mut cache = cache_rows(self.spec, pages as usize * 64, &mut random);
        if self.growth > 0.0 {
            for head in 0..self.h as usize {
                q[sizes.q_offset as usize + head * width] = self.growth / SCALE;
            }
            self.grow(&mut cache, &block_table);
        }
        let slots = (0..self.t as usize).map(|t| self.slots(t, &mut random)).collect();
        Inputs { q, cache, block_table, slots }
    }

    /// Sets the first value of each row to its position over the context; in e4m3, to the nearest below of 1/16 … 1.
    fn grow(&self, cache: &mut [u8], block_table: &[u32]) {
        let bytes = self.spec.format.row_bytes(self.spec.c, self.spec.r) as usize;
        for s in 0..self.context {
            let at = (block_table[s as usize / 64] * 64 + s % 64) as usize * bytes;
            let value = s as f32 / self.context as f32;
            match self.spec.format {
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
        if self.spec.slots == Slots::Dense {
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

    /// What rounding may do: in f32, exponents up to 90 and sums of some thousand terms; with matrices, the query rounded to 11 bits (four
    /// standard deviations of the error of a score) and probabilities rounded to 11 bits. Both are relative to values of about 1.
    fn tolerance(&self) -> f64 {
        match self.spec.tiles {
            Tiles::Fma { .. } => 2e-5,
            Tiles::Coop { .. } => 1e-3 * f64::from(self.spread + self.growth / 4.0) + 5e-4,
        }
    }

    /// The case without its verdict.
    fn base(&self, inputs: &Inputs, device: &Capabilities) -> Result<Case, KernelError> {
        let (spec, sizes) = (self.spec, self.sizes());
        let [partial, combine] = spec.launch(&sizes, device)?;
        let name = &partial.program.name;
        let name = format!("{name} T={} H={} K={} splits={} growth={}", self.t, self.h, self.n_slots, self.n_splits, self.growth);
        let slots = match spec.slots {
            Slots::Selected => Init::i32s(&inputs.slots.iter().flatten().map(|&s| s as i32).collect::<Vec<_>>()),
            Slots::Dense => Init::u32s(&inputs.slots.iter().map(|slots| slots.len() as u32 - 1).collect::<Vec<_>>()),
        };
        let u_len = (sizes.u_offset + self.t * sizes.u_stride) as usize;
        // Garbage in the scratch buffers: what was not written must not count.
        let garbage = |n| Init::Bytes(vec![0xFF; 4 * n]);
        let slots_in_all: f64 = inputs.slots.iter().map(|s| s.iter().filter(|&&s| s >= 0).count() as f64).sum();
        let outputs = f64::from(self.t * self.h * (2 * spec.c + spec.r));
        Ok(Case {
            name,
            buffers: vec![
                Init::f32s(&inputs.q),
                Init::Bytes(inputs.cache.clone()),
                Init::u32s(&inputs.block_table),
                slots,
                garbage(spec.partials_len(&sizes)),
                garbage(spec.stats_len(&sizes)),
                Init::Zeros(4 * u_len),
            ],
            steps: vec![
                Step { launch: partial, buffers: vec![0, 1, 2, 3, 4, 5] },
                Step { launch: combine, buffers: vec![4, 5, 6] },
            ],
            reads: vec![6],
            work: Work {
                bytes: slots_in_all * f64::from(spec.format.row_bytes(spec.c, spec.r)) + 4.0 * outputs,
                flops: 2.0 * slots_in_all * f64::from(self.h * (2 * spec.c + spec.r)),
            },
            check: Box::new(|_| Ok(crate::kernel::Worst(0.0))),
        })
    }
}

fn case(setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let inputs = setup.inputs();
    let (spec, sizes) = (setup.spec, setup.sizes());
    let (width, h, n) = (setup.width(), setup.h as usize, setup.n_slots as usize);
    let rows: Vec<f64> = (0..inputs.block_table.len() * 64).flat_map(|row| row_values(spec, &inputs.cache, row)).collect();
    let mut expected = Vec::new();
    for (t, slots) in inputs.slots.iter().enumerate() {
        let at = (sizes.q_offset + t as u32 * sizes.q_stride) as usize;
        let q: Vec<f64> = inputs.q[at..at + h * width].iter().map(|&v| f64::from(v)).collect();
        let mut slots = slots.clone();
        slots.resize(n, -1);
        expected.push(mla_decode(&q, &rows, &inputs.block_table, &slots, [h, width, n], spec.c as usize, f64::from(SCALE)));
    }
    let tolerance = setup.tolerance();
    let check = Box::new(move |out: &crate::kernel::Outputs| {
        let (u, mut worst) = (out.f32s(6), 0.0_f64);
        for (t, expected) in expected.iter().enumerate() {
            let at = (sizes.u_offset + t as u32 * sizes.u_stride) as usize;
            worst = worst.max(compare(&format!("u[{t}]"), &u[at..at + expected.len()], expected, tolerance, tolerance)?.0);
        }
        Ok(crate::kernel::Worst(worst))
    });
    Ok(Case { check, ..setup.base(&inputs, device)? })
}

/// A case whose check looks at the first and the last head of the last query only.
fn bench(setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let inputs = setup.inputs();
    let case = setup.base(&inputs, device)?;
    let (spec, sizes, width, c) = (setup.spec, setup.sizes(), setup.width(), setup.spec.c as usize);
    let (t, tolerance) = (setup.t - 1, setup.tolerance());
    let heads = [0, setup.h as usize - 1];
    let check = Box::new(move |out: &crate::kernel::Outputs| {
        let u = out.f32s(6);
        let slots: Vec<usize> = inputs.slots[t as usize].iter().filter_map(|&s| usize::try_from(s).ok()).collect();
        let row = |s: usize| row_values(spec, &inputs.cache, inputs.block_table[s / 64] as usize * 64 + s % 64);
        let mut worst = 0.0_f64;
        for head in heads {
            let at = (sizes.q_offset + t * sizes.q_stride) as usize + head * width;
            let q: Vec<f64> = inputs.q[at..at + width].iter().map(|&v| f64::from(v) * f64::from(SCALE)).collect();
            let scores: Vec<f64> = slots.iter().map(|&s| crate::dot(&q, &row(s))).collect();
            let largest = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let total: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
            let mut expected = vec![0.0; c];
            for (&s, score) in slots.iter().zip(&scores) {
                let p = (score - largest).exp() / total;
                expected.iter_mut().zip(row(s)).for_each(|(u, v)| *u += p * v);
            }
            let at = (sizes.u_offset + t * sizes.u_stride) as usize + head * c;
            worst = worst.max(compare(&format!("u of head {head}"), &u[at..at + c], &expected, tolerance, tolerance)?.0);
        }
        Ok(crate::kernel::Worst(worst))
    });
    Ok(Case { check, ..case })
}

/// Random rows: values with random signs between 1/16 and 1 (f16, bf16), any finite codes with scales 2^-8 or 2^-9 (e4m3).
fn cache_rows(spec: MlaDecode, rows: usize, random: &mut Random) -> Vec<u8> {
    let bytes = rows * spec.format.row_bytes(spec.c, spec.r) as usize;
    match spec.format {
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
fn row_values(spec: MlaDecode, cache: &[u8], row: usize) -> Vec<f64> {
    let bytes = spec.format.row_bytes(spec.c, spec.r) as usize;
    let row = &cache[row * bytes..(row + 1) * bytes];
    let float = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    match spec.format {
        LatentFormat::F32 => row.chunks_exact(4).map(float).collect(),
        LatentFormat::F16 => row.chunks_exact(2).map(|b| f64::from(f16_value(u16::from_le_bytes([b[0], b[1]])))).collect(),
        LatentFormat::Fp8 => {
            let latent = row[..512].iter().enumerate().map(|(i, &code)| decode(code) * float(&row[512 + i / 128 * 4..]));
            let rotated = row[528..].chunks_exact(2).map(|b| float(&[0, 0, b[0], b[1]]));
            latent.chain(rotated).collect()
        }
    }
}
