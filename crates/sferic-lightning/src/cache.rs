//! The caches of all sequences: pages of latent rows and index keys, one buffer for each layer.
//!
//! A buffer for each layer keeps every binding small: a whole cache may be far larger than the adapter's largest buffer. The buffers begin
//! small and double when a sequence needs more pages; what they hold is copied.

use crate::architecture::{Architecture, Selection};
use crate::pages::{OutOfPages, PAGE, Pages, Table};
use sferic_gpu::{Buffer, Device, GpuError};
use sferic_shaders::kernel::f16_bits;
use sferic_shaders::kernel::random::Random;
use sferic_shaders::rope::append::Format;

/// Number formats of the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFormats {
    /// Latent rows.
    pub latent: Format,
    /// Index keys.
    pub index: Format,
}

impl CacheFormats {
    /// As exact as it gets.
    pub const F32: Self = Self { latent: Format::F32, index: Format::F32 };
    /// Half the bytes, 11 bits of precision.
    pub const F16: Self = Self { latent: Format::F16, index: Format::F16 };
    /// As DeepSeek serves its models: e4m3 with power-of-two scales.
    pub const FP8: Self = Self { latent: Format::Fp8, index: Format::Fp8 };

    /// Bytes of one page in one layer: latent rows, and index keys where the layer has an indexer.
    pub fn page_bytes(self, architecture: &Architecture, selection: Selection) -> [u64; 2] {
        let latent = self.latent.latent_words(architecture.kv_rank as u32, architecture.d_rope as u32);
        let index = match (&architecture.indexer, selection) {
            (Some(indexer), Selection::Own) => self.index.index_page_words(indexer.d_head as u32),
            _ => 0,
        };
        [4 * PAGE as u64 * u64::from(latent), 4 * u64::from(index)]
    }

    /// Bytes of one page in all layers.
    pub fn bytes(self, architecture: &Architecture) -> u64 {
        architecture.layers.iter().flat_map(|layer| self.page_bytes(architecture, layer.selection)).sum()
    }
}

/// No page can be had for a sequence.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The caches may not grow any further.
    #[error(transparent)]
    Full(#[from] OutOfPages),
    /// The device has no room for them.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// The buffers of one layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerCache {
    pub(crate) latent: Buffer,
    /// A word in layers without an indexer.
    pub(crate) index: Buffer,
}

/// Pages with their buffers.
#[derive(Debug)]
pub(crate) struct Caches {
    pub(crate) pages: Pages,
    pub(crate) layers: Vec<LayerCache>,
    /// Counts the times that the buffers have been replaced.
    pub(crate) generation: u64,
    page_bytes: Vec<[u64; 2]>,
    formats: CacheFormats,
    most_pages: usize,
}

/// Random numbers. In FP8 every word is four codes and, as a scale or two bf16 numbers, neither NaN nor large.
fn random_bytes(random: &mut Random, format: Format, bytes: usize) -> Vec<u8> {
    match format {
        Format::F32 => (0..bytes / 4).flat_map(|_| random.signed().to_le_bytes()).collect(),
        Format::F16 => (0..bytes / 2).flat_map(|_| f16_bits(random.signed()).to_le_bytes()).collect(),
        Format::Fp8 => (0..bytes / 4).flat_map(|_| (random.bits() as u32 & 0x80BF_80BF | 0x3C00_3C00).to_le_bytes()).collect(),
    }
}

impl Caches {
    /// Pages at first.
    const FIRST: usize = 16;

    /// Makes caches that may grow to `most_pages`, fewer where the adapter's largest binding says so.
    pub(crate) fn new(
        device: &Device,
        architecture: &Architecture,
        formats: CacheFormats,
        most_pages: usize,
    ) -> Result<Self, GpuError> {
        let page_bytes: Vec<_> =
            architecture.layers.iter().map(|layer| formats.page_bytes(architecture, layer.selection)).collect();
        let largest = page_bytes.iter().flatten().copied().max().unwrap_or(1).max(1);
        let most_pages = most_pages.min((device.largest_buffer() / largest) as usize);
        let mut caches = Self { pages: Pages::new(0), layers: Vec::new(), generation: 0, page_bytes, formats, most_pages };
        caches.layers = caches.allocate(device, Self::FIRST.min(most_pages))?;
        caches.pages.grow(Self::FIRST.min(most_pages));
        Ok(caches)
    }

    fn allocate(&self, device: &Device, n_pages: usize) -> Result<Vec<LayerCache>, GpuError> {
        let layer = |[latent, index]: &[u64; 2]| {
            Ok(LayerCache {
                latent: device.allocate("latent cache", latent * n_pages as u64)?,
                index: device.allocate("index cache", index * n_pages as u64)?,
            })
        };
        self.page_bytes.iter().map(layer).collect()
    }

    /// Lengthens `table` to `n_tokens`; the buffers grow when there are too few pages.
    pub(crate) fn reserve(&mut self, device: &Device, table: &mut Table, n_tokens: usize) -> Result<(), CacheError> {
        let needed = n_tokens.div_ceil(PAGE).saturating_sub(table.pages.len());
        let (total, free) = (self.pages.total(), self.pages.free());
        if needed > free && total < self.most_pages {
            let grown = (2 * total).max(total + needed - free).min(self.most_pages);
            self.grow(device, grown)?;
        }
        Ok(self.pages.reserve(table, n_tokens)?)
    }

    /// Whether so many more pages can be had.
    pub(crate) fn has_room(&self, n_pages: usize) -> bool {
        self.pages.free() + self.most_pages.saturating_sub(self.pages.total()) >= n_pages
    }

    /// A second table for the first `n_tokens` tokens of `table`: whole pages are shared, a page that is not full is copied.
    pub(crate) fn fork(&mut self, device: &Device, table: &Table, n_tokens: usize) -> Result<Table, CacheError> {
        let mut forked = self.pages.share(table, n_tokens);
        let copied = self.reserve(device, &mut forked, n_tokens).and_then(|()| {
            let whole = n_tokens / PAGE;
            let pages = if n_tokens > whole * PAGE { Some((table.pages[whole], forked.pages[whole])) } else { None };
            pages.map_or(Ok(()), |(from_page, to_page)| self.copy(device, from_page, to_page)).map_err(CacheError::from)
        });
        if let Err(error) = copied {
            self.pages.release(&mut forked);
            return Err(error);
        }
        Ok(forked)
    }

    /// Copies a page in every layer.
    fn copy(&self, device: &Device, from_page: u32, to_page: u32) -> Result<(), GpuError> {
        let mut pairs = Vec::new();
        for (layer, bytes) in self.layers.iter().zip(&self.page_bytes) {
            for (buffer, &bytes) in [&layer.latent, &layer.index].into_iter().zip(bytes).filter(|&(_, &bytes)| bytes > 0) {
                let part = |page: u32| buffer.part(bytes * u64::from(page)..bytes * (u64::from(page) + 1));
                pairs.push((part(from_page), part(to_page)));
            }
        }
        device.copy(&pairs)
    }

    fn grow(&mut self, device: &Device, n_pages: usize) -> Result<(), GpuError> {
        // One layer after the other, so that only one of them is there twice.
        for at in 0..self.layers.len() {
            let [latent, index] = self.page_bytes[at];
            let old = &self.layers[at];
            let latent = device.enlarged("latent cache", &old.latent, latent * n_pages as u64)?;
            let index = device.enlarged("index cache", &old.index, index * n_pages as u64)?;
            self.layers[at] = LayerCache { latent, index };
        }
        self.pages.grow(n_pages);
        self.generation += 1;
        Ok(())
    }

    /// Fills the pages of `table` with random rows and keys, no two of them the same.
    pub(crate) fn fill(&self, device: &Device, table: &Table, seed: u64) -> Result<(), GpuError> {
        let mut random = Random::new(seed);
        let formats = [self.formats.latent, self.formats.index];
        // Words that a page begins further on than the one before in a stretch of random words: one more than a page of keys has, so that
        // no row begins where another one does.
        let steps = self.page_bytes.iter().fold([1; 2], |most, bytes| [0, 1].map(|i| most[i].max(bytes[i] as usize / 4 + 1)));
        let stretches = [0, 1].map(|i| {
            let pages = if i == 0 { table.pages.len().min(64) } else { table.pages.len() };
            random_bytes(&mut random, formats[i], 4 * (pages + 1) * steps[i])
        });
        for (layer, bytes) in self.layers.iter().zip(&self.page_bytes) {
            for (i, buffer) in [&layer.latent, &layer.index].into_iter().enumerate().filter(|&(i, _)| bytes[i] > 0) {
                for (at, &page) in table.pages.iter().enumerate() {
                    let start = 4 * steps[i] * at % (stretches[i].len() - bytes[i] as usize) / 4 * 4;
                    device.write(buffer, bytes[i] * u64::from(page), &stretches[i][start..start + bytes[i] as usize]);
                }
            }
            // Written data waits in the host's memory until something is submitted.
            device.flush()?;
        }
        Ok(())
    }

    /// Bytes of the buffers.
    pub(crate) fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.latent.bytes() + layer.index.bytes()).sum()
    }
}
