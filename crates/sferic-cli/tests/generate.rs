//! Continuations: text alone on standard output, events as JSON lines, and the ways in which a reply ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{command, model, sferic, sferic_with_input};
use std::io::Read;
use std::process::Stdio;

fn args<'a>(folder: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    ["generate", "--device", "cpu", "--max-tokens", "12", "-m", folder].into_iter().chain(rest.iter().copied()).collect()
}

#[test]
fn the_text_alone_is_on_standard_output() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let rest = ["hello", "--seed", "3", "--temperature", "1"];
    let plain = sferic(args(path, &rest));
    plain.assert_done();
    let json = sferic(args(path, &[&rest[..], &["--json"]].concat()));
    json.assert_done();
    let events = json.json_lines();
    let text: String =
        events.iter().filter(|event| event["event"] == "text").map(|event| event["text"].as_str().unwrap()).collect();
    assert!(!text.is_empty());
    assert_eq!(plain.stdout, text);
    assert!(plain.stderr.contains("deepseek_v32") && plain.stderr.contains("tokens/s"), "{}", plain.stderr);
}

#[test]
fn events_come_in_order_and_agree_with_the_statistics() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let run = sferic(args(path, &["hello", "--json", "--top-logprobs", "3", "--ignore-eos"]));
    run.assert_done();
    let events = run.json_lines();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(events.first().unwrap()["event"], "start");
    assert_eq!(events.first().unwrap()["device"]["class"], "cpu");
    let prefill = of("prefill");
    assert_eq!(prefill.last().unwrap()["done"], 5);
    assert_eq!(prefill.last().unwrap()["total"], 5);
    let tokens = of("token");
    assert_eq!(tokens.len(), 12);
    for token in &tokens {
        assert!(token["token_id"].as_u64().unwrap() < 512);
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
        assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 3);
    }
    let stop = events.last().unwrap();
    assert_eq!((&stop["event"], &stop["reason"]), (&"stop".into(), &"max_tokens".into()));
    assert_eq!(stop["stats"]["generated_tokens"], 12);
    assert_eq!(stop["stats"]["prompt_tokens"], 5);
}

#[test]
fn a_seed_repeats_and_another_differs() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let with = |seed: &str| {
        let run = sferic(args(path, &["hello", "--temperature", "1.5", "--seed", seed]));
        run.assert_done();
        run.stdout
    };
    assert_eq!(with("1"), with("1"));
    assert_ne!(with("1"), with("2"));
}

#[test]
fn a_prompt_comes_from_arguments_files_and_standard_input() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let greedy = ["--temperature", "0"];
    let expected = sferic(args(path, &[&["say: hé"][..], &greedy].concat())).assert_done().stdout.clone();
    let file = folder.path().join("prompt.txt");
    std::fs::write(&file, "say: hé\n").unwrap();
    let file = file.to_str().unwrap();
    let other = sferic(args(path, &[&["say: ho"][..], &greedy].concat())).assert_done().stdout.clone();
    assert_ne!(other, expected, "the prompt must matter for this test");
    assert_eq!(sferic(args(path, &[&["--file", file][..], &greedy].concat())).stdout, expected);
    let positional = ["generate", path, "say: hé", "--device", "cpu", "--max-tokens", "12", "--temperature", "0"];
    assert_eq!(sferic(positional).stdout, expected);
    for form in [&["-"][..], &["--file", "-"]] {
        assert_eq!(sferic_with_input(args(path, &[form, &greedy].concat()), "say: hé\r\n".as_bytes()).stdout, expected);
    }
}

#[test]
fn chat_wraps_the_prompt_in_the_models_format() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let chat = sferic(args(path, &["hi", "--chat", "--system", "be brief", "--json", "--temperature", "0"]));
    chat.assert_done();
    let plain = sferic(args(path, &["system: be brief\nuser: hi\nassistant: ", "--json", "--temperature", "0"]));
    let tokens =
        |run: &common::Run| -> Vec<u64> { run.json_lines().iter().filter_map(|event| event["token_id"].as_u64()).collect() };
    assert_eq!(tokens(&chat), tokens(&plain));
    assert_eq!(chat.json_lines().last().unwrap()["stats"]["prompt_tokens"], 37);
}

#[test]
fn a_stop_string_ends_the_text_and_is_not_in_it() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let rest = ["abc", "--temperature", "0", "--logit-bias", "67=100", "--ignore-eos"];
    assert_eq!(sferic(args(path, &rest)).assert_done().stdout, "A".repeat(12));
    let run = sferic(args(path, &[&rest[..], &["--stop", "AAA", "--json"]].concat()));
    let events = run.json_lines();
    assert!(events.iter().all(|event| event["event"] != "text"), "{}", run.stdout);
    let stop = events.last().unwrap();
    assert_eq!((&stop["reason"], &stop["stop_string"]), (&"stop_string".into(), &"AAA".into()));
}

#[test]
fn errors_are_events_as_well() {
    let run = sferic(["generate", "", "--json"]);
    assert_eq!(run.code, Some(3));
    let events = run.json_lines();
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["event"], &events[0]["exit_code"]), (&"error".into(), &3.into()));
    assert!(events[0]["message"].as_str().unwrap().contains("empty"));
}

#[test]
fn a_document_is_put_before_the_prompt() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let document = folder.path().join("document.txt");
    std::fs::write(&document, "The key is red.\n").unwrap();
    let document = document.to_str().unwrap();
    let fixed = ["--temperature", "0", "--system", "be brief"];
    let run = |rest: &[&str]| sferic(args(path, &[&fixed[..], rest].concat())).assert_done().stdout.clone();
    let wrapped = "<document>\nThe key is red.\n</document>\n\nWhich?";
    assert_eq!(run(&["--document", document, "Which?"]), run(&["--chat", wrapped]));
    assert_eq!(run(&["--document", document, "--chat", "Which?"]), run(&["--chat", wrapped]));
    sferic(args(path, &["Which?", "--document", "nowhere.txt"])).assert_fails(3, &["no such file", "nowhere.txt"]);
    sferic(args(path, &["-", "--document", "-"])).assert_fails(2, &["both to come from standard input"]);
    sferic(args(path, &["Which?", "--system", "be brief"])).assert_fails(2, &["--chat"]);
}

/// What the model that comes with the program is for.
#[test]
fn the_embedded_model_looks_things_up() {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("document.txt");
    let story = include_str!("../src/heldout.txt");
    let paragraph_after = |at: usize| at + story[at..].find("\n\n").unwrap();
    let (first, second) = (paragraph_after(story.len() / 4), paragraph_after(story.len() / 2));
    let (club, key) =
        ("The chess club of Redcliff meets every Thursday.", "Walter the nurse keeps the spare key in the boathouse.");
    let parts = [&story[..first], "\n\n", club, &story[first..second], "\n\n", key, &story[second..]];
    std::fs::write(&document, parts.concat()).unwrap();
    let questions = [
        ("In which place is the spare key of Walter the nurse?", "boathouse"),
        ("On which day does the chess club of Redcliff meet?", "Thursday"),
    ];
    for (question, answer) in questions {
        let document = document.to_str().unwrap();
        let run = sferic(["generate", "--device", "cpu", "--temperature", "0", "--document", document, question]);
        assert!(run.assert_done().stdout.contains(answer), "{question} {}", run.stdout);
    }
}

#[test]
fn the_embedded_model_needs_no_folder() {
    let run = sferic(["generate", "Once upon a time", "--device", "cpu", "--max-tokens", "3", "--ignore-eos", "--json"]);
    run.assert_done();
    let events = run.json_lines();
    assert_eq!(events[0]["model"], "the embedded demo model");
    assert_eq!(events.last().unwrap()["stats"]["generated_tokens"], 3);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let mut child = command()
        .args(["generate", path, "hello", "--device", "cpu", "--max-tokens", "4000", "--ignore-eos"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("error"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_text_and_the_program_with_130() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let mut child = command()
        .args(["generate", path, "hello", "--device", "cpu", "--max-tokens", "4000", "--ignore-eos"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut text = vec![0];
    stdout.read_exact(&mut text).unwrap();
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    stdout.read_to_end(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(String::from_utf8(text).is_ok());
    assert!(stderr.contains("cancelled"), "{stderr}");
}
