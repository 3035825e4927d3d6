//! One test for each way in which a model folder, its configuration or its index can be wrong; each message names the file, what was
//! expected and found, and what to do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{CONFIG, Folder, assert_holds, counting, file_bytes};
use sferic_weights::{Checkpoint, WeightsError};

fn index(weight_map: &str) -> String {
    format!(r#"{{"metadata": {{}}, "weight_map": {weight_map}}}"#)
}

#[test]
fn no_such_folder() {
    let error = Checkpoint::open("no/such/folder").unwrap_err();
    assert!(matches!(error, WeightsError::NoFolder { .. }));
    assert_holds(&error.to_string(), &["no such model folder", "check the path", "no/such/folder"]);
}

#[test]
fn a_file_instead_of_a_folder() {
    let folder = Folder::with_model(&[]);
    let message = Checkpoint::open(folder.path().join("model.safetensors")).unwrap_err().to_string();
    assert_holds(&message, &["found a file", "pass the folder", "model.safetensors"]);
}

#[test]
fn empty_folder() {
    let folder = Folder::empty();
    let path = folder.path().display().to_string();
    assert_holds(
        &folder.open_error(),
        &["config.json is missing", "found an empty folder", "pass a Hugging Face model folder", &path],
    );
}

#[test]
fn folder_without_config_says_what_it_holds() {
    let folder = Folder::empty().add("model.gguf", "x").add("notes.txt", "x");
    assert_holds(&folder.open_error(), &["config.json is missing", "found model.gguf, notes.txt"]);
}

#[test]
fn config_that_is_not_json() {
    let message = Folder::empty().add("config.json", "{\"a\": ").open_error();
    assert_holds(&message, &["config.json is not valid JSON", "line 1", "config.json"]);
}

#[test]
fn config_that_is_not_an_object() {
    let message = Folder::with_model(&file_bytes(vec![])).add("config.json", "[1]").open_error();
    assert_holds(&message, &["expected an object", "found [1]"]);
}

#[test]
fn config_with_impossible_blocks() {
    for block in ["[128]", "[0, 128]", "\"128\"", "[128, -1]"] {
        let config = format!(r#"{{"quantization_config": {{"weight_block_size": {block}}}}}"#);
        let message = Checkpoint::from_parts(&config, file_bytes(vec![])).unwrap_err().to_string();
        assert_holds(&message, &["quantization_config.weight_block_size", "two positive integers"]);
    }
}

#[test]
fn folder_without_weights_says_what_it_holds_and_what_to_do() {
    let message = Folder::empty().add("config.json", CONFIG).add("pytorch_model.bin", "x").open_error();
    let parts = [
        "expected model.safetensors or model.safetensors.index.json",
        "found config.json, pytorch_model.bin",
        "PyTorch files are not read",
    ];
    assert_holds(&message, &parts);
    let message = Folder::empty().add("config.json", CONFIG).add("model-q4.gguf", "x").open_error();
    assert_holds(&message, &["GGUF files are not read, get the safetensors version"]);
}

#[test]
fn index_that_is_not_an_index() {
    let message = Folder::empty().add("config.json", CONFIG).add("model.safetensors.index.json", "{}").open_error();
    assert_holds(&message, &["the index is not valid", "weight_map", "model.safetensors.index.json"]);
}

#[test]
fn index_that_names_a_missing_shard() {
    let shard = file_bytes(vec![counting("a", &[2], 0)]);
    let folder = Folder::empty().add("config.json", CONFIG).add("one.safetensors", shard).add(
        "model.safetensors.index.json",
        index(r#"{"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}"#),
    );
    let parts = ["shard two.safetensors is missing", "expects tensor `b` and 1 others", "download the shard", "index.json"];
    assert_holds(&folder.open_error(), &parts);
}

#[test]
fn index_that_points_out_of_the_folder() {
    for shard in ["../a.safetensors", "a.safetensors/", "a.safetensors/.", "/etc/passwd", "sub/a.safetensors", "", ".", ".."] {
        let folder = Folder::empty()
            .add("config.json", CONFIG)
            .add("model.safetensors.index.json", index(&format!(r#"{{"a": "{shard}"}}"#)));
        assert_holds(&folder.open_error(), &["the index names the shard", shard, "in the same folder"]);
    }
}

#[test]
fn index_that_names_a_tensor_its_shard_lacks() {
    let folder = Folder::empty()
        .add("config.json", CONFIG)
        .add("one.safetensors", file_bytes(vec![counting("a", &[2], 0)]))
        .add("model.safetensors.index.json", index(r#"{"a": "one.safetensors", "b": "one.safetensors"}"#));
    assert_holds(&folder.open_error(), &["tensor `b` is not in shard one.safetensors", "different versions"]);
}

#[test]
fn tensor_in_two_shards() {
    let folder = Folder::empty()
        .add("config.json", CONFIG)
        .add("one.safetensors", file_bytes(vec![counting("a", &[2], 0), counting("b", &[2], 0)]))
        .add("two.safetensors", file_bytes(vec![counting("b", &[2], 0), counting("c", &[2], 0)]))
        .add("model.safetensors.index.json", index(r#"{"a": "one.safetensors", "c": "two.safetensors"}"#));
    assert_holds(&folder.open_error(), &["tensor `b` is stored twice", "one.safetensors and in two.safetensors"]);
}
