#![allow(clippy::unwrap_used)]

use super::*;

const TEXT: &str = "The goat went to the market. The goat didn't buy 1234 apples!\n\nThen it went home, where the other goats were.\n\n\nThe end.\n";

fn encoder() -> Encoder {
    let texts = vec![TEXT; 20];
    Encoder::new(train_tokenizer(texts.into_iter(), 400).unwrap()).unwrap()
}

fn ids(encoder: &Encoder, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    encoder.encode(&[Part::Text(text.into())], &mut ids).unwrap();
    ids.into_iter().map(u32::from).collect()
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
    let ids = ids(&encoder, "<｜User｜> </think>");
    assert!(ids.iter().all(|&id| id as usize >= SPECIAL_TEXTS.len()), "{ids:?}");
    assert_eq!(encoder.decode(&ids).unwrap(), "<｜User｜> </think>");
}

#[test]
fn prompts_carry_the_chat_tokens() {
    let encoder = encoder();
    let chat = encoder.encode_prompt("goat", true).unwrap();
    assert_eq!((chat[0], chat[1], *chat.last().unwrap()), (0, 3, 4));
    let plain = encoder.encode_prompt("goat", false).unwrap();
    assert_eq!(plain[1..], chat[2..chat.len() - 1]);
}

#[test]
fn chunked_encoding_equals_the_whole() {
    let encoder = encoder();
    let text = "A goat.\n\n  Indented.\n\n\nThree ends. It's 12\n\n\"Quoted\" words\n\nand more".repeat(30);
    let whole = encoder.tokenizer.encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
    for size_bytes in [1, 7, 64, 1000] {
        let pieces: Vec<&str> = chunks(&text, size_bytes).collect();
        assert_eq!(pieces.concat(), text);
        assert!(pieces.len() > 1);
        let encode = |piece: &&str| encoder.tokenizer.encode_fast(*piece, false).unwrap().get_ids().to_vec();
        assert_eq!(pieces.iter().flat_map(encode).collect::<Vec<_>>(), whole, "chunks of {size_bytes} bytes");
    }
    assert_eq!(chunks("ääää", 1).collect::<String>(), "ääää");
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
fn impossible_vocabularies_and_foreign_tokenizers_are_refused() {
    let error = train_tokenizer([TEXT].into_iter(), 100).unwrap_err().to_string();
    assert!(error.contains("tokenizer.vocab_size") && error.contains("272"), "{error}");
    let error = Encoder::new(Tokenizer::new(BPE::default())).unwrap_err().to_string();
    assert!(error.contains("begin▁of▁sentence"), "{error}");
}
