//! The learning rate: linear warm-up, then half a cosine down to the minimum.

/// A learning-rate schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Highest rate, reached at the end of the warm-up.
    pub lr: f64,
    /// Rate at the last step.
    pub min_lr: f64,
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// Steps of the whole run.
    pub steps: usize,
}

impl Schedule {
    /// Returns the rate of `step`, counted from 0.
    ///
    /// `lr·(step + 1)/warmup` while `step < warmup`; after it `min + (lr − min)·(1 + cos(π·p))/2` with `p` from 0 at the first
    /// step after the warm-up to 1 at the last step; `min` beyond.
    ///
    /// Source: Loshchilov and Hutter 2017 (SGDR), one cycle.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.lr * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = self.steps.saturating_sub(self.warmup_steps + 1).max(1);
        let progress = ((step - self.warmup_steps) as f64 / span as f64).min(1.0);
        self.min_lr + (self.lr - self.min_lr) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_is_linear_and_the_cosine_ends_at_the_minimum() {
        let schedule = Schedule { lr: 1.0, min_lr: 0.1, warmup_steps: 4, steps: 15 };
        let close = |step, expected: f64| {
            let rate = schedule.rate(step);
            assert!((rate - expected).abs() < 1e-12, "step {step}: {rate}");
        };
        close(0, 0.25);
        close(3, 1.0);
        close(4, 1.0);
        // Half way between steps 4 and 14 the cosine is at the mean of both ends.
        close(9, 0.55);
        close(14, 0.1);
        close(100, 0.1);
    }

    #[test]
    fn without_warm_up_the_first_step_has_the_full_rate() {
        let schedule = Schedule { lr: 0.3, min_lr: 0.0, warmup_steps: 0, steps: 1 };
        assert_eq!(schedule.rate(0), 0.3);
    }
}
