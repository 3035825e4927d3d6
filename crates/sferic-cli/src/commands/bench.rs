//! `sferic bench`: what this machine's GPU can do.

use crate::cli::{BenchArgs, BenchAttentionArgs, BenchKernelsArgs, BenchModelArgs, BenchSuite};
use crate::failure::{ExitStatus, bad_input, usage};
use crate::load;
use crate::output::{note, print, print_json, table};
use crate::progress::Spinner;
use anyhow::{Context, Result};
use sferic_bench::{
    Architecture, AttentionOptions, CacheDtype, Device, GpuError, KernelOptions, ModelPlan, Selection, Shape, attention as layer,
    measure, synthetic,
};
use sferic_engine::ComputePath;
use std::ops::ControlFlow;

/// Runs the suite.
pub fn run(args: &BenchArgs) -> Result<ExitStatus> {
    match &args.suite {
        BenchSuite::Kernels(args) => kernels(args),
        BenchSuite::Attention(args) => attention(args),
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
    let device = open(args.adapter.as_ref())?;
    let options = KernelOptions {
        filter: args.filter.clone(),
        tier: args.tier.clone(),
        samples: usize::from(args.samples),
        short: args.short,
    };
    let spinner = Spinner::new("measuring");
    let report = pollster::block_on(sferic_bench::kernels(&device, &options, async |_| ControlFlow::Continue(())))?;
    drop(spinner);
    if args.json {
        print_json(&report)?;
    } else {
        print(&report.markdown())?;
    }
    let failed = report.rows.iter().any(|row| row.reason.as_ref().is_some_and(|reason| reason.starts_with("FAIL")));
    Ok(if failed { ExitStatus::Failed } else { ExitStatus::Done })
}

fn attention(args: &BenchAttentionArgs) -> Result<ExitStatus> {
    let options = AttentionOptions {
        shape: Shape::ALL.into_iter().find(|shape| shape.name == args.shape).unwrap_or(Shape::V32),
        dtype: if args.dtype == CacheDtype::Fp8.name() { CacheDtype::Fp8 } else { CacheDtype::F16 },
        queries: args.queries.clone(),
        lengths: args.lengths.clone(),
        samples: usize::from(args.samples),
        prefill: args.prefill,
        short: args.short,
    };
    options.check().map_err(usage)?;
    let device = open(args.adapter.as_ref())?;
    let spinner = Spinner::new("measuring");
    let report = pollster::block_on(layer(&device, &options, async |_| ControlFlow::Continue(())))?;
    drop(spinner);
    match (&args.svg, report.svg()) {
        (None, _) => {}
        (Some(path), Ok(svg)) => {
            std::fs::write(path, svg).with_context(|| format!("the drawing cannot be written to {}", path.display()))?;
        }
        (Some(_), Err(reason)) => note(&format!("no drawing: {reason}")),
    }
    if args.json {
        print_json(&report)?;
    } else if args.markdown {
        print(&report.markdown())?;
    } else {
        let tables = [report.table(), report.prefill_table()].map(|cells| table(&cells));
        let text = format!(
            "{}\n\nmicroseconds for one layer\n{}\n{}\n{}\n",
            report.heading(),
            tables[0],
            tables[1],
            report.notes.join("\n")
        );
        print(&text)?;
    }
    Ok(if report.failed() { ExitStatus::Failed } else { ExitStatus::Done })
}

fn open(adapter: Option<&String>) -> Result<Device> {
    let selection = adapter.cloned().map_or(Selection::Best, Selection::Named);
    match pollster::block_on(Device::open(&selection)) {
        Err(error @ GpuError::NoAdapter { .. }) => Err(bad_input(error.to_string())),
        opened => Ok(opened?),
    }
}
