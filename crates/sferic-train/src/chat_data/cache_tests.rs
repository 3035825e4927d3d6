#![allow(clippy::unwrap_used)]

use super::*;
use crate::chat_data::{ChatData, ChatLimits};
use crate::tokenizer::{save_tokenizer, train_tokenizer};

/// A folder with a tokenizer, a corpus of sums, and the configuration of both and of small talk.
fn setting() -> (tempfile::TempDir, ChatConfig, DataConfig) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let sum = |n: usize| format!("{{\"question\": \"What is {n} and 1?\", \"answer\": \"It is {}.\"}}\n", n + 1);
    let sums: String = (0..50).map(sum).collect();
    std::fs::write(root.join("sums.jsonl"), &sums).unwrap();
    save_tokenizer(&train_tokenizer([sums.as_str(); 3].into_iter(), 300).unwrap(), 64, root).unwrap();
    let tokenizer = root.join("tokenizer.json");
    let data = format!("root = {root:?}\nfolder = \"data\"\ntokenizer = {tokenizer:?}\nheldout_every = 3\nsources = []");
    let sources = "[[sources]]\nname = \"sums\"\npath = \"sums.jsonl\"\nformat = \"questions\"\nweight = 1.0\n\
                   [[sources]]\nname = \"hello\"\nformat = \"small_talk\"\nweight = 0.5\n[sources.small_talk]\nn = 20\n";
    let config = format!("folder = {:?}\npacked_len = 64\n{sources}", root.join("chats"));
    (folder, toml::from_str(&config).unwrap(), toml::from_str(&data).unwrap())
}

fn some_talks() -> Vec<Vec<Talk>> {
    vec![vec![Talk { ids: vec![0, 300, 1], learned: vec![1] }, Talk { ids: vec![0, 1], learned: vec![] }], vec![]]
}

#[test]
fn tokens_are_made_once() {
    let (folder, config, data) = setting();
    let limits = ChatLimits { max_packed: 50, max_len: 512, tokens_per_batch: 512 };
    let open = |config: &ChatConfig| ChatData::open(config, &data, limits, 4, 5).unwrap();
    let made = open(&config);
    let read = open(&config);
    assert!((0..made.n_batches()).all(|batch_idx| made.batch(batch_idx) == read.batch(batch_idx)));
    // Others in the file, and it is those that come back.
    let cache = TalkCache::of(&config, &data).unwrap();
    let mut talks = cache.read_or(|| unreachable!("tokens are made again")).unwrap();
    assert_eq!(talks.iter().map(Vec::len).collect::<Vec<_>>(), made.sources().iter().map(|s| s.n_chats).collect::<Vec<_>>());
    talks[0].truncate(3);
    std::fs::write(folder.path().join("chats").join(FILE), cache.encode(&talks)).unwrap();
    assert_eq!(open(&config).sources()[0].n_chats, 3);
    // A weight changes what is drawn and not what it is drawn from.
    let mut heavier = config.clone();
    heavier.sources[0].weight = 2.0;
    assert_eq!(open(&heavier).sources()[0].n_chats, 3);
}

#[test]
fn the_key_follows_everything_that_tokens_follow_from() {
    let (folder, config, data) = setting();
    let key = |config: &ChatConfig, data: &DataConfig| TalkCache::of(config, data).unwrap().key;
    let first = key(&config, &data);
    assert_eq!(first, key(&config, &data));
    let mut keys = vec![first];
    keys.push(key(&config, &DataConfig { heldout_every: 4, ..data.clone() }));
    let with = |change: &dyn Fn(&mut ChatConfig)| {
        let mut config = config.clone();
        change(&mut config);
        key(&config, &data)
    };
    keys.push(with(&|config| config.sources[0].thinking = 0.5));
    keys.push(with(&|config| config.sources[1].small_talk.as_mut().unwrap().n = 21));
    keys.push(with(&|config| config.sources[1].weight = 0.0));
    // Sources share what they have seen, so that their order counts.
    keys.push(with(&|config| config.sources.reverse()));
    for file in ["sums.jsonl", "tokenizer.json"] {
        let path = folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("a", "e", 1)).unwrap();
        keys.push(key(&config, &data));
    }
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all);
    std::fs::remove_file(folder.path().join("sums.jsonl")).unwrap();
    let error = TalkCache::of(&config, &data).err().unwrap().to_string();
    assert!(error.contains("sums.jsonl"), "{error}");
}

#[test]
fn a_file_that_is_damaged_or_of_other_conversations_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = TalkCache { path: folder.path().join("chats").join(FILE), key: 7, n_sources: 2 };
    assert_eq!(cache.read_or(|| Ok(some_talks())).unwrap(), some_talks());
    let bytes = std::fs::read(&cache.path).unwrap();
    assert_eq!(cache.decode(&bytes).unwrap(), some_talks());
    for end in 0..bytes.len() {
        assert_eq!(cache.decode(&bytes[..end]), None, "cut at {end}");
        let mut damaged = bytes.clone();
        damaged[end] ^= 4;
        assert_eq!(cache.decode(&damaged), None, "damaged at {end}");
    }
    let other = TalkCache { path: cache.path.clone(), key: 8, n_sources: 2 };
    let fewer = || Ok(vec![vec![], vec![]]);
    assert_eq!(other.read_or(fewer).unwrap(), fewer().unwrap());
    // What lies there now is the other's.
    assert_eq!(cache.read_or(|| Ok(some_talks())).unwrap(), some_talks());
}
