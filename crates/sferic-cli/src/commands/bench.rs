//! `sferic bench`: what this machine's GPU can do.

use crate::cli::{BenchArgs, BenchKernelsArgs, BenchSuite};
use crate::failure::{ExitStatus, bad_input};
use crate::output::{print, print_json};
use crate::progress::Spinner;
use anyhow::Result;
use sferic_bench::{GpuError, Selection};

/// Runs the suite.
pub fn run(args: &BenchArgs) -> Result<ExitStatus> {
    match &args.suite {
        BenchSuite::Kernels(args) => kernels(args),
    }
}

fn kernels(args: &BenchKernelsArgs) -> Result<ExitStatus> {
    let selection = args.adapter.clone().map_or(Selection::Best, Selection::Named);
    let spinner = Spinner::new("measuring");
    let samples = usize::from(args.samples);
    let report = sferic_bench::kernels(&selection, &args.filter, args.tier.as_deref(), samples, |_| {});
    let report = match pollster::block_on(report) {
        Ok(report) => report,
        Err(error @ GpuError::NoAdapter { .. }) => return Err(bad_input(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    drop(spinner);
    if args.json {
        print_json(&report)?;
    } else {
        print(&report.markdown())?;
    }
    let failed = report.rows.iter().any(|row| row.reason.as_ref().is_some_and(|reason| reason.starts_with("FAIL")));
    Ok(if failed { ExitStatus::Failed } else { ExitStatus::Done })
}
