//! `sferic train specialists|collect|grpo`: reinforcement learning, and what it gives to learn from.

use super::{Place, train_stage};
use crate::output::{count, print, print_json};
use crate::progress::Progress;
use anyhow::Result;
use serde_json::{Value, json};
use sferic_engine::EngineOptions;
use sferic_tasks::Domain;
use sferic_train::config::{Stage, Step};
use sferic_train::export::is_exported;
use sferic_train::rl::{self, Event, Job, StepRow};
use std::time::Instant;

/// Trains the specialists; returns whether all are finished.
pub fn specialists(place: &Place<'_>) -> Result<bool> {
    let config = place.config;
    let start = config.start_of(Step::Specialists)?;
    let output = config.folder(Step::Specialists);
    let (started, mut starts) = (Instant::now(), Vec::new());
    for specialist in &config.specialists {
        let is_finished = place.options.resume && is_exported(&output.join(&specialist.name).join("model"));
        let Some(cold) = config.cold_start(specialist)?.filter(|_| !is_finished) else {
            starts.push(start.clone());
            continue;
        };
        let is_learned = place.options.resume && cold.is_finished(Stage::Sft);
        if !is_learned && !train_stage(&place.until(started), &cold, Stage::Sft, &specialist.name)? {
            return Ok(false);
        }
        starts.push(cold.folder(Stage::Sft).join("model"));
    }
    let engine = engine_options(place);
    let device = place.device.burn_device();
    let at = rl::Place { device: &device, engine: &engine };
    let mut progress = Progress::count("specialists");
    let mut written = Ok(());
    let models = rl::specialists(
        &config.specialists,
        (config.seed, &starts, &output),
        &at,
        &place.until(started).options,
        &mut |name, event| {
            let steps = config.specialists.iter().find(|one| one.name == name).map_or(0, |one| one.grpo.steps);
            show(name, event, steps, &mut progress);
            if place.as_json && written.is_ok() {
                written = event_line(name, event).map_or(Ok(()), |line| print_json(&line));
            }
        },
    )?;
    drop(progress);
    written?;
    let n_missing = config.specialists.len() - models.len();
    if place.as_json {
        print_json(&json!({ "event": "done", "stage": "specialists", "models": models }))?;
    } else if n_missing == 0 {
        print(&format!("specialists: {} models in {}\n", models.len(), output.display()))?;
    } else {
        print(&format!("specialists: stopped with {n_missing} left; go on with --resume\n"))?;
    }
    Ok(n_missing == 0)
}

/// Collects the specialists' conversations.
pub fn collect(place: &Place<'_>) -> Result<bool> {
    let config = place.config;
    let Some(distill) = &config.distill else {
        return Err(sferic_train::TrainError::missing_table("distill").into());
    };
    let folder = config.folder(Step::Specialists);
    let output = config.folder(Step::Collect);
    for specialist in &config.specialists {
        let model = folder.join(&specialist.name).join("model");
        let mut progress = Progress::count("collecting");
        let total = distill.collect.n_conversations as u64;
        let places = (config.seed, model.as_path(), output.as_path());
        let collected = rl::distill(specialist, &distill.collect, places, &engine_options(place), &mut |so_far| {
            progress.set_message(format!("collecting of {}", so_far.name));
            progress.show(so_far.n_conversations as u64, total);
        })?;
        drop(progress);
        let (name, n_kept, n_asked) = (&collected.name, collected.n_conversations, collected.n_prompts);
        if place.as_json {
            let file = &collected.path;
            print_json(
                &json!({ "event": "collected", "specialist": name, "n_conversations": n_kept, "n_prompts": n_asked, "file": file }),
            )?;
        } else {
            print(&format!("{name}: {n_kept} conversations of {n_asked} prompts in {}\n", collected.path.display()))?;
        }
    }
    Ok(true)
}

/// Trains on all domains; returns whether it is finished.
pub fn grpo(place: &Place<'_>) -> Result<bool> {
    let config = place.config;
    let Some(grpo) = &config.grpo else {
        return Err(sferic_train::TrainError::missing_table("grpo").into());
    };
    let start = config.start_of(Step::Grpo)?;
    let output = config.folder(Step::Grpo);
    let engine = engine_options(place);
    let device = place.device.burn_device();
    let at = rl::Place { device: &device, engine: &engine };
    let job = Job { config: grpo, seed: config.seed, start: &start, output: &output };
    let mut progress = Progress::count("grpo");
    let mut written = Ok(());
    let outcome = rl::run(&job, &at, &place.options, &mut |event| {
        show("grpo", event, grpo.steps, &mut progress);
        if place.as_json && written.is_ok() {
            written = event_line("grpo", event).map_or(Ok(()), |line| print_json(&line));
        }
    })?;
    drop(progress);
    written?;
    place.report(Step::Grpo.name(), &outcome, grpo.steps)
}

fn engine_options(place: &Place<'_>) -> EngineOptions {
    EngineOptions { device: place.choice.clone(), ..EngineOptions::default() }
}

fn show(name: &str, event: &Event<'_>, steps: usize, progress: &mut Progress) {
    match event {
        Event::Started { step, steps, n_parameters } => {
            progress.note(&format!("{name}: {} parameters, step {step} of {steps}", count(*n_parameters)));
        }
        Event::Stepped(row) => {
            progress.note(&format!("{name} step {} of {steps}: {}", row.step, line(row)));
            progress.set_message(format!("{name}: reward {:.3}", row.reward));
            progress.show(row.step as u64, steps as u64);
        }
        Event::Sampled(samples) => {
            for sample in *samples {
                let reply = sample.reply.replace('\n', " ");
                progress.note(&format!("sample of {}: {} → {reply} ({:.2})", sample.task, sample.prompt, sample.reward));
            }
        }
        Event::Saved(path) => progress.note(&format!("checkpoint: {}", path.display())),
        _ => {}
    }
}

fn line(row: &StepRow) -> String {
    format!(
        "reward {:.3} · right {:.1} % · {:.0} tokens · KL {:.4} · norm {:.2} · drawn in {:.1} s, learned in {:.1} s",
        row.reward,
        row.correct * 100.0,
        row.length,
        row.kl,
        row.grad_norm,
        row.rollout_secs,
        row.train_secs
    )
}

fn event_line(name: &str, event: &Event<'_>) -> Option<Value> {
    Some(match event {
        Event::Started { step, steps, n_parameters } => {
            json!({ "event": "started", "stage": name, "step": step, "steps": steps, "n_parameters": n_parameters })
        }
        Event::Stepped(row) => {
            let domains: serde_json::Map<String, Value> = Domain::ALL
                .iter()
                .zip(row.domains)
                .filter(|(_, reward)| reward.is_finite())
                .map(|(domain, reward)| (domain.to_string(), json!(reward)))
                .collect();
            json!({
                "event": "stepped", "stage": name, "step": row.step, "n_tokens": row.n_tokens, "lr": row.lr, "reward": row.reward,
                "correct": row.correct, "ended": row.ended, "length": row.length, "entropy": row.entropy, "loss": row.loss, "kl": row.kl,
                "clipped": row.clipped, "left_out": row.left_out, "rerouted": row.rerouted, "indexer_kl": row.indexer_kl,
                "grad_norm": row.grad_norm, "domains": domains, "rollout_secs": row.rollout_secs, "train_secs": row.train_secs,
            })
        }
        Event::Sampled(samples) => {
            let samples: Vec<Value> = samples
                .iter()
                .map(|sample| json!({ "task": sample.task, "prompt": sample.prompt, "reply": sample.reply, "reward": sample.reward }))
                .collect();
            json!({ "event": "sampled", "stage": name, "samples": samples })
        }
        Event::Saved(path) => json!({ "event": "saved", "stage": name, "checkpoint": path }),
        _ => return None,
    })
}
