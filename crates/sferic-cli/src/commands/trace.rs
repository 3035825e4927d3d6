//! `sferic trace`: every intermediate value that can be compared with a reference.

use crate::cli::TraceArgs;
use crate::failure::{ExitStatus, bad_input};
use crate::load;
use crate::output::{dim, print, print_json, row, table};
use crate::progress::Spinner;
use anyhow::Result;
use serde_json::json;
use sferic_engine::{Trace, TraceRequest};

/// Runs the token ids of the input file and writes the output file.
pub fn run(args: &TraceArgs) -> Result<ExitStatus> {
    let folder = args.model.clone().into_folder();
    // Known before the run, not after it.
    if let Some(parent) = args.output.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir()) {
        return Err(bad_input(format!("no such folder for the output; make it first: {}", parent.display())));
    }
    let request = TraceRequest {
        replay: Default::default(),
        chunk: args.chunk,
        decode_from: args.decode_from,
        dense: args.engine.dense,
        generate: args.generate,
        ..TraceRequest::from_file(&args.input)?
    };
    let engine = load::open(folder.as_deref(), args.engine.to_options())?;
    dim(&format!("{}: {}", load::name(folder.as_deref()), engine.device().reason));
    let spinner = Spinner::new("running the prompt");
    let trace = pollster::block_on(engine.trace(&request))?;
    drop(spinner);
    trace.save(&args.output)?;
    let tensors = tensors(&trace);
    if args.json {
        let tensors: Vec<_> =
            tensors.iter().map(|(name, shape, dtype)| json!({ "name": name, "shape": shape, "dtype": dtype })).collect();
        print_json(&json!({
            "output": args.output,
            "device": engine.device().info,
            "n_tokens": request.ids.len(),
            "next_ids": trace.next_ids,
            "tensors": tensors,
        }))?;
        return Ok(ExitStatus::Done);
    }
    let mut rows = vec![row(["TENSOR", "SHAPE", "TYPE"])];
    rows.extend(tensors.into_iter().map(|(name, shape, dtype)| vec![name, format!("{shape:?}"), dtype.to_owned()]));
    print(&format!("{}written to {}\n", table(&rows), args.output.display()))?;
    Ok(ExitStatus::Done)
}

/// The tensors of the output file: name, shape, element type.
fn tensors(trace: &Trace) -> Vec<(String, Vec<usize>, &'static str)> {
    let logits = ("logits".to_owned(), vec![trace.logits.n_rows, trace.logits.n_cols], "F32");
    let hidden = trace.hidden.iter().enumerate();
    let hidden = hidden.map(|(layer_idx, rows)| (format!("hidden.{layer_idx}"), vec![rows.n_rows, rows.n_cols], "F32"));
    let topk = trace.topk.iter();
    let topk = topk.map(|(layer_idx, rows)| (format!("topk.{layer_idx}"), vec![rows.n_rows, rows.n_cols], "I32"));
    let next_ids = (!trace.next_ids.is_empty()).then(|| ("next_ids".to_owned(), vec![trace.next_ids.len()], "I64"));
    std::iter::once(logits).chain(hidden).chain(topk).chain(next_ids).collect()
}
