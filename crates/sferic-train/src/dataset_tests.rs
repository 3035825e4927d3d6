#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::corpus::{Format, Split};
use crate::test_tokenizer::{CHATML_TEMPLATE, chatml, large, write};
use crate::token_set::Row;
use crate::tokenizer::{Special, save_tokenizer, train_tokenizer};

fn source(name: &str, format: Format, split: Split) -> SourceConfig {
    SourceConfig {
        name: name.to_owned(),
        path: format!("{name}.txt"),
        format,
        split,
        section: None,
        weight: 1.0,
        max_bytes: None,
        reflow: false,
        prompts: Vec::new(),
        chat_share: 0.0,
        filter: None,
        thinking: 0.0,
        thoughts: Vec::new(),
        tasks: None,
        small_talk: None,
    }
}

/// Writes a toy corpus of 60 texts and 60 dialogues, a tokenizer, and returns the data settings.
fn toy(folder: &Path) -> DataConfig {
    let texts: Vec<String> = (0..60).map(|n| format!("Goat {n} went to the market.\n\nIt bought hay.")).collect();
    std::fs::write(folder.join("texts.txt"), texts.join("\n\n\n")).unwrap();
    let dialogues: Vec<String> = (0..60).map(|n| format!("User: Where is goat {n}?\nAssistant: At home.")).collect();
    std::fs::write(folder.join("dialogues.txt"), dialogues.join("\n\n")).unwrap();
    let tokenizer = train_tokenizer(texts.iter().map(String::as_str), 320).unwrap();
    save_tokenizer(&tokenizer, 64, folder).unwrap();
    DataConfig {
        root: folder.to_path_buf(),
        folder: folder.join("data"),
        tokenizer: folder.join("tokenizer.json"),
        heldout_every: 5,
        sources: vec![source("texts", Format::Text, Split::Documents), source("dialogues", Format::Dialogue, Split::Paragraphs)],
    }
}

#[test]
fn preparation_keeps_order_boundaries_and_the_split() {
    let folder = tempfile::tempdir().unwrap();
    let data = toy(folder.path());
    let manifest = prepare(&data, &|_, _, _| {}).unwrap();
    let (train, heldout) = open(&data, 320, 8).unwrap();
    assert_eq!(manifest.train.sources, train.sources());
    for source_idx in 0..2 {
        let kept = manifest.train.sources[source_idx].n_documents;
        let held = manifest.heldout.sources[source_idx].n_documents;
        assert_eq!(kept + held, 60);
        assert!(held > 0 && held < 30, "source {source_idx}: {held} held out");
    }
    // Rows overlap by one token and together hold every document's start.
    let rows: Vec<Row> = (0..train.n_rows(0)).map(|row_idx| train.row(0, row_idx)).collect();
    let all: Vec<u32> = rows.iter().flat_map(|row| row.ids[..8].to_vec()).collect();
    let begins = |at: usize| all[at] == Special::Bos as u32 && (at == 0 || all[at - 1] == Special::Eos as u32);
    for (row_idx, row) in rows.iter().enumerate() {
        let starts: Vec<usize> = (0..8).filter(|&at| begins(row_idx * 8 + at)).collect();
        assert_eq!(row.starts.iter().copied().filter(|&at| at < 8).collect::<Vec<_>>(), starts);
    }
    let documents = train.documents(0);
    assert_eq!(documents.len(), manifest.train.sources[0].n_documents);
    assert!(documents.iter().filter(|document| document.end <= all.len()).all(|document| begins(document.start)));
    let whole = manifest.train.sources[0].n_tokens;
    assert_eq!(train.n_rows(0), (whole - 1) / 8);
    assert_eq!(rows[0].ids[8], rows[1].ids[0]);
    let text = Encoder::open(&data.tokenizer).unwrap();
    let first = text.decode(&train.ids(documents[0].clone())).unwrap();
    assert!(first.starts_with("Goat ") && first.ends_with("It bought hay."), "{first}");
    assert_eq!(heldout.sources().len(), 2);
}

#[test]
fn preparing_twice_gives_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let data = toy(folder.path());
    prepare(&data, &|_, _, _| {}).unwrap();
    let first = std::fs::read(data.folder.join("train.u16")).unwrap();
    prepare(&data, &|_, _, _| {}).unwrap();
    assert_eq!(std::fs::read(data.folder.join("train.u16")).unwrap(), first);
}

#[test]
fn damaged_or_foreign_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = toy(folder.path());
    prepare(&data, &|_, _, _| {}).unwrap();
    let error = |data: &DataConfig, vocab_size| open(data, vocab_size, 8).unwrap_err().to_string();
    assert!(error(&data, 100).contains("vocabulary"));
    let file = data.folder.join("train.u16");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 2]).unwrap();
    assert!(error(&data, 320).contains("token file size"));
    let mut bad = bytes.clone();
    bad[..2].copy_from_slice(&u16::MAX.to_le_bytes());
    std::fs::write(&file, &bad).unwrap();
    assert!(error(&data, 320).contains("token id"));
    std::fs::write(&file, &bytes).unwrap();
    let starts = data.folder.join("train.starts");
    let good = std::fs::read(&starts).unwrap();
    std::fs::write(&starts, &good[8..]).unwrap();
    assert!(error(&data, 320).contains("train.starts"));
    for (at, place) in [(0, 1u64), (16, 0), (good.len() - 8, 1 << 40)] {
        let mut bad = good.clone();
        bad[at..at + 8].copy_from_slice(&place.to_le_bytes());
        std::fs::write(&starts, &bad).unwrap();
        assert!(error(&data, 320).contains("document starts of source"), "{at}");
    }
    std::fs::write(&starts, &good).unwrap();
    let manifest = std::fs::read_to_string(data.folder.join("manifest.json")).unwrap();
    for (from, to, expected) in [
        ("\"version\": 3", "\"version\": 2", "version: expected 3, found 2; run the preparation again"),
        ("\"token_bits\": 16", "\"token_bits\": 32", "token_bits"),
    ] {
        std::fs::write(data.folder.join("manifest.json"), manifest.replace(from, to)).unwrap();
        assert!(error(&data, 320).contains(expected), "{}", error(&data, 320));
    }
    std::fs::write(data.folder.join("manifest.json"), &manifest).unwrap();
    data.sources.pop();
    assert!(error(&data, 320).contains("sources"));
    std::fs::write(&data.tokenizer, "{}").unwrap();
    assert!(error(&data, 320).contains("tokenizer hash"));
}

/// The settings of two texts and two conversations, read with a tokenizer of other projects' kind.
fn foreign(folder: &Path, tokenizer: &serde_json::Value, beside: &[(&str, serde_json::Value)], words: [&str; 2]) -> DataConfig {
    let [a, b] = words;
    write(folder, tokenizer, beside);
    std::fs::write(folder.join("texts.txt"), format!("{a} {b}\n\n\n{b}")).unwrap();
    let dialogues = format!("User: {a}\nAssistant: {b}\nUser: {b}\nAssistant: {a}\n\nUser: {a}\nAssistant: {a}");
    std::fs::write(folder.join("dialogues.txt"), dialogues).unwrap();
    DataConfig {
        root: folder.to_path_buf(),
        folder: folder.join("data"),
        tokenizer: folder.join("tokenizer.json"),
        heldout_every: u64::MAX,
        sources: vec![source("texts", Format::Text, Split::Documents), source("dialogues", Format::Dialogue, Split::Paragraphs)],
    }
}

fn documents(set: &TokenSet) -> Vec<Vec<u32>> {
    (0..2).flat_map(|source_idx| set.documents(source_idx)).map(|document| set.ids(document)).collect()
}

#[test]
fn a_large_vocabulary_has_32_bits_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let data = foreign(folder.path(), &large(), &[], ["w3", "w69999"]);
    let manifest = prepare(&data, &|_, _, _| {}).unwrap();
    assert_eq!((manifest.vocab_size, manifest.token_bits, manifest.train.file.as_str()), (70_011, 32, "train.u32"));
    let (begin, end, user, assistant, end_think) = (70_000u32, 70_001u32, 70_003u32, 70_004u32, 70_006u32);
    let expected = [
        vec![begin, 3, 69_999, end],
        vec![begin, 69_999, end],
        vec![begin, user, 3, assistant, end_think, 69_999, end, user, 69_999, assistant, end_think, 3, end],
        vec![begin, user, 3, assistant, end_think, 3, end],
    ];
    let bytes: Vec<u8> = expected.iter().flatten().flat_map(|id| id.to_le_bytes()).collect();
    assert_eq!(std::fs::read(data.folder.join("train.u32")).unwrap(), bytes);
    let (train, _) = open(&data, 70_011, 4).unwrap();
    assert_eq!(documents(&train), expected);
    assert_eq!(train.row(0, 0), Row { ids: vec![begin, 3, 69_999, end, begin], starts: vec![0, 4] });
    assert!(open(&data, 70_010, 4).unwrap_err().to_string().contains("vocabulary"));
    let mut bad = bytes;
    bad[4..8].copy_from_slice(&70_011u32.to_le_bytes());
    std::fs::write(data.folder.join("train.u32"), bad).unwrap();
    assert!(open(&data, 80_000, 4).unwrap_err().to_string().contains("token id: expected less than 70011, found 70011"));
}

#[test]
fn conversations_stay_whole_where_their_turns_end_like_documents() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"bos_token": null, "eos_token": "<|im_end|>", "chat_template": CHATML_TEMPLATE});
    let data = foreign(folder.path(), &chatml(), &[("tokenizer_config.json", config)], ["a", "b"]);
    let manifest = prepare(&data, &|_, _, _| {}).unwrap();
    assert_eq!((manifest.token_bits, manifest.train.sources[1].n_documents), (16, 2));
    let (train, _) = open(&data, 25, 4).unwrap();
    // The first turn has no place for thoughts in this template, the last an empty one.
    let expected = [
        vec![4, 5, 22],
        vec![5, 22],
        vec![21, 1, 4, 22, 21, 2, 5, 22, 21, 1, 5, 22, 21, 2, 23, 24, 4, 22],
        vec![21, 1, 4, 22, 21, 2, 23, 24, 4, 22],
    ];
    assert_eq!(documents(&train), expected);
}

#[test]
fn a_tokenizer_without_what_the_corpus_needs_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let error = |data: &DataConfig| prepare(data, &|_, _, _| {}).unwrap_err().to_string();
    let mut data = foreign(folder.path(), &chatml(), &[], ["a", "b"]);
    assert!(error(&data).contains("plain text needs a token that ends a document"), "{}", error(&data));
    std::fs::write(folder.path().join("config.json"), r#"{"eos_token_id": 20}"#).unwrap();
    let refused = error(&data);
    assert!(refused.contains("`<｜begin▁of▁sentence｜>`") && refused.contains("chat_template.jinja"), "{refused}");
    // Plain text alone does not ask for it.
    data.sources.pop();
    assert_eq!(prepare(&data, &|_, _, _| {}).unwrap().train.sources[0].n_tokens, 5);
    std::fs::write(folder.path().join("chat_template.jinja"), "{% broken").unwrap();
    assert!(prepare(&data, &|_, _, _| {}).is_ok());
    data.sources.push(source("dialogues", Format::Dialogue, Split::Paragraphs));
    assert!(error(&data).contains("chat template"), "{}", error(&data));
}
