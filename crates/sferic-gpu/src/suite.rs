//! Runs every kernel's suite in every tier of a device.

use crate::{Device, GpuError, Prepared};
use sferic_shaders::kernel::{Case, Features, Worst};
use sferic_shaders::suites::SUITES;
use web_time::Instant;

/// How one case, or one tier, came out.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It begins. Only the callback hears of this, so that it can name what never comes back.
    Started,
    /// The check passed; the largest error as a share of what is allowed.
    Passed(f64),
    /// The check or the device says what is wrong.
    Failed(String),
    /// The adapter lacks the feature that is named.
    Skipped(&'static str),
}

/// One line of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Kernel folder.
    pub kernel: &'static str,
    /// Tier.
    pub tier: &'static str,
    /// Case, or empty for what concerns a tier as a whole: that it is skipped, or that its cases are being made.
    pub case: String,
    /// How it came out.
    pub outcome: Outcome,
    /// How long it took, compilation included.
    pub seconds: f64,
}

/// Runs the suites of the kernels whose folder contains `filter`, and tells `each` about every case before it begins and as soon as it is known.
///
/// # Errors
/// Only what makes going on pointless: a lost device. Everything else is an outcome.
pub async fn run_suites(device: &Device, filter: &str, mut each: impl AsyncFnMut(&Report)) -> Result<Vec<Report>, GpuError> {
    let mut reports = Vec::new();
    for suite in SUITES.iter().filter(|suite| suite.kernel.contains(filter)) {
        let kernel = suite.kernel;
        for (tier, features) in Features::TIERS {
            let report = |case: &str, outcome, seconds| Report { kernel, tier, case: case.to_owned(), outcome, seconds };
            if let Some(feature) = device.capabilities.features.missing(features) {
                reports.push(report("", Outcome::Skipped(feature), 0.0));
                each(&reports[reports.len() - 1]).await;
                continue;
            }
            each(&report("", Outcome::Started, 0.0)).await;
            let cases = match (suite.cases)(&device.capabilities.limited_to(features)) {
                Ok(cases) => cases,
                Err(error) => {
                    reports.push(report("", Outcome::Failed(error.to_string()), 0.0));
                    each(&reports[reports.len() - 1]).await;
                    continue;
                }
            };
            for case in cases {
                each(&report(&case.name, Outcome::Started, 0.0)).await;
                let start = Instant::now();
                let outcome = match run_case(device, &case).await {
                    Ok(worst) => Outcome::Passed(worst.0),
                    Err(reason) => Outcome::Failed(reason),
                };
                reports.push(report(&case.name, outcome, start.elapsed().as_secs_f64()));
                each(&reports[reports.len() - 1]).await;
                device.check_lost()?;
            }
        }
    }
    Ok(reports)
}

/// Runs one case and judges it; the error says what is wrong.
pub(crate) async fn run_case(device: &Device, case: &Case) -> Result<Worst, String> {
    let outputs = match Prepared::new(device, case).await {
        Ok(prepared) => prepared.run().await,
        Err(error) => Err(error),
    };
    outputs.map_err(|error| error.to_string()).and_then(|outputs| (case.check)(&outputs))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Selection;

    #[test]
    fn a_lost_device_ends_the_run_with_its_reason() {
        let Ok(device) = pollster::block_on(Device::open(&Selection::Best)) else {
            eprintln!("skipped: there is no adapter");
            return;
        };
        let mut n_judged = 0;
        let error = pollster::block_on(run_suites(&device, "memory/copy", async |report| match report.outcome {
            Outcome::Started if !report.case.is_empty() => device.device.destroy(),
            Outcome::Started | Outcome::Skipped(_) => {}
            Outcome::Passed(_) | Outcome::Failed(_) => n_judged += 1,
        }));
        assert_eq!(n_judged, 1, "the first case is the last");
        let message = error.unwrap_err().to_string();
        assert!(message.contains("is lost") && message.contains("Destroyed"), "{message}");
    }
}
