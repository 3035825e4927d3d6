//! Inputs that the suites of training attention share.

use super::{Sizes, Visible};
use crate::kernel::random::Random;
use crate::kernel::{Elem, Init};

/// What a case is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub sizes: Sizes,
    pub qk: u32,
    pub v: u32,
    pub visible: Visible,
    /// Documents end at multiples of this many tokens, and shift by the sequence.
    pub document: u32,
    /// Half the width of the range of queries, so that scores are of about this size.
    pub spread: f32,
}

/// What tokens see in the cases of shape `i`: both kinds where the sizes are ragged, one elsewhere, since a program takes its time to compile.
pub(super) fn kinds(i: usize) -> &'static [Visible] {
    match i % 4 {
        0 => &[Visible::Causal],
        2 => &[Visible::Selected],
        _ => &[Visible::Causal, Visible::Selected],
    }
}

/// The numbers of a case.
pub(super) struct Inputs {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    /// The gradient of the output.
    pub d_o: Vec<f32>,
    /// The keys that each token of each sequence sees.
    pub keys: Vec<Vec<u32>>,
    /// What the kernel reads of them.
    pub visible: Init,
}

impl Setup {
    /// Where the document of a token starts.
    fn start(&self, b: u32, t: u32) -> u32 {
        let shift = 7 * b % self.document;
        ((t + shift) / self.document * self.document).saturating_sub(shift)
    }

    /// The keys that each token sees: its document's up to itself, or itself and about a quarter of them.
    pub fn keys(&self) -> Vec<Vec<u32>> {
        let mut random = Random::new(11);
        let mut found = Vec::new();
        for b in 0..self.sizes.b {
            for t in 0..self.sizes.t {
                let all = self.start(b, t)..=t;
                found.push(match self.visible {
                    Visible::Causal => all.collect(),
                    Visible::Selected => all.filter(|&s| s == t || random.below(4) == 0).collect(),
                });
            }
        }
        found
    }

    /// The buffer of what is seen; a token without keys sees nothing.
    pub fn visible(&self, keys: &[Vec<u32>]) -> Init {
        match self.visible {
            Visible::Causal => {
                Init::u32s(&keys.iter().map(|keys| keys.first().copied().unwrap_or(self.sizes.t)).collect::<Vec<_>>())
            }
            Visible::Selected => Init::u32s(&bits(keys, self.sizes.t)),
        }
    }

    pub fn inputs(&self) -> Inputs {
        let Sizes { b, t, h, .. } = self.sizes;
        let heads = (b * t * h) as usize;
        let mut random = Random::new(u64::from(t) * 31 + u64::from(self.qk));
        let keys = self.keys();
        Inputs {
            q: random.vector(heads * self.qk as usize, self.spread),
            k: random.vector(heads * self.qk as usize, 1.0),
            v: random.vector(heads * self.v as usize, 1.0),
            d_o: random.vector(heads * self.v as usize, 1.0),
            visible: self.visible(&keys),
            keys,
        }
    }

    /// Width, range and seed of q, k, v and do in benchmarks.
    pub fn sources(&self) -> [(u32, f32, u64); 4] {
        [(self.qk, self.spread, 1), (self.qk, 1.0, 2), (self.v, 1.0, 3), (self.v, 1.0, 4)]
    }

    /// A buffer of `width` values for each head of each token.
    pub fn random(&self, width: u32, scale: f32, seed: u64) -> Init {
        let Sizes { b, t, h, .. } = self.sizes;
        Init::Random { elem: Elem::F32, n: (b * t * h * width) as usize, scale, seed }
    }

    /// The rows `[T, H, width]` of the last sequence in the buffer that [`Self::random`] describes.
    pub fn last_sequence(&self, width: u32, scale: f32, seed: u64) -> Vec<f64> {
        let Sizes { b, t, h, .. } = self.sizes;
        let sequence = (t * h * width) as usize;
        widen(&Random::new(seed).skip((b - 1) as usize * sequence).vector(sequence, scale))
    }

    /// The rows `[T, width]` of its last head.
    pub fn last_head(&self, width: u32, scale: f32, seed: u64) -> Vec<f64> {
        let (h, width_of_head) = (self.sizes.h as usize, width as usize);
        let values = self.last_sequence(width, scale, seed);
        values.chunks(width_of_head).skip(h - 1).step_by(h).flatten().copied().collect()
    }

    /// What is seen where each sequence is one document and all of it is selected.
    pub fn everything(&self) -> Init {
        let Sizes { b, t, .. } = self.sizes;
        if self.visible == Visible::Causal {
            return Init::Zeros(4 * (b * t) as usize);
        }
        let word = |t: u32, word: u32| match (t + 1).saturating_sub(32 * word) {
            n @ 0..32 => (1 << n) - 1,
            _ => u32::MAX,
        };
        let rows = (0..b).flat_map(|_| 0..t);
        Init::u32s(&rows.flat_map(|row| (0..t.div_ceil(32)).map(move |i| word(row, i))).collect::<Vec<_>>())
    }

    /// Pairs of a token and a key that it sees, over all sequences.
    pub fn pairs(&self) -> f64 {
        let starts = (0..self.sizes.b).flat_map(|b| (0..self.sizes.t).map(move |t| (b, t)));
        starts.map(|(b, t)| f64::from(t - self.start(b, t) + 1)).sum()
    }
}

/// Lists of keys as bits, `[B, T, ceil(T / 32)]`.
pub(super) fn bits(keys: &[Vec<u32>], t: u32) -> Vec<u32> {
    let words = t.div_ceil(32) as usize;
    let mut found = vec![0; keys.len() * words];
    for (row, keys) in keys.iter().enumerate() {
        for &key in keys {
            found[row * words + key as usize / 32] |= 1 << (key % 32);
        }
    }
    found
}

/// Numbers as f64.
pub(super) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}
