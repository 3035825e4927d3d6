#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::path::Path;

use sferic_weights::{Dtype, SafeFile};

use super::*;
use crate::test_model::toy_config;
use crate::tokenizer::{save_tokenizer, train_from_corpus};

/// Tokens of the toy vocabulary at most.
const VOCAB_SIZE: usize = 320;

const CONFIG: &str = r#"
seed = 7
output = "run"
model = "config.json"
initializer_range = 0.1
[data]
root = "."
folder = "data"
tokenizer = "tokenizer.json"
heldout_every = 6
[[data.sources]]
name = "texts"
path = "texts.txt"
format = "text"
weight = 3.0
[[data.sources]]
name = "dialogues"
path = "dialogues.txt"
format = "dialogue"
split = "paragraphs"
weight = 1.0
final_weight = 3.0
[tokenizer]
vocab_size = 320
[train]
steps = 6
seq_len = 16
batch_size = 4
gradient_accumulation = 2
lr = 1e-2
min_lr = 1e-3
warmup_steps = 2
final_phase_step = 4
log_interval = 1
loss_chunk_rows = 24
eval_rows = 2
[samples]
prompts = ["The goat"]
chats = ["Where is goat 3?"]
max_tokens = 5
"#;

/// Prepares a toy run in `folder`; `edit` replaces a part of the configuration.
fn toy(folder: &Path, edit: (&str, &str)) -> PretrainConfig {
    let animals = ["goat", "horse", "cat", "dog", "cow"];
    let texts: Vec<String> =
        (0..60).map(|n| format!("The {} went to the market and bought {} bales of hay.", animals[n % 5], n % 7)).collect();
    std::fs::write(folder.join("texts.txt"), texts.join("\n\n\n")).unwrap();
    let dialogues: Vec<String> =
        (0..60).map(|n| format!("User: Where is the {}?\nAssistant: It went to market {}.", animals[n % 5], n)).collect();
    std::fs::write(folder.join("dialogues.txt"), dialogues.join("\n\n")).unwrap();
    std::fs::write(folder.join("config.json"), toy_config(VOCAB_SIZE).to_string()).unwrap();
    let text = CONFIG.replacen(edit.0, edit.1, 1);
    let config = PretrainConfig::parse(&text, &folder.join("pretrain.toml")).unwrap();
    save_tokenizer(&train_from_corpus(&config).unwrap(), 64, folder).unwrap();
    dataset::prepare(&config.data, &|_, _, _| {}).unwrap();
    config
}

fn run(config: &PretrainConfig, options: RunOptions) -> Result<Outcome, TrainError> {
    pretrain(config, &Device::flex(), &options, &mut |_| {})
}

/// Returns the loss curve without its timings.
fn losses(config: &PretrainConfig) -> Vec<String> {
    let text = std::fs::read_to_string(config.output.join("loss.csv")).unwrap();
    text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
}

#[test]
fn a_run_resumed_after_every_step_equals_the_uninterrupted_one() {
    let (whole, pieces) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Sparse attention from step 4 on, so that both modes are covered.
    let edit = ("warmup_steps = 2", "warmup_steps = 2\nsparse_from_step = 4");
    let (whole, pieces) = (toy(whole.path(), edit), toy(pieces.path(), edit));
    let outcome = run(&whole, RunOptions::default()).unwrap();
    let folder = outcome.model.unwrap();
    let mut n_calls = 0;
    let resumed = loop {
        n_calls += 1;
        let options = RunOptions { resume: true, stop_after: Some(Duration::ZERO), kernels: None };
        if let Some(folder) = run(&pieces, options).unwrap().model {
            break folder;
        }
    };
    assert_eq!(n_calls, 6);
    assert_eq!(losses(&pieces), losses(&whole));
    assert_eq!(losses(&whole).len(), 7);
    let weights = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(&folder) == weights(&resumed), "the exported weights differ");
    // How often the loss is read does not touch the training.
    let mut seldom = PretrainConfig { output: whole.output.with_file_name("seldom"), ..whole.clone() };
    seldom.train.log_interval = 6;
    let folder_seldom = run(&seldom, RunOptions::default()).unwrap().model.unwrap();
    assert_eq!(losses(&seldom).len(), 2);
    assert!(weights(&folder) == weights(&folder_seldom), "the exported weights differ");
}

#[test]
fn a_finished_run_leaves_a_model_folder_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let config = toy(folder.path(), ("steps = 6", "steps = 3"));
    let mut events = Vec::new();
    let options = RunOptions::default();
    let outcome = pretrain(&config, &Device::flex(), &options, &mut |event| {
        events.push(format!("{event:?}").split([' ', '(']).next().unwrap().to_owned());
    })
    .unwrap();
    let model = outcome.model.unwrap();
    let expected = ["Started", "Logged", "Logged", "Logged", "Evaluated", "Evaluated", "Sampled", "Saved"];
    assert_eq!(events, expected);
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        assert!(model.join(file).exists(), "{file}");
    }
    let weights = SafeFile::open(model.join("model.safetensors")).unwrap();
    assert!(weights.names().all(|name| weights.dtype(name).unwrap() == Dtype::Bf16));
    let checkpoint = Checkpoint::open(&model).unwrap();
    let config_read = Config::from_json(checkpoint.config_json()).unwrap();
    assert_eq!(config_read, model_config(&config).unwrap());
    Model::load(&config_read, &mut FolderWeights(&checkpoint), &Device::flex()).unwrap();
    for file in ["loss.csv", "loss.svg", "eval.csv", "samples.txt"] {
        assert!(!std::fs::read(config.output.join(file)).unwrap().is_empty(), "{file}");
    }
    // A new run may start from the exported weights.
    let again = PretrainConfig { init_from: Some(model), output: folder.path().join("again"), ..config };
    let first_loss = |config: &PretrainConfig| losses(config)[1].split(',').nth(3).unwrap().parse::<f64>().unwrap();
    let before = first_loss(&PretrainConfig { output: folder.path().join("run"), ..again.clone() });
    run(&again, RunOptions::default()).unwrap();
    assert!(first_loss(&again) < before, "{} is not below {before}", first_loss(&again));
}

#[test]
fn training_learns_more_than_token_frequencies() {
    let folder = tempfile::tempdir().unwrap();
    let config = toy(folder.path(), ("steps = 6", "steps = 60"));
    run(&config, RunOptions::default()).unwrap();
    let (train, _) = dataset::open(&config.data, VOCAB_SIZE, 16).unwrap();
    // The best a model without context can do on the first source is the entropy of its token frequencies.
    let mut counts: HashMap<u16, f64> = HashMap::new();
    let mut total = 0.0;
    for row_idx in 0..train.n_rows(0) {
        for &token in &train.row(0, row_idx)[1..] {
            *counts.entry(token).or_default() += 1.0;
            total += 1.0;
        }
    }
    let entropy: f64 = counts.values().map(|count| -(count / total) * (count / total).ln()).sum();
    let eval = std::fs::read_to_string(config.output.join("eval.csv")).unwrap();
    for attention in ["dense", "sparse"] {
        let line = eval.lines().find(|line| line.starts_with(&format!("60,{attention},texts,"))).unwrap();
        let nll: f64 = line.split(',').nth(4).unwrap().parse().unwrap();
        // Half of it: the texts differ in two words alone, and all others follow from the word before.
        assert!(nll < entropy / 2.0, "{attention}: {nll} nats per held-out token, entropy {entropy}");
    }
    let kl = |line: &str| line.split(',').nth(4).unwrap().parse::<f64>().unwrap();
    let lines = losses(&config);
    assert!(kl(&lines[60]).is_finite() && kl(&lines[1]) >= 0.0);
}

#[test]
fn a_diverging_run_stops_and_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = toy(folder.path(), ("warmup_steps = 2", "checkpoint_interval = 1"));
    run(
        &PretrainConfig { train: crate::config::TrainConfig { steps: 2, ..config.train.clone() }, ..config.clone() },
        RunOptions::default(),
    )
    .unwrap();
    config.train.steps = 40;
    (config.train.lr, config.train.min_lr) = (1e4, 1e4);
    let error = run(&config, RunOptions { resume: true, stop_after: None, kernels: None }).unwrap_err();
    let TrainError::Diverged { last_good_step, step, .. } = error else { panic!("{error}") };
    assert!(last_good_step >= 2 && last_good_step < step);
    let newest = checkpoint::latest(&config.output.join("checkpoints")).unwrap().unwrap();
    let state = checkpoint::read_state(&newest, &config).unwrap();
    assert_eq!(state.step, last_good_step);
    let file = SafeFile::open(newest.join("model.safetensors")).unwrap();
    assert!(file.names().all(|name| file.f32(name).unwrap().iter().all(|value| value.is_finite())));
}

#[test]
fn runs_that_do_not_fit_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = toy(folder.path(), ("", ""));
    let options = RunOptions { resume: true, stop_after: Some(Duration::ZERO), kernels: None };
    run(&config, options).unwrap();
    let other_seed = PretrainConfig { seed: 8, ..config.clone() };
    let error = run(&other_seed, options).unwrap_err().to_string();
    assert!(error.contains("seed") && error.contains("step-00000001"), "{error}");
    let mut too_long = config.clone();
    too_long.train.seq_len = 65;
    let error = run(&too_long, options).unwrap_err().to_string();
    assert!(error.contains("train.seq_len") && error.contains("64"), "{error}");
    std::fs::write(&config.model, "{}").unwrap();
    let error = run(&config, options).unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
}

#[test]
fn the_indexer_goes_from_off_to_dense_to_sparse() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = toy(folder.path(), ("", ""));
    let model = model_config(&config).unwrap();
    (config.train.indexer_from_step, config.train.sparse_from_step) = (2, Some(5));
    let modes: Vec<_> = (0..6).map(|step| indexer_training(&config, &model, step)).collect();
    use IndexerTraining::{DenseWarmup, Off, Sparse};
    assert_eq!(modes, [Off, Off, DenseWarmup, DenseWarmup, DenseWarmup, Sparse]);
}
