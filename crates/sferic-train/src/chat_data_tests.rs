#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use serde_json::json;
use sferic_text::Message;

use super::*;
use crate::corpus::Format;
use crate::test_tokenizer::{LLAMA_TEMPLATE, large, llama, write};
use crate::tokenizer::{Special, save_tokenizer, train_tokenizer};

const LIMITS: ChatLimits = ChatLimits { max_packed: 12, max_len: 64, tokens_per_batch: 64 };

/// A conversation of `n_inputs` tokens, all of them `id`, of which the model wrote the last two.
fn talk(id: u32, n_inputs: usize) -> Talk {
    let mut ids = vec![id; n_inputs + 1];
    ids[0] = Special::Bos as u32;
    ids[n_inputs] = Special::Eos as u32;
    Talk { ids, learned: vec![n_inputs as u32 - 2, n_inputs as u32 - 1] }
}

fn data(sources: Vec<(f64, Vec<Talk>)>, n_batches: usize, seed: u64) -> ChatData {
    let named = sources.into_iter().enumerate().map(|(n, (weight, talks))| (format!("s{n}"), weight, talks)).collect();
    let made = ChatData::new(named, 16, LIMITS, n_batches, seed).unwrap();
    ChatData { pad: Special::Pad as u32, ..made }
}

fn mixed() -> Vec<(f64, Vec<Talk>)> {
    let short = (0..40).map(|n| talk(100 + n, 3 + n as usize % 10)).collect();
    let long = (0..20).map(|n| talk(200 + n, 13 + 2 * n as usize)).collect();
    vec![(0.5, short), (0.5, long)]
}

#[test]
fn rows_hold_whole_conversations_with_their_targets() {
    let data = data(mixed(), 60, 1);
    assert_eq!(data.n_batches(), 60);
    let mut shapes = HashSet::new();
    for batch_idx in 0..60 {
        let batch = data.batch(batch_idx);
        let [n_rows, seq_len] = batch.shape;
        shapes.insert((seq_len, batch.documents.is_some()));
        assert_eq!((n_rows * seq_len, batch.token_ids.len()), (64, 64));
        let places = batch.places.clone().unwrap();
        assert_eq!(places.len(), batch.targets.len());
        assert!(!places.is_empty() && places.is_sorted());
        for (&place, &target) in places.iter().zip(&batch.targets) {
            let place = place as usize;
            let id = batch.token_ids[place];
            // The last target ends the conversation; the one before it is the conversation's own token.
            let next = batch.token_ids.get(place + 1).copied().filter(|_| !(place + 1).is_multiple_of(seq_len));
            assert!(id >= 100);
            assert!(target == Special::Eos as i32 || (target == id && next == Some(id)), "{batch:?}");
        }
        for (row_idx, row) in batch.token_ids.chunks(seq_len).enumerate() {
            let padding = row.iter().position(|&id| id == Special::Pad as i32).unwrap_or(seq_len);
            assert!(row[padding..].iter().all(|&id| id == Special::Pad as i32));
            assert_eq!(batch.lengths.as_ref().unwrap()[row_idx], padding);
            let starts: Vec<usize> = (0..padding).filter(|&token_idx| row[token_idx] == Special::Bos as i32).collect();
            match &batch.documents {
                Some(documents) => {
                    for (token_idx, &start) in documents[row_idx * seq_len..][..seq_len].iter().enumerate() {
                        let expected = starts.iter().rev().find(|&&start| start <= token_idx && token_idx < padding).copied();
                        assert_eq!(start as usize, expected.unwrap_or(padding), "token {token_idx} of {row:?}");
                    }
                }
                None => assert!(starts.is_empty() || (starts == [0] && padding > 12)),
            }
        }
    }
    assert_eq!(shapes, HashSet::from([(16, true), (16, false), (32, false), (64, false)]));
}

#[test]
fn the_order_follows_from_the_seed_and_every_conversation_has_its_turn() {
    let tokens = |data: &ChatData| (0..data.n_batches()).map(|batch_idx| data.batch(batch_idx).token_ids).collect::<Vec<_>>();
    assert_eq!(tokens(&data(mixed(), 20, 1)), tokens(&data(mixed(), 20, 1)));
    assert_ne!(tokens(&data(mixed(), 20, 1)), tokens(&data(mixed(), 20, 2)));
    // One pass over the short ones, no more: the budget is theirs alone.
    let talks: Vec<Talk> = (0..64).map(|n| talk(100 + n, 8)).collect();
    let once = data(vec![(1.0, talks)], 8, 3);
    assert_eq!(once.sources()[0].passes, 1.0);
    let mut seen: Vec<i32> = tokens(&once).concat().into_iter().filter(|&id| id >= 100).collect();
    assert_eq!(seen.len(), 64 * 7);
    seen.dedup();
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 64);
    assert_ne!(seen, (100..164).collect::<Vec<_>>());
}

#[test]
fn shares_are_shares_of_tokens() {
    let few = vec![talk(100, 6), talk(101, 9)];
    let many: Vec<Talk> = (0..200).map(|n| talk(200 + n, 10)).collect();
    let data = data(vec![(0.25, few), (0.75, many)], 1000, 4);
    let ids: Vec<i32> = (0..1000).flat_map(|batch_idx| data.batch(batch_idx).token_ids).collect();
    let count = |range: std::ops::Range<i32>| ids.iter().filter(|id| range.contains(*id)).count() as f64;
    let (few, many) = (count(100..102) / 6.5 * 7.5, count(200..400) / 9.0 * 10.0);
    let share = few / (few + many);
    assert!((share - 0.25).abs() < 0.02, "{share}");
    // Early batches are mixed as late ones are.
    let early = ids[..ids.len() / 4].iter().filter(|id| (100..102).contains(*id)).count() as f64;
    assert!((early / count(100..102) - 0.25).abs() < 0.05, "{early}");
}

#[test]
fn what_does_not_fit_is_counted_or_refused() {
    let silent = Talk { ids: vec![0, 5, 5, 1], learned: Vec::new() };
    let fitting = data(vec![(1.0, vec![talk(100, 10), talk(101, 65), silent])], 2, 0);
    let source = &fitting.sources()[0];
    assert_eq!((source.n_chats, source.n_left_out, source.n_tokens, source.n_learned), (1, 2, 10, 2));
    let new = |talks, limits| ChatData::new(vec![("toy".to_owned(), 1.0, talks)], 16, limits, 2, 0).unwrap_err().to_string();
    assert!(new(vec![talk(100, 65)], LIMITS).contains("chats.sources.toy"));
    let narrow = ChatLimits { tokens_per_batch: 32, ..LIMITS };
    assert!(new(vec![talk(100, 10)], narrow).contains("64"));
}

#[test]
fn files_of_conversations_give_the_same_batches_as_their_sources() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let questions: String = (0..300)
        .map(|n| format!("{{\"question\": \"What is {n} and 1?\", \"answer\": \"{n}+1={}\\n#### {}\"}}\n", n + 1, n + 1))
        .collect();
    std::fs::write(root.join("sums.jsonl"), &questions).unwrap();
    save_tokenizer(&train_tokenizer([questions.as_str(); 3].into_iter(), 300).unwrap(), 64, root).unwrap();
    let text = format!(
        "root = {root:?}\nfolder = \"data\"\ntokenizer = {:?}\nheldout_every = 3\nsources = []",
        root.join("tokenizer.json")
    );
    let data: DataConfig = toml::from_str(&text).unwrap();
    let text = format!(
        "folder = {root:?}\npacked_len = 64\n[[sources]]\nname = \"asked\"\npath = \"sums.jsonl\"\nformat = \"questions\"\nweight = 1.0\nthinking = 0.5"
    );
    let made: ChatConfig = toml::from_str(&text).unwrap();
    made.check("chats").unwrap();
    let limits = ChatLimits { max_packed: 50, max_len: 128, tokens_per_batch: 128 };
    let batches = ChatData::open(&made, &data, limits, 10, 5).unwrap();
    let n_chats = batches.sources()[0].n_chats;
    assert!((140..260).contains(&n_chats), "a third is held out: {n_chats}");
    assert_eq!(write_chats(&made, &data).unwrap(), [("asked".to_owned(), n_chats)]);

    let mut read = made.clone();
    read.sources[0].format = Format::Chats;
    read.sources[0].path = "asked.jsonl".to_owned();
    let all = DataConfig { heldout_every: u64::MAX, ..data };
    let again = ChatData::open(&read, &all, limits, 10, 5).unwrap();
    for batch_idx in 0..10 {
        assert_eq!(again.batch(batch_idx), batches.batch(batch_idx));
    }
    let mut bad = made.clone();
    bad.packed_len = 100;
    assert!(bad.check("chats").unwrap_err().to_string().contains("chats.packed_len"));
}

#[test]
fn tokens_of_other_tokenizers_are_learned_in_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let talk = |chat: &Chat| {
        let encoder = Encoder::open(&folder.path().join("tokenizer.json")).unwrap();
        Talk::new(chat, &encoder, "toy").map(|talk| (talk, encoder.controls().pad()))
    };
    write(folder.path(), &large(), &[]);
    let thought = Message { reasoning_content: Some("w1".to_owned()), ..Message::assistant("w69999 <｜User｜>") };
    let chat = Chat { thinking: true, ..Chat::direct(vec![Message::user("w7"), thought]) };
    let ids = vec![70_000, 70_003, 7, 70_004, 70_005, 1, 70_006, 69_999, 0, 0, 70_001];
    assert_eq!(talk(&chat).unwrap(), (Talk { ids: ids.clone(), learned: (4..10).collect() }, 70_002));

    let limits = ChatLimits { max_packed: 12, max_len: 16, tokens_per_batch: 16 };
    let made = ChatData::new(vec![("toy".to_owned(), 1.0, vec![talk(&chat).unwrap().0])], 16, limits, 1, 0).unwrap();
    let batch = ChatData { pad: 70_002, ..made }.batch(0);
    let row: Vec<i32> = ids[..10].iter().map(|&id| id as i32).chain([70_002; 6]).collect();
    assert_eq!((batch.token_ids, batch.places), (row, Some((4..10).collect())));
    assert_eq!(batch.targets, [1, 70_006, 69_999, 0, 0, 70_001]);

    let config = json!({"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "chat_template": LLAMA_TEMPLATE});
    write(
        folder.path(),
        &llama(),
        &[("tokenizer_config.json", config), ("generation_config.json", json!({"eos_token_id": [21, 24]}))],
    );
    let chat = Chat::direct(vec![Message::user("a"), Message::assistant("b"), Message::user("c"), Message::assistant("d")]);
    let ids = vec![20, 22, 1, 23, 4, 24, 22, 2, 23, 5, 24, 22, 1, 23, 6, 24, 22, 2, 23, 7, 24];
    assert_eq!(talk(&chat).unwrap(), (Talk { ids, learned: vec![8, 9, 18, 19] }, 21));
    std::fs::remove_file(folder.path().join("generation_config.json")).unwrap();
    let error = talk(&chat).unwrap_err().to_string();
    assert!(error.contains("toy") && error.contains("eos_token_id"), "{error}");
}
