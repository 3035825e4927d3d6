//! `sferic compare`: how far a model is from another on a text.

use crate::cli::{CompareArgs, pair};
use crate::failure::{ExitStatus, bad_input};
use crate::output::{dim, print, print_json, row, table};
use crate::progress::Progress;
use crate::{load, text};
use anyhow::Result;
use serde_json::json;
use sferic_engine::{Comparison, Engine};
use std::path::Path;

/// What is read where no text is given; written for this program, so that no model has been trained on it.
const TEXT: &str = include_str!("../heldout.txt");

/// Loads one model after the other, so that two need no more room than the larger one.
pub fn run(args: CompareArgs) -> Result<ExitStatus> {
    let (reference, model) = pair(args.folders);
    let text = match &args.text {
        Some(path) => text::read(path)?,
        None => TEXT.to_owned(),
    };
    let open = |folder: Option<&Path>| -> Result<(Engine, Vec<u32>)> {
        let engine = load::open(folder, args.engine.to_options())?;
        dim(&format!("{}: {}", load::name(folder), engine.device().reason));
        let mut ids = engine.encode(&text)?;
        ids.truncate(args.max_tokens);
        Ok((engine, ids))
    };
    let (engine, ids) = open(reference.as_deref())?;
    let window = args.window.min(engine.plan().context);
    let mut bar = Progress::count("reading with the reference");
    let prediction = pollster::block_on(engine.predict(&ids, window, &mut |n_read| bar.show(n_read as u64, ids.len() as u64)))?;
    drop(engine);
    let (engine, same_ids) = open(Some(&model))?;
    if ids != same_ids {
        return Err(bad_input(format!(
            "{} and {} turn the text into different tokens; compare models with the same tokenizer",
            load::name(reference.as_deref()),
            model.display()
        )));
    }
    bar = Progress::count("reading with the model");
    let total = ids.len() as u64;
    let comparison = pollster::block_on(engine.compare(&prediction, &mut |n_read| bar.show(n_read as u64, total)))?;
    drop(bar);
    if args.json {
        print_json(&json!({
            "reference": load::name(reference.as_deref()),
            "model": model,
            "text": args.text,
            "window": window,
            "device": engine.device().info,
            "comparison": comparison,
            "perplexity_change": change(&comparison),
        }))?;
    } else {
        print(&to_table(&comparison))?;
    }
    Ok(ExitStatus::Done)
}

/// How much larger the perplexity is than the reference's, as a share of the latter.
fn change(comparison: &Comparison) -> f64 {
    comparison.perplexity / comparison.reference_perplexity - 1.0
}

fn to_table(comparison: &Comparison) -> String {
    let Comparison { reference_perplexity, perplexity, .. } = comparison;
    let rows = [
        row(["positions", &comparison.n_positions.to_string()]),
        row(["perplexity of the reference", &format!("{reference_perplexity:.4}")]),
        row(["perplexity of the model", &format!("{perplexity:.4} ({:+.2} %)", 100.0 * change(comparison))]),
        row(["same most likely token", &format!("{:.2} %", 100.0 * comparison.top1_agreement)]),
        row(["divergence (KL)", &format!("mean {:.6}, max {:.6} nats", comparison.mean_kl, comparison.max_kl)]),
        row(["error of the logits", &format!("mean {:.5}, max {:.4}", comparison.mean_logit_error, comparison.max_logit_error)]),
        row(["cosine of the logits", &format!("mean {:.7}, min {:.7}", comparison.mean_cosine, comparison.min_cosine)]),
    ];
    table(&rows)
}
