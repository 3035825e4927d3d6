//! Input that cannot be used ends with code 3 and a message that names it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{edit_json, golden, model, sferic, sferic_with_input, write_ids};
use std::path::Path;

fn generate(folder: &Path, args: &[&str]) -> common::Run {
    let folder = folder.to_str().unwrap();
    sferic(["generate", "--device", "cpu", "--max-tokens", "2", "-m", folder].iter().chain(args))
}

#[test]
fn no_folder_and_a_folder_without_config() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    generate(&missing, &["x"]).assert_fails(3, &["no such model folder", "missing"]);
    generate(folder.path(), &["x"]).assert_fails(3, &["config.json is missing", folder.path().to_str().unwrap()]);
    let path = folder.path().to_str().unwrap();
    sferic(["info", path]).assert_fails(3, &["config.json is missing"]);
    sferic(["verify", path]).assert_fails(3, &["config.json is missing"]);
    let messages = folder.path().join("messages.json");
    std::fs::write(&messages, "[{\"role\": \"user\", \"content\": \"x\"}]").unwrap();
    sferic(["prompt", path, "--messages", messages.to_str().unwrap()]).assert_fails(3, &["config.json is missing"]);
}

#[test]
fn an_unknown_model_type() {
    let folder = model();
    edit_json(&folder.path().join("config.json"), |config| config["model_type"] = "llama".into());
    generate(folder.path(), &["x"]).assert_fails(3, &["llama", "deepseek_v32"]);
}

#[test]
fn a_missing_shard() {
    let folder = model();
    std::fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).unwrap();
    generate(folder.path(), &["x"]).assert_fails(3, &["model-00002-of-00002.safetensors"]);
}

#[test]
fn a_truncated_file() {
    let folder = model();
    let shard = folder.path().join("model-00001-of-00002.safetensors");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    generate(folder.path(), &["x"]).assert_fails(3, &["truncated", "model-00001-of-00002.safetensors"]);
}

#[test]
fn a_model_without_a_tokenizer() {
    generate(&golden("deepseek_v32-tiny"), &["x"]).assert_fails(3, &["tokenizer.json"]);
}

#[test]
fn a_token_id_beyond_the_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("ids.safetensors"), folder.path().join("out.safetensors"));
    write_ids(&input, &[3, 512]);
    let model = golden("deepseek_v32-tiny");
    let args = ["trace", model.to_str().unwrap(), "--device", "cpu", "--input", input.to_str().unwrap(), "--output"];
    let trace = || sferic(args.iter().copied().chain([output.to_str().unwrap()]));
    trace().assert_fails(3, &["token id 512", "position 1", "512 tokens"]);
    write_ids(&input, &[3, -1]);
    trace().assert_fails(3, &["input_ids", "-1"]);
    write_ids(&input, &[]);
    trace().assert_fails(3, &["the prompt is empty"]);
    assert!(!output.exists());
    let nowhere = folder.path().join("nowhere").join("out.safetensors");
    let args = args.iter().copied().chain([nowhere.to_str().unwrap()]);
    sferic(args).assert_fails(3, &["no such folder for the output", "nowhere"]);
}

#[test]
fn a_prompt_longer_than_the_context() {
    let folder = model();
    let long = "x".repeat(40);
    generate(folder.path(), &[&long, "--context", "16"]).assert_fails(3, &["40 tokens", "16", "4096"]);
    generate(folder.path(), &["x", "--context", "5000"]).assert_fails(2, &["5000", "4096"]);
}

#[test]
fn an_empty_prompt() {
    let folder = model();
    generate(folder.path(), &[""]).assert_fails(3, &["the prompt is empty"]);
    let path = folder.path().to_str().unwrap();
    sferic_with_input(["generate", "-m", path, "-"], b"\n").assert_fails(3, &["the prompt is empty"]);
}

#[test]
fn text_that_is_not_utf8() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let run = sferic_with_input(["generate", "-m", path, "-"], b"ab\xff");
    run.assert_fails(3, &["not valid UTF-8 at byte 2", "standard input"]);
    let file = folder.path().join("prompt.txt");
    std::fs::write(&file, b"\xc3").unwrap();
    generate(folder.path(), &["--file", file.to_str().unwrap()]).assert_fails(3, &["not valid UTF-8 at byte 0", "prompt.txt"]);
    generate(folder.path(), &["--file", "nowhere.txt"]).assert_fails(3, &["no such file", "nowhere.txt"]);
}

#[test]
fn a_broken_template() {
    let folder = model();
    std::fs::write(folder.path().join("chat_template.jinja"), "{% for m in messages %}").unwrap();
    generate(folder.path(), &["x", "--chat"]).assert_fails(3, &["chat template", "line"]);
    std::fs::write(folder.path().join("chat_template.jinja"), "{{ messages.nothing.at_all }}").unwrap();
    generate(folder.path(), &["x", "--chat"]).assert_fails(3, &["chat template", "line 1"]);
}

#[test]
fn no_such_device() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    sferic(["generate", path, "x", "--device", "gpu:99"]).assert_fails(3, &["gpu:99 does not exist", "sferic devices"]);
}

#[test]
fn sampling_out_of_range_is_a_matter_of_the_command_line() {
    let folder = model();
    generate(folder.path(), &["x", "--temperature", "-1"]).assert_fails(2, &["temperature", "-1"]);
    generate(folder.path(), &["x", "--logit-bias", "512=1"]).assert_fails(2, &["logit_bias", "512"]);
    generate(folder.path(), &["x", "--stop", ""]).assert_fails(2, &["stop"]);
}

#[test]
fn a_model_folder_in_place_of_the_prompt() {
    let folder = model();
    sferic(["generate", folder.path().to_str().unwrap()]).assert_fails(2, &["is a model folder", "--file"]);
}

#[test]
fn messages_that_are_no_conversation() {
    let folder = model();
    let messages = folder.path().join("messages.json");
    let prompt = |text: &str| {
        std::fs::write(&messages, text).unwrap();
        sferic(["prompt", folder.path().to_str().unwrap(), "--messages", messages.to_str().unwrap()])
    };
    prompt("[{\"role\": \"robot\"}]").assert_fails(3, &["messages.json", "robot"]);
    prompt("[]").assert_fails(3, &["no messages"]);
    prompt("").assert_fails(3, &["messages.json"]);
}

#[test]
fn a_training_configuration_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("run.toml");
    let path = config.to_str().unwrap();
    for stage in ["tokenizer", "data", "pretrain"] {
        sferic(["train", stage, "nowhere.toml"]).assert_fails(3, &["nowhere.toml"]);
        std::fs::write(&config, "seed = \"x\"").unwrap();
        sferic(["train", stage, path]).assert_fails(3, &["run.toml"]);
    }
}
