//! The curves of a run, by the names of their columns.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// The columns of a `grpo.csv`.
#[derive(Debug)]
pub(super) struct Curves {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Curves {
    /// Reads a file of curves.
    ///
    /// # Errors
    /// A message for a file that cannot be read, has no rows, or has a row that does not fit its header.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::parse(&super::read(path)?).with_context(|| format!("{} is no file of curves", path.display()))
    }

    /// Reads the text of a file of curves.
    ///
    /// # Errors
    /// As [`Curves::open`].
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let names: Vec<String> = lines.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        let mut rows = Vec::new();
        for (line_idx, line) in lines.enumerate() {
            let row: Result<Vec<f64>, _> = line.split(',').map(str::parse).collect();
            match row {
                Ok(row) if row.len() == names.len() => rows.push(row),
                _ => bail!("line {}: expected {} numbers, found `{line}`", line_idx + 2, names.len()),
            }
        }
        if rows.is_empty() {
            bail!("expected a row for each step, found none; see the run's log.txt");
        }
        Ok(Self { names, rows })
    }

    /// Steps of the run.
    pub(super) fn n_steps(&self) -> usize {
        self.rows.len()
    }

    /// Returns a column; empty where the file does not have it.
    pub(super) fn column(&self, name: &str) -> Vec<f64> {
        let Some(at) = self.names.iter().position(|known| known == name) else { return Vec::new() };
        self.rows.iter().map(|row| row[at]).collect()
    }
}

/// Mean of what is finite; NaN where nothing is.
pub(super) fn mean(values: &[f64]) -> f64 {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    finite.iter().sum::<f64>() / finite.len() as f64
}

/// For each step the mean of those runs that have come so far.
pub(super) fn mean_curve(columns: &[Vec<f64>]) -> Vec<f64> {
    let n_steps = columns.iter().map(Vec::len).max().unwrap_or(0);
    let at = |step: usize| columns.iter().filter_map(|column| column.get(step).copied()).collect::<Vec<f64>>();
    (0..n_steps).map(|step| mean(&at(step))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let curves = Curves::parse("step,kl,grad_norm\n1,0.5,2.0\n2,0.25,NaN\n").unwrap();
        assert_eq!((curves.n_steps(), curves.column("kl")), (2, vec![0.5, 0.25]));
        assert_eq!(mean(&curves.column("grad_norm")), 2.0);
        assert!(curves.column("reward").is_empty());
        let error = Curves::parse("step,kl\n1,0.5\n2\n").unwrap_err().to_string();
        assert_eq!(error, "line 3: expected 2 numbers, found `2`");
        assert!(Curves::parse("step,kl\n").is_err(), "a run without a step");
    }

    #[test]
    fn a_run_that_ended_early_counts_as_far_as_it_came() {
        assert_eq!(mean_curve(&[vec![1.0, 2.0, 3.0], vec![3.0]]), [2.0, 2.0, 3.0]);
    }
}
