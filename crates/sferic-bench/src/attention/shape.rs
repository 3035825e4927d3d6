//! What is measured: widths, number formats, lengths.

use serde::Serialize;
use sferic_shaders::attention::mla_decode::LatentFormat;
use sferic_shaders::indexer::index_scores::KeyFormat;

/// The attention of a model, as far as one layer's cost depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Its name on the command line.
    pub name: &'static str,
    /// Heads `H`.
    pub heads: u32,
    /// Indexer heads `Hi`.
    pub index_heads: u32,
    /// Indexer width `Di`.
    pub index_width: u32,
    /// Latent rank `C`.
    pub latent: u32,
    /// Rotated width `R`.
    pub rotated: u32,
    /// Selected tokens `K`.
    pub selected: u32,
}

impl Shape {
    /// DeepSeek-V3.2.
    pub const V32: Self =
        Self { name: "v32", heads: 128, index_heads: 64, index_width: 128, latent: 512, rotated: 64, selected: 2048 };
    /// DeepSeek-V2-Lite with an indexer of its size.
    pub const V2_LITE: Self = Self { name: "v2-lite", heads: 16, index_heads: 16, ..Self::V32 };
    /// Every shape that has a name.
    pub const ALL: [Self; 2] = [Self::V32, Self::V2_LITE];

    /// Values of a cached latent row.
    pub(crate) fn row(&self) -> u32 {
        self.latent + self.rotated
    }
}

/// Number format of both caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheDtype {
    /// f16 latents and keys.
    F16,
    /// The 656-byte rows and planar key pages of DeepSeek's serving.
    Fp8,
}

impl CacheDtype {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Fp8 => "fp8",
        }
    }

    pub(crate) fn keys(self) -> KeyFormat {
        match self {
            Self::F16 => KeyFormat::F16,
            Self::Fp8 => KeyFormat::Fp8,
        }
    }

    pub(crate) fn latents(self) -> LatentFormat {
        match self {
            Self::F16 => LatentFormat::F16,
            Self::Fp8 => LatentFormat::Fp8,
        }
    }
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct AttentionOptions {
    /// Widths.
    pub shape: Shape,
    /// Number format of the caches.
    pub dtype: CacheDtype,
    /// Query counts, a curve each.
    pub queries: Vec<u32>,
    /// Cached lengths; those of [`AttentionOptions::default_lengths`] where there are none.
    pub lengths: Vec<u32>,
    /// Samples of which the median is shown.
    pub samples: usize,
    /// Measures a prefill chunk as well.
    pub prefill: bool,
    /// Leaves out what steadies the times: for a run that shows that everything works.
    pub short: bool,
}

impl AttentionOptions {
    /// Longest length that a software adapter is given unasked.
    pub const SOFTWARE_LENGTH: u32 = 4096;
    /// Longest length at all.
    pub const MAX_LENGTH: u32 = 1 << 20;
    /// Queries of a prefill chunk, and cached tokens with it.
    pub(crate) const PREFILL: [u32; 2] = [2048, 65_536];
    /// The same for a software adapter.
    pub(crate) const SOFTWARE_PREFILL: [u32; 2] = [16, 2048];

    /// 1K, 2K, … 128K, or as far as a software adapter gets in seconds.
    pub fn default_lengths(software: bool) -> Vec<u32> {
        let last = if software { Self::SOFTWARE_LENGTH } else { 131_072 };
        (10..).map(|power| 1 << power).take_while(|&len| len <= last).collect()
    }

    /// Checks numbers that come from outside.
    ///
    /// # Errors
    /// A sentence that names the number and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if let Some(t) = self.queries.iter().find(|&&t| t == 0 || t > 4096) {
            return Err(format!("{t} queries: 1 to 4096 are possible"));
        }
        if let Some(len) = self.lengths.iter().find(|&&len| len == 0 || len > Self::MAX_LENGTH) {
            return Err(format!("{len} cached tokens: 1 to {} are possible", Self::MAX_LENGTH));
        }
        let most = self.queries.iter().max().copied().unwrap_or(0);
        match self.lengths.iter().find(|&&len| len < most) {
            Some(len) => Err(format!("{most} queries do not fit in {len} cached tokens, which include their own")),
            None => Ok(()),
        }
    }
}
