//! Comparison of a run whose weights or caches are rounded.
//!
//! Rounding may send a token whose experts are chosen by a hair to others, and from that layer on its row is another one. Where the reference's
//! experts are known such rows are left out of what is compared, and counted against a bound of their own.

use super::{COSINE_BOUND, CheckRow, EXPERTS_BOUND, Golden, SELECTION_BOUND, bounded, counted, max_difference};
use crate::EngineError;
use crate::trace::{Matrix, Trace};
use std::collections::BTreeSet;

/// One row for each tensor of `golden`, and one for the experts.
pub(super) fn compare(golden: &Golden, trace: &Trace) -> Result<Vec<CheckRow>, EngineError> {
    let paths = Paths::new(golden, trace);
    let difference = max_difference("logits", &golden.logits, &trace.logits)?;
    let mut rows = vec![paths.cosine("logits".into(), usize::MAX, &golden.logits, &trace.logits)];
    for (layer_idx, expected) in &golden.hidden {
        let name = format!("hidden.{layer_idx}");
        let found = trace.hidden.get(*layer_idx).cloned().unwrap_or_default();
        max_difference(&name, expected, &found)?;
        rows.push(paths.cosine(name, *layer_idx + 1, expected, &found));
    }
    for (layer_idx, expected) in &golden.topk {
        let is_kept = |row: usize| paths.keeps(row, *layer_idx);
        let (n_common, n_selected) = trace.topk.get(layer_idx).map_or((0, 1), |found| n_common(expected, found, is_kept));
        let (measure, found) = (paths.of_rows("selected in common", *layer_idx), String::new());
        rows.push(shared(format!("topk.{layer_idx}"), measure, found, (n_common, n_selected), SELECTION_BOUND));
    }
    if !golden.experts.is_empty() {
        let found = format!(" ({} of {} rows elsewhere)", paths.n_left_out(usize::MAX), paths.rerouted_at.len());
        let measure = "assigned in common".to_owned();
        rows.push(shared("experts".into(), measure, found, (paths.n_common, paths.n_assigned), EXPERTS_BOUND));
    }
    if !golden.next_ids.is_empty() {
        let n_equal = golden.next_ids.iter().zip(&trace.next_ids).filter(|(expected, found)| expected == found).count();
        let mut row = counted("next_ids".into(), "equal tokens", n_equal, golden.next_ids.len());
        // Equality says something only while errors stay well under the gap between the best two.
        if golden.min_top2_margin.is_none_or(|margin| 2.0 * difference >= margin) {
            row.bound = "no bound: the reference's gap is smaller than the rounding".into();
            row.passed = true;
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Which tokens went to the reference's experts, and how far.
struct Paths {
    /// For each token the first layer in which it went to other experts; `usize::MAX` where there is none, or where nothing is known.
    rerouted_at: Vec<usize>,
    n_common: usize,
    n_assigned: usize,
}

impl Paths {
    fn new(golden: &Golden, trace: &Trace) -> Self {
        let mut paths = Self { rerouted_at: vec![usize::MAX; golden.input_ids.len()], n_common: 0, n_assigned: 0 };
        // In the order of the layers, so that the first one is kept.
        for (&layer_idx, expected) in &golden.experts {
            for (row, (rerouted_at, expected)) in paths.rerouted_at.iter_mut().zip(expected.rows()).enumerate() {
                let found = trace.experts.get(&layer_idx).map_or(&[][..], |found| found.row(row));
                let n_common = expected.iter().filter(|expert| found.contains(expert)).count();
                (paths.n_common, paths.n_assigned) = (paths.n_common + n_common, paths.n_assigned + expected.len());
                if n_common < expected.len() {
                    *rerouted_at = layer_idx.min(*rerouted_at);
                }
            }
        }
        paths
    }

    /// Whether a token went to the reference's experts in the first `n_layers` layers.
    fn keeps(&self, row: usize, n_layers: usize) -> bool {
        self.rerouted_at.get(row).is_none_or(|&layer_idx| layer_idx >= n_layers)
    }

    fn n_left_out(&self, n_layers: usize) -> usize {
        (0..self.rerouted_at.len()).filter(|&row| !self.keeps(row, n_layers)).count()
    }

    /// The measure, with the number of rows that it is of where that is not all of them.
    fn of_rows(&self, measure: &str, n_layers: usize) -> String {
        match (self.n_left_out(n_layers), self.rerouted_at.len()) {
            (0, _) => measure.to_owned(),
            (n_left_out, n_rows) => format!("{measure}, {} of {n_rows} rows", n_rows - n_left_out),
        }
    }

    /// One minus the cosine of two tables as vectors, of the rows that kept their experts in the first `n_layers` layers.
    fn cosine(&self, check: String, n_layers: usize, expected: &Matrix<f32>, found: &Matrix<f32>) -> CheckRow {
        let [mut dot, mut expected_square, mut found_square] = [0.0; 3];
        for (_, (e, f)) in expected.rows().zip(found.rows()).enumerate().filter(|(row, _)| self.keeps(*row, n_layers)) {
            for (e, f) in e.iter().zip(f) {
                let (e, f) = (f64::from(*e), f64::from(*f));
                (dot, expected_square, found_square) = (dot + e * f, expected_square + e * e, found_square + f * f);
            }
        }
        let distance = 1.0 - dot / (expected_square * found_square).sqrt();
        let distance = if distance.is_nan() { f32::INFINITY } else { distance as f32 };
        bounded(check, &self.of_rows("1 − cosine", n_layers), distance, COSINE_BOUND)
    }
}

/// A row for what is in common, of the reference's.
fn shared(check: String, measure: String, found: String, (n_common, n_all): (usize, usize), bound: f64) -> CheckRow {
    let share = n_common as f64 / n_all.max(1) as f64;
    CheckRow {
        check,
        measure,
        found: format!("{:.2} %{found}", 100.0 * share),
        bound: format!("{:.0} %", 100.0 * bound),
        value: 1.0 - share,
        passed: share >= bound,
    }
}

/// Selected positions in common in the rows that are kept, and those of the reference.
fn n_common(expected: &Matrix<i32>, found: &Matrix<i32>, is_kept: impl Fn(usize) -> bool) -> (usize, usize) {
    let set = |row: &[i32]| -> BTreeSet<i32> { row.iter().copied().filter(|&position| position >= 0).collect() };
    let rows = expected.rows().zip(found.rows()).enumerate().filter(|(row, _)| is_kept(*row));
    rows.map(|(_, (expected, found))| (set(expected), set(found)))
        .fold((0, 0), |(common, all), (expected, found)| (common + expected.intersection(&found).count(), all + expected.len()))
}

#[cfg(test)]
mod tests;
