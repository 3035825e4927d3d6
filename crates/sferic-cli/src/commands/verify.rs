//! `sferic verify`: a run against reference values.

use crate::cli::VerifyArgs;
use crate::failure::ExitStatus;
use crate::load;
use crate::output::{note, print, print_json, row, table};
use crate::progress::Spinner;
use anyhow::Result;
use serde_json::json;
use sferic_engine::{CachePrecision, EngineOptions, Golden, Matrix, VerifyOptions, WeightPrecision};
use std::collections::BTreeMap;

/// Compares, prints one line for each tensor, and ends with code 1 when a value misses its bound.
pub fn run(args: &VerifyArgs) -> Result<ExitStatus> {
    let mut options = args.engine.to_options();
    // References are f32; other formats are compared where they are asked for.
    if options.weights == WeightPrecision::Stored {
        options.weights = WeightPrecision::F32;
    }
    let engine = load::open(Some(&args.model), options.clone())?;
    let mut golden = Golden::open(args.golden.as_ref().unwrap_or(&args.model))?;
    if !engine.is_exact() && engine.config().moe.is_some() && golden.experts.is_empty() {
        golden.experts = experts(args, options, &golden).unwrap_or_else(|error| {
            note(&format!("the reference's experts are not known, so that tokens that go to others count as wrong: {error:#}"));
            Default::default()
        });
    }
    let options = VerifyOptions { chunk: args.chunk, decode_from: args.decode_from };
    let spinner = Spinner::new("running the reference prompt");
    let verification = pollster::block_on(engine.verify(&golden, options))?;
    drop(spinner);
    let passed = verification.passed();
    let n_missed = verification.rows.iter().filter(|row| !row.passed).count();
    if args.json {
        print_json(&json!({
            "model": args.model,
            "device": engine.device().info,
            "device_reason": engine.device().reason,
            "n_tokens": golden.input_ids.len(),
            "passed": passed,
            "path": if engine.runs_on_kernels() { "kernels" } else { "reference" },
            "bound": verification.bound,
            "rows": verification.rows,
        }))?;
    } else {
        let mut rows = vec![row(["CHECK", "MEASURE", "FOUND", "BOUND", "RESULT"])];
        for check in &verification.rows {
            let result = if check.passed { "pass" } else { "MISS" };
            rows.push(row([&check.check, &check.measure, &check.found, &check.bound, result]));
        }
        let outcome = if passed { "all passed".to_owned() } else { format!("{n_missed} MISSED") };
        let (n_checks, device) = (verification.rows.len(), &engine.device().reason);
        print(&format!("{}{outcome} of {n_checks} checks · {device} · {}\n", table(&rows), args.model.display()))?;
    }
    Ok(if passed { ExitStatus::Done } else { ExitStatus::Failed })
}

/// The experts that the reference's tokens go to, from the same model in f32.
fn experts(args: &VerifyArgs, options: EngineOptions, golden: &Golden) -> Result<BTreeMap<usize, Matrix<i32>>> {
    let options = EngineOptions { weights: WeightPrecision::F32, cache: CachePrecision::F32, ..options };
    let engine = load::open(Some(&args.model), options)?;
    Ok(pollster::block_on(engine.experts_of(golden))?)
}
