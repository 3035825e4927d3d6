//! What was measured, for people and for programs.

use super::layer::{Layer, Part};
use super::shape::{AttentionOptions, CacheDtype, Shape};
use serde::Serialize;
use sferic_gpu::{Device, Timing};
use std::fmt::Write as _;

/// All rows of one run.
#[derive(Debug, Clone, Serialize)]
pub struct AttentionReport {
    /// Adapter.
    pub device: String,
    /// Driver and version.
    pub driver: String,
    /// Graphics interface.
    pub api: String,
    /// Optional features that the adapter offers.
    pub features: String,
    /// Widths of the layer.
    pub shape: Shape,
    /// Number format of the caches.
    pub dtype: CacheDtype,
    /// Bytes read and written per second by the copy kernel in this run, GB/s.
    pub copy_gigabytes_per_second: f64,
    /// How it was measured, and what was left out.
    pub notes: Vec<String>,
    /// A row for each query count and length.
    pub rows: Vec<AttentionRow>,
    /// Where sparse attention begins to win, for each query count.
    pub crossovers: Vec<Crossover>,
    /// A prefill chunk, where it was asked for; it has no dense figure.
    pub prefill: Option<AttentionRow>,
}

/// One layer at one length.
#[derive(Debug, Clone, Serialize)]
pub struct AttentionRow {
    /// Queries `T`.
    pub queries: u32,
    /// Cached tokens, those of the queries included.
    pub cached: u32,
    /// The figures, unless the correctness gate or the device stopped it.
    pub figures: Option<AttentionFigures>,
    /// Why there are none.
    pub reason: Option<String>,
}

/// The parts of a layer.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AttentionFigures {
    /// Index scores.
    pub scores: PartFigures,
    /// Selection.
    pub top_k: PartFigures,
    /// Attention over the selected rows, with the combination of its partial results.
    pub attention: PartFigures,
    /// The three before, measured in one sequence.
    pub sparse: PartFigures,
    /// Attention over all rows.
    pub dense: Option<PartFigures>,
}

/// The time of one part and its rates.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PartFigures {
    /// Median time of one run, microseconds.
    pub microseconds: f64,
    /// Half the distance between the quartiles as a share of the median.
    pub spread: f64,
    /// Samples behind the median.
    pub samples: usize,
    /// Bytes that must move, over the time.
    pub gigabytes_per_second: f64,
    /// Share of the measured copy bandwidth.
    pub share_of_copy: f64,
    /// Operations over the time.
    pub teraflops: f64,
    /// Megabytes of caches and queries over which the runs are spread; 0 for the selection, whose input is scratch.
    pub spread_megabytes: f64,
}

/// Where sparse attention begins to win.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Crossover {
    /// Queries `T`.
    pub queries: u32,
    /// The first length at which sparse attention is faster than dense by more than both vary; `None` where it never is.
    pub cached: Option<u32>,
}

impl PartFigures {
    pub(super) fn new(layer: &Layer, part: Part, timing: &Timing, copy: f64) -> Self {
        let seconds = timing.median();
        let rate = layer.bytes(part) / seconds / 1e9;
        Self {
            microseconds: seconds * 1e6,
            spread: timing.spread(),
            samples: timing.samples.len(),
            gigabytes_per_second: rate,
            share_of_copy: if copy > 0.0 { rate / copy } else { 0.0 },
            teraflops: layer.flops(part) / seconds / 1e12,
            spread_megabytes: layer.spread_bytes(part) / 1e6,
        }
    }
}

impl AttentionFigures {
    /// How many times as long dense attention takes.
    pub fn speedup(&self) -> Option<f64> {
        self.dense.map(|dense| dense.microseconds / self.sparse.microseconds)
    }

    /// Whether sparse attention is faster by more than what both times vary by.
    fn sparse_wins(&self) -> bool {
        let sparse = self.sparse.microseconds * (1.0 + self.sparse.spread);
        self.dense.is_some_and(|dense| sparse < dense.microseconds * (1.0 - dense.spread))
    }

    fn worst_spread(&self) -> f64 {
        let parts = [Some(self.scores), Some(self.top_k), Some(self.attention), Some(self.sparse), self.dense];
        parts.into_iter().flatten().map(|part| part.spread).fold(0.0, f64::max)
    }
}

impl AttentionReport {
    pub(super) fn new(
        device: &Device,
        options: &AttentionOptions,
        copy: f64,
        rows: Vec<AttentionRow>,
        prefill: Option<AttentionRow>,
    ) -> Self {
        Self {
            device: device.name.clone(),
            driver: device.driver.clone(),
            api: device.api.clone(),
            features: device.capabilities.features.to_string(),
            shape: options.shape,
            dtype: options.dtype,
            copy_gigabytes_per_second: copy,
            notes: notes(device, options),
            crossovers: crossovers(&rows),
            rows,
            prefill,
        }
    }

    /// Whether a result differed from its oracle.
    pub fn failed(&self) -> bool {
        let reasons = self.rows.iter().chain(&self.prefill).filter_map(|row| row.reason.as_ref());
        reasons.into_iter().any(|reason| reason.starts_with("FAIL"))
    }

    /// One line: device and shape.
    pub fn heading(&self) -> String {
        let Shape { name, heads, index_heads, index_width, latent, rotated, selected } = self.shape;
        format!(
            "{} ({}, {}), tiers: {}, copy {:.0} GB/s\n{name}: {heads} heads over rows of {latent} + {rotated}, {index_heads} index heads of \
             {index_width}, {selected} selected, {} caches",
            self.device,
            self.api,
            self.driver,
            self.features,
            self.copy_gigabytes_per_second,
            self.dtype.name()
        )
    }

    /// Cells of the table, its head first; times are in microseconds.
    pub fn table(&self) -> Vec<Vec<String>> {
        let head = ["queries", "cached", "scores", "top-k", "attention", "sparse", "dense", "dense/sparse", "±", ""];
        let mut cells = vec![head.map(str::to_owned).to_vec()];
        cells.extend(self.rows.iter().map(|row| self.row(row)));
        cells
    }

    fn row(&self, row: &AttentionRow) -> Vec<String> {
        let mut cells = vec![row.queries.to_string(), length(row.cached)];
        let Some(figures) = &row.figures else {
            cells.push(row.reason.clone().unwrap_or_else(|| "no figure".into()));
            return cells;
        };
        let parts = [figures.scores, figures.top_k, figures.attention, figures.sparse];
        cells.extend(parts.map(|part| format!("{:.1}", part.microseconds)));
        cells.push(figures.dense.map_or_else(String::new, |dense| format!("{:.1}", dense.microseconds)));
        cells.push(figures.speedup().map_or_else(String::new, |speedup| format!("{speedup:.2}")));
        cells.push(format!("{:.1} %", 100.0 * figures.worst_spread()));
        let crosses = self.crossovers.iter().any(|at| at.queries == row.queries && at.cached == Some(row.cached));
        cells.push(if crosses { "← sparse wins from here".into() } else { String::new() });
        cells
    }

    /// Cells of the table of the prefill chunk, its head first; none where it was not run.
    pub fn prefill_table(&self) -> Vec<Vec<String>> {
        let Some(row) = &self.prefill else { return Vec::new() };
        let what = format!("prefill of {} at {}", row.queries, length(row.cached));
        let mut cells = vec![[&what, "µs", "±", "TFLOPS", "GB/s"].map(str::to_owned).to_vec()];
        let Some(figures) = &row.figures else {
            cells.push(vec![row.reason.clone().unwrap_or_else(|| "no figure".into())]);
            return cells;
        };
        let parts = [
            ("scores", figures.scores),
            ("top-k", figures.top_k),
            ("attention", figures.attention),
            ("all three", figures.sparse),
        ];
        cells.extend(parts.map(|(name, part)| {
            vec![
                name.to_owned(),
                format!("{:.1}", part.microseconds),
                format!("{:.1} %", 100.0 * part.spread),
                format!("{:.2}", part.teraflops),
                format!("{:.0}", part.gigabytes_per_second),
            ]
        }));
        cells
    }

    /// The report as a page.
    pub fn markdown(&self) -> String {
        let mut out = self.heading().replace('\n', "\n\n") + "\n\nMicroseconds for one layer.\n\n" + &markdown(&self.table());
        for at in &self.crossovers {
            let _ = match at.cached {
                Some(cached) => {
                    writeln!(out, "\nWith {} queries sparse attention is faster from {} tokens on.", at.queries, length(cached))
                }
                None => writeln!(out, "\nWith {} queries sparse attention is not faster at any of these lengths.", at.queries),
            };
        }
        if self.prefill.is_some() {
            out += "\n";
            out += &markdown(&self.prefill_table());
        }
        out += "\n";
        self.notes.iter().for_each(|note| out += &format!("{note}\n"));
        out
    }
}

/// Lays out cells as Markdown: text in the first column and numbers in the others.
fn markdown(cells: &[Vec<String>]) -> String {
    let columns = cells.first().map_or(0, Vec::len);
    let mut out = String::new();
    for (i, row) in cells.iter().enumerate() {
        let padded = row.iter().map(String::as_str).chain(std::iter::repeat("")).take(columns);
        out += &format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "));
        if i == 0 {
            out += &format!("|---|{}\n", "---:|".repeat(columns - 1));
        }
    }
    out
}

/// `64K`, or the number where it is no multiple of 1024.
pub(super) fn length(tokens: u32) -> String {
    if tokens > 0 && tokens.is_multiple_of(1024) { format!("{}K", tokens / 1024) } else { tokens.to_string() }
}

/// The first measured length of each query count at which sparse attention is faster.
fn crossovers(rows: &[AttentionRow]) -> Vec<Crossover> {
    let mut found: Vec<Crossover> = Vec::new();
    for row in rows {
        let wins = row.figures.as_ref().is_some_and(AttentionFigures::sparse_wins).then_some(row.cached);
        match found.iter_mut().find(|at| at.queries == row.queries) {
            Some(at) => at.cached = [at.cached, wins].into_iter().flatten().min(),
            None => found.push(Crossover { queries: row.queries, cached: wins }),
        }
    }
    found
}

fn notes(device: &Device, options: &AttentionOptions) -> Vec<String> {
    let mut notes = vec![
        "Every row is checked against the f64 oracles first; `sparse` is the three parts in one sequence, `dense` the same kernels over all rows."
            .to_owned(),
    ];
    if options.short {
        notes.push("A short run, which shows that everything works; its times say little.".into());
    }
    if device.software {
        notes.push("A software adapter: one copy of all buffers, so that caches of the CPU help.".into());
        if options.lengths.is_empty() {
            notes.push(format!(
                "Lengths beyond {} take a software adapter too long; `--lengths` measures them all the same.",
                length(AttentionOptions::SOFTWARE_LENGTH)
            ));
        }
        if options.prefill {
            let [t, len] = AttentionOptions::SOFTWARE_PREFILL;
            notes.push(format!("Prefill is {t} queries at {} here and 2048 at 64K on a GPU.", length(len)));
        }
    } else {
        notes.push(
            "Each run has other queries and another copy of the caches, over more bytes than a second-level cache holds \
             (`spread_megabytes` of each figure in the JSON). \
             Scores, selection and partial sums are scratch that all runs share and that stays in the cache, as in a model."
                .into(),
        );
    }
    if !device.has_clock() {
        notes.push("The adapter has no clock: times are those of the host, submission and waiting included.".into());
    }
    notes
}

#[cfg(test)]
mod tests;
