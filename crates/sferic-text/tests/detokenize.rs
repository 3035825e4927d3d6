//! The pieces of a stream, joined, are the decoded whole; and no piece holds half a character.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{byte_fallback, byte_level, byte_level_json, deepseek};
use proptest::collection::vec;
use proptest::prelude::*;
use sferic_text::{DetokenizeStream, TextError, Tokenizer};

/// Runs a stream and returns its pieces, the one from `finish` last.
fn pieces(tokenizer: &Tokenizer, token_ids: &[u32], skip_special_tokens: bool) -> Vec<String> {
    let mut stream = DetokenizeStream::new(tokenizer, skip_special_tokens);
    let mut pieces: Vec<String> = token_ids.iter().filter_map(|token_id| stream.push(*token_id).unwrap()).collect();
    assert!(pieces.iter().all(|piece| !piece.is_empty()));
    pieces.push(stream.finish().unwrap().unwrap_or_default());
    assert_eq!(stream.finish().unwrap(), None, "finish empties the stream");
    pieces
}

fn check(tokenizer: &Tokenizer, token_ids: &[u32]) -> Result<(), TestCaseError> {
    for skip_special_tokens in [false, true] {
        let whole = tokenizer.decode(token_ids, skip_special_tokens).unwrap();
        prop_assert_eq!(pieces(tokenizer, token_ids, skip_special_tokens).concat(), whole, "{:?}", token_ids);
    }
    Ok(())
}

/// Valid text must come out without a single U+FFFD on the way.
fn check_text(tokenizer: &Tokenizer, text: &str) -> Result<(), TestCaseError> {
    let token_ids = tokenizer.encode(text, false).unwrap();
    let pieces = pieces(tokenizer, &token_ids, false);
    let n_replaced = pieces.concat().matches('\u{fffd}').count();
    prop_assert_eq!(n_replaced, text.matches('\u{fffd}').count());
    check(tokenizer, &token_ids)
}

/// Text with many characters of two, three and four bytes, and joined emoji.
fn hard_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<String>(),
        "[ a-z]{0,6}",
        "[一-龥ぁ-んァ-ヶ]{1,5}",
        Just("👩\u{200d}👩\u{200d}👧\u{200d}👦".to_string()),
        "[😀-🙏🚀-🛸]{1,3}",
        Just("é🇳🇴 \n\n".to_string()),
    ];
    vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// The same decoder inside a sequence takes the way of tokenizers that are not followed byte by byte.
fn byte_level_in_a_sequence() -> Tokenizer {
    let mut file = byte_level_json();
    file["decoder"] = serde_json::json!({"type": "Sequence", "decoders": [file["decoder"]]});
    Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_stream_as_they_decode(token_ids in vec(prop_oneof![0u32..262, 0u32..256, 0x80u32..0x100, 262u32..265], 0..40)) {
        check(&byte_level(), &token_ids)?;
    }

    #[test]
    fn any_text_streams_as_it_decodes(text in hard_text()) {
        check_text(&byte_level(), &text)?;
    }

    #[test]
    fn a_sequence_of_decoders_streams_as_it_decodes(token_ids in vec(prop_oneof![0u32..265, 0x80u32..0x100], 0..24)) {
        check(&byte_level_in_a_sequence(), &token_ids)?;
    }

    #[test]
    fn byte_fallback_streams_as_it_decodes(token_ids in vec(prop_oneof![0u32..3, 3u32..259, 259u32..269, Just(3 + 0xe4), Just(3 + 0xb8), Just(3 + 0xad)], 0..24)) {
        check(&byte_fallback(), &token_ids)?;
    }

    #[test]
    fn text_through_byte_fallback_streams_as_it_decodes(text in hard_text()) {
        check_text(&byte_fallback(), &text)?;
    }

    #[test]
    fn deepseek_text_streams_as_it_decodes(text in hard_text()) {
        if let Some(tokenizer) = deepseek() {
            check_text(tokenizer, &text)?;
        }
    }

    #[test]
    fn deepseek_tokens_stream_as_they_decode(token_ids in vec(prop_oneof![0u32..128_815, 3u32..600, 128_798u32..128_815], 0..40)) {
        if let Some(tokenizer) = deepseek() {
            check(tokenizer, &token_ids)?;
        }
    }
}

/// 日 is E6 97 A5; each byte is a token of its own.
#[test]
fn half_a_character_is_held_back() {
    let mut stream = DetokenizeStream::new(&byte_level(), false);
    assert_eq!(stream.push(0xe6).unwrap(), None);
    assert_eq!(stream.push(0x97).unwrap(), None);
    assert_eq!(stream.push(0xa5).unwrap().as_deref(), Some("日"));
    assert_eq!(stream.push(0xe6).unwrap(), None);
    assert_eq!(stream.push(b'a'.into()).unwrap().as_deref(), Some("\u{fffd}a"));
    assert_eq!(stream.push(0xf0).unwrap(), None);
    assert_eq!(stream.finish().unwrap().as_deref(), Some("\u{fffd}"));
}

/// A token that ends in the middle of a character gives its whole characters at once.
#[test]
fn whole_characters_do_not_wait() {
    let Some(tokenizer) = deepseek() else { return };
    let token_ids = tokenizer.encode("emoji 👩\u{200d}👧 family", false).unwrap();
    let pieces = pieces(tokenizer, &token_ids, false);
    assert!(pieces.len() > 5, "{pieces:?}");
    assert_eq!(pieces.concat(), "emoji 👩\u{200d}👧 family");
}

#[test]
fn spacing_of_words_is_kept() {
    let tokenizer = byte_fallback();
    let token_ids = tokenizer.encode("ab ab  c", false).unwrap();
    assert_eq!(pieces(&tokenizer, &token_ids, true), ["ab", " ab", " ", " ", "c", ""]);
}

#[test]
fn an_unknown_id_leaves_the_stream_usable() {
    let mut stream = DetokenizeStream::new(&byte_level(), false);
    assert_eq!(stream.push(0xe6).unwrap(), None);
    assert!(matches!(stream.push(290), Err(TextError::UnknownTokenId { token_id: 290, .. })));
    assert_eq!(stream.push(0x97).unwrap(), None);
    assert_eq!(stream.push(0xa5).unwrap().as_deref(), Some("日"));
}
