#![allow(clippy::unwrap_used, clippy::panic)]

use super::super::ChatOptions;
use super::*;
use crate::StopReason;
use crate::testing::{BOS, EOS, engine};
use pollster::block_on;
use sferic_text::Message;
use std::collections::BTreeMap;

/// Conversations of one engine get the replies that they get one by one, as messages and in tokens.
#[test]
fn each_conversation_gets_its_own_reply() {
    let engine = engine();
    let start = |text: &str| {
        let messages = vec![Message::user(text)];
        engine.chat(ChatOptions { messages, thinking: text == "b", ..ChatOptions::default() }).unwrap()
    };
    let greedy = SamplingParams { max_tokens: Some(5), ..SamplingParams::greedy() };
    // Markup, an end, and a string that ends: h, the special token, i, end.
    let bytes = [(u32::from(b'h'), 1000.0), (BOS, 980.0), (u32::from(b'i'), 960.0), (EOS, 930.0)];
    let scripted =
        SamplingParams { logit_bias: BTreeMap::from(bytes), presence_penalty: 100.0, max_tokens: None, ..greedy.clone() };
    let stopped = SamplingParams { stop: vec!["i".into()], ..scripted.clone() };
    for (params, expected) in [(greedy, None), (scripted, Some("h<bos>i")), (stopped, Some("h<bos>"))] {
        let mut chats: Vec<Chat> = ["a", "b", "hello"].map(start).into();
        let replies = block_on(engine.reply_batch(&mut chats, &params, &[0; 3])).unwrap();
        for ((text, chat), reply) in ["a", "b", "hello"].iter().zip(&chats).zip(&replies) {
            let mut alone = start(text);
            let mut turn = alone.reply(params.clone()).unwrap();
            let mut reason = StopReason::Cancelled;
            while let Some(event) = block_on(turn.next()) {
                if let crate::Event::Stop(stop) = event.unwrap() {
                    reason = stop.reason;
                }
            }
            let stats = turn.stats();
            drop(turn);
            assert_eq!((chat.messages(), &reply.reason), (alone.messages(), &reason), "{text}");
            assert_eq!((chat.messages().len(), reply.token_ids.len()), (2, stats.generated_tokens));
            assert!(expected.is_none_or(|expected| chat.messages()[1].text() == expected), "{:?}", chat.messages());
        }
    }
}

#[test]
fn a_conversation_that_does_not_fit_leaves_all_as_they_are() {
    let engine = engine();
    let start =
        |text: String| engine.chat(ChatOptions { messages: vec![Message::user(text)], ..ChatOptions::default() }).unwrap();
    let mut chats = [start("a".into()), start("x".repeat(300))];
    let error = block_on(engine.reply_batch(&mut chats, &SamplingParams::greedy(), &[0; 2])).unwrap_err();
    assert!(matches!(error, EngineError::PromptTooLong { context: 256, .. }), "{error}");
    assert!(chats.iter().all(|chat| chat.messages().len() == 1));
}
