//! Which rows make up the batch of a step: a pure function of seed and step, so that a resumed run sees the same data.

use crate::TrainError;
use crate::hash::{mix, permute};

/// Draws per cycle. In each cycle every source gets its exact share, in an order that the seed shuffles.
const CYCLE_DRAWS: u64 = 1024;

/// One row of a source: `seq_len + 1` tokens from token `row_idx · seq_len` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowId {
    /// Index into the sources.
    pub source_idx: usize,
    /// Index of the row within the source.
    pub row_idx: usize,
}

/// Source weights that hold from a step on.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// First step of the phase.
    pub from_step: usize,
    /// Weight per source; not necessarily normalised.
    pub weights: Vec<f64>,
}

/// Draws rows: shares by source exact within every 1024 draws, each source visited in a new order per epoch.
#[derive(Debug, Clone)]
pub struct Sampler {
    seed: u64,
    rows_per_step: usize,
    n_rows: Vec<u64>,
    phases: Vec<PhasePlan>,
}

#[derive(Debug, Clone)]
struct PhasePlan {
    from_step: usize,
    /// Draws per source in one cycle; sums to [`CYCLE_DRAWS`].
    quotas: Vec<u64>,
    /// Draws per source that earlier phases may have used.
    used: Vec<u64>,
}

impl Sampler {
    /// Returns a sampler over sources of `n_rows[s]` rows.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] when weights are negative, all zero, or positive for a source without rows.
    pub fn new(
        seed: u64,
        rows_per_step: usize,
        names: &[String],
        n_rows: &[usize],
        phases: &[Phase],
    ) -> Result<Self, TrainError> {
        let mut plans: Vec<PhasePlan> = Vec::new();
        for (phase_idx, phase) in phases.iter().enumerate() {
            check_weights(names, n_rows, &phase.weights)?;
            let used = match (plans.last(), phase_idx.checked_sub(1)) {
                (Some(previous), Some(_)) => {
                    let draws = (phase.from_step - previous.from_step) as u64 * rows_per_step as u64;
                    let cycles = draws.div_ceil(CYCLE_DRAWS);
                    let step = |(used, quota): (&u64, &u64)| used + cycles * quota;
                    previous.used.iter().zip(&previous.quotas).map(step).collect()
                }
                _ => vec![0; n_rows.len()],
            };
            plans.push(PhasePlan { from_step: phase.from_step, quotas: quotas(&phase.weights), used });
        }
        let n_rows = n_rows.iter().map(|&n| n as u64).collect();
        Ok(Self { seed, rows_per_step, n_rows, phases: plans })
    }

    /// Returns the rows of `step`, `rows_per_step` of them.
    pub fn rows(&self, step: usize) -> Vec<RowId> {
        let phase_idx = self.phases.iter().rposition(|phase| phase.from_step <= step).unwrap_or(0);
        let Some(phase) = self.phases.get(phase_idx) else { return Vec::new() };
        let first = (step - phase.from_step.min(step)) as u64 * self.rows_per_step as u64;
        (first..first + self.rows_per_step as u64).map(|draw| self.row(phase, phase_idx, draw)).collect()
    }

    /// Returns the share of the draws that go to each source in the phase of `step`.
    pub fn shares(&self, step: usize) -> Vec<f64> {
        let phase = self.phases.iter().rev().find(|phase| phase.from_step <= step);
        phase.map_or_else(Vec::new, |phase| phase.quotas.iter().map(|&quota| quota as f64 / CYCLE_DRAWS as f64).collect())
    }

    fn row(&self, phase: &PhasePlan, phase_idx: usize, draw: u64) -> RowId {
        let (cycle, slot) = (draw / CYCLE_DRAWS, draw % CYCLE_DRAWS);
        let key = mix(self.seed ^ mix(((phase_idx as u64) << 48) ^ cycle));
        let mut place = permute(slot, CYCLE_DRAWS, key);
        let mut source_idx = 0;
        while place >= phase.quotas[source_idx] {
            place -= phase.quotas[source_idx];
            source_idx += 1;
        }
        let nth = phase.used[source_idx] + cycle * phase.quotas[source_idx] + place;
        let n_rows = self.n_rows[source_idx];
        let (epoch, within) = (nth / n_rows, nth % n_rows);
        let key = mix(self.seed.rotate_left(32) ^ mix(((source_idx as u64) << 48) ^ epoch));
        RowId { source_idx, row_idx: permute(within, n_rows, key) as usize }
    }
}

fn check_weights(names: &[String], n_rows: &[usize], weights: &[f64]) -> Result<(), TrainError> {
    for ((name, &n_rows), &weight) in names.iter().zip(n_rows).zip(weights) {
        let key = format!("data.sources.{name}.weight");
        if !weight.is_finite() || weight < 0.0 {
            return Err(TrainError::config(&key, "a number of at least 0", weight.to_string()));
        }
        if weight > 0.0 && n_rows == 0 {
            return Err(TrainError::config(&key, "0, because the source holds less than one row", weight.to_string()));
        }
    }
    if weights.iter().sum::<f64>() > 0.0 {
        Ok(())
    } else {
        Err(TrainError::config("data.sources", "at least one source with a weight above 0", "none"))
    }
}

/// Divides [`CYCLE_DRAWS`] by weight: rounded down, then one more for the largest remainders.
fn quotas(weights: &[f64]) -> Vec<u64> {
    let total: f64 = weights.iter().sum();
    let exact: Vec<f64> = weights.iter().map(|weight| weight / total * CYCLE_DRAWS as f64).collect();
    let mut quotas: Vec<u64> = exact.iter().map(|share| share.floor() as u64).collect();
    let missing = CYCLE_DRAWS - quotas.iter().sum::<u64>();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| (exact[b] - exact[b].floor()).total_cmp(&(exact[a] - exact[a].floor())));
    for &source_idx in order.iter().take(missing as usize) {
        quotas[source_idx] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use super::*;

    fn sampler(seed: u64, phases: &[(usize, [f64; 3])]) -> Sampler {
        let names = ["a", "b", "c"].map(str::to_owned);
        let phases: Vec<Phase> =
            phases.iter().map(|(from_step, weights)| Phase { from_step: *from_step, weights: weights.to_vec() }).collect();
        Sampler::new(seed, 32, &names, &[10, 700, 3000], &phases).unwrap()
    }

    #[test]
    fn the_rows_of_a_step_depend_on_seed_and_step_alone() {
        let first = sampler(5, &[(0, [1.0, 2.0, 5.0])]);
        let again = sampler(5, &[(0, [1.0, 2.0, 5.0])]);
        // Asked in another order, as a resumed run would.
        let forward: Vec<_> = (0..50).map(|step| first.rows(step)).collect();
        let backward: Vec<_> = (0..50).rev().map(|step| again.rows(step)).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
        assert_ne!(first.rows(3), first.rows(4));
        assert_ne!(first.rows(3), sampler(6, &[(0, [1.0, 2.0, 5.0])]).rows(3));
    }

    #[test]
    fn an_epoch_visits_every_row_once() {
        let sampler = sampler(1, &[(0, [0.0, 1.0, 0.0])]);
        let rows: Vec<_> = (0..700usize.div_ceil(32)).flat_map(|step| sampler.rows(step)).collect();
        // Draws of one cycle are shuffled as well, so the set of the first 1024 draws is what is fixed: 700 rows, 324 twice.
        let cycle: Vec<_> = (0..32).flat_map(|step| sampler.rows(step)).collect();
        assert_eq!(cycle.iter().collect::<HashSet<_>>().len(), 700);
        assert_eq!(cycle.len(), 1024);
        assert!(rows.iter().all(|row| row.source_idx == 1 && row.row_idx < 700));
    }

    #[test]
    fn shares_follow_the_weights_and_change_with_the_phase() {
        let sampler = sampler(1, &[(0, [0.0, 1.0, 3.0]), (64, [1.0, 0.0, 0.0])]);
        let count = |steps: std::ops::Range<usize>, source_idx| {
            steps.flat_map(|step| sampler.rows(step)).filter(|row| row.source_idx == source_idx).count()
        };
        assert_eq!((count(0..64, 1), count(0..64, 2)), (512, 1536));
        assert_eq!(count(64..96, 0), 1024);
    }

    #[test]
    fn a_source_without_rows_is_refused_by_name() {
        let names = ["empty".to_owned()];
        let phase = Phase { from_step: 0, weights: vec![1.0] };
        let error = Sampler::new(0, 1, &names, &[0], &[phase]).unwrap_err().to_string();
        assert!(error.contains("data.sources.empty.weight"), "{error}");
    }
}
