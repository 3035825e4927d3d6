#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::testing::{
    BOS, EOS, config, config_json, dense_config, dense_config_json, engine, engine_with, options, tokenizer_json, try_engine,
    weights,
};
use crate::{EngineOptions, ModelParts, StopReason};
use pollster::block_on;
use std::collections::BTreeMap;

/// Answers `hi` and ends.
fn hi() -> SamplingParams {
    let logit_bias = BTreeMap::from([(u32::from(b'h'), 1000.0), (u32::from(b'i'), 960.0), (EOS, 930.0)]);
    SamplingParams { logit_bias, presence_penalty: 100.0, ..SamplingParams::greedy() }
}

/// Reads a reply to its end.
fn finish(mut turn: ChatTurn<'_>) -> (String, StopReason, Stats) {
    let mut text = String::new();
    while let Some(event) = block_on(turn.next()) {
        match event.unwrap() {
            Event::Text(piece) => text.push_str(&piece),
            Event::Stop(stop) => return (text, stop.reason, stop.stats),
            _ => {}
        }
    }
    panic!("no stop event");
}

fn texts(chat: &Chat) -> Vec<(Role, String)> {
    chat.messages().iter().map(|message| (message.role, message.text().to_owned())).collect()
}

#[test]
fn turns_become_messages_and_reuse_the_cache() {
    let mut chat = engine().chat(ChatOptions { system: Some("be brief".into()), ..ChatOptions::default() }).unwrap();
    let (text, reason, stats) = finish(chat.say("hello", hi()).unwrap());
    assert_eq!((text.as_str(), reason), ("hi", StopReason::Eos));
    assert_eq!(stats.reused_tokens, 0);
    assert_eq!(chat.prompt().unwrap(), "system:be brief|user:hello|assistant:hi|assistant:");
    let n_first = "system:be brief|user:hello|assistant:hi".len();
    let (_, _, stats) = finish(chat.say("again", hi()).unwrap());
    assert_eq!(stats.reused_tokens, n_first, "everything up to the end token is shared");
    let expected = [
        (Role::System, "be brief"),
        (Role::User, "hello"),
        (Role::Assistant, "hi"),
        (Role::User, "again"),
        (Role::Assistant, "hi"),
    ];
    assert_eq!(texts(&chat), expected.map(|(role, text)| (role, text.to_owned())));

    assert!(chat.undo());
    assert_eq!(chat.messages().len(), 3);
    chat.clear();
    assert_eq!(texts(&chat), [(Role::System, "be brief".to_owned())]);
    assert_eq!(chat.session().n_cached(), 0);
    assert!(!chat.undo());
}

#[test]
fn another_conversation_reuses_what_it_shares() {
    let mut chat = engine().chat(ChatOptions::default()).unwrap();
    finish(chat.say("hello", hi()).unwrap());
    chat.replace(ChatOptions { messages: vec![Message::user("help")], ..ChatOptions::default() });
    let (_, _, stats) = finish(chat.reply(hi()).unwrap());
    assert_eq!(stats.reused_tokens, "user:hel".len());
    assert_eq!(texts(&chat), [(Role::User, "help".to_owned()), (Role::Assistant, "hi".to_owned())]);
}

#[test]
fn a_dropped_turn_keeps_what_was_written_and_nothing_takes_the_question_back() {
    let mut chat = engine().chat(ChatOptions::default()).unwrap();
    drop(chat.say("hello", hi()).unwrap());
    assert!(chat.messages().is_empty(), "{:?}", chat.messages());
    let mut turn = chat.say("hello", hi()).unwrap();
    while let Some(event) = block_on(turn.next()) {
        if matches!(event.unwrap(), Event::Text(_)) {
            break;
        }
    }
    drop(turn);
    assert_eq!(texts(&chat), [(Role::User, "hello".to_owned()), (Role::Assistant, "h".to_owned())]);
}

#[test]
fn a_cancelled_turn_keeps_what_was_written() {
    let mut chat = engine().chat(ChatOptions::default()).unwrap();
    let turn = chat.say("hello", hi()).unwrap();
    turn.cancel_token().cancel();
    let (text, reason, _) = finish(turn);
    assert_eq!((text.as_str(), reason), ("", StopReason::Cancelled));
    assert!(chat.messages().is_empty());
}

#[test]
fn a_question_that_does_not_fit_is_taken_back() {
    let mut chat = engine_with(EngineOptions { max_context: Some(60), ..options() }).chat(ChatOptions::default()).unwrap();
    finish(chat.say("hello", hi()).unwrap());
    let before = texts(&chat);
    let error = chat.say(&"x".repeat(100), hi()).err().unwrap();
    assert!(matches!(error, EngineError::PromptTooLong { context: 60, .. }), "{error:?}");
    assert_eq!(texts(&chat), before);
    assert_eq!(finish(chat.say("ok", hi()).unwrap()).0, "hi");
}

#[test]
fn reasoning_is_taken_apart() {
    let mut chat = engine().chat(ChatOptions { thinking: true, ..ChatOptions::default() }).unwrap();
    let mut turn = chat.say("hello", hi()).unwrap();
    while block_on(turn.next()).is_some() {}
    turn.text = "because</think>hi".into();
    turn.is_kept = false;
    drop(turn);
    let last = chat.messages().last().unwrap();
    assert_eq!((last.reasoning_content.as_deref(), last.text()), (Some("because"), "hi"));
}

#[test]
fn an_imported_conversation_goes_on() {
    let messages = vec![Message::user("hello"), Message::assistant("hi"), Message::user("more")];
    let mut chat = engine().chat(ChatOptions { messages, ..ChatOptions::default() }).unwrap();
    let (text, _, stats) = finish(chat.reply(hi()).unwrap());
    assert_eq!(text, "hi");
    assert_eq!(stats.prompt_tokens, "user:hello|assistant:hi|user:more|assistant:".len());
    assert_eq!(chat.messages().len(), 4);
}

#[test]
fn a_model_with_nan_weights_gives_an_error_and_the_question_back() {
    let weights = weights(&config(), |name, values| {
        if name == "model.norm.weight" {
            values.fill(f32::NAN);
        }
    });
    let mut chat = try_engine(&config_json(), weights, true, options()).unwrap().chat(ChatOptions::default()).unwrap();
    let mut turn = chat.say("hello", hi()).unwrap();
    let mut errors = Vec::new();
    while let Some(event) = block_on(turn.next()) {
        errors.extend(event.err());
    }
    drop(turn);
    assert!(matches!(errors.as_slice(), [EngineError::BadLogits { .. }]), "{errors:?}");
    assert!(chat.messages().is_empty());
}

#[test]
fn special_tokens_are_part_of_a_reply_because_markup_may_be_made_of_them() {
    let logit_bias = BTreeMap::from([(u32::from(b'h'), 1000.0), (BOS, 960.0), (EOS, 930.0)]);
    let mut chat = engine().chat(ChatOptions::default()).unwrap();
    let (text, reason, _) = finish(chat.say("hello", SamplingParams { logit_bias, ..hi() }).unwrap());
    assert_eq!((text.as_str(), reason), ("h<bos>", StopReason::Eos));
    assert_eq!(chat.messages()[1].text(), "h<bos>");
}

#[test]
fn a_model_without_a_format_stops_where_the_user_would_speak() {
    let tokenizer = tokenizer_json();
    let parts = ModelParts {
        config_json: &dense_config_json().to_string(),
        weights: weights(&dense_config(), |_, _| ()).into(),
        tokenizer_json: Some(&tokenizer),
        tokenizer_config_json: None,
        chat_template_jinja: None,
        generation_config_json: None,
    };
    let engine = block_on(Engine::from_parts(parts, options())).unwrap();
    let mut chat = engine.chat(ChatOptions::default()).unwrap();
    let logit_bias = b"h\nUser:".iter().zip(0u8..).map(|(&byte, n)| (u32::from(byte), 1090.0 - 15.0 * f32::from(n))).collect();
    let (text, reason, stats) = finish(chat.say("hello", SamplingParams { logit_bias, ..hi() }).unwrap());
    assert_eq!((text.as_str(), reason), ("h", StopReason::StopString("\nUser:".into())));
    assert_eq!(stats.prompt_tokens, "User: hello\nAssistant:".len());
}
