#![allow(clippy::unwrap_used)]

use super::*;

const GOOD: &str = r#"
output = "run"
model = "config.json"
[data]
root = "corpus"
folder = "data"
tokenizer = "tokenizer.json"
[[data.sources]]
name = "stories"
path = "stories.txt.xz"
format = "text"
weight = 1.0
[train]
steps = 10
seq_len = 8
batch_size = 2
lr = 1e-3
min_lr = 1e-4
"#;

fn parse(text: &str) -> Result<PretrainConfig, TrainError> {
    PretrainConfig::parse(text, Path::new("somewhere/pretrain.toml"))
}

#[test]
fn paths_are_relative_to_the_file_and_defaults_hold() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.output, Path::new("somewhere/run"));
    assert_eq!(config.data.tokenizer, Path::new("somewhere/tokenizer.json"));
    assert_eq!(config.train.betas, [0.9, 0.95]);
    assert_eq!(config.train.weight_decay, 0.1);
    assert_eq!(config.train.sparse_from_step, None);
}

#[test]
fn each_bad_value_is_named() {
    for (from, to, key) in [
        ("steps = 10", "steps = 0", "train.steps"),
        ("seq_len = 8", "seq_len = 0", "train.seq_len"),
        ("lr = 1e-3", "lr = -1.0", "train.lr"),
        ("lr = 1e-3", "lr = nan", "train.lr"),
        ("min_lr = 1e-4", "min_lr = 1.0", "train.min_lr"),
        ("min_lr = 1e-4", "min_lr = 1e-4\nwarmup_steps = 10", "train.warmup_steps"),
        ("min_lr = 1e-4", "min_lr = 1e-4\nbetas = [0.9, 1.0]", "train.betas"),
        ("weight = 1.0", "weight = -1.0", "data.sources.stories.weight"),
        ("weight = 1.0", "weight = 1.0\nchat_share = 0.5", "data.sources.stories.chat_share"),
        ("format = \"text\"", "format = \"titled\"\nchat_share = 0.5", "data.sources.stories.prompts"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{to}: {error}");
    }
}

#[test]
fn unknown_keys_and_bad_syntax_name_key_and_file() {
    let error = parse(&GOOD.replace("steps = 10", "steps = 10\nstepz = 3")).unwrap_err().to_string();
    assert!(error.contains("stepz") && error.contains("pretrain.toml"), "{error}");
    assert!(matches!(parse("output = "), Err(TrainError::ConfigSyntax { .. })));
}
