#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::test_tokenizer::{CHATML, chatml, file, large, llama, write};

fn find(tokenizer: &Value, beside: &[(&str, Value)]) -> Result<ControlTokens, TrainError> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), tokenizer, beside);
    let path = folder.path().join("tokenizer.json");
    ControlTokens::find(&Tokenizer::from_file(&path).unwrap(), &path, path.parent())
}

fn roles(controls: &ControlTokens) -> (Option<u32>, Option<u32>, u32) {
    (controls.begin, controls.end, controls.pad)
}

#[test]
fn deepseeks_spellings_are_known_without_other_files() {
    let controls = find(&large(), &[]).unwrap();
    assert_eq!(roles(&controls), (Some(70_000), Some(70_001), 70_002));
    assert_eq!(controls.id("<｜User｜>").unwrap(), 70_003);
    assert_eq!(controls.id("<｜tool▁sep｜>").unwrap(), 70_009);
    assert!(controls.is_end(70_001) && !controls.is_end(70_000));
    assert!(controls.contains(70_006) && !controls.contains(69_999));
    let own = ControlTokens::own();
    assert_eq!((roles(&own), own.id("</think>").unwrap()), ((Some(0), Some(1), 2), 6));
}

#[test]
fn files_beside_the_tokenizer_name_the_roles() {
    let of_llama = json!({"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|end_of_text|>"}});
    let ids = json!({"bos_token_id": 20, "eos_token_id": [21, 24, 9_999_999]});
    let controls =
        find(&llama(), &[("tokenizer_config.json", of_llama.clone()), ("generation_config.json", ids.clone())]).unwrap();
    assert_eq!(roles(&controls), (Some(20), Some(21), 21));
    assert!(controls.is_end(21) && controls.is_end(24) && !controls.is_end(23));
    assert_eq!(roles(&find(&llama(), &[("config.json", ids.clone())]).unwrap()), (Some(20), Some(21), 21));
    // generation_config.json goes before config.json, tokenizer_config.json before both.
    let other = ("config.json", json!({"bos_token_id": 22, "eos_token_id": 23}));
    let controls = find(&llama(), &[("generation_config.json", ids), other.clone()]).unwrap();
    assert_eq!((roles(&controls), controls.is_end(23)), ((Some(20), Some(21), 21), true));
    let padded = json!({"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|end_of_text|>"});
    assert_eq!(roles(&find(&llama(), &[("tokenizer_config.json", padded), other]).unwrap()), (Some(20), Some(24), 21));
}

#[test]
fn a_tokenizer_without_a_begin_token_divides_documents_by_the_end_token() {
    let ids = ("config.json", json!({"bos_token_id": 20, "eos_token_id": 20}));
    for config in [
        json!({"bos_token": null, "eos_token": "<|im_end|>"}),
        json!({"add_bos_token": false, "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}),
    ] {
        let controls = find(&chatml(), &[("tokenizer_config.json", config), ids.clone()]).unwrap();
        assert_eq!(roles(&controls), (None, Some(22), 22));
        assert!(controls.is_end(20) && controls.is_end(22));
    }
    assert_eq!(roles(&find(&chatml(), &[ids]).unwrap()), (None, Some(20), 20));
}

#[test]
fn what_is_missing_is_named_with_its_file() {
    let error = find(&llama(), &[("tokenizer_config.json", json!({"eos_token": "</s>"}))]).unwrap_err().to_string();
    for part in ["tokenizer_config.json", "`</s>`", "`eos_token`", "tokenizer.json"] {
        assert!(error.contains(part), "{error}");
    }
    let controls = find(&llama(), &[]).unwrap();
    let error = controls.end().unwrap_err().to_string();
    assert!(error.contains("plain text") && error.contains("`eos_token`") && error.contains("tokenizer.json"), "{error}");
    let error = controls.id("<｜User｜>").unwrap_err().to_string();
    assert!(
        error.contains("`<｜User｜>`") && error.contains("chat_template.jinja") && error.contains("tokenizer.json"),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &llama(), &[]);
    std::fs::write(folder.path().join("generation_config.json"), "{").unwrap();
    let path = folder.path().join("tokenizer.json");
    let error = ControlTokens::find(&Tokenizer::from_file(&path).unwrap(), &path, path.parent()).unwrap_err().to_string();
    assert!(error.contains("generation_config.json") && error.contains("line 1"), "{error}");
}

#[test]
fn blanks_are_text_and_the_longest_spelling_counts() {
    let controls = [(20, "<a", true), (21, "<a>", false), (22, "  ", false), (23, "<a>>", true)];
    let found = find(&file(CHATML.iter().map(|(_, text, _)| (*text).to_owned()), &controls), &[]).unwrap();
    let texts: Vec<&str> = found.all().iter().map(|control| &*control.text).collect();
    assert_eq!(texts, ["<a", "<a>", "<a>>"]);
    assert_eq!(found.first_in("x  <a>y"), Some((3, 1)));
    assert_eq!(found.first_in("ä<a>><a"), Some((2, 2)));
    assert_eq!(found.first_in("<b> <"), None);
}
