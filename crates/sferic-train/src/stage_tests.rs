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
[tokenizer]
vocab_size = 320
[pretrain]
steps = 6
seq_len = 16
batch_size = 4
gradient_accumulation = 2
lr = 1e-2
min_lr = 1e-3
warmup_steps = 2
phases = [{ from_step = 4, mix = { texts = 3.0, dialogues = 3.0 } }]
log_interval = 1
loss_chunk_rows = 24
eval_rows = 2
[samples]
prompts = ["The goat"]
chats = ["Where is goat 3?"]
max_tokens = 5
"#;

/// Prepares a toy run in `folder`; `edit` replaces a part of the configuration.
fn toy(folder: &Path, edit: (&str, &str)) -> RunConfig {
    let animals = ["goat", "horse", "cat", "dog", "cow"];
    let texts: Vec<String> =
        (0..60).map(|n| format!("The {} went to the market and bought {} bales of hay.", animals[n % 5], n % 7)).collect();
    std::fs::write(folder.join("texts.txt"), texts.join("\n\n\n")).unwrap();
    let dialogues: Vec<String> =
        (0..60).map(|n| format!("User: Where is the {}?\nAssistant: It went to market {}.", animals[n % 5], n)).collect();
    std::fs::write(folder.join("dialogues.txt"), dialogues.join("\n\n")).unwrap();
    std::fs::write(folder.join("config.json"), toy_config(VOCAB_SIZE).to_string()).unwrap();
    let text = CONFIG.replacen(edit.0, edit.1, 1);
    let config = RunConfig::parse(&text, &folder.join("run.toml")).unwrap();
    save_tokenizer(&train_from_corpus(&config).unwrap(), 64, folder).unwrap();
    dataset::prepare(&config.data, &|_, _, _| {}).unwrap();
    config
}

/// The tables of a short run through all stages; the indexer gets a third of a step's rows.
const STAGES: &str = r#"
[extend]
context = 128
steps = 2
seq_len = 24
batch_size = 2
lr = 1e-3
[warmup]
steps = 3
seq_len = 24
batch_size = 2
lr = 1e-2
weight_decay = 0.1
[sparse]
steps = 3
seq_len = 24
batch_size = 2
gradient_checkpointing = true
lr = 1e-3
"#;

fn run_one(config: &RunConfig, stage: Stage, options: RunOptions) -> Result<Outcome, TrainError> {
    run_stage(config, stage, &Device::flex(), &options, &mut |_| {})
}

fn run(config: &RunConfig, options: RunOptions) -> Result<Outcome, TrainError> {
    run_one(config, Stage::Pretrain, options)
}

fn pretrain(config: &mut RunConfig) -> &mut StageConfig {
    config.pretrain.as_mut().unwrap()
}

/// Returns the loss curve without its timings.
fn losses(config: &RunConfig) -> Vec<String> {
    losses_of(config, Stage::Pretrain)
}

fn losses_of(config: &RunConfig, stage: Stage) -> Vec<String> {
    let text = std::fs::read_to_string(config.folder(stage).join("loss.csv")).unwrap();
    text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
}

#[test]
fn a_run_resumed_after_every_step_equals_the_uninterrupted_one() {
    let (whole, pieces) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (whole, pieces) = (toy(whole.path(), ("", "")), toy(pieces.path(), ("", "")));
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
    let mut seldom = RunConfig { output: whole.output.with_file_name("seldom"), ..whole.clone() };
    pretrain(&mut seldom).log_interval = 6;
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
    let outcome = run_stage(&config, Stage::Pretrain, &Device::flex(), &options, &mut |event| {
        events.push(format!("{event:?}").split([' ', '(']).next().unwrap().to_owned());
    })
    .unwrap();
    let model = outcome.model.unwrap();
    let expected = ["Started", "Logged", "Logged", "Logged", "Saved", "Evaluated", "Evaluated", "Sampled"];
    assert_eq!(events, expected);
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        assert!(model.join(file).exists(), "{file}");
    }
    let weights = SafeFile::open(model.join("model.safetensors")).unwrap();
    assert!(weights.names().all(|name| weights.dtype(name).unwrap() == Dtype::Bf16));
    let checkpoint = Checkpoint::open(&model).unwrap();
    let config_read = Config::from_json(checkpoint.config_json()).unwrap();
    assert_eq!(config_read, model_config(&config, Stage::Pretrain).unwrap());
    Model::load(&config_read, &mut FolderWeights(&checkpoint), &Device::flex()).unwrap();
    for file in ["loss.csv", "loss.svg", "eval.csv", "samples.txt"] {
        assert!(!std::fs::read(config.folder(Stage::Pretrain).join(file)).unwrap().is_empty(), "{file}");
    }
    // A new run may start from the exported weights.
    let again = RunConfig { init_from: Some(model), output: folder.path().join("again"), ..config };
    let first_loss = |config: &RunConfig| losses(config)[1].split(',').nth(3).unwrap().parse::<f64>().unwrap();
    let before = first_loss(&RunConfig { output: folder.path().join("run"), ..again.clone() });
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
    let mut counts: HashMap<u32, f64> = HashMap::new();
    let mut total = 0.0;
    for row_idx in 0..train.n_rows(0) {
        for &token in &train.row(0, row_idx).ids[1..] {
            *counts.entry(token).or_default() += 1.0;
            total += 1.0;
        }
    }
    let entropy: f64 = counts.values().map(|count| -(count / total) * (count / total).ln()).sum();
    let eval = std::fs::read_to_string(config.folder(Stage::Pretrain).join("eval.csv")).unwrap();
    let line = eval.lines().find(|line| line.starts_with("60,dense,texts,")).unwrap();
    let nll: f64 = line.split(',').nth(4).unwrap().parse().unwrap();
    // Half of it: the texts differ in two words alone, and all others follow from the word before.
    assert!(nll < entropy / 2.0, "{nll} nats per held-out token, entropy {entropy}");
}

#[test]
fn a_diverging_run_stops_and_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = toy(folder.path(), ("warmup_steps = 2", "checkpoint_interval = 1"));
    let mut short = config.clone();
    pretrain(&mut short).steps = 2;
    run(&short, RunOptions::default()).unwrap();
    let settings = pretrain(&mut config);
    settings.steps = 40;
    (settings.lr, settings.min_lr) = (1e4, 1e4);
    let error = run(&config, RunOptions { resume: true, stop_after: None, kernels: None }).unwrap_err();
    let TrainError::Diverged { last_good_step, step, .. } = error else { panic!("{error}") };
    assert!(last_good_step >= 2 && last_good_step < step);
    let newest = checkpoint::latest(&config.folder(Stage::Pretrain).join("checkpoints")).unwrap().unwrap();
    let state = checkpoint::read_state(&newest, &config, Stage::Pretrain).unwrap();
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
    let other_seed = RunConfig { seed: 8, ..config.clone() };
    let error = run(&other_seed, options).unwrap_err().to_string();
    assert!(error.contains("seed") && error.contains("step-00000001"), "{error}");
    let mut too_long = config.clone();
    pretrain(&mut too_long).seq_len = 65;
    let error = run(&too_long, options).unwrap_err().to_string();
    assert!(error.contains("pretrain.seq_len") && error.contains("64"), "{error}");
    std::fs::write(&config.model, "{}").unwrap();
    let error = run(&config, options).unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
}

/// The tensors of a stage's newest checkpoint: `(is the indexer's, name, values)`.
fn weights(config: &RunConfig, stage: Stage) -> Vec<(bool, String, Vec<f32>)> {
    let newest = checkpoint::latest(&config.folder(stage).join("checkpoints")).unwrap().unwrap();
    let file = SafeFile::open(newest.join("model.safetensors")).unwrap();
    let mut tensors: Vec<_> =
        file.names().map(|name| (name.contains(".indexer."), name.to_owned(), file.f32(name).unwrap().to_vec())).collect();
    tensors.sort_by(|(_, a, _), (_, b, _)| a.cmp(b));
    tensors
}

#[test]
fn stages_follow_one_another_and_each_moves_what_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = toy(folder.path(), ("", ""));
    let text = format!("{CONFIG}{STAGES}");
    config = RunConfig { ..RunConfig::parse(&text, &config.output.with_file_name("run.toml")).unwrap() };
    let error = run_one(&config, Stage::Warmup, RunOptions::default()).unwrap_err().to_string();
    assert!(error.contains("sferic train extend"), "{error}");
    for stage in config.stages() {
        assert!(run_one(&config, stage, RunOptions::default()).unwrap().model.is_some());
    }
    let after: Vec<_> = config.stages().into_iter().map(|stage| weights(&config, stage)).collect();
    for (stage_idx, (trunk_moves, indexer_moves)) in [(true, false), (false, true), (true, true)].into_iter().enumerate() {
        for (before, after) in after[stage_idx].iter().zip(&after[stage_idx + 1]) {
            let (is_indexer, name, values) = after;
            let moves = if *is_indexer { indexer_moves } else { trunk_moves };
            // The first product of a step that needs every row to be read would not miss one tensor of a model this small.
            assert_eq!(before.2 != *values, moves, "{name} after stage {}", stage_idx + 1);
        }
    }
    let model = model_config(&config, Stage::Sparse).unwrap();
    assert_eq!(model.max_position_embeddings, 128);
    let yarn = model.rope.yarn.unwrap();
    assert_eq!((yarn.factor, yarn.original_max_position_embeddings), (2.0, 64));
    // The warm-up has no language loss; its curve has the divergence alone.
    let line = losses_of(&config, Stage::Warmup).pop().unwrap();
    let fields: Vec<f64> = line.split(',').map(|field| field.parse().unwrap()).collect();
    assert!(fields[3].is_nan() && fields[4] > 0.0, "{line}");
}

#[test]
fn gradient_checkpointing_changes_no_loss() {
    let (plain, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plain = toy(plain.path(), ("steps = 6", "steps = 4"));
    let kept = toy(kept.path(), ("steps = 6", "gradient_checkpointing = true\nsteps = 4"));
    run(&plain, RunOptions::default()).unwrap();
    run(&kept, RunOptions::default()).unwrap();
    assert_eq!(losses(&plain), losses(&kept));
}

#[test]
fn a_dense_checkpoint_gets_a_random_indexer() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = toy(folder.path(), ("warmup_steps = 2", "warmup_steps = 0"));
    let text = CONFIG.replacen("steps = 6", "steps = 3", 1).replacen("warmup_steps = 2", "warmup_steps = 0", 1);
    run(&config, RunOptions::default()).unwrap();
    let model = config.folder(Stage::Pretrain).join("model");
    // The same weights without the indexers: a dense MLA checkpoint.
    let dense = folder.path().join("dense");
    let checkpoint = Checkpoint::open(&model).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(model.join("config.json")).unwrap()).unwrap();
    let keys = json.as_object_mut().unwrap();
    keys.retain(|key, _| !key.starts_with("index"));
    keys.insert("model_type".to_owned(), "deepseek_v3".into());
    let dense_config = Config::from_json(&json).unwrap();
    assert!(dense_config.indexer.is_none());
    let dense_model = Model::load(&dense_config, &mut FolderWeights(&checkpoint), &Device::flex()).unwrap();
    crate::export::write_model(&dense_model, Dtype::F32, &dense).unwrap();
    config = RunConfig::parse(&(text.replace("[pretrain]", "[warmup]")), &folder.path().join("run.toml")).unwrap();
    config.init_from = Some(dense.clone());
    run_one(&config, Stage::Warmup, RunOptions::default()).unwrap();
    let file = SafeFile::open(dense.join("model.safetensors")).unwrap();
    for (is_indexer, name, values) in weights(&config, Stage::Warmup) {
        assert_eq!(is_indexer, !file.names().any(|known| known == name), "{name}");
        assert!(is_indexer || file.f32(&name).unwrap()[..] == values[..], "{name} moved");
    }
}

#[test]
fn conversations_are_learned_and_the_same_after_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let pretrained = toy(folder.path(), ("", ""));
    run(&pretrained, RunOptions::default()).unwrap();
    let line = |n: usize| {
        format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{n}\"}},{{\"role\":\"assistant\",\"content\":\"{n}\"}}]}}\n")
    };
    std::fs::write(folder.path().join("short.jsonl"), (0..10).map(line).collect::<String>()).unwrap();
    // The toy selects 6 tokens: the short conversations have as many and are packed, the dialogues have a row each.
    let tables = r#"
[chats]
folder = "chats"
packed_len = 16
[[chats.sources]]
name = "short"
path = "short.jsonl"
format = "chats"
weight = 1.0
[[chats.sources]]
name = "dialogues"
path = "dialogues.txt"
format = "dialogue"
split = "paragraphs"
weight = 1.0
[sft]
steps = 40
seq_len = 64
batch_size = 1
gradient_accumulation = 2
lr = 1e-2
log_interval = 4
eval_rows = 1
"#;
    let config = RunConfig::parse(&format!("{CONFIG}{tables}"), &folder.path().join("run.toml")).unwrap();
    let model = model_config(&config, Stage::Sft).unwrap();
    let (train, _) = dataset::open(&config.data, VOCAB_SIZE, 64).unwrap();
    let feed = Feed::open(&config, Stage::Sft, &model, train).unwrap();
    let batches: Vec<_> = (0..40).flat_map(|step| feed.batches(step)).collect();
    assert_eq!(batches.len(), 80);
    assert!(batches.iter().any(|batch| batch.documents.is_some()) && batches.iter().any(|batch| batch.documents.is_none()));

    run_one(&config, Stage::Sft, RunOptions::default()).unwrap();
    let whole = losses_of(&config, Stage::Sft);
    let loss = |line: &str| line.split(',').nth(3).unwrap().parse::<f64>().unwrap();
    // Ten digits and the end can be learned by heart; places and animals in part.
    let (first, last) = (loss(&whole[1]), loss(whole.last().unwrap()));
    assert!(last < 0.6 * first, "{first} to {last}");

    let paused = RunConfig { output: folder.path().join("paused"), ..config };
    let pretrain = |config: &RunConfig| config.folder(Stage::Pretrain);
    std::fs::create_dir_all(&paused.output).unwrap();
    std::fs::rename(folder.path().join("run/pretrain"), pretrain(&paused)).unwrap();
    let mut n_calls = 0;
    let options = RunOptions { resume: true, stop_after: Some(Duration::from_millis(1)), kernels: None };
    while run_one(&paused, Stage::Sft, options).unwrap().model.is_none() {
        n_calls += 1;
    }
    assert!(n_calls > 5, "{n_calls}");
    // A pause ends a log interval, so only the last rows of both curves are of the same steps.
    let resumed = losses_of(&paused, Stage::Sft);
    let tokens = |line: &str| line.split(',').nth(1).unwrap().to_owned();
    assert_eq!(tokens(resumed.last().unwrap()), tokens(whole.last().unwrap()));
    let sum = |lines: &[String], n: f64| lines.iter().map(|line| loss(line)).sum::<f64>() * n;
    let (whole, resumed) = (sum(&whole[1..], 4.0), sum(&resumed[1..], 40.0 / (resumed.len() - 1) as f64));
    assert!((whole - resumed).abs() < 1e-3 * whole, "{whole} and {resumed}");
}
