//! Conversations over a pipe: one message per line, replies alone on standard output.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Run, model, sferic_with_input};
use std::path::Path;

fn chat(folder: &Path, rest: &[&str], input: &str) -> Run {
    let folder = folder.to_str().unwrap();
    let fixed = ["chat", folder, "--device", "cpu", "--max-tokens", "6", "--temperature", "0", "--ignore-eos"];
    // Token 67 is "A": every reply is AAAAAA.
    sferic_with_input(fixed.iter().chain(&["--logit-bias", "67=100"]).chain(rest), input.as_bytes())
}

#[test]
fn every_line_gets_a_reply_and_the_cache_is_reused() {
    let folder = model();
    let run = chat(folder.path(), &[], "hi\nand again\n");
    run.assert_done();
    assert_eq!(run.stdout, "AAAAAA\nAAAAAA\n");
    let json = chat(folder.path(), &["--json"], "hi\nand again\n");
    json.assert_done();
    let stops: Vec<_> = json.json_lines().into_iter().filter(|event| event["event"] == "stop").collect();
    assert_eq!(stops.len(), 2);
    // "user: hi\nassistant: " and the reply but its last token, which was never computed.
    assert_eq!(stops[0]["stats"]["reused_tokens"], 0);
    assert_eq!(stops[1]["stats"]["reused_tokens"], 20 + 5);
    assert_eq!(stops[1]["stats"]["prompt_tokens"], 20 + 7 + 16 + 11);
}

#[test]
fn messages_are_saved_loaded_taken_back_and_forgotten() {
    let folder = model();
    let file = folder.path().join("saved.json");
    let file = file.to_str().unwrap();
    let read = || -> Vec<(String, String)> {
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        value.as_array().unwrap().iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
    };
    let pair = |role: &str, content: &str| (role.to_owned(), content.to_owned());
    let first = format!("one\\\ntwo\n/system be brief\nthree\n/undo\n//slash\n/save {file}\n");
    let run = chat(folder.path(), &[], &first);
    run.assert_done();
    assert_eq!(run.stdout, "AAAAAA\n".repeat(3));
    let expected = [
        pair("system", "be brief"),
        pair("user", "one\ntwo"),
        pair("assistant", "AAAAAA"),
        pair("user", "/slash"),
        pair("assistant", "AAAAAA"),
    ];
    assert_eq!(read(), expected);
    chat(folder.path(), &[], &format!("/load {file}\n/undo\n/regenerate\n/save {file}\n")).assert_done();
    assert_eq!(read(), expected[..3]);
    chat(folder.path(), &[], &format!("/load {file}\n/clear\n/save {file}\n/exit\nnot read\n")).assert_done();
    assert_eq!(read(), expected[..1]);
}

#[test]
fn a_conversation_goes_on_after_an_error_and_the_end_tells() {
    let folder = model();
    let long = "x".repeat(100);
    let run = chat(folder.path(), &["--context", "64"], &format!("{long}\n\n/sing\n/load nowhere.json\nhi\n"));
    assert_eq!(run.code, Some(3));
    assert_eq!(run.stdout, "AAAAAA\n");
    for part in ["the prompt has 118 tokens", "the message is empty", "/sing is no command", "nowhere.json"] {
        assert!(run.stderr.contains(part), "{part:?} is missing in: {}", run.stderr);
    }
}

#[test]
fn a_document_stands_before_the_next_message_once() {
    let folder = model();
    let (document, blank) = (folder.path().join("document.txt"), folder.path().join("blank.txt"));
    std::fs::write(&document, "The key is red.\n").unwrap();
    std::fs::write(&blank, " \n").unwrap();
    let (document, blank) = (document.to_str().unwrap(), blank.to_str().unwrap());
    let saved = folder.path().join("saved.json");
    let save = format!("/save {}\n", saved.to_str().unwrap());
    let users = || -> Vec<String> {
        let messages: serde_json::Value = serde_json::from_slice(&std::fs::read(&saved).unwrap()).unwrap();
        let messages = messages.as_array().unwrap().iter().filter(|message| message["role"] == "user");
        messages.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
    };
    let asked = |question: &str| format!("<document>\nThe key is red.\n</document>\n\n{question}");
    chat(folder.path(), &["--document", document], &format!("Which?\nWhy?\n{save}")).assert_done();
    assert_eq!(users(), [asked("Which?"), "Why?".to_owned()]);
    let run = chat(folder.path(), &[], &format!("hi\n/document {document}\nWhich?\n/regenerate\n{save}"));
    assert!(run.assert_done().stderr.contains("tokens stands before the next message"), "{}", run.stderr);
    assert_eq!(users(), ["hi".to_owned(), asked("Which?")]);
    // What could not be said is not lost: the document waits for a message that can.
    let run = chat(folder.path(), &[], &format!("/document {document}\n\n/document {blank}\nWhich?\n{save}"));
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("the message is empty") && run.stderr.contains("the document is empty"), "{}", run.stderr);
    assert_eq!(users(), [asked("Which?")]);
    chat(folder.path(), &["--document", blank], "hi\n").assert_fails(3, &["the document is empty", "blank.txt"]);
}

#[test]
fn input_that_is_not_utf8_names_its_line() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let run = sferic_with_input(["chat", path, "--device", "cpu"], b"\xff\xfe\n");
    run.assert_fails(3, &["not valid UTF-8 at byte 0", "standard input, line 1"]);
}

#[test]
fn no_command_is_a_chat_with_the_embedded_model() {
    let run = sferic_with_input(["--device", "cpu", "--json"], b"");
    run.assert_done();
    assert_eq!(run.json_lines()[0]["model"], "the embedded demo model");
}
