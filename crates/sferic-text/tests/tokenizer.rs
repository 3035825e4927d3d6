//! The tokenizer: what it answers, and what it says to bad input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{byte_level, byte_level_json, deepseek};
use sferic_text::{TextError, Tokenizer, text_from_bytes, text_from_file};

#[test]
fn vocabulary_is_answered_for() {
    let tokenizer = byte_level();
    assert_eq!(tokenizer.vocab_size(), 256 + 6 + 3);
    assert_eq!(tokenizer.id_bound(), 265);
    assert_eq!(tokenizer.token_to_id("hello"), Some(259));
    assert_eq!(tokenizer.id_to_token(260).as_deref(), Some("Ġw"));
    assert_eq!(tokenizer.id_to_token(265), None);
    assert_eq!(tokenizer.require_token("<eos>").unwrap(), 263);
    assert!(matches!(tokenizer.require_token("<think>"), Err(TextError::UnknownToken { token }) if token == "<think>"));
    assert_eq!(tokenizer.special_tokens(), [(262, "<bos>".into()), (263, "<eos>".into())]);
    assert!(tokenizer.is_special(263) && !tokenizer.is_special(264) && !tokenizer.is_special(0) && !tokenizer.is_special(9999));
    assert!(tokenizer.is_added(264) && !tokenizer.is_added(259));
}

/// The file asks for truncation to 4 and padding to 16 tokens: neither may happen.
#[test]
fn text_is_never_cut_or_padded() {
    let tokenizer = byte_level();
    assert_eq!(tokenizer.encode("hello world<eos>", false).unwrap(), [259, 260, 111, 114, 108, 100, 263]);
    assert_eq!(tokenizer.encode("hello", true).unwrap(), [262, 259]);
    assert_eq!(tokenizer.encode("", false).unwrap(), [0u32; 0]);
    assert_eq!(tokenizer.encode("", true).unwrap(), [262]);
}

#[test]
fn decode_skips_special_tokens_on_demand() {
    let tokenizer = byte_level();
    let token_ids = [262, 259, 264, 260, 263];
    assert_eq!(tokenizer.decode(&token_ids, false).unwrap(), "<bos>hello<｜tool｜> w<eos>");
    assert_eq!(tokenizer.decode(&token_ids, true).unwrap(), "hello<｜tool｜> w");
    let error = tokenizer.decode(&[259, 280], false).unwrap_err();
    assert!(matches!(error, TextError::UnknownTokenId { token_id: 280, id_bound: 265 }), "{error}");
}

#[test]
fn deepseek_special_tokens_are_found() {
    let Some(tokenizer) = deepseek() else { return };
    assert_eq!(tokenizer.vocab_size(), 128_815);
    assert_eq!(tokenizer.id_bound(), 128_815);
    assert_eq!(tokenizer.require_token("<｜User｜>").unwrap(), 128_803);
    assert!(tokenizer.is_special(0) && tokenizer.is_special(1) && !tokenizer.is_special(128_803) && tokenizer.is_added(128_803));
}

/// The lookahead of the splitting rule must not blow up on a long run.
#[test]
fn long_runs_are_encoded() {
    for text in [" ".repeat(200_000), "a".repeat(100_000), "\n\t ".repeat(50_000) + "x", "中".repeat(50_000)] {
        let tokenizer = byte_level();
        let token_ids = tokenizer.encode(&text, false).unwrap();
        assert_eq!(tokenizer.decode(&token_ids, false).unwrap(), text);
        if let Some(tokenizer) = deepseek() {
            let token_ids = tokenizer.encode(&text, false).unwrap();
            assert_eq!(tokenizer.decode(&token_ids, false).unwrap(), text);
        }
    }
}

#[test]
fn bad_tokenizer_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("tokenizer.json");
    let error = Tokenizer::from_file(&missing).unwrap_err();
    assert!(matches!(error, TextError::ReadFile { .. }));
    assert!(error.to_string().ends_with(&missing.display().to_string()), "{error}");

    let whole = byte_level_json().to_string();
    let mut no_vocab = byte_level_json();
    no_vocab["model"]["vocab"] = serde_json::json!({});
    no_vocab["model"]["merges"] = serde_json::json!([]);
    no_vocab["added_tokens"] = serde_json::json!([]);
    let mut bad_merge = byte_level_json();
    bad_merge["model"]["merges"] = serde_json::json!([["no", "such"]]);
    let mut bad_regex = byte_level_json();
    bad_regex["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(".into();
    let cases = [
        b"".to_vec(),
        b"{}".to_vec(),
        b"\xff\xfe".to_vec(),
        whole.as_bytes()[..whole.len() / 2].to_vec(),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7847652\n".to_vec(),
        no_vocab.to_string().into_bytes(),
        bad_merge.to_string().into_bytes(),
        bad_regex.to_string().into_bytes(),
    ];
    for bytes in cases {
        std::fs::write(&missing, &bytes).unwrap();
        let error = Tokenizer::from_file(&missing).unwrap_err();
        assert!(matches!(error, TextError::InvalidTokenizer { .. }), "{error:?}");
        assert!(error.to_string().ends_with(&missing.display().to_string()), "{error}");
        assert!(Tokenizer::from_bytes(&bytes).is_err());
    }
}

#[test]
fn text_files_must_be_utf8() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prompt.txt");
    std::fs::write(&path, b"caf\xe9").unwrap();
    let error = text_from_file(&path).unwrap_err();
    assert!(matches!(error, TextError::InvalidUtf8 { byte_offset: 3, .. }), "{error}");
    assert!(error.to_string().ends_with("prompt.txt"), "{error}");
    std::fs::write(&path, "\u{feff}café").unwrap();
    assert_eq!(text_from_file(&path).unwrap(), "café");
    assert!(text_from_bytes(vec![0x80], "standard input").unwrap_err().to_string().contains("standard input"));
    assert!(matches!(text_from_file(&folder.path().join("none")), Err(TextError::ReadFile { .. })));
}
