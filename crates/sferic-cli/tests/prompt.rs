//! Prompts are exact to the byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{golden, model, sferic, sferic_with_input};
use serde_json::Value;

#[test]
fn the_golden_prompts_are_printed_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let file = golden("prompts").join("prompts.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let (mut n_prompts, mut n_errors) = (0, 0);
    for case in golden["prompts"].as_array().unwrap() {
        let messages = folder.path().join("messages.json");
        std::fs::write(&messages, case["messages"].to_string()).unwrap();
        for (mode, thinking) in [("chat", &[][..]), ("thinking", &["--thinking"])] {
            for (history, keep) in [("drop", &[][..]), ("keep", &["--keep-thinking"])] {
                let key = format!("dsv32.{mode}.{history}");
                let fixed = ["prompt", "--format", "v32", "--messages", messages.to_str().unwrap()];
                let run = sferic(fixed.iter().chain(thinking).chain(keep));
                match case[&key].as_str() {
                    Some(expected) => {
                        assert_eq!(run.assert_done().stdout, expected, "{} {key}", case["name"]);
                        n_prompts += 1;
                    }
                    None => {
                        assert!(case[format!("{key}.error")].is_string(), "{} {key}", case["name"]);
                        run.assert_fails(3, &[]);
                        n_errors += 1;
                    }
                }
            }
        }
    }
    assert!(n_prompts > 20, "{n_prompts} prompts, {n_errors} errors");
}

#[test]
fn a_models_own_template_is_used() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let messages = r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hé"}]}"#;
    let run = sferic_with_input(["prompt", path, "--messages", "-"], messages.as_bytes());
    assert_eq!(run.assert_done().stdout, "system: s\nuser: hé\nassistant: ");
    let json = &sferic_with_input(["prompt", path, "--messages", "-", "--json"], messages.as_bytes()).json_lines()[0];
    assert_eq!(json["prompt"], "system: s\nuser: hé\nassistant: ");
    // Every byte is a token, two above its value.
    let expected: Vec<u32> = "system: s\nuser: hé\nassistant: ".bytes().map(|byte| u32::from(byte) + 2).collect();
    assert_eq!(json["token_ids"], serde_json::json!(expected));
}

#[test]
fn without_a_template_a_v32_model_has_its_own_format() {
    let folder = model();
    std::fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    let path = folder.path().to_str().unwrap();
    let run = sferic_with_input(["prompt", "-m", path, "--messages", "-"], br#"[{"role": "user", "content": "hello"}]"#);
    assert_eq!(run.assert_done().stdout, "<｜begin▁of▁sentence｜><｜User｜>hello<｜Assistant｜></think>");
}
