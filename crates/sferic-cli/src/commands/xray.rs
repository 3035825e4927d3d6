//! `sferic xray`: which positions each layer selected for a token.

use crate::cli::XrayArgs;
use crate::failure::{ExitStatus, bad_input};
use crate::output::{dim, print_json};
use crate::progress::Spinner;
use crate::{load, text};
use anyhow::{Context, Result, anyhow};
use sferic_bench::{Layer, Xray};
use sferic_engine::TraceRequest;

/// Runs the text and writes the selections as JSON, and as a heat map where asked.
pub fn run(args: &XrayArgs) -> Result<ExitStatus> {
    let folder = args.model.clone().into_folder();
    let text = text::read(&args.file)?;
    let engine = load::open(folder.as_deref(), args.engine.to_options())?;
    dim(&format!("{}: {}", load::name(folder.as_deref()), engine.device().reason));
    if engine.config().indexer.is_none() {
        return Err(bad_input(format!("{} has no indexer: every layer reads every token", load::name(folder.as_deref()))));
    }
    let ids = engine.encode(&text)?;
    let position = args.position.unwrap_or(ids.len().saturating_sub(1));
    if position >= ids.len() {
        return Err(bad_input(format!(
            "position {position}: the text has {} tokens, so 0 to {}",
            ids.len(),
            ids.len().max(1) - 1
        )));
    }
    let request = TraceRequest { ids: ids[..=position].to_vec(), dense: args.engine.dense, ..TraceRequest::default() };
    let spinner = Spinner::new("running the text");
    let trace = pollster::block_on(engine.trace(&request))?;
    drop(spinner);
    let layer = |(layer, rows): (&usize, &sferic_engine::Matrix<i32>)| {
        let mut selected: Vec<usize> = rows.row(position).iter().filter_map(|&at| usize::try_from(at).ok()).collect();
        selected.sort_unstable();
        Layer { layer: *layer, selected }
    };
    let tokenizer = engine.tokenizer()?;
    let token = |id: &u32| tokenizer.decode(&[*id], false).unwrap_or_default();
    let tokens = request.ids.iter().map(token).collect();
    let xray = Xray { position, tokens, layers: trace.topk.iter().map(layer).collect() };
    if let Some(path) = &args.svg {
        let svg = xray.svg().map_err(|error| anyhow!("the heat map cannot be drawn: {error}"))?;
        std::fs::write(path, svg).with_context(|| format!("the heat map cannot be written to {}", path.display()))?;
    }
    print_json(&xray)?;
    Ok(ExitStatus::Done)
}
