//! `sferic train`: the stages of training, each from one configuration file.

mod learn;
mod measure;

use crate::cli::{RunArgs, Stage as Command, StageArgs};
use crate::failure::{ExitStatus, usage};
use crate::output::{count, dim, print, print_json, row, table};
use crate::progress::{Progress, Spinner};
use anyhow::Result;
use serde_json::{Value, json};
use sferic_engine::{DeviceChoice, ResolvedDevice};
use sferic_train::config::{RunConfig, Stage, Step};
use sferic_train::dataset::{self, SplitManifest};
use sferic_train::{Event, Outcome, RunOptions, chat_data, run_stage, tokenizer};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs a step of a training run.
pub fn run(command: Command) -> Result<ExitStatus> {
    match command {
        Command::Tokenizer(args) => train_tokenizer(&args),
        Command::Data(args) => prepare_data(&args),
        Command::Chats(args) => write_chats(&args),
        Command::Pretrain(args) => run_steps(Some(Step::Stage(Stage::Pretrain)), &args),
        Command::Extend(args) => run_steps(Some(Step::Stage(Stage::Extend)), &args),
        Command::Warmup(args) => run_steps(Some(Step::Stage(Stage::Warmup)), &args),
        Command::Sparse(args) => run_steps(Some(Step::Stage(Stage::Sparse)), &args),
        Command::Sft(args) => run_steps(Some(Step::Stage(Stage::Sft)), &args),
        Command::Specialists(args) => run_steps(Some(Step::Specialists), &args),
        Command::Collect(args) => run_steps(Some(Step::Collect), &args),
        Command::Distill(args) => run_steps(Some(Step::Stage(Stage::Distill)), &args),
        Command::Grpo(args) => run_steps(Some(Step::Grpo), &args),
        Command::Eval(args) => run_steps(Some(Step::Eval), &args),
        Command::All(args) => run_steps(None, &args),
    }
}

fn train_tokenizer(args: &StageArgs) -> Result<ExitStatus> {
    let config = RunConfig::open(&args.config)?;
    let path = &config.data.tokenizer;
    if path.file_name().is_none_or(|name| name != "tokenizer.json") {
        return Err(usage(format!("data.tokenizer: expected a path that ends in tokenizer.json, found {}", path.display())));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let contexts = config.stages().into_iter().filter_map(|stage| config.stage(stage).ok()?.context);
    let max_length = contexts.chain([sferic_train::first_model_config(&config)?.max_position_embeddings]).max().unwrap_or(0);
    let spinner = Spinner::new("learning a vocabulary from the corpus");
    let trained = tokenizer::train_from_corpus(&config)?;
    drop(spinner);
    tokenizer::save_tokenizer(&trained, max_length, folder)?;
    let vocab_size = trained.get_vocab_size(true);
    if args.json {
        print_json(&json!({ "tokenizer": path, "vocab_size": vocab_size }))?;
    } else {
        print(&format!("{vocab_size} tokens written to {}\n", path.display()))?;
    }
    Ok(ExitStatus::Done)
}

fn prepare_data(args: &StageArgs) -> Result<ExitStatus> {
    let config = RunConfig::open(&args.config)?;
    let progress = Mutex::new(Progress::count("tokenising"));
    let manifest = dataset::prepare(&config.data, &|source, done, total| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.set_message(format!("tokenising {source}"));
        progress.show(done as u64, total as u64);
    })?;
    drop(progress);
    if args.json {
        print_json(&manifest)?;
        return Ok(ExitStatus::Done);
    }
    let mut rows = vec![row(["SPLIT", "SOURCE", "DOCUMENTS", "TOKENS", "BYTES"])];
    let split_rows = |name: &str, split: &SplitManifest| -> Vec<Vec<String>> {
        let of = |number: usize| number.to_string();
        let source_row = |source: &dataset::SourceManifest| {
            vec![name.to_owned(), source.name.clone(), of(source.n_documents), of(source.n_tokens), of(source.n_bytes)]
        };
        split.sources.iter().map(source_row).collect()
    };
    rows.extend(split_rows("train", &manifest.train));
    rows.extend(split_rows("held out", &manifest.heldout));
    print(&format!("{}written to {}\n", table(&rows), config.data.folder.display()))?;
    Ok(ExitStatus::Done)
}

fn write_chats(args: &StageArgs) -> Result<ExitStatus> {
    let config = RunConfig::open(&args.config)?;
    let Some(chats) = &config.chats else {
        return Err(usage("chats: expected a table with the sources of conversations, found none".to_owned()));
    };
    let spinner = Spinner::new("writing conversations");
    let written = chat_data::write_chats(chats, &config.data)?;
    drop(spinner);
    if args.json {
        let sources: Vec<Value> = written.iter().map(|(name, n_chats)| json!({ "name": name, "n_chats": n_chats })).collect();
        print_json(&json!({ "folder": chats.folder, "sources": sources }))?;
        return Ok(ExitStatus::Done);
    }
    let mut rows = vec![row(["SOURCE", "CONVERSATIONS"])];
    rows.extend(written.into_iter().map(|(name, n_chats)| vec![name, n_chats.to_string()]));
    print(&format!("{}written to {}\n", table(&rows), chats.folder.display()))?;
    Ok(ExitStatus::Done)
}

/// Runs one step, or with `None` all that are not done.
fn run_steps(step: Option<Step>, args: &RunArgs) -> Result<ExitStatus> {
    let config = RunConfig::open(&args.stage.config)?;
    let device = pollster::block_on(sferic_engine::resolve_device(&args.device))?;
    dim(&format!("{}: {}", device.info.name, device.reason));
    let started = Instant::now();
    let limit = args.stop_after.map(|minutes| Duration::try_from_secs_f64(minutes * 60.0)).transpose();
    let limit = limit.map_err(|_| usage("--stop-after: expected a number of minutes of at least 0"))?;
    let all = step.is_none();
    let steps = match step {
        Some(step) => vec![step],
        None => config.steps().into_iter().filter(|step| !config.is_done(*step)).collect(),
    };
    for step in steps {
        let place = Place {
            config: &config,
            device: &device,
            choice: &args.device,
            options: RunOptions {
                // A step that `all` finds begun goes on.
                resume: args.resume || all,
                stop_after: limit.map(|limit| limit.saturating_sub(started.elapsed())),
                kernels: device.capabilities(),
            },
            as_json: args.stage.json,
        };
        let is_done = match step {
            Step::Stage(stage) => train_stage(&place, &config, stage, stage.name())?,
            Step::Specialists => learn::specialists(&place)?,
            Step::Collect => learn::collect(&place)?,
            Step::Grpo => learn::grpo(&place)?,
            Step::Eval => measure::models(&place)?,
        };
        if !is_done {
            break;
        }
    }
    Ok(ExitStatus::Done)
}

/// What a step of a run needs to know.
#[derive(Clone, Copy)]
struct Place<'a> {
    config: &'a RunConfig,
    device: &'a ResolvedDevice,
    choice: &'a DeviceChoice,
    options: RunOptions,
    as_json: bool,
}

impl Place<'_> {
    /// The same with what is left of its time since `started`.
    fn until(&self, started: Instant) -> Self {
        let stop_after = self.options.stop_after.map(|limit| limit.saturating_sub(started.elapsed()));
        Self { options: RunOptions { stop_after, ..self.options }, ..*self }
    }

    /// Reports how a step ended; returns whether it is finished.
    fn report(&self, name: &str, outcome: &Outcome, n_steps: usize) -> Result<bool> {
        if self.as_json {
            print_json(&json!({ "event": "done", "stage": name, "step": outcome.step, "model": outcome.model }))?;
        } else {
            print(&match &outcome.model {
                Some(folder) => format!("{name}: {} steps done; the model is in {}\n", outcome.step, folder.display()),
                None => format!("{name}: stopped at step {} of {n_steps}; go on with --resume\n", outcome.step),
            })?;
        }
        Ok(outcome.model.is_some())
    }
}

/// Runs a stage of `config`, which may be a run within the one of `place`; returns whether it is finished.
fn train_stage(place: &Place<'_>, config: &RunConfig, stage: Stage, name: &str) -> Result<bool> {
    let mut progress = Progress::count(name);
    let mut written = Ok(());
    let steps = config.stage(stage)?.steps;
    let outcome = run_stage(config, stage, &place.device.burn_device(), &place.options, &mut |event| {
        show(event, steps, &mut progress);
        if place.as_json && written.is_ok() {
            written = event_line(event).map_or(Ok(()), |line| print_json(&line));
        }
    })?;
    drop(progress);
    written?;
    place.report(name, &outcome, steps)
}

/// Shows an event to a person: on a terminal the bar moves, and what is worth keeping stays above it.
fn show(event: &Event<'_>, steps: usize, progress: &mut Progress) {
    match event {
        Event::Started { stage, step, steps, n_parameters, sources } => {
            progress.note(&format!("{}: {} parameters, step {step} of {steps}", stage.name(), count(*n_parameters)));
            for (name, n_rows, share) in *sources {
                progress.note(&format!("  {name}: {n_rows} rows, {:.1} % of the draws", share * 100.0));
            }
        }
        Event::Logged(row) => {
            let kl = if row.kl.is_nan() { String::new() } else { format!(" · indexer {:.4}", row.kl) };
            let loss = if row.loss.is_nan() { String::new() } else { format!("loss {:.4}", row.loss) };
            let parts = format!("{loss}{kl}");
            let parts = parts.trim_start_matches(" · ");
            progress.note(&format!(
                "step {} of {steps}: {parts} · norm {:.2} · {} tokens/s",
                row.step,
                row.grad_norm,
                count(row.tokens_per_s as u64)
            ));
            progress.set_message(parts.to_owned());
            progress.show(row.step as u64, steps as u64);
        }
        Event::Evaluated { step, attention, scores } => {
            for score in *scores {
                let (source, perplexity, n_tokens) = (&score.source, score.perplexity(), score.n_tokens);
                progress.note(&format!("step {step}: {source}, {attention}: perplexity {perplexity:.2} on {n_tokens} tokens"));
            }
        }
        Event::Sampled(samples) => {
            for (prompt, continuation) in *samples {
                progress.note(&format!("sample: {prompt} → {}", continuation.replace('\n', " ")));
            }
        }
        Event::Saved(path) => progress.note(&format!("checkpoint: {}", path.display())),
        _ => {}
    }
}

fn event_line(event: &Event<'_>) -> Option<Value> {
    Some(match event {
        Event::Started { stage, step, steps, n_parameters, sources } => {
            let stage = stage.name();
            let sources: Vec<Value> =
                sources.iter().map(|(name, n_rows, share)| json!({ "name": name, "n_rows": n_rows, "share": share })).collect();
            json!({ "event": "started", "stage": stage, "step": step, "steps": steps, "n_parameters": n_parameters, "sources": sources })
        }
        Event::Logged(row) => json!({
            "event": "logged", "step": row.step, "tokens": row.tokens, "lr": row.lr, "loss": row.loss, "kl": row.kl,
            "grad_norm": row.grad_norm, "tokens_per_s": row.tokens_per_s,
        }),
        Event::Evaluated { step, attention, scores } => {
            let scores: Vec<Value> = scores
                .iter()
                .map(|score| {
                    json!({ "source": score.source, "n_tokens": score.n_tokens, "nll": score.nll, "perplexity": score.perplexity() })
                })
                .collect();
            json!({ "event": "evaluated", "step": step, "attention": attention, "scores": scores })
        }
        Event::Sampled(samples) => {
            let samples: Vec<Value> =
                samples.iter().map(|(prompt, text)| json!({ "prompt": prompt, "continuation": text })).collect();
            json!({ "event": "sampled", "samples": samples })
        }
        Event::Saved(path) => json!({ "event": "saved", "checkpoint": path }),
        _ => return None,
    })
}
