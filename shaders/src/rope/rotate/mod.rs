//! Rotation of component pairs by an angle that grows with the position.
//!
//! Source: spec §2.3; Su et al. 2021, <https://arxiv.org/abs/2104.09864>; YaRN: Peng et al. 2023, <https://arxiv.org/abs/2309.00071>.

mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::{inv_freq, rotate, yarn_mscale};

/// Which components form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `(v[2i], v[2i+1])`: main attention.
    Interleaved,
    /// `(v[i], v[i + R/2])`: the indexer.
    HalfSplit,
}

/// YaRN's parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// Context extension factor.
    pub factor: f64,
    /// Context before the extension, in tokens.
    pub original: f64,
    /// Rotations over the original context above which a frequency is kept.
    pub beta_fast: f64,
    /// Rotations over the original context below which a frequency is divided.
    pub beta_slow: f64,
}
