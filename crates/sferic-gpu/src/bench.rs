//! Times the benchmark cases of the kernels, each behind its correctness gate.

use crate::suite::run_case;
use crate::{Device, GpuError, Prepared};
use sferic_shaders::kernel::{Case, Features, Work};
use sferic_shaders::suites::SUITES;

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

/// Measures the kernels whose folder, or whose cases' names, contain `filter`, in the highest tier that the device offers, or in `tier`.
///
/// # Errors
/// Only a lost device; everything else is in the rows.
pub async fn run_benches(
    device: &Device,
    filter: &str,
    tier: Option<&str>,
    samples: usize,
    mut each: impl FnMut(&Row),
) -> Result<Vec<Row>, GpuError> {
    let offered = |features: Features| device.capabilities.features.missing(features).is_none();
    let tiers: Vec<_> =
        Features::TIERS.into_iter().filter(|(name, features)| offered(*features) && tier.is_none_or(|t| t == *name)).collect();
    let Some(&(tier, features)) = tiers.last() else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    // Making the cases of a suite takes seconds: where a kernel is named in full, its own are enough.
    let named = SUITES.iter().any(|suite| suite.kernel == filter);
    for suite in SUITES.iter().filter(|suite| !named || suite.kernel == filter) {
        let cases = match (suite.benches)(&device.capabilities.limited_to(features)) {
            Ok(cases) => cases,
            Err(_) if !suite.kernel.contains(filter) => continue,
            Err(error) => {
                let (kernel, case, work) = (suite.kernel, String::new(), Work::default());
                rows.push(Row { kernel, case, tier, work, result: Err(error.to_string()) });
                continue;
            }
        };
        for case in cases.into_iter().filter(|case| suite.kernel.contains(filter) || case.name.contains(filter)) {
            let result = measure(device, &case, samples).await?;
            let row = Row { kernel: suite.kernel, case: case.name, tier, work: case.work, result };
            each(&row);
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Checks a case, then times it.
async fn measure(device: &Device, case: &Case, samples: usize) -> Result<Result<Measured, String>, GpuError> {
    if let Err(reason) = run_case(device, case).await {
        return Ok(Err(format!("FAIL {reason}")));
    }
    let mut prepared = Prepared::new(device, case).await?;
    let timing = prepared.time(samples, CACHE_BYTES).await?;
    Ok(Ok(Measured { seconds: timing.median(), spread: timing.spread() }))
}
