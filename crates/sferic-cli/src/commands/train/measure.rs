//! `sferic train eval`: what the models of a run can do.

use super::Place;
use crate::output::{print, print_json};
use crate::progress::Progress;
use anyhow::Result;
use serde_json::json;
use sferic_train::config::{EvalConfig, Step};
use sferic_train::eval::{self, Evaluation, Event};
use sferic_train::{TrainError, config_of, dataset};
use std::time::Instant;

/// Evaluates every model of the run, and writes a report of all; returns whether it is complete.
pub fn models(place: &Place<'_>) -> Result<bool> {
    let config = place.config;
    let defaults = EvalConfig::default();
    let settings = config.eval.as_ref().unwrap_or(&defaults);
    let models = config.models();
    if models.is_empty() {
        return Err(TrainError::missing_models(&config.output).into());
    }
    let output = config.folder(Step::Eval);
    let started = Instant::now();
    // Documents are read whole: rows do not matter.
    let (_, heldout) = dataset::open(&config.data, usize::MAX, 1)?;
    let mut all = Vec::new();
    for (name, model) in models {
        // Models of the first stages may have a shorter context.
        let settings = settings.fitted(config_of(&model)?.max_position_embeddings);
        let evaluation = Evaluation {
            name: name.clone(),
            model,
            output: output.join(&name),
            seed: config.seed,
            heldout: &heldout,
            config: &settings,
            device: place.choice.clone(),
            stop_after: place.options.stop_after.map(|limit| limit.saturating_sub(started.elapsed())),
        };
        let mut progress = Progress::count("evaluating");
        let results = pollster::block_on(eval::evaluate_model(&evaluation, &mut |event| {
            if let Event::Progress { part, done, total } = event {
                progress.set_message(format!("evaluating {name}: {part}"));
                progress.show(*done as u64, *total as u64);
            }
        }))?;
        drop(progress);
        if place.as_json {
            print_json(&json!({ "event": "evaluated", "model": name, "results": results }))?;
        }
        all.push(results);
    }
    eval::write_report(&all, &output)?;
    let complete = all.iter().all(|results| results.complete);
    if !place.as_json {
        let state = if complete { "" } else { "stopped before the end, go on with the same command; " };
        print(&format!("eval: {state}{} models in {}\n", all.len(), output.join("report.md").display()))?;
    }
    Ok(complete)
}
