#![allow(clippy::unwrap_used)]

use serde_json::json;
use sferic_text::{ToolCall, dsv32};

use super::*;
use crate::tokenizer::{Encoder, save_tokenizer, train_tokenizer};

fn thought(thinking: &str, reply: &str) -> Message {
    Message { reasoning_content: Some(thinking.to_owned()), ..Message::assistant(reply) }
}

/// A conversation with tools, results, an earlier turn and reasoning.
fn with_tools(thinking: bool) -> Chat {
    let call = Message {
        tool_calls: vec![ToolCall::new("find", r#"{"name": "goat", "n": 2}"#)],
        ..thought("Look it up.", "One moment.")
    };
    let tool = json!({"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}});
    let messages = vec![
        Message::system("Be brief."),
        Message::user("Hi."),
        thought("A greeting.", "Hello!"),
        Message::user("Where is the goat?"),
        call,
        Message::tool("barn"),
        thought("It says barn.", "In the barn."),
    ];
    Chat { messages, tools: vec![tool], thinking }
}

/// What is the model's in doubled square brackets.
fn shown(chat: &Chat) -> String {
    let mut text = String::new();
    let mut was_models = false;
    for Segment { part, is_models } in chat.segments().unwrap() {
        if is_models != was_models {
            text.push(if is_models { '⟦' } else { '⟧' });
        }
        match part {
            Part::Text(words) => text.push_str(&words),
            Part::Token(special) => text.push_str(special.text()),
        }
        was_models = is_models;
    }
    text + if was_models { "⟧" } else { "" }
}

#[test]
fn tokens_are_those_of_the_whole_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["Where is the goat? In the barn. <result> function_calls invoke parameter"; 9];
    save_tokenizer(&train_tokenizer(texts.into_iter(), 400).unwrap(), 512, folder.path()).unwrap();
    let path = folder.path().join("tokenizer.json");
    let (encoder, engines) = (Encoder::open(&path).unwrap(), sferic_text::Tokenizer::from_file(&path).unwrap());
    let chats = [with_tools(true), with_tools(false), Chat::exchange("Hi. ", " Hello!\n"), Chat::exchange("", "")];
    for chat in chats {
        let whole = PromptFormat::V32.render(&chat.messages, &chat.tools, chat.thinking, false).unwrap();
        let mut ids = Vec::new();
        encoder.encode(&chat.parts().unwrap(), &mut ids).unwrap();
        let ids: Vec<u32> = ids.into_iter().map(u32::from).collect();
        assert_eq!(ids, engines.encode(&whole, false).unwrap(), "{whole}");
    }
    let plain = Chat::exchange("a", "b");
    let whole = dsv32::render(&plain.messages, false, false).unwrap();
    assert_eq!(whole, "<｜begin▁of▁sentence｜><｜User｜>a<｜Assistant｜></think>b<｜end▁of▁sentence｜>");
    assert_eq!(shown(&plain).replace(['⟦', '⟧'], ""), whole);
}

#[test]
fn the_model_is_taught_what_it_writes_and_nothing_else() {
    assert_eq!(
        shown(&Chat::direct(vec![Message::user("a"), Message::assistant("b"), Message::user("c"), Message::assistant("d")])),
        "<｜begin▁of▁sentence｜><｜User｜>a<｜Assistant｜></think>⟦b<｜end▁of▁sentence｜>⟧\
         <｜User｜>c<｜Assistant｜></think>⟦d<｜end▁of▁sentence｜>⟧"
    );
    let unanswered = Chat::direct(vec![Message::user("a"), Message::user("b"), Message::assistant("c")]);
    assert!(shown(&unanswered).ends_with("</think><｜User｜>b<｜Assistant｜></think>⟦c<｜end▁of▁sentence｜>⟧"));
    let text = shown(&with_tools(true));
    let turns = text.split_once("<｜User｜>Hi.").unwrap();
    assert!(turns.0.contains("<think>...thinking about results</think>") && !turns.0.contains('⟦'), "{text}");
    assert_eq!(
        turns.1,
        "<｜Assistant｜></think>⟦Hello!<｜end▁of▁sentence｜>⟧<｜User｜>Where is the goat?<｜Assistant｜><think>\
         ⟦Look it up.</think>One moment.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"find\">\n\
         <｜DSML｜parameter name=\"name\" string=\"true\">goat</｜DSML｜parameter>\n\
         <｜DSML｜parameter name=\"n\" string=\"false\">2</｜DSML｜parameter>\n\
         </｜DSML｜invoke>\n</｜DSML｜function_calls><｜end▁of▁sentence｜>⟧\n\n\
         <function_results>\n<result>barn</result>\n</function_results>\n\n<think>\
         ⟦It says barn.</think>In the barn.<｜end▁of▁sentence｜>⟧"
    );
}

#[test]
fn text_that_spells_a_control_token_stays_text() {
    let spelt = Chat {
        thinking: true,
        ..Chat::direct(vec![
            Message::user("What is <think>?<｜User｜>"),
            thought("A </think> marker.", "It is <｜end▁of▁sentence｜>."),
        ])
    };
    let parts = spelt.parts().unwrap();
    let tokens: Vec<Special> =
        parts.iter().filter_map(|part| if let Part::Token(token) = part { Some(*token) } else { None }).collect();
    let expected = [Special::Bos, Special::User, Special::Assistant, Special::Think, Special::EndThink, Special::Eos];
    assert_eq!(tokens, expected);
    assert!(parts.contains(&Part::Text("It is <｜end▁of▁sentence｜>.".into())), "{parts:?}");
}

#[test]
fn conversations_that_cannot_be_shown_are_refused() {
    let mut late = with_tools(false);
    late.messages.swap(0, 2);
    assert!(matches!(late.segments(), Err(TextError::InvalidMessage { message_idx: 2, .. })));
    let thoughtless = Chat { thinking: true, ..Chat::exchange("a", "b") };
    assert!(matches!(thoughtless.segments(), Err(TextError::InvalidMessage { message_idx: 1, .. })));
}

#[test]
fn lines_of_a_file_hold_everything() {
    let chat = with_tools(true);
    let line = serde_json::to_string(&chat).unwrap();
    assert_eq!(serde_json::from_str::<Chat>(&line).unwrap(), chat);
    assert!(serde_json::from_str::<Chat>(r#"{"messages": [], "tool": []}"#).unwrap_err().to_string().contains("tool"));
}
