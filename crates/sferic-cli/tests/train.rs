//! The three stages of training on a corpus of a few kilobytes, then a text from the result.

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

[train]
steps = 4
seq_len = 16
batch_size = 2
lr = 1e-3
min_lr = 1e-4
warmup_steps = 1
sparse_from_step = 2
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
        assert!(path("run").join(file).is_file(), "{file}");
    }
    let resumed = sferic(["train", "pretrain", config, "--device", "cpu", "--resume"]);
    assert!(resumed.assert_done().stderr.contains("step 4 of 4"), "{}", resumed.stderr);

    let model = path("run").join("model");
    let model = model.to_str().unwrap();
    let text = sferic(["generate", model, "The fox", "--device", "cpu", "--max-tokens", "5", "--ignore-eos", "--json"]);
    assert_eq!(text.assert_done().json_lines().last().unwrap()["stats"]["generated_tokens"], 5);
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
