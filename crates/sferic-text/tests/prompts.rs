//! Every prompt and every token list of the golden file, exactly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{deepseek, prompts, shared};
use serde_json::Value;
use sferic_text::{ChatTemplate, Message, PromptFormat, TemplateInput, TokenizerConfig, dsv32};

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn v32_prompts_are_byte_exact() {
    let mut n_checked = 0;
    for case in prompts()["prompts"].as_array().unwrap() {
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        for (key, expected) in case.as_object().unwrap() {
            let Some(key) = key.strip_prefix("dsv32.") else { continue };
            let parts: Vec<&str> = key.split('.').collect();
            let thinking = parts.contains(&"thinking");
            let keep_thinking = parts.contains(&"keep");
            assert!(thinking != parts.contains(&"chat") && keep_thinking != parts.contains(&"drop"), "{key}");
            let prompt = dsv32::render(&messages, thinking, keep_thinking);
            if parts.last() == Some(&"error") {
                assert!(prompt.is_err(), "{} {key}: the reference refuses", case["name"]);
            } else {
                assert_eq!(prompt.unwrap(), expected.as_str().unwrap(), "{} {key}", case["name"]);
            }
            n_checked += 1;
        }
    }
    assert!(n_checked >= 32, "{n_checked} prompts");
}

/// Tools given beside the messages land where those of a system message do.
#[test]
fn v32_tools_of_the_request_equal_tools_of_the_system_message() {
    for case in prompts()["prompts"].as_array().unwrap() {
        let Some(expected) = case["dsv32.thinking.drop"].as_str() else { continue };
        let mut messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        let tools = std::mem::take(&mut messages[0].tools);
        let prompt = PromptFormat::V32.render(&messages, &tools, true, false).unwrap();
        assert_eq!(prompt, expected, "{}", case["name"]);
        if case["name"] == "two_calls" {
            // Its system message is empty: leaving it out changes nothing.
            assert_eq!(PromptFormat::V32.render(&messages[1..], &tools, true, false).unwrap(), expected);
        }
    }
}

#[test]
fn v3_jinja_prompts_and_ids_are_exact() {
    let (Some(tokenizer), Some(path)) = (deepseek(), shared("tokenizer/tokenizer_config.json")) else { return };
    let config = TokenizerConfig::from_file(&path).unwrap();
    let template = ChatTemplate::from_config(&config).unwrap().unwrap();
    let format = PromptFormat::choose("deepseek_v3", Some(&std::fs::read_to_string(path).unwrap()), None).unwrap();
    let mut n_checked = 0;
    for case in prompts()["prompts"].as_array().unwrap() {
        let Some(expected) = case["jinja_v3"].as_str() else { continue };
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        let input = TemplateInput { messages: &messages, add_generation_prompt: true, ..TemplateInput::default() };
        assert_eq!(template.render(&input).unwrap(), expected, "{}", case["name"]);
        assert_eq!(format.render(&messages, &[], false, false).unwrap(), expected, "{}", case["name"]);
        let token_ids = tokenizer.encode(expected, format.add_special_tokens()).unwrap();
        assert_eq!(token_ids, ids(&case["jinja_v3_ids"]), "{}", case["name"]);
        n_checked += 1;
    }
    assert!(n_checked >= 4, "{n_checked} prompts");
}

#[test]
fn token_lists_are_exact() {
    let Some(tokenizer) = deepseek() else { return };
    let golden = prompts();
    let cases = golden["tokens"].as_array().unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text, false).unwrap(), ids(&case["ids"]), "{text:?}");
        assert_eq!(tokenizer.decode(&ids(&case["ids"]), false).unwrap(), text);
    }
}

/// The golden conversation of spec/dsa.md §8.1.
#[test]
fn specified_conversation_has_the_specified_ids() {
    let Some(tokenizer) = deepseek() else { return };
    let messages = [Message::user("hello"), Message::assistant("Hello! I am DeepSeek."), Message::user("1+1=?")];
    let mut expected = [
        0, 128803, 33310, 128804, 128799, 19923, 3, 342, 1030, 22651, 4374, 1465, 16, 1, 128803, 19, 13, 19, 127252, 128804,
        128798,
    ]
    .to_vec();
    let mut token_ids = tokenizer.encode(&dsv32::render(&messages, true, false).unwrap(), false).unwrap();
    if tokenizer.token_to_id("<think>").is_none() {
        // V3's tokenizer is older than these two tokens.
        let text = tokenizer.decode(&token_ids, false).unwrap();
        assert!(text.ends_with("<think>"));
        token_ids = tokenizer.encode(&text.replace("</think>", "").replace("<think>", ""), false).unwrap();
        expected.retain(|token_id| ![128798, 128799].contains(token_id));
    }
    assert_eq!(token_ids, expected);
}
