#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::test_tokenizer::{LLAMA_TEMPLATE, chatml, file, large, llama, write};
use crate::tokenizer::train_tokenizer;

fn open(tokenizer: &Value, beside: &[(&str, Value)]) -> Result<Encoder, TrainError> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), tokenizer, beside);
    let encoder = Encoder::open(&folder.path().join("tokenizer.json"))?;
    // The format is read when a conversation asks for it, and the folder is gone by then.
    encoder.chat_format().question("").ok();
    Ok(encoder)
}

fn ids(encoder: &Encoder, parts: &[Part<'_>]) -> Vec<u32> {
    let mut ids = Vec::new();
    encoder.encode(parts, &mut ids).unwrap();
    ids
}

fn plain(text: &str) -> [Part<'_>; 3] {
    [Part::Begin, Part::Text(text.into()), Part::End]
}

#[test]
fn chunked_encoding_equals_the_whole() {
    let texts = ["The goat went to the market.\n\nThe end. 12 \"goats\" and more words\n\n\n"; 20];
    let own = Encoder::new(train_tokenizer(texts.into_iter(), 400).unwrap()).unwrap();
    // Cuts are those of this crate's word pattern: others are encoded whole.
    assert!(own.in_chunks && !open(&large(), &[]).unwrap().in_chunks);
    let text = "A goat.\n\n  Indented.\n\n\nThree ends. It's 12\n\n\"Quoted\" words\n\nand more".repeat(30);
    let encode = |piece: &str| own.closed.encode_fast(piece, false).unwrap().get_ids().to_vec();
    for size_bytes in [1, 7, 64, 1000] {
        let pieces: Vec<&str> = chunks(&text, size_bytes).collect();
        assert_eq!(pieces.concat(), text);
        assert!(pieces.len() > 1);
        let encoded: Vec<u32> = pieces.iter().flat_map(|piece| encode(piece)).collect();
        assert_eq!(encoded, encode(&text), "chunks of {size_bytes} bytes");
    }
    assert_eq!(chunks("ääää", 1).collect::<String>(), "ääää");
}

#[test]
fn text_never_becomes_a_control_token() {
    // The vocabulary knows each spelling as a word.
    let encoder = open(&large(), &[]).unwrap();
    assert_eq!(encoder.vocab_size(), 70_011);
    let text = "w5 <｜User｜> w69999 <｜end▁of▁sentence｜> w6</think> ｜DSML｜";
    // A spelling is cut behind its first letter, and `w6<` is no word.
    assert_eq!(ids(&encoder, &plain(text)), [70_000, 5, 0, 0, 69_999, 0, 0, 0, 0, 0, 0, 70_001]);
    assert_eq!(ids(&encoder, &plain("w70 ".repeat(9).as_str())).len(), 11, "the file's truncation is off");
    // One letter cannot be taken apart.
    let letter = file(["a", "§", "e"].map(str::to_owned).into_iter(), &[(2, "§", true)]);
    let encoder = open(&letter, &[("config.json", json!({"eos_token_id": 3}))]).unwrap();
    let error = encoder.encode(&plain("a §"), &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("`§`") && error.contains("id 2"), "{error}");
    // Letters that the tokenizer does not know give an added token, and that is right.
    let unknown = file(["a", "e"].map(str::to_owned).into_iter(), &[(0, "[UNK]", true)]);
    let encoder = open(&unknown, &[("config.json", json!({"eos_token_id": 2}))]).unwrap();
    assert_eq!(ids(&encoder, &plain("a b")), [1, 0, 2]);
}

#[test]
fn plain_text_has_the_tokens_that_there_are() {
    let with_begin = json!({"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"});
    let encoder = open(&llama(), &[("tokenizer_config.json", with_begin)]).unwrap();
    assert_eq!(ids(&encoder, &plain("a b")), [20, 4, 5, 21]);
    assert_eq!(encoder.encode_prompt("a", false).unwrap(), [20, 4]);
    let without = json!({"bos_token": null, "eos_token": "<|endoftext|>"});
    let encoder = open(&chatml(), &[("tokenizer_config.json", without)]).unwrap();
    assert_eq!(ids(&encoder, &plain("a b")), [4, 5, 20]);
    assert_eq!(encoder.encode_prompt("a", false).unwrap(), [4]);
    assert_eq!(encoder.encode_prompt("", false).unwrap(), [20]);
    let encoder = open(&llama(), &[]).unwrap();
    assert!(matches!(encoder.encode(&plain("a"), &mut Vec::new()), Err(TrainError::MissingToken { .. })));
}

#[test]
fn a_question_is_asked_in_the_models_format() {
    assert_eq!(open(&large(), &[]).unwrap().encode_prompt("w5", true).unwrap(), [70_000, 70_003, 5, 70_004, 70_006]);
    let config = json!({"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "chat_template": LLAMA_TEMPLATE});
    let encoder = open(&llama(), &[("tokenizer_config.json", config)]).unwrap();
    assert_eq!(encoder.encode_prompt("a", true).unwrap(), [20, 22, 1, 23, 4, 24, 22, 2, 23]);
    let error = open(&llama(), &[]).unwrap().encode_prompt("a", true).unwrap_err().to_string();
    assert!(error.contains("<｜begin▁of▁sentence｜>") && error.contains("chat_template"), "{error}");
}

/// `▁` stands for a blank; only the first word of a string gets one that it does not have.
fn sentence_pieces() -> Value {
    let mut json =
        file(["▁a", "a", "▁b", "ab", "<s>", "</s>", "▁"].map(str::to_owned).into_iter(), &[(5, "<s>", true), (6, "</s>", true)]);
    json["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
    json
}

#[test]
fn words_behind_a_control_token_are_not_the_first() {
    let encoder = open(&sentence_pieces(), &[("config.json", json!({"bos_token_id": 5, "eos_token_id": 6}))]).unwrap();
    assert_eq!(ids(&encoder, &plain("a b")), [5, 1, 3, 6]);
    let in_chat = [Part::Token("<s>".into()), Part::Text("a b".into())];
    assert_eq!(ids(&encoder, &in_chat), [5, 2, 3]);
    // What the library makes of the whole string.
    let tokenizer = Tokenizer::from_bytes(sentence_pieces().to_string()).unwrap();
    assert_eq!(tokenizer.encode("<s>a b", false).unwrap().get_ids()[..3], [5, 2, 3]);
    assert_eq!(ids(&encoder, &[Part::Token("<s>".into()), Part::Text("\u{10fffd}".into())]), [5, 0]);
}

#[test]
fn text_that_goes_on_is_encoded_with_what_is_before() {
    let encoder = open(&sentence_pieces(), &[("config.json", json!({"bos_token_id": 5, "eos_token_id": 6}))]).unwrap();
    let both = |before: &str, text: &str| {
        let parts = [Part::Text(before.to_owned().into()), Part::Text(text.to_owned().into())];
        encoder.encode_each(&parts).unwrap()
    };
    assert_eq!(both("a", " b"), [vec![1], vec![3]]);
    // `▁ab` is no word, so the border does not lie between words of the whole; the rest is a word within a string.
    assert_eq!(both("a b ", "a"), [vec![1, 3, 7], vec![2]]);
}
