//! How many tokens of a prompt to compute at a time, so that a step stays short on a slow device.
//!
//! Drivers end work that takes seconds, and between steps progress is shown and a cancellation is heard. What a token takes is known only by
//! trying: chunks begin small and follow the time of the chunks before.

use std::collections::HashSet;

/// Tokens of the first chunk.
const FIRST: usize = 64;
/// Seconds that a chunk should take: half of what is allowed, since a longer context makes the next one slower.
const SECONDS: f64 = 0.25;
/// Fewest tokens of a chunk: fewer would be multiplied as vectors one by one and save nothing.
const LEAST: usize = 16;

/// The chunk to take next.
#[derive(Debug)]
pub(crate) struct Pace {
    next: usize,
    most: usize,
    /// Sizes that were computed before: the first time of a size pays for its pipelines and says nothing.
    seen: HashSet<usize>,
}

impl Pace {
    /// Chunks of up to `most` tokens.
    pub(crate) fn new(most: usize) -> Self {
        Self { next: FIRST.min(most), most, seen: HashSet::new() }
    }

    /// Tokens of the next chunk.
    pub(crate) fn next(&self) -> usize {
        self.next
    }

    /// Hears that a chunk of `n_tokens` took `seconds`.
    pub(crate) fn took(&mut self, n_tokens: usize, seconds: f64) {
        let is_new = self.seen.insert(n_tokens);
        // The last chunk of a prompt is as long as it happens to be.
        if n_tokens != self.next || (is_new && seconds > SECONDS) {
            return;
        }
        let fitting = (n_tokens as f64 * SECONDS / seconds.max(1e-6)) as usize;
        self.next = fitting.clamp(n_tokens / 2, 4 * n_tokens).clamp(LEAST.min(self.most), self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chunks of a device that takes `seconds` for a token, and `compiling` more for the first of each size.
    fn chunks(seconds: f64, compiling: f64) -> Vec<usize> {
        let mut pace = Pace::new(512);
        let mut seen = HashSet::new();
        let mut chunks = Vec::new();
        for _ in 0..12 {
            let n = pace.next();
            chunks.push(n);
            let first = if seen.insert(n) { compiling } else { 0.0 };
            pace.took(n, n as f64 * seconds + first);
        }
        chunks
    }

    #[test]
    fn a_fast_device_gets_whole_chunks_soon() {
        assert_eq!(chunks(1e-5, 0.0)[..3], [64, 256, 512]);
    }

    #[test]
    fn compiling_does_not_make_a_device_slow() {
        assert_eq!(chunks(1e-5, 2.0).last(), Some(&512));
    }

    #[test]
    fn a_slow_device_gets_chunks_that_stay_below_half_a_second() {
        let chunks = chunks(4e-3, 1.0);
        assert!(chunks[2..].iter().all(|&n| n as f64 * 4e-3 <= 0.5), "{chunks:?}");
        assert!(chunks.iter().all(|&n| n >= LEAST));
    }

    #[test]
    fn the_end_of_a_prompt_says_nothing() {
        let mut pace = Pace::new(512);
        pace.took(3, 10.0);
        assert_eq!(pace.next(), 64);
    }
}
