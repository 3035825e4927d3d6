//! Runs every kernel's suite in every tier of a device.

use crate::{Device, GpuError, Prepared};
use sferic_shaders::kernel::{Case, Features};
use sferic_shaders::suites::SUITES;

/// How one case, or one tier, came out.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
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
    /// Case, or empty for a tier that is skipped as a whole.
    pub case: String,
    /// How it came out.
    pub outcome: Outcome,
}

/// Runs the suites of the kernels whose folder contains `filter`, and tells `each` about every case as soon as it is known.
///
/// # Errors
/// Only what makes going on pointless: a lost device. Everything else is an outcome.
pub async fn run_suites(device: &Device, filter: &str, mut each: impl FnMut(&Report)) -> Result<Vec<Report>, GpuError> {
    let mut reports = Vec::new();
    for suite in SUITES.iter().filter(|suite| suite.kernel.contains(filter)) {
        let kernel = suite.kernel;
        let mut add = |tier, case: String, outcome| {
            let report = Report { kernel, tier, case, outcome };
            each(&report);
            reports.push(report);
        };
        for (tier, features) in Features::TIERS {
            if let Some(feature) = device.capabilities.features.missing(features) {
                add(tier, String::new(), Outcome::Skipped(feature));
                continue;
            }
            match (suite.cases)(&device.capabilities.limited_to(features)) {
                Err(error) => add(tier, String::new(), Outcome::Failed(error.to_string())),
                Ok(cases) => {
                    for case in cases {
                        let outcome = run_case(device, &case).await;
                        add(tier, case.name.clone(), outcome);
                    }
                }
            }
        }
    }
    Ok(reports)
}

/// Runs one case and judges it.
pub(crate) async fn run_case(device: &Device, case: &Case) -> Outcome {
    let outputs = match Prepared::new(device, case).await {
        Ok(prepared) => prepared.run().await,
        Err(error) => Err(error),
    };
    match outputs.map_err(|error| error.to_string()).and_then(|outputs| (case.check)(&outputs)) {
        Ok(worst) => Outcome::Passed(worst.0),
        Err(reason) => Outcome::Failed(reason),
    }
}
