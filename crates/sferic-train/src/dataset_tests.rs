#![allow(clippy::unwrap_used)]

use super::*;
use crate::corpus::{Format, Split};
use crate::tokenizer::{save_tokenizer, train_tokenizer};

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
    let all: Vec<u16> = (0..train.n_rows(0)).flat_map(|row_idx| train.row(0, row_idx)[..8].to_vec()).collect();
    let starts = document_starts(&all);
    assert_eq!(starts[0], 0);
    assert!(starts.iter().skip(1).all(|&start| all[start - 1] == Special::Eos as u16));
    let whole = manifest.train.sources[0].n_tokens;
    assert_eq!(train.n_rows(0), (whole - 1) / 8);
    assert_eq!(train.row(0, 0)[8], train.row(0, 1)[0]);
    let text = Encoder::open(&data.tokenizer).unwrap();
    let ids: Vec<u32> = all[..starts[1]].iter().map(|&id| u32::from(id)).collect();
    let first = text.decode(&ids).unwrap();
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
    data.sources.pop();
    assert!(error(&data, 320).contains("sources"));
    std::fs::write(&data.tokenizer, "{}").unwrap();
    assert!(error(&data, 320).contains("tokenizer hash"));
}
