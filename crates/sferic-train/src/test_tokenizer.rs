//! Tokenizers of other projects' kinds, for the tests of this crate.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Map, Value, json};

/// Words of [`large`]: `w1` has id 1, and so on; id 0 is that of all other words.
pub(crate) const N_WORDS: u32 = 70_000;

/// The control tokens of [`large`] with their ids, spelt and marked as in DeepSeek-V3's files.
pub(crate) const LARGE: [(u32, &str, bool); 11] = [
    (70_000, "<｜begin▁of▁sentence｜>", true),
    (70_001, "<｜end▁of▁sentence｜>", true),
    (70_002, "<｜▁pad▁｜>", true),
    (70_003, "<｜User｜>", false),
    (70_004, "<｜Assistant｜>", false),
    (70_005, "<think>", false),
    (70_006, "</think>", false),
    (70_007, "｜DSML｜", false),
    (70_008, "<｜tool▁calls▁begin｜>", false),
    (70_009, "<｜tool▁sep｜>", false),
    (70_010, "<｜tool▁calls▁end｜>", false),
];

/// A vocabulary of more than 65536 words with DeepSeek's control tokens behind them, all of which the vocabulary knows as words too.
pub(crate) fn large() -> Value {
    let words = (1..N_WORDS).map(|n| format!("w{n}")).chain(LARGE.iter().map(|(_, text, _)| (*text).to_owned()));
    file(words, &LARGE)
}

/// The control tokens of [`llama`], with Llama 3's spellings.
pub(crate) const LLAMA: [(u32, &str, bool); 5] = [
    (20, "<|begin_of_text|>", true),
    (21, "<|end_of_text|>", true),
    (22, "<|start_header_id|>", true),
    (23, "<|end_header_id|>", true),
    (24, "<|eot_id|>", true),
];

/// The words of [`llama`] and [`chatml`], from id 1.
const WORDS: [&str; 19] =
    ["user", "assistant", "system", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

/// A small vocabulary with Llama's control tokens.
pub(crate) fn llama() -> Value {
    file(WORDS.iter().map(|word| (*word).to_owned()), &LLAMA)
}

/// Llama 3's chat template, in short.
pub(crate) const LLAMA_TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}\
    {{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

/// The control tokens of [`chatml`], with Qwen's spellings; there is no begin token.
pub(crate) const CHATML: [(u32, &str, bool); 5] = [
    (20, "<|endoftext|>", true),
    (21, "<|im_start|>", true),
    (22, "<|im_end|>", true),
    (23, "<think>", false),
    (24, "</think>", false),
];

/// The same vocabulary with Qwen's control tokens.
pub(crate) fn chatml() -> Value {
    file(WORDS.iter().map(|word| (*word).to_owned()), &CHATML)
}

/// Qwen 3's chat template, in short: thoughts are shown after the last question alone, and no thinking is an empty thought.
pub(crate) const CHATML_TEMPLATE: &str = "{% set ns = namespace(last=0) %}\
    {% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}\
    {% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}\
    {% if m.role == 'assistant' and loop.index0 > ns.last %}{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}\
    {{ m.content + '<|im_end|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}\
    {% if not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}";

/// Returns a tokenizer.json of whole words between blanks, numbered from 1, and control tokens.
pub(crate) fn file(words: impl Iterator<Item = String>, controls: &[(u32, &str, bool)]) -> Value {
    let mut vocab = Map::new();
    vocab.insert("[UNK]".to_owned(), json!(0));
    for (id, word) in (1..).zip(words) {
        vocab.insert(word, json!(id));
    }
    let added = |&(id, content, special): &(u32, &str, bool)| json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    json!({
        "version": "1.0",
        // A document must not be cut.
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": controls.iter().map(added).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    })
}

/// Writes a tokenizer.json and the named files beside it.
pub(crate) fn write(folder: &Path, tokenizer: &Value, beside: &[(&str, Value)]) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    for (name, value) in beside {
        std::fs::write(folder.join(name), value.to_string()).unwrap();
    }
}
