#![allow(clippy::unwrap_used)]

use sferic_text::{Message, PromptFormat, ToolCall};

use super::*;
use crate::encoder::Encoder;

const TEXT: &str = "The goat went to the market. The goat didn't buy 1234 apples!\n\nThen it went home, where the other goats were.\n\n\nThe end.\n";

fn encoder() -> Encoder {
    let texts = vec![TEXT; 20];
    Encoder::new(train_tokenizer(texts.into_iter(), 400).unwrap()).unwrap()
}

fn ids(encoder: &Encoder, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    encoder.encode(&[Part::Text(text.into())], &mut ids).unwrap();
    ids
}

#[test]
fn any_text_survives_the_round_trip() {
    let encoder = encoder();
    assert!(encoder.vocab_size() <= 400);
    for text in [TEXT, "größe 漢字 🦓\r\n\t  x  ", " leading", "trailing  ", "", "e\u{301} is not normalised to é"] {
        assert_eq!(encoder.decode(&ids(&encoder, text)).unwrap(), text);
    }
}

#[test]
fn frequent_words_become_one_token_and_digits_stay_single() {
    let encoder = encoder();
    assert_eq!(ids(&encoder, " goat").len(), 1);
    assert_eq!(ids(&encoder, "1234").len(), 4);
}

#[test]
fn text_that_spells_a_special_token_does_not_make_one() {
    let encoder = encoder();
    let ids = ids(&encoder, "<｜User｜> </think> </｜DSML｜invoke> <｜reserved▁3｜>");
    assert!(ids.iter().all(|&id| id as usize >= N_SPECIALS), "{ids:?}");
    assert_eq!(encoder.decode(&ids).unwrap(), "<｜User｜> </think> </｜DSML｜invoke> <｜reserved▁3｜>");
}

#[test]
fn prompts_carry_the_chat_tokens() {
    let encoder = encoder();
    let chat = encoder.encode_prompt("goat", true).unwrap();
    assert_eq!((&chat[..2], &chat[chat.len() - 2..]), (&[0, 3][..], &[4, 6][..]));
    let plain = encoder.encode_prompt("goat", false).unwrap();
    assert_eq!(plain[1..], chat[2..chat.len() - 2]);
}

#[test]
fn saved_files_open_again_and_name_the_specials() {
    let folder = tempfile::tempdir().unwrap();
    let encoder = encoder();
    save_tokenizer(&train_tokenizer([TEXT; 20].into_iter(), 400).unwrap(), 512, folder.path()).unwrap();
    let opened = Encoder::open(&folder.path().join("tokenizer.json")).unwrap();
    assert_eq!(ids(&opened, TEXT), ids(&encoder, TEXT));
    let config = std::fs::read_to_string(folder.path().join("tokenizer_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["eos_token"], "<｜end▁of▁sentence｜>");
    assert_eq!(config["model_max_length"], 512);
}

#[test]
fn impossible_vocabularies_are_refused() {
    let error = train_tokenizer([TEXT].into_iter(), 100).unwrap_err().to_string();
    assert!(error.contains("tokenizer.vocab_size") && error.contains("272"), "{error}");
}

#[test]
fn a_saved_folder_is_prompted_and_parsed_as_v32() {
    let folder = tempfile::tempdir().unwrap();
    save_tokenizer(&train_tokenizer([TEXT; 20].into_iter(), 400).unwrap(), 512, folder.path()).unwrap();
    let format = PromptFormat::from_folder_files("deepseek_v32", folder.path()).unwrap();
    assert!(matches!(format, PromptFormat::V32), "{format:?}");
    let tokenizer = sferic_text::Tokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap();
    let call = ToolCall::new("find", r#"{"animal": "goat"}"#);
    let answer = Message {
        reasoning_content: Some("Which goat?".to_owned()),
        tool_calls: vec![call.clone()],
        ..Message::assistant("I look.")
    };
    let prompt = format.render(&[Message::user("Where is it?")], &[], true, false).unwrap();
    let whole = format.render(&[Message::user("Where is it?"), answer], &[], true, false).unwrap();
    let ids = tokenizer.encode(whole.strip_prefix(&prompt).unwrap(), false).unwrap();
    assert_eq!(ids.iter().filter(|&&id| id == Special::Dsml as u32).count(), 6);
    assert_eq!(ids.last(), Some(&(Special::Eos as u32)));
    // What the engine shows and parses: everything but the tokens that the file marks as special.
    let parsed = format.parse(&tokenizer.decode(&ids, true).unwrap(), true);
    assert_eq!(parsed.reasoning.as_deref(), Some("Which goat?"));
    assert_eq!((parsed.content.as_str(), parsed.tool_calls), ("I look.", vec![call]));
    assert!(tokenizer.is_special(Special::Pad as u32) && !tokenizer.is_special(Special::User as u32));
}
