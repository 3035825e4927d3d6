//! Training on a corpus of a few kilobytes, a text from the result, and the whole pipeline on the smoke configuration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::sferic;
use serde_json::json;

const CONFIG: &str = r#"
seed = 1
output = "run"
model = "config.json"

[data]
root = "."
folder = "data"
tokenizer = "tokenizer.json"
heldout_every = 4

[[data.sources]]
name = "fables"
path = "fables.txt"
format = "text"
weight = 1.0

[tokenizer]
vocab_size = 300
sample_bytes = 100000

[pretrain]
steps = 4
seq_len = 16
batch_size = 2
lr = 1e-3
min_lr = 1e-4
warmup_steps = 1
log_interval = 2
eval_rows = 1
checkpoint_interval = 2

[samples]
prompts = ["The fox"]
max_tokens = 4
"#;

#[test]
fn from_text_to_a_model_that_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("run.toml"), CONFIG).unwrap();
    std::fs::write(path("config.json"), model_config().to_string()).unwrap();
    std::fs::write(path("fables.txt"), corpus()).unwrap();
    let config = path("run.toml");
    let config = config.to_str().unwrap();

    let tokenizer = &sferic(["train", "tokenizer", config, "--json"]).assert_done().json_lines()[0];
    assert_eq!(tokenizer["vocab_size"], 300);
    let data = &sferic(["train", "data", config, "--json"]).assert_done().json_lines()[0];
    let n_documents = |split: &str| data[split]["sources"][0]["n_documents"].as_u64().unwrap();
    assert_eq!(n_documents("train") + n_documents("heldout"), 60);

    let run = sferic(["train", "pretrain", config, "--device", "cpu", "--json"]);
    let events = run.assert_done().json_lines();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(of("logged").iter().map(|event| event["step"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(of("saved").len(), 2);
    assert_eq!(events.last().unwrap()["step"], 4);
    for file in ["loss.csv", "loss.svg", "samples.txt"] {
        assert!(path("run/pretrain").join(file).is_file(), "{file}");
    }
    let resumed = sferic(["train", "pretrain", config, "--device", "cpu", "--resume"]);
    assert!(resumed.assert_done().stderr.contains("step 4 of 4"), "{}", resumed.stderr);

    let model = path("run/pretrain/model");
    let model = model.to_str().unwrap();
    let text = sferic(["generate", model, "The fox", "--device", "cpu", "--max-tokens", "5", "--ignore-eos", "--json"]);
    assert_eq!(text.assert_done().json_lines().last().unwrap()["stats"]["generated_tokens"], 5);
}

/// `tests/smoke/run.toml`, from the tokenizer to the report: what its files say is there, and a second call finds nothing to do but the report.
#[test]
fn the_whole_pipeline_runs_from_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/smoke");
    for file in ["run.toml", "config.json"] {
        std::fs::copy(smoke.join(file), folder.path().join(file)).unwrap();
    }
    let config = folder.path().join("run.toml");
    let config = config.to_str().unwrap();
    for step in ["tokenizer", "data", "chats"] {
        sferic(["train", step, config]).assert_done();
    }
    // A step whose model is not there says which one makes it.
    sferic(["train", "grpo", config, "--device", "cpu"]).assert_fails(3, &["`grpo`", "sferic train distill"]);

    let all = sferic(["train", "all", config, "--device", "cpu", "--json"]);
    let events = all.assert_done().json_lines();
    let done: Vec<&str> =
        events.iter().filter(|event| event["event"] == "done").map(|event| event["stage"].as_str().unwrap()).collect();
    assert_eq!(done, ["pretrain", "extend", "warmup", "sparse", "sft", "math", "specialists", "distill", "grpo"]);
    let run = |file: &str| folder.path().join("run").join(file);
    for file in [
        "warmup/loss.svg",
        "specialists/math/sft/loss.svg",
        "specialists/math/grpo.svg",
        "collect/alignment.jsonl",
        "grpo/grpo.csv",
        "eval/report.md",
    ] {
        assert!(run(file).is_file(), "{file}");
    }
    let losses: Vec<f64> = events
        .iter()
        .filter(|event| event["event"] == "logged" && event["loss"].is_number())
        .map(|event| event["loss"].as_f64().unwrap())
        .collect();
    assert!(losses[..6].is_sorted_by(|a, b| a > b), "pretraining learns: {losses:?}");
    let report = std::fs::read_to_string(run("eval/report.md")).unwrap();
    for model in ["pretrain", "warmup", "sparse", "sft", "math-sft", "math", "alignment", "distill", "grpo"] {
        assert!(report.contains(&format!("| {model} |")), "{model}");
    }

    let again = sferic(["train", "all", config, "--device", "cpu"]);
    assert_eq!(again.assert_done().stdout.lines().count(), 1, "only the evaluation answers: {}", again.stdout);
    let model = run("grpo/model");
    let chat = sferic(["generate", model.to_str().unwrap(), "Hi", "--chat", "--device", "cpu", "--max-tokens", "4", "--json"]);
    assert!(!chat.assert_done().json_lines().is_empty());
}

fn model_config() -> serde_json::Value {
    json!({
        "model_type": "deepseek_v32", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": 12, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8, "v_head_dim": 8, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 8,
        "max_position_embeddings": 64, "first_k_dense_replace": 1, "n_routed_experts": 4, "n_shared_experts": 1,
        "moe_intermediate_size": 16, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "norm_topk_prob": true,
        "routed_scaling_factor": 1.0, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "hidden_act": "silu",
        "attention_bias": false, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null,
        "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 1, "moe_layer_freq": 1
    })
}

/// Sixty documents of a few sentences each, no two alike.
fn corpus() -> String {
    let animals = ["fox", "crow", "lion", "mouse", "wolf"];
    let things = ["the grapes", "a piece of cheese", "the river", "an old net", "the moon", "a sleeping dog"];
    let documents = (0..60).map(|n| {
        let (animal, thing) = (animals[n % 5], things[n % 6]);
        format!("The {animal} of hill number {n} saw {thing}.\nIt walked around {thing} for {n} days and said nothing.\nThen the {animal} went home.")
    });
    documents.collect::<Vec<_>>().join("\n\n\n")
}
