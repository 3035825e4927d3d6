//! Random numbers that follow from a seed alone, on every machine and with every version of every library.

/// The increment of SplitMix64: 2⁶⁴ divided by the golden ratio, made odd.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of draws that is a function of its seed.
///
/// Written here and not taken from a library, because a task must stay the same task when a library changes its algorithm.
///
/// # Source
/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
#[derive(Debug, Clone)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// Makes the stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: mixed(seed) }
    }

    /// Returns the next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(INCREMENT);
        mixed(self.state)
    }

    /// Returns a number from 0 to `n - 1`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The high half of the product: biased by less than n / 2⁶⁴.
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Returns a number from `low` to `high`, both included; `low` if `high` is less.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(usize::try_from(high - low + 1).unwrap_or(0)) as i64
    }

    /// Returns true in the given share of draws.
    pub fn chance(&mut self, share: f64) -> bool {
        const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
        ((self.bits() >> 11) as f64) * UNIT < share
    }

    /// Brings a list into random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last_idx in (1..items.len()).rev() {
            items.swap(last_idx, self.below(last_idx + 1));
        }
    }

    /// Returns one of the items.
    ///
    /// # Panics
    /// If there is none; lists of words are constants that have some.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Returns one of the words; empty if there is none.
    pub(crate) fn word<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words.get(self.below(words.len())).copied().unwrap_or_default()
    }

    /// Returns `n` different items in random order, fewer if there are not so many.
    pub(crate) fn several<T: Clone>(&mut self, items: &[T], n: usize) -> Vec<T> {
        let mut idxs: Vec<usize> = (0..items.len()).collect();
        self.shuffle(&mut idxs);
        idxs.into_iter().take(n).map(|idx| items[idx].clone()).collect()
    }
}

/// Returns a hash of several texts that tells `["ab", "c"]` from `["a", "bc"]`.
///
/// # Source
/// FNV-1a (Fowler, Noll and Vo), finished like SplitMix64 so that every bit depends on every byte.
pub(crate) fn fingerprint(texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for text in texts {
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    mixed(hash)
}

/// Combines a seed with an index into another seed.
pub(crate) fn seed_of(seed: u64, idx: u64) -> u64 {
    mixed(mixed(seed) ^ idx.wrapping_mul(INCREMENT))
}

/// SplitMix64's finaliser.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_the_same_for_ever() {
        let mut draws = Draws::new(7);
        let drawn: Vec<i64> = (0..8).map(|_| draws.between(1, 100)).collect();
        assert_eq!(drawn, [53, 31, 95, 89, 67, 35, 40, 61]);
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
    }

    #[test]
    fn draws_are_even() {
        let mut draws = Draws::new(1);
        let mut counts = [0; 6];
        for _ in 0..60_000 {
            counts[draws.below(6)] += 1;
        }
        // The standard deviation of a count is 91.
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_shuffle_keeps_the_items_and_several_repeats_none() {
        let mut draws = Draws::new(3);
        let mut items: Vec<usize> = (0..50).collect();
        draws.shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        let mut drawn = draws.several(&items, 60);
        drawn.sort_unstable();
        assert_eq!(drawn, (0..50).collect::<Vec<_>>());
        assert_eq!((draws.below(0), draws.between(5, 4)), (0, 5));
    }
}
