//! What a run leaves to look at: the loss as CSV and SVG, evaluations as CSV, samples as text.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use plotters::prelude::*;
use sferic_weights::write_atomic;

use crate::TrainError;
use crate::evaluate::Score;

/// Header of the loss curve.
const LOSS_HEADER: &str = "step,tokens,lr,loss,kl,grad_norm,tokens_per_s";
/// Header of the evaluations.
const EVAL_HEADER: &str = "step,attention,source,tokens,nll,perplexity";

/// One row of the loss curve: means over a log interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogRow {
    /// Completed steps.
    pub step: usize,
    /// Tokens seen.
    pub tokens: usize,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Mean cross-entropy in nats per token.
    pub loss: f64,
    /// Mean divergence of the indexer in nats per row; NaN while the indexer is not trained.
    pub kl: f64,
    /// Mean norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Training speed; evaluations, samples and checkpoints do not count.
    pub tokens_per_s: f64,
}

impl LogRow {
    fn csv(&self) -> String {
        let Self { step, tokens, lr, loss, kl, grad_norm, tokens_per_s } = self;
        // The shortest text that reads back as the same number.
        format!("{step},{tokens},{lr:?},{loss:?},{kl:?},{grad_norm:?},{tokens_per_s:.0}")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(',');
        let row = Self {
            step: fields.next()?.parse().ok()?,
            tokens: fields.next()?.parse().ok()?,
            lr: fields.next()?.parse().ok()?,
            loss: fields.next()?.parse().ok()?,
            kl: fields.next()?.parse().ok()?,
            grad_norm: fields.next()?.parse().ok()?,
            tokens_per_s: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(row)
    }
}

/// The report files of a run.
#[derive(Debug)]
pub struct Report {
    folder: PathBuf,
    rows: Vec<LogRow>,
}

impl Report {
    /// Opens the report of a run that has completed `step` steps: rows beyond it, from a run that was cut short, are dropped.
    ///
    /// # Errors
    /// [`TrainError::Io`] when the folder or its files cannot be read or written.
    pub fn open(folder: &Path, step: usize) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(TrainError::io("create the run's folder", folder))?;
        let path = folder.join("loss.csv");
        let text = read_or_empty(&path)?;
        let rows = text.lines().skip(1).filter_map(LogRow::parse).filter(|row| row.step <= step).collect();
        let path = folder.join("eval.csv");
        let text = read_or_empty(&path)?;
        let is_past =
            |line: &&str| line.split(',').next().and_then(|field| field.parse::<usize>().ok()).is_some_and(|at| at <= step);
        let kept: Vec<&str> = std::iter::once(EVAL_HEADER).chain(text.lines().skip(1).filter(is_past)).collect();
        write_atomic(&path, (kept.join("\n") + "\n").as_bytes())?;
        if step == 0 {
            write_atomic(folder.join("samples.txt"), b"")?;
        }
        Ok(Self { folder: folder.to_path_buf(), rows })
    }

    /// Returns the rows so far.
    pub fn rows(&self) -> &[LogRow] {
        &self.rows
    }

    /// Adds a row to the loss curve and writes the file.
    ///
    /// # Errors
    /// [`TrainError::Weights`] when the file cannot be written.
    pub fn log(&mut self, row: LogRow) -> Result<(), TrainError> {
        self.rows.push(row);
        let lines: Vec<String> = std::iter::once(LOSS_HEADER.to_owned()).chain(self.rows.iter().map(LogRow::csv)).collect();
        Ok(write_atomic(self.folder.join("loss.csv"), (lines.join("\n") + "\n").as_bytes())?)
    }

    /// Adds the scores of one evaluation.
    ///
    /// # Errors
    /// [`TrainError::Io`] when the file cannot be written.
    pub fn evaluation(&self, step: usize, attention: &str, scores: &[Score]) -> Result<(), TrainError> {
        let mut text = String::new();
        for score in scores {
            let (nll, perplexity) = (score.nll, score.perplexity());
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{step},{attention},{},{},{nll:.5},{perplexity:.3}", score.source, score.n_tokens);
        }
        self.append("eval.csv", &text)
    }

    /// Adds a round of text samples.
    ///
    /// # Errors
    /// [`TrainError::Io`] when the file cannot be written.
    pub fn samples(&self, step: usize, samples: &[(String, String)]) -> Result<(), TrainError> {
        let mut text = format!("==== step {step}\n");
        for (prompt, continuation) in samples {
            let _ = writeln!(text, "---- {prompt}\n{continuation}");
        }
        self.append("samples.txt", &text)
    }

    /// Draws the loss curve to `loss.svg`.
    ///
    /// # Errors
    /// [`TrainError::Plot`] when drawing fails, [`TrainError::Weights`] when the file cannot be written.
    pub fn plot(&self) -> Result<(), TrainError> {
        let path = self.folder.join("loss.svg");
        let svg = draw(&self.rows).map_err(|message| TrainError::Plot { message, path: path.clone() })?;
        Ok(write_atomic(path, svg.as_bytes())?)
    }

    fn append(&self, file: &str, text: &str) -> Result<(), TrainError> {
        let path = self.folder.join(file);
        let mut whole = read_or_empty(&path)?;
        whole.push_str(text);
        Ok(write_atomic(path, whole.as_bytes())?)
    }
}

fn read_or_empty(path: &Path) -> Result<String, TrainError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(TrainError::io("read the report", path)(error)),
    }
}

/// Draws cross-entropy (left axis) and the indexer's divergence (right axis) over tokens.
fn draw(rows: &[LogRow]) -> Result<String, String> {
    fn text(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let points = |value: fn(&LogRow) -> f64| -> Vec<(f64, f64)> {
        rows.iter().map(|row| (row.tokens as f64 / 1e6, value(row))).filter(|(_, y)| y.is_finite()).collect()
    };
    let (loss, kl) = (points(|row| row.loss), points(|row| row.kl));
    let top = |points: &[(f64, f64)]| points.iter().map(|(_, y)| *y).fold(0.1, f64::max) * 1.05;
    let right = rows.last().map_or(1.0, |row| row.tokens as f64 / 1e6).max(1e-6);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (960, 480)).into_drawing_area();
        area.fill(&WHITE).map_err(text)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(50)
            .right_y_label_area_size(50)
            .build_cartesian_2d(0.0..right, 0.0..top(&loss))
            .map_err(text)?
            .set_secondary_coord(0.0..right, 0.0..top(&kl));
        chart.configure_mesh().x_desc("tokens / 10^6").y_desc("cross-entropy / nats").draw().map_err(text)?;
        chart.configure_secondary_axes().y_desc("indexer KL / nats").draw().map_err(text)?;
        let series = chart.draw_series(LineSeries::new(loss, &BLUE)).map_err(text)?;
        series.label("cross-entropy").legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], BLUE));
        let series = chart.draw_secondary_series(LineSeries::new(kl, &RED)).map_err(text)?;
        series.label("indexer KL").legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], RED));
        chart.configure_series_labels().border_style(BLACK).draw().map_err(text)?;
        area.present().map_err(text)?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn row(step: usize) -> LogRow {
        let loss = 9.0 / step as f64;
        LogRow { step, tokens: step * 100, lr: 1e-3, loss, kl: f64::NAN, grad_norm: 0.5, tokens_per_s: 1000.0 }
    }

    #[test]
    fn reopening_keeps_the_rows_up_to_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::open(folder.path(), 0).unwrap();
        let score = Score { source: "books".to_owned(), n_tokens: 10, nll: 2.0 };
        for step in 1..=4 {
            report.log(row(step)).unwrap();
            report.evaluation(step, "dense", std::slice::from_ref(&score)).unwrap();
        }
        let report = Report::open(folder.path(), 2).unwrap();
        assert_eq!(report.rows().iter().map(|row| (row.step, row.loss)).collect::<Vec<_>>(), [(1, 9.0), (2, 4.5)]);
        let evaluations = std::fs::read_to_string(folder.path().join("eval.csv")).unwrap();
        assert_eq!(evaluations.lines().count(), 3);
        assert!(evaluations.ends_with("2,dense,books,10,2.00000,7.389\n"), "{evaluations}");
    }

    #[test]
    fn the_curve_is_drawn_even_when_it_is_empty_or_not_finite() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::open(folder.path(), 0).unwrap();
        report.plot().unwrap();
        report.log(LogRow { loss: f64::NAN, ..row(1) }).unwrap();
        report.log(LogRow { kl: 0.3, ..row(2) }).unwrap();
        report.plot().unwrap();
        let svg = std::fs::read_to_string(folder.path().join("loss.svg")).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("cross-entropy"));
    }
}
