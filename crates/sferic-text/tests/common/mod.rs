//! Fixtures of this crate's tests.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Value, json};
use sferic_text::Tokenizer;

/// A path in the folder that lies beside the repository, if it is there.
pub fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(path);
    path.exists().then_some(path)
}

/// The conversations with their exact prompts, from the shared folder or the copy in the repository.
pub fn prompts() -> Value {
    let copy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden/prompts/prompts.json");
    let path = shared("golden/prompts/prompts.json").unwrap_or_else(|| PathBuf::from(copy));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// DeepSeek-V3's tokenizer, which is too large for the repository.
pub fn deepseek() -> Option<&'static Tokenizer> {
    static TOKENIZER: OnceLock<Option<Tokenizer>> = OnceLock::new();
    let load = || {
        let path = shared("tokenizer/tokenizer.json");
        if path.is_none() {
            eprintln!("left out: ../shared/tokenizer is not there");
        }
        path.map(|path| Tokenizer::from_file(&path).unwrap())
    };
    TOKENIZER.get_or_init(load).as_ref()
}

/// A byte-level BPE tokenizer: 256 bytes, a few merges, two special tokens and an added one.
pub fn byte_level() -> Tokenizer {
    Tokenizer::from_bytes(byte_level_json().to_string().as_bytes()).unwrap()
}

/// The file of [`byte_level`].
pub fn byte_level_json() -> Value {
    // The printable bytes stand for themselves, the others for U+0100 and up, in order.
    let printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    let mut vocab = BTreeMap::new();
    for byte in 0..256u32 {
        let code = if printable(byte) { byte } else { next };
        next += u32::from(!printable(byte));
        vocab.insert(char::from_u32(code).unwrap().to_string(), byte);
    }
    let merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("ä", "¸")];
    for (merge_idx, (left, right)) in merges.iter().enumerate() {
        vocab.insert(format!("{left}{right}"), 256 + merge_idx as u32);
    }
    let added = |id: u32, content: &str, special: bool| json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"},
        "added_tokens": [added(262, "<bos>", true), added(263, "<eos>", true), added(264, "<｜tool｜>", false)],
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}| ?\\p{L}+|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [262], "tokens": ["<bos>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges},
    })
}

/// A tokenizer like Llama's: words begin with `▁`, unknown characters fall back to byte tokens.
pub fn byte_fallback() -> Tokenizer {
    let mut tokens: Vec<String> = vec!["<unk>".into(), "<s>".into(), "</s>".into()];
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "a", "b", "c", "é", "▁a", "ab", "▁ab", ".", "�"].map(String::from));
    let vocab: BTreeMap<_, _> = tokens.iter().zip(0u32..).collect();
    let special = |id: u32, content: &str| json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": [["▁", "a"], ["a", "b"], ["▁a", "b"]]},
    });
    Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap()
}
