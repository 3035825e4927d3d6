//! Every kernel's suite in every tier that the adapter offers. A tier that it lacks is printed as skipped, by name.
//!
//! `SFERIC_KERNEL=top_k` runs the kernels whose folder contains the text; `SFERIC_ADAPTER=llvmpipe` picks the adapter.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use sferic_gpu::{Device, Outcome, Selection, run_suites};

#[test]
fn every_kernel_agrees_with_its_oracle_in_every_tier() {
    let selection = std::env::var("SFERIC_ADAPTER").map_or(Selection::Best, Selection::Named);
    let device = match pollster::block_on(Device::open(&selection)) {
        Ok(device) => device,
        Err(error) if std::env::var_os("SFERIC_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    };
    eprintln!("{} ({}, {}): {}", device.name, device.api, device.driver, device.capabilities.features);
    let filter = std::env::var("SFERIC_KERNEL").unwrap_or_default();
    let reports = pollster::block_on(run_suites(&device, &filter, async |report| {
        let at = format!("{:10} {}", report.tier, if report.case.is_empty() { report.kernel } else { &report.case });
        match &report.outcome {
            Outcome::Started => {}
            Outcome::Passed(worst) => eprintln!("  ok      {at} ({worst:.2} of the bound)"),
            Outcome::Failed(reason) => eprintln!("  FAILED  {at}: {reason}"),
            Outcome::Skipped(feature) => eprintln!("  skipped {at}: the adapter lacks {feature}"),
        }
    }))
    .unwrap();
    let failed = reports.iter().filter(|report| matches!(report.outcome, Outcome::Failed(_))).count();
    assert!(reports.iter().any(|report| matches!(report.outcome, Outcome::Passed(_))), "no case ran");
    assert_eq!(failed, 0, "cases that failed; their lines are above");
}
