//! The way of a checkpoint from elsewhere: dense MLA weights and a large tokenizer of its own, through warm-up, sparse stage,
//! conversations and evaluation.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};
use sferic_engine::{ChatOptions, DeviceChoice, Engine, EngineOptions, SamplingParams};
use sferic_model::{Config, Model};
use sferic_text::Message;
use sferic_weights::Dtype;

use crate::config::{RunConfig, Stage};
use crate::eval::{EvalConfig, Evaluation, evaluate_model};
use crate::export::write_model;
use crate::init::RandomWeights;
use crate::test_model::toy_config;
use crate::test_tokenizer::{large, llama, write};
use crate::{RunOptions, dataset, run_stage};

/// Rows of the embedding: the model has more than the tokenizer has tokens, as DeepSeek's have.
const VOCAB_SIZE: usize = 70_016;

const CONFIG: &str = r#"
seed = 3
output = "run"
model = "sparse.json"
init_from = "dense"
[data]
root = "."
folder = "data"
tokenizer = "dense/tokenizer.json"
heldout_every = 4
[[data.sources]]
name = "texts"
path = "texts.txt"
format = "text"
weight = 1.0
[samples]
prompts = ["w1 w2"]
chats = ["w1 <｜User｜>"]
max_tokens = 3
[warmup]
steps = 2
seq_len = 16
batch_size = 2
lr = 1e-2
log_interval = 1
eval_rows = 1
[sparse]
steps = 2
seq_len = 16
batch_size = 2
lr = 1e-3
log_interval = 1
eval_rows = 1
[chats]
folder = "chats"
packed_len = 32
[[chats.sources]]
name = "answers"
path = "answers.jsonl"
format = "chats"
weight = 1.0
[sft]
steps = 2
seq_len = 32
batch_size = 1
lr = 1e-3
log_interval = 1
eval_rows = 1
"#;

const EVAL: &str = r#"
[likelihood]
max_tokens = 60
edges = [8, 32]
[recall]
lengths = [16]
n_texts = 1
n_queries = 4
[grid]
lengths = []
[tasks]
n_tasks = 0
"#;

/// DeepSeek-V3's chat template, in short.
const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<｜User｜>' + m.content }}\
    {% elif m.role == 'assistant' %}{{ '<｜Assistant｜>' + m.content + eos_token }}{% endif %}{% endfor %}\
    {% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}";

/// Writes a dense checkpoint of random weights with its tokenizer, a corpus, and the run's file.
fn checkpoint(folder: &Path) -> RunConfig {
    let mut sparse = toy_config(VOCAB_SIZE);
    (sparse["bos_token_id"], sparse["eos_token_id"]) = (70_000.into(), 70_001.into());
    std::fs::write(folder.join("sparse.json"), sparse.to_string()).unwrap();
    let mut dense = sparse;
    dense.as_object_mut().unwrap().retain(|key, _| !key.starts_with("index"));
    dense["model_type"] = "deepseek_v3".into();
    let config = Config::from_json(&dense).unwrap();
    assert!(config.indexer.is_none());
    let model = Model::load(&config, &mut RandomWeights::new(&config, 0.1, 5), &Device::flex()).unwrap();
    write_model(&model, Dtype::Bf16, &folder.join("dense")).unwrap();
    let tokens = json!({"bos_token": {"content": "<｜begin▁of▁sentence｜>"}, "eos_token": {"content": "<｜end▁of▁sentence｜>"}, "chat_template": TEMPLATE});
    let beside =
        [("tokenizer_config.json", tokens), ("generation_config.json", json!({"eos_token_id": 70_001, "temperature": 0.25}))];
    write(&folder.join("dense"), &large(), &beside);
    let text = |n: usize| (0..40).map(|at| format!("w{}", 66_000 + (n * 7 + at * at) % 90)).collect::<Vec<_>>().join(" ");
    std::fs::write(folder.join("texts.txt"), (0..24).map(text).collect::<Vec<_>>().join("\n\n\n")).unwrap();
    let answer = |n: usize| json!({"messages": [{"role": "user", "content": format!("w{n}")}, {"role": "assistant", "content": "w69999"}]});
    std::fs::write(folder.join("answers.jsonl"), (1..20).map(|n| format!("{}\n", answer(n))).collect::<String>()).unwrap();
    RunConfig::parse(CONFIG, &folder.join("run.toml")).unwrap()
}

#[test]
fn a_checkpoint_with_its_own_tokenizer_becomes_sparse() {
    let folder = tempfile::tempdir().unwrap();
    let config = checkpoint(folder.path());
    let manifest = dataset::prepare(&config.data, &|_, _, _| {}).unwrap();
    assert_eq!((manifest.token_bits, manifest.train.sources[0].n_documents + manifest.heldout.sources[0].n_documents), (32, 24));
    let read = |path: &Path| std::fs::read(path).unwrap();
    for stage in [Stage::Warmup, Stage::Sparse, Stage::Sft] {
        let outcome = run_stage(&config, stage, &Device::flex(), &RunOptions::default(), &mut |_| {}).unwrap();
        let model = outcome.model.unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
            assert!(read(&model.join(name)) == read(&folder.path().join("dense").join(name)), "{stage:?}: {name}");
        }
        let losses = std::fs::read_to_string(config.folder(stage).join("loss.csv")).unwrap();
        let column = if stage == Stage::Warmup { 4 } else { 3 };
        let values: Vec<f64> = losses.lines().skip(1).map(|line| line.split(',').nth(column).unwrap().parse().unwrap()).collect();
        assert!(values.len() == 2 && values.iter().all(|value| value.is_finite() && *value > 0.0), "{losses}");
        let samples = std::fs::read_to_string(config.folder(stage).join("samples.txt")).unwrap();
        assert!(samples.contains("w1 w2") && samples.contains("w1 <｜User｜>"), "{samples}");
    }

    let model = config.folder(Stage::Sft).join("model");
    let options = EngineOptions { device: DeviceChoice::Cpu, ..EngineOptions::default() };
    let engine = pollster::block_on(Engine::open(&model, options)).unwrap();
    assert!(engine.config().indexer.is_some());
    assert_eq!(engine.end_tokens().iter().copied().collect::<Vec<_>>(), [70_001]);
    let mut chat = engine.chat(ChatOptions { messages: vec![Message::user("w5")], ..ChatOptions::default() }).unwrap();
    let mut reply = chat.reply(SamplingParams { max_tokens: Some(3), ..SamplingParams::greedy() }).unwrap();
    while let Some(event) = pollster::block_on(reply.next()) {
        event.unwrap();
    }

    let (_, heldout) = dataset::open(&config.data, VOCAB_SIZE, 16).unwrap();
    let settings: EvalConfig = toml::from_str(EVAL).unwrap();
    let evaluation = Evaluation {
        name: "sft".to_owned(),
        model,
        output: folder.path().join("eval"),
        seed: 1,
        heldout: &heldout,
        config: &settings,
        device: DeviceChoice::Cpu,
        stop_after: None,
    };
    let results = pollster::block_on(evaluate_model(&evaluation, &mut |_| ())).unwrap();
    assert!(results.complete && !results.likelihood.is_empty() && results.recall.len() == 1);
}

#[test]
fn tokens_of_another_tokenizer_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = checkpoint(folder.path());
    write(folder.path(), &llama(), &[("config.json", json!({"eos_token_id": 21}))]);
    config.data.tokenizer = folder.path().join("tokenizer.json");
    let refused = |config: &RunConfig| -> String {
        run_stage(config, Stage::Warmup, &Device::flex(), &RunOptions::default(), &mut |_| {}).unwrap_err().to_string()
    };
    let error = refused(&config);
    assert!(
        error.contains("data.tokenizer") && error.contains("`init_from`") && error.contains("dense/tokenizer.json"),
        "{error}"
    );
    // The model must have a row for every token.
    let mut small: Value = serde_json::from_slice(&std::fs::read(&config.model).unwrap()).unwrap();
    small["vocab_size"] = 70_000.into();
    std::fs::write(&config.model, small.to_string()).unwrap();
    config.data.tokenizer = folder.path().join("dense/tokenizer.json");
    dataset::prepare(&config.data, &|_, _, _| {}).unwrap();
    let error = refused(&config);
    assert!(error.contains("vocabulary: expected at most the model's 70000 tokens, found 70011"), "{error}");
}
