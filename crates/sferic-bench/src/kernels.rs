//! `sferic bench kernels`: every kernel by itself.

use serde::Serialize;
use sferic_gpu::{Benches, Device, Doing, GpuError, Row, run_benches};
use std::fmt::Write as _;
use std::ops::ControlFlow;

/// All rows of one run, with the ceilings that they are quoted against.
#[derive(Debug, Clone, Serialize)]
pub struct KernelReport {
    /// Adapter.
    pub device: String,
    /// Driver and version.
    pub driver: String,
    /// Graphics interface.
    pub api: String,
    /// Optional features that the adapter offers.
    pub features: String,
    /// Bytes read and written per second by the copy kernel, GB/s: the ceiling of everything bound by memory.
    pub copy_gigabytes_per_second: f64,
    /// The best rate of the matrix product, TFLOPS: the ceiling of everything bound by arithmetic. 0 where it was not run.
    pub matrix_teraflops: f64,
    /// The rows.
    pub rows: Vec<KernelRow>,
}

/// One kernel at one shape.
#[derive(Debug, Clone, Serialize)]
pub struct KernelRow {
    /// Folder.
    pub kernel: String,
    /// Permutation and shape.
    pub case: String,
    /// Tier of the permutation.
    pub tier: String,
    /// The figures, unless the correctness gate or the device stopped it.
    pub figures: Option<Figures>,
    /// Why there are none.
    pub reason: Option<String>,
}

/// What was measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figures {
    /// Median time of one run, microseconds.
    pub microseconds: f64,
    /// Half the distance between the quartiles as a share of the median.
    pub spread: f64,
    /// Bytes that must move, over the time.
    pub gigabytes_per_second: f64,
    /// Operations over the time.
    pub teraflops: f64,
    /// Share of the measured copy bandwidth.
    pub share_of_copy: f64,
    /// Share of the measured matrix rate; 0 where that was not run.
    pub share_of_matrix: f64,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct KernelOptions {
    /// A part of the kernels' folders or of their cases' names; empty for all.
    pub filter: String,
    /// The tier; the highest that the device offers where there is none.
    pub tier: Option<String>,
    /// Samples of which the median is shown.
    pub samples: usize,
    /// Takes small cases, on which times say little: for a run that shows that everything works.
    pub short: bool,
}

/// Runs the benchmarks. The copy kernel always runs, first. `each` hears what comes next and may end the run; the report then has the rows
/// that there are.
///
/// # Errors
/// [`GpuError`] when the device is lost.
pub async fn kernels(
    device: &Device,
    options: &KernelOptions,
    mut each: impl AsyncFnMut(Doing<'_>) -> ControlFlow<()>,
) -> Result<KernelReport, GpuError> {
    let KernelOptions { filter, tier, samples, short } = options;
    let benches = Benches { filter: "memory/copy", tier: tier.as_deref(), samples: *samples, short: *short };
    let mut is_ended = false;
    let copies = run_benches(device, benches, async |doing| {
        let flow = each(doing).await;
        is_ended = flow.is_break();
        flow
    });
    let mut rows = copies.await?;
    if !is_ended && (!"memory/copy".contains(filter.as_str()) || filter.is_empty()) {
        let others = run_benches(device, Benches { filter, ..benches }, each).await?;
        rows.extend(others.into_iter().filter(|row| row.kernel != "memory/copy"));
    }
    let best = |rate: fn(&Row) -> f64, kernel: &str| rows.iter().filter(|row| row.kernel == kernel).map(rate).fold(0.0, f64::max);
    let copy = best(Row::gigabytes_per_second, "memory/copy");
    let matrix = best(Row::teraflops, "linear/gemm");
    let share = |value: f64, ceiling: f64| if ceiling > 0.0 { value / ceiling } else { 0.0 };
    let figures = |row: &Row| {
        row.result.as_ref().ok().map(|measured| Figures {
            microseconds: measured.seconds * 1e6,
            spread: measured.spread,
            gigabytes_per_second: row.gigabytes_per_second(),
            teraflops: row.teraflops(),
            share_of_copy: share(row.gigabytes_per_second(), copy),
            share_of_matrix: share(row.teraflops(), matrix),
        })
    };
    let rows = rows.iter().map(|row| KernelRow {
        kernel: row.kernel.into(),
        case: row.case.clone(),
        tier: row.tier.into(),
        figures: figures(row),
        reason: row.result.as_ref().err().cloned(),
    });
    Ok(KernelReport {
        rows: rows.collect(),
        device: device.name.clone(),
        driver: device.driver.clone(),
        api: device.api.clone(),
        features: device.capabilities.features.to_string(),
        copy_gigabytes_per_second: copy,
        matrix_teraflops: matrix,
    })
}

impl KernelReport {
    /// The report as a page.
    pub fn markdown(&self) -> String {
        let mut out = format!(
            "{} ({}, {}), tiers: {}\n\nCeilings measured in this run: copy {:.0} GB/s",
            self.device, self.api, self.driver, self.features, self.copy_gigabytes_per_second
        );
        if self.matrix_teraflops > 0.0 {
            let _ = write!(out, ", matrix product {:.1} TFLOPS", self.matrix_teraflops);
        }
        out += ".\n\n| kernel | tier | µs | ± | GB/s | of copy | TFLOPS | of matrix |\n|---|---|---:|---:|---:|---:|---:|---:|\n";
        for row in &self.rows {
            let _ = match (&row.figures, &row.reason) {
                (Some(f), _) => writeln!(
                    out,
                    "| {} | {} | {:.2} | {:.1} % | {:.0} | {:.0} % | {:.2} | {:.0} % |",
                    row.case,
                    row.tier,
                    f.microseconds,
                    100.0 * f.spread,
                    f.gigabytes_per_second,
                    100.0 * f.share_of_copy,
                    f.teraflops,
                    100.0 * f.share_of_matrix
                ),
                (None, reason) => {
                    let reason = reason.as_deref().unwrap_or("no figure");
                    writeln!(out, "| {} {} | {} | {reason} | | | | | |", row.kernel, row.case, row.tier)
                }
            };
        }
        out
    }
}
