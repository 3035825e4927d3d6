//! Shares of tries, with how far they can be trusted.

use serde::{Deserialize, Serialize};

/// Quantile of the normal distribution for 95 %, both sides.
const Z: f64 = 1.959_963_984_540_054;

/// Successes among tries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Tries.
    pub n: usize,
    /// Successes.
    pub correct: usize,
}

impl Share {
    /// Adds a try.
    pub fn add(&mut self, correct: bool) {
        self.n += 1;
        self.correct += usize::from(correct);
    }

    /// Returns both together.
    pub fn and(self, other: Self) -> Self {
        Self { n: self.n + other.n, correct: self.correct + other.correct }
    }

    /// Returns the share; nothing without a try.
    pub fn value(self) -> Option<f64> {
        (self.n > 0).then(|| self.correct as f64 / self.n as f64)
    }

    /// Returns the 95 % interval; 0 to 1 without a try.
    ///
    /// # Source
    /// E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    pub fn interval(self) -> (f64, f64) {
        let Some(share) = self.value() else { return (0.0, 1.0) };
        let n = self.n as f64;
        let scale = 1.0 + Z * Z / n;
        let centre = (share + Z * Z / (2.0 * n)) / scale;
        let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt() / scale;
        // At the ends the formula gives 0 and 1 but for rounding.
        ((centre - half).max(0.0), (centre + half).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        let near = |share: Share, low: f64, high: f64| {
            let (found_low, found_high) = share.interval();
            assert!((found_low - low).abs() < 5e-5 && (found_high - high).abs() < 5e-5, "{found_low} {found_high}");
        };
        // z² = 3.84146: none of ten gives z² / (10 + z²), all of ten the rest, half of ten 1/2 ± z / (2 sqrt(10 + z²)).
        near(Share { n: 10, correct: 0 }, 0.0, 0.27753);
        near(Share { n: 10, correct: 10 }, 0.72247, 1.0);
        near(Share { n: 10, correct: 5 }, 0.23659, 0.76341);
        near(Share::default(), 0.0, 1.0);
        assert_eq!(Share::default().value(), None);
    }

    #[test]
    fn tries_add_up() {
        let mut share = Share::default();
        [true, false, true, true].into_iter().for_each(|correct| share.add(correct));
        assert_eq!(share.and(Share { n: 2, correct: 0 }), Share { n: 6, correct: 3 });
        assert_eq!(share.value(), Some(0.75));
    }
}
