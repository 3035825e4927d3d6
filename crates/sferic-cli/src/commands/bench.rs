//! `sferic bench`: what this machine's GPU can do.

use crate::cli::{BenchArgs, BenchKernelsArgs, BenchModelArgs, BenchSuite};
use crate::failure::{ExitStatus, bad_input};
use crate::load;
use crate::output::{print, print_json};
use crate::progress::Spinner;
use anyhow::Result;
use sferic_bench::{Architecture, GpuError, ModelPlan, Selection, measure, synthetic};
use sferic_engine::ComputePath;

/// Runs the suite.
pub fn run(args: &BenchArgs) -> Result<ExitStatus> {
    match &args.suite {
        BenchSuite::Kernels(args) => kernels(args),
        BenchSuite::Model(args) => model(args),
    }
}

fn model(args: &BenchModelArgs) -> Result<ExitStatus> {
    let mut options = args.engine.to_options();
    options.path = ComputePath::Kernels;
    let plan = ModelPlan {
        depths: args.depths.clone(),
        n_decode: args.decode as usize,
        n_prefill: args.prefill,
        samples: usize::from(args.samples),
        profile: args.profile,
    };
    let report = match &args.synthetic {
        Some(name) => {
            let (formats, caches) = options.formats();
            let spinner = Spinner::new("making random weights and measuring");
            let device = pollster::block_on(sferic_engine::kernels_device(&options.device))?;
            let architecture = Architecture::v2_lite_with_indexer();
            let report = pollster::block_on(synthetic(device, name, architecture, formats, caches, &plan))?;
            drop(spinner);
            report
        }
        None => {
            let folder = args.model.clone().into_folder();
            let deepest = plan.depths.iter().copied().max().unwrap_or(0);
            let needed = deepest + plan.n_prefill.max(plan.n_decode);
            let engine = load::open(folder.as_deref(), options)?;
            let context = engine.plan().context;
            if needed > context {
                return Err(bad_input(format!(
                    "the depths and samples need a context of {needed} tokens, the model has {context}: take smaller --depths, --decode or --prefill"
                )));
            }
            let Some(model) = engine.kernels() else {
                return Err(bad_input("the model runs on the reference path, which this benchmark does not measure"));
            };
            let spinner = Spinner::new("measuring");
            let report = pollster::block_on(measure(model, &load::name(folder.as_deref()), &plan))?;
            drop(spinner);
            report
        }
    };
    if args.json {
        print_json(&report)?
    } else {
        print(&report.markdown())?
    }
    Ok(ExitStatus::Done)
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
