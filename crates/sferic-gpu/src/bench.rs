//! Times the benchmark cases of the kernels, each behind its correctness gate.

use crate::suite::run_case;
use crate::{Device, GpuError, Prepared, Sampling};
use sferic_shaders::kernel::{Case, Features, Work};
use sferic_shaders::suites::{SUITES, Suite};
use std::ops::ControlFlow;
use std::time::Duration;

/// Bytes that a benchmark's buffers must exceed, so that no run finds its inputs in a cache: five times the largest cache we know (50 MB).
pub const CACHE_BYTES: u64 = 256 << 20;

/// One measured case.
#[derive(Debug, Clone)]
pub struct Row {
    /// Kernel folder.
    pub kernel: &'static str,
    /// Permutation and shape.
    pub case: String,
    /// The tier whose permutation it is.
    pub tier: &'static str,
    /// Its work.
    pub work: Work,
    /// Seconds and spread, or why there are none.
    pub result: Result<Measured, String>,
}

/// A figure that passed its gate.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Seconds of one run, the middle of the samples.
    pub seconds: f64,
    /// Half the distance between the quartiles as a share of `seconds`.
    pub spread: f64,
}

impl Row {
    /// Bytes over time, GB/s; 0 without a figure.
    pub fn gigabytes_per_second(&self) -> f64 {
        self.result.as_ref().map_or(0.0, |measured| self.work.bytes / measured.seconds / 1e9)
    }

    /// Operations over time, TFLOPS; 0 without a figure.
    pub fn teraflops(&self) -> f64 {
        self.result.as_ref().map_or(0.0, |measured| self.work.flops / measured.seconds / 1e12)
    }
}

/// What is measured, and how.
#[derive(Debug, Clone, Copy)]
pub struct Benches<'a> {
    /// A part of the kernels' folders or of their cases' names; empty for all.
    pub filter: &'a str,
    /// The tier; the highest that the device offers where there is none.
    pub tier: Option<&'a str>,
    /// Samples of which the median is taken.
    pub samples: usize,
    /// Takes the small cases of the self-test, on which times say little: for a run that shows that everything works.
    pub short: bool,
}

/// Where a run of benchmarks stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doing<'a> {
    /// What it measures next: the name of a case, or of a kernel whose cases are being made.
    pub what: &'a str,
    /// Kernels, or rows, that are done.
    pub done: usize,
    /// How many there are.
    pub total: usize,
}

/// Measures kernels. `each` hears what comes next and may end the run, which then returns what it has.
///
/// # Errors
/// Only a lost device; everything else is in the rows.
pub async fn run_benches(
    device: &Device,
    benches: Benches<'_>,
    mut each: impl AsyncFnMut(Doing<'_>) -> ControlFlow<()>,
) -> Result<Vec<Row>, GpuError> {
    let Benches { filter, tier, short, .. } = benches;
    let offered = |features: Features| device.capabilities.features.missing(features).is_none();
    let tiers: Vec<_> =
        Features::TIERS.into_iter().filter(|(name, features)| offered(*features) && tier.is_none_or(|t| t == *name)).collect();
    let Some(&(tier, features)) = tiers.last() else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    // Making the cases of a suite takes seconds: where a kernel is named in full, its own are enough.
    let named = SUITES.iter().any(|suite| suite.kernel == filter);
    let made = |suite: &Suite| if short { suite.quick } else { Some(suite.benches) };
    let suites: Vec<_> = SUITES
        .iter()
        .filter(|suite| !named || suite.kernel == filter)
        .filter_map(|suite| made(suite).map(|make| (suite.kernel, make)))
        .collect();
    let total = suites.len();
    for (done, (kernel, make)) in suites.into_iter().enumerate() {
        if each(Doing { what: kernel, done, total }).await.is_break() {
            break;
        }
        let cases = match make(&device.capabilities.limited_to(features)) {
            Ok(cases) => cases,
            Err(_) if !kernel.contains(filter) => continue,
            Err(error) => {
                let (case, work) = (String::new(), Work::default());
                rows.push(Row { kernel, case, tier, work, result: Err(error.to_string()) });
                continue;
            }
        };
        for case in cases.into_iter().filter(|case| kernel.contains(filter) || case.name.contains(filter)) {
            if each(Doing { what: &case.name, done, total }).await.is_break() {
                return Ok(rows);
            }
            let result = measure(device, &case, benches).await?;
            rows.push(Row { kernel, case: case.name, tier, work: case.work, result });
        }
    }
    Ok(rows)
}

/// Checks a case, then times it.
async fn measure(device: &Device, case: &Case, benches: Benches<'_>) -> Result<Result<Measured, String>, GpuError> {
    if let Err(reason) = run_case(device, case).await {
        return Ok(Err(format!("FAIL {reason}")));
    }
    let mut prepared = Prepared::new(device, case).await?;
    // Times of small cases say little, so that neither warm clocks nor cold caches are worth their seconds.
    let (cache_bytes, warm_up) = if benches.short { (0, Duration::ZERO) } else { (CACHE_BYTES, Sampling::WARM_UP) };
    let timing = prepared.time(Sampling { samples: benches.samples, warm_up }, cache_bytes).await?;
    Ok(Ok(Measured { seconds: timing.median(), spread: timing.spread() }))
}
