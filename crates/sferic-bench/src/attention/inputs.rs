//! Random inputs of one layer, as the host makes and reads them.

use super::launches::{PAGE, SCALE};
use super::shape::{CacheDtype, Shape};
use sferic_shaders::kernel::random::Random;
use sferic_shaders::kernel::{e4m3_value, f16_bits, f16_value};

/// Standard deviation of the scores that attention sees: some rows matter more than others.
pub(super) const SPREAD: f32 = 2.0;

/// What the host keeps of the first set, for the gate.
pub(super) struct Inputs {
    shape: Shape,
    dtype: CacheDtype,
    /// Physical page of each page of the context.
    pub(super) block_table: Vec<u32>,
    pub(super) keys: Vec<u8>,
    pub(super) latents: Vec<u8>,
    pub(super) queries: Queries,
}

/// What depends on the queries.
pub(super) struct Queries {
    /// `[T, Hi, Di]`, each value exact in f16.
    pub(super) index: Vec<f32>,
    /// `[T, Hi]`
    pub(super) weights: Vec<f32>,
    /// `[T, H, C + R]`
    pub(super) attention: Vec<f32>,
}

impl Queries {
    pub(super) fn new(shape: Shape, t: u32, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let n = |each: u32| (t * each) as usize;
        let index = (0..n(shape.index_heads * shape.index_width)).map(|_| f16_value(f16_bits(random.signed()))).collect();
        let weights = random.vector(n(shape.index_heads), 1.0);
        // Values of queries and rows have a standard deviation of 0.58 times their scale, and of about 0.45.
        let scale = SPREAD / (SCALE * 0.26 * (shape.row() as f32).sqrt());
        Self { index, weights, attention: random.vector(n(shape.heads * shape.row()), scale) }
    }
}

impl Inputs {
    /// Caches of `len` tokens in pages of any order.
    pub(super) fn new(shape: Shape, dtype: CacheDtype, [t, len]: [u32; 2]) -> Self {
        let mut random = Random::new(u64::from(len));
        let n_pages = len.div_ceil(PAGE);
        let mut block_table: Vec<u32> = (0..n_pages).collect();
        for i in (1..n_pages).rev() {
            block_table.swap(i as usize, random.below(i + 1) as usize);
        }
        let keys = random_keys(shape, dtype, n_pages, &mut random);
        let latents = random_latents(shape, dtype, n_pages * PAGE, &mut random);
        Self { shape, dtype, block_table, keys, latents, queries: Queries::new(shape, t, 0) }
    }

    fn place(&self, position: u32) -> (usize, usize) {
        (self.block_table[(position / PAGE) as usize] as usize, (position % PAGE) as usize)
    }

    /// The key of a token, with its scale multiplied in.
    pub(super) fn key(&self, position: u32) -> Vec<f64> {
        let (page, i) = self.place(position);
        let width = self.shape.index_width as usize;
        let page = &self.keys[page * self.dtype.keys().page_bytes(self.shape.index_width) as usize..];
        match self.dtype {
            CacheDtype::F16 => halves(&page[2 * i * width..2 * (i + 1) * width]).collect(),
            CacheDtype::Fp8 => {
                let scale = float(&page[PAGE as usize * width + 4 * i..]);
                page[i * width..(i + 1) * width].iter().map(|&code| f64::from(e4m3_value(code)) * scale).collect()
            }
        }
    }

    /// Appends the latent row of a token.
    pub(super) fn row(&self, position: u32, out: &mut Vec<f64>) {
        let (page, i) = self.place(position);
        let bytes = self.dtype.latents().row_bytes(self.shape.latent, self.shape.rotated) as usize;
        let row = &self.latents[(page * PAGE as usize + i) * bytes..][..bytes];
        match self.dtype {
            CacheDtype::F16 => out.extend(halves(row)),
            CacheDtype::Fp8 => {
                let latent = self.shape.latent as usize;
                let (codes, rest) = row.split_at(latent);
                let (scales, rotated) = rest.split_at(latent / 32);
                out.extend(
                    codes.iter().enumerate().map(|(d, &code)| f64::from(e4m3_value(code)) * float(&scales[d / 128 * 4..])),
                );
                out.extend(rotated.chunks_exact(2).map(|b| float(&[0, 0, b[0], b[1]])));
            }
        }
    }
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes.chunks_exact(2).map(|b| f64::from(f16_value(u16::from_le_bytes([b[0], b[1]]))))
}

fn float(bytes: &[u8]) -> f64 {
    f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// e4m3 codes without NaN, eight at a time.
fn codes(random: &mut Random) -> [u8; 8] {
    random.bits().to_le_bytes().map(|code| if code & 0x7F == 0x7F { code & 0x80 } else { code })
}

/// Keys whose values are between −1 and 1 (f16), or any finite codes under scales that are powers of two.
fn random_keys(shape: Shape, dtype: CacheDtype, n_pages: u32, random: &mut Random) -> Vec<u8> {
    let values = (PAGE * shape.index_width) as usize;
    let mut keys = Vec::with_capacity(n_pages as usize * dtype.keys().page_bytes(shape.index_width) as usize);
    for _ in 0..n_pages {
        match dtype {
            CacheDtype::F16 => keys.extend((0..values).flat_map(|_| f16_bits(random.signed()).to_le_bytes())),
            CacheDtype::Fp8 => {
                keys.extend((0..values / 8).flat_map(|_| codes(random)));
                keys.extend((0..PAGE).flat_map(|_| 2_f32.powi(random.below(4) as i32 - 10).to_le_bytes()));
            }
        }
    }
    keys
}

/// Rows with values of any sign between 1/16 and 1 (f16, bf16), or any finite codes with scales of 2^-8 or 2^-9.
fn random_latents(shape: Shape, dtype: CacheDtype, n_rows: u32, random: &mut Random) -> Vec<u8> {
    let bytes = (n_rows * dtype.latents().row_bytes(shape.latent, shape.rotated)) as usize;
    let mut latents = Vec::with_capacity(bytes);
    match dtype {
        CacheDtype::F16 => {
            while latents.len() < bytes {
                // The exponent field becomes 11 to 14.
                let four = (random.bits() & 0x8FFF_8FFF_8FFF_8FFF) + 0x2C00_2C00_2C00_2C00;
                latents.extend_from_slice(&four.to_le_bytes());
            }
        }
        CacheDtype::Fp8 => {
            for _ in 0..n_rows {
                latents.extend((0..shape.latent / 8).flat_map(|_| codes(random)));
                latents.extend((0..shape.latent / 128).flat_map(|_| 2_f32.powi(-8 - random.below(2) as i32).to_le_bytes()));
                latents.extend((0..shape.rotated).flat_map(|_| {
                    let [_, _, low, high] = random.signed().to_le_bytes();
                    [low, high]
                }));
            }
        }
    }
    latents
}
