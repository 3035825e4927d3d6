//! What a run of reinforcement learning leaves to look at: curves as CSV and SVG, samples as text.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;
use sferic_tasks::Domain;
use sferic_weights::write_atomic;

use crate::TrainError;

/// File of the curves.
const CSV: &str = "grpo.csv";
/// Columns before and after those of the domains.
const HEADER: [&str; 2] = [
    "step,tokens,lr,reward,correct,ended,length,entropy,loss,kl,clipped,left_out,rerouted,indexer_kl,grad_norm",
    "rollout_s,train_s",
];

/// A batch of replies and what was learned from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRow {
    /// Completed steps.
    pub step: usize,
    /// Tokens that the model drew.
    pub n_tokens: usize,
    /// Learning rate.
    pub lr: f64,
    /// Mean reward.
    pub reward: f64,
    /// Share of right replies.
    pub correct: f64,
    /// Share of replies that the model ended itself.
    pub ended: f64,
    /// Mean tokens drawn for a reply.
    pub length: f64,
    /// Mean of `−ln p` of the drawn tokens: an estimate of the entropy of what they were drawn from, in nats.
    pub entropy: f64,
    /// Mean loss of the optimiser steps.
    pub loss: f64,
    /// Mean divergence from the reference, in nats per token; 0 without a reference.
    pub kl: f64,
    /// Share of tokens outside the clipping range.
    pub clipped: f64,
    /// Share of replies left out for having strayed.
    pub left_out: f64,
    /// Share of tokens, over all mixture layers, that training sends to other experts than they went to when they were drawn; NaN where that is not
    /// known, and 0 where their experts are kept.
    pub rerouted: f64,
    /// The indexer's divergence.
    pub indexer_kl: f64,
    /// Mean norm of the gradient before clipping; NaN where every step was skipped.
    pub grad_norm: f64,
    /// Mean reward in each of [`Domain::ALL`]; NaN where nothing of it was asked.
    pub domains: [f64; Domain::ALL.len()],
    /// Seconds for drawing and scoring.
    pub rollout_secs: f64,
    /// Seconds for learning.
    pub train_secs: f64,
}

impl StepRow {
    fn header() -> String {
        let domains: Vec<String> = Domain::ALL.iter().map(|domain| format!("reward_{domain}")).collect();
        format!("{},{},{}", HEADER[0], domains.join(","), HEADER[1])
    }

    fn csv(&self) -> String {
        let numbers = [
            self.lr,
            self.reward,
            self.correct,
            self.ended,
            self.length,
            self.entropy,
            self.loss,
            self.kl,
            self.clipped,
            self.left_out,
            self.rerouted,
            self.indexer_kl,
            self.grad_norm,
        ];
        // The shortest text that reads back as the same number.
        let numbers: Vec<String> = numbers.iter().chain(&self.domains).map(|number| format!("{number:?}")).collect();
        format!("{},{},{},{:.3},{:.3}", self.step, self.n_tokens, numbers.join(","), self.rollout_secs, self.train_secs)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(',');
        let (step, n_tokens) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let mut number = || fields.next()?.parse::<f64>().ok();
        let mut row = Self {
            step,
            n_tokens,
            lr: number()?,
            reward: number()?,
            correct: number()?,
            ended: number()?,
            length: number()?,
            entropy: number()?,
            loss: number()?,
            kl: number()?,
            clipped: number()?,
            left_out: number()?,
            rerouted: number()?,
            indexer_kl: number()?,
            grad_norm: number()?,
            domains: [f64::NAN; Domain::ALL.len()],
            rollout_secs: 0.0,
            train_secs: 0.0,
        };
        for domain in &mut row.domains {
            *domain = number()?;
        }
        (row.rollout_secs, row.train_secs) = (number()?, number()?);
        fields.next().is_none().then_some(row)
    }
}

/// A reply to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The task.
    pub task: String,
    /// The last question.
    pub prompt: String,
    /// What the model wrote, thoughts included.
    pub reply: String,
    /// What it is worth.
    pub reward: f64,
}

/// The report files of a run.
#[derive(Debug)]
pub(super) struct Report {
    folder: PathBuf,
    rows: Vec<StepRow>,
}

impl Report {
    /// Opens the report of a run that has completed `step` steps: rows beyond it, from a run that was cut short, are dropped.
    pub(super) fn open(folder: &Path, step: usize) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(TrainError::io("create the run's folder", folder))?;
        let text = read_or_empty(&folder.join(CSV))?;
        let rows = text.lines().skip(1).filter_map(StepRow::parse).filter(|row| row.step <= step).collect();
        if step == 0 {
            write_atomic(folder.join("samples.txt"), b"")?;
        }
        Ok(Self { folder: folder.to_path_buf(), rows })
    }

    /// Adds a row and writes the file.
    pub(super) fn log(&mut self, row: StepRow) -> Result<(), TrainError> {
        self.rows.push(row);
        let lines: Vec<String> = std::iter::once(StepRow::header()).chain(self.rows.iter().map(StepRow::csv)).collect();
        Ok(write_atomic(self.folder.join(CSV), (lines.join("\n") + "\n").as_bytes())?)
    }

    /// Adds a round of samples.
    pub(super) fn samples(&self, step: usize, samples: &[Sample]) -> Result<(), TrainError> {
        let path = self.folder.join("samples.txt");
        let mut text = read_or_empty(&path)?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "==== step {step}");
        for Sample { task, prompt, reply, reward } in samples {
            let _ = writeln!(text, "---- {task}, reward {reward:.3}\n{prompt}\n>>\n{reply}");
        }
        Ok(write_atomic(path, text.as_bytes())?)
    }

    /// Draws the curves to `grpo.svg`.
    pub(super) fn plot(&self) -> Result<(), TrainError> {
        let path = self.folder.join("grpo.svg");
        let svg = draw(&self.rows).map_err(|message| TrainError::Plot { message, path: path.clone() })?;
        Ok(write_atomic(path, svg.as_bytes())?)
    }
}

fn read_or_empty(path: &Path) -> Result<String, TrainError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(TrainError::io("read the report", path)(error)),
    }
}

/// A curve of a chart: its name, and how to take its value from a row.
type Curve = (String, Box<dyn Fn(&StepRow) -> f64>);

/// Draws six charts over the steps.
fn draw(rows: &[StepRow]) -> Result<String, String> {
    fn curve(name: &str, value: impl Fn(&StepRow) -> f64 + 'static) -> Curve {
        (name.to_owned(), Box::new(value))
    }
    let mut rewards = vec![curve("all", |row| row.reward)];
    for (domain_idx, domain) in Domain::ALL.iter().enumerate() {
        rewards.push(curve(&domain.to_string(), move |row| row.domains[domain_idx]));
    }
    let charts = [
        ("reward", rewards),
        ("share", vec![curve("correct", |row| row.correct), curve("ended", |row| row.ended)]),
        ("tokens per reply", vec![curve("length", |row| row.length)]),
        ("KL / nats", vec![curve("from the reference", |row| row.kl), curve("indexer", |row| row.indexer_kl)]),
        (
            "share",
            vec![
                curve("clipped tokens", |row| row.clipped),
                curve("replies left out", |row| row.left_out),
                curve("rerouted tokens", |row| row.rerouted),
            ],
        ),
        ("entropy / nats", vec![curve("entropy", |row| row.entropy)]),
    ];
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (1200, 720)).into_drawing_area();
        area.fill(&WHITE).map_err(|error| error.to_string())?;
        for ((title, curves), area) in charts.into_iter().zip(area.split_evenly((2, 3))) {
            chart(&area, title, &curves, rows)?;
        }
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

fn chart(area: &DrawingArea<SVGBackend<'_>, Shift>, title: &str, curves: &[Curve], rows: &[StepRow]) -> Result<(), String> {
    fn text(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let points = |value: &dyn Fn(&StepRow) -> f64| -> Vec<(f64, f64)> {
        rows.iter().map(|row| (row.step as f64, value(row))).filter(|(_, y)| y.is_finite()).collect()
    };
    let curves: Vec<(&str, Vec<(f64, f64)>)> =
        curves.iter().map(|(name, value)| (name.as_str(), points(value))).filter(|(_, points)| !points.is_empty()).collect();
    let values = || curves.iter().flat_map(|(_, points)| points).map(|(_, y)| *y);
    let bottom = values().fold(0.0, f64::min);
    let top = values().fold(bottom + 1e-3, f64::max);
    let right = rows.last().map_or(1.0, |row| row.step as f64).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(28)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..right, bottom..top + 0.05 * (top - bottom))
        .map_err(text)?;
    chart.configure_mesh().x_desc("step").y_desc(title).draw().map_err(text)?;
    for (curve_idx, (name, points)) in curves.into_iter().enumerate() {
        let colour = Palette99::pick(curve_idx).to_rgba();
        let series = chart.draw_series(LineSeries::new(points, &colour)).map_err(text)?;
        series.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart.configure_series_labels().border_style(BLACK).draw().map_err(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn row(step: usize) -> StepRow {
        let mut domains = [f64::NAN; Domain::ALL.len()];
        domains[0] = 0.1 * step as f64;
        StepRow {
            step,
            n_tokens: 100 * step,
            lr: 1e-5,
            reward: 1.0 / step as f64,
            correct: 0.5,
            ended: 1.0,
            length: 12.5,
            entropy: 0.25,
            loss: -0.1,
            kl: 1e-3,
            clipped: 0.0,
            left_out: 0.125,
            rerouted: 0.0625,
            indexer_kl: 0.75,
            grad_norm: f64::NAN,
            domains,
            rollout_secs: 1.0,
            train_secs: 2.0,
        }
    }

    #[test]
    fn reopening_keeps_the_rows_up_to_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::open(folder.path(), 0).unwrap();
        for step in 1..=4 {
            report.log(row(step)).unwrap();
        }
        let sample = Sample { task: "math/a/1/0".into(), prompt: "1 + 1?".into(), reply: "2".into(), reward: 1.0 };
        report.samples(4, &[sample]).unwrap();
        let mut report = Report::open(folder.path(), 2).unwrap();
        // NaN is not equal to itself, so the texts are compared.
        let found: Vec<String> = report.rows.iter().map(StepRow::csv).collect();
        assert_eq!(found, [row(1).csv(), row(2).csv()]);
        report.log(row(3)).unwrap();
        report.plot().unwrap();
        let text = std::fs::read_to_string(folder.path().join(CSV)).unwrap();
        let n_columns = |line: &str| line.split(',').count();
        assert!(text.lines().count() == 4 && text.lines().all(|line| n_columns(line) == n_columns(&StepRow::header())), "{text}");
        let svg = std::fs::read_to_string(folder.path().join("grpo.svg")).unwrap();
        assert!(
            svg.contains("math") && svg.contains("replies left out") && !svg.contains("agent"),
            "curves without values are left out"
        );
        assert!(std::fs::read_to_string(folder.path().join("samples.txt")).unwrap().contains("1 + 1?"));
    }
}
