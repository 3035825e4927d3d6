//! `sferic convert`: a model folder in another number format.

use crate::cli::{ConvertArgs, pair};
use crate::failure::ExitStatus;
use crate::output::{bytes, print, print_json, row, table};
use crate::progress::Progress;
use crate::{embedded, interrupt, load};
use anyhow::Result;
use serde_json::{Map, Value, json};
use sferic_engine::{CancelToken, Conversion, ConvertOptions, convert_folder, convert_parts};
use std::ops::ControlFlow;

/// Converts; a Ctrl-C ends it and leaves nothing behind.
pub fn run(args: ConvertArgs) -> Result<ExitStatus> {
    let (source, out) = pair(args.folders);
    let format = args.weights.format();
    let options = ConvertOptions { replace: args.force, ..ConvertOptions::new(format) };
    interrupt::install()?;
    let cancel = CancelToken::default();
    let guard = interrupt::cancels(cancel.clone());
    let mut bar = Progress::bytes("converting");
    let mut progress = |done, total| {
        bar.show(done, total);
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let conversion = match &source {
        Some(folder) => convert_folder(folder, &out, &options, &mut progress),
        None => convert_parts(embedded::parts(), &out, &options, &mut progress),
    }?;
    drop(bar);
    drop(guard);
    if args.json {
        print_json(&json!({
            "model": load::name(source.as_deref()),
            "out": out,
            "weights": format.name(),
            "source_bytes": conversion.source_bytes,
            "size_bytes": conversion.size_bytes,
            "formats": formats(&conversion),
            "files": conversion.files,
        }))?;
        return Ok(ExitStatus::Done);
    }
    let mut rows = vec![row(["FORMAT", "TENSORS", "SIZE"])];
    for (format, (n_tensors, n_bytes)) in &conversion.formats {
        rows.push(row([format, &n_tensors.to_string(), &bytes(*n_bytes)]));
    }
    let (before, after) = (conversion.source_bytes, conversion.size_bytes);
    let share = 100.0 * after as f64 / before.max(1) as f64;
    let sizes = format!("{} of weights became {}, {share:.0} %", bytes(before), bytes(after));
    print(&format!("{}{sizes}, in {}\n", table(&rows), out.display()))?;
    Ok(ExitStatus::Done)
}

fn formats(conversion: &Conversion) -> Map<String, Value> {
    let formats = conversion.formats.iter();
    formats
        .map(|(name, (n_tensors, n_bytes))| ((*name).to_owned(), json!({ "n_tensors": n_tensors, "size_bytes": n_bytes })))
        .collect()
}
