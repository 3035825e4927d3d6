//! Written files: read back by us and by the reference implementation; whole or not at all; sharded.
#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{CONFIG, Folder, Stored, assert_holds, counting, file_bytes, raw, tensor, wanted};
use proptest::prelude::*;
use safetensors::SafeTensors;
use sferic_weights::{
    Dtype, SafeFile, TensorMeta, WeightsError, bytes_from_i32, bytes_from_i64, save_weights, serialize, write_atomic,
    write_safetensors, write_safetensors_with,
};

const DTYPES: [Dtype; 6] = [Dtype::U8, Dtype::F8E4M3, Dtype::F16, Dtype::Bf16, Dtype::F32, Dtype::I64];

/// Tensors with unique names, any of several types, zero to three dimensions, and arbitrary bytes.
fn tensors() -> impl Strategy<Value = Vec<Stored>> {
    let one = (0..DTYPES.len(), prop::collection::vec(0usize..4, 0..4), any::<u8>());
    prop::collection::vec(one, 0..8).prop_map(|list| {
        let stored = |(tensor_idx, (dtype_idx, shape, seed)): (usize, (usize, Vec<usize>, u8))| {
            let dtype = DTYPES[dtype_idx];
            let n_bytes = shape.iter().product::<usize>() * dtype.size_bytes();
            let bytes = (0..n_bytes).map(|i| seed.wrapping_add((i * 37) as u8)).collect();
            raw(&format!("t{}.\"é\\{tensor_idx}", tensor_idx % 3), dtype, &shape, bytes)
        };
        list.into_iter().enumerate().map(stored).collect()
    })
}

/// Returns the entries of a folder, sorted.
fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

proptest! {
    #[test]
    fn written_tensors_read_back(stored in tensors()) {
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let bytes = serialize(stored.clone(), &metadata).unwrap();
        let ours = SafeFile::from_bytes("x", bytes.clone()).unwrap();
        let theirs = SafeTensors::deserialize(&bytes).unwrap();
        prop_assert_eq!(ours.metadata(), &metadata);
        prop_assert_eq!(ours.names().len(), stored.len());
        prop_assert_eq!(theirs.len(), stored.len());
        for (meta, content) in &stored {
            prop_assert_eq!(ours.bytes(&meta.name).unwrap(), &content[..]);
            prop_assert_eq!(ours.shape(&meta.name).unwrap(), &meta.shape[..]);
            prop_assert_eq!(ours.dtype(&meta.name).unwrap(), meta.dtype);
            let view = theirs.tensor(&meta.name).unwrap();
            prop_assert_eq!(view.data(), &content[..]);
            prop_assert_eq!(view.shape(), &meta.shape[..]);
            prop_assert_eq!(view.dtype().to_string(), meta.dtype.name());
        }
    }

    #[test]
    fn files_of_the_reference_writer_read(values in prop::collection::vec(any::<f32>(), 0..20), ids in prop::collection::vec(any::<i64>(), 0..9)) {
        let floats: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let integers: Vec<u8> = bytes_from_i64(&ids);
        let view = |dtype, n, bytes| safetensors::tensor::TensorView::new(dtype, vec![n], bytes).unwrap();
        let tensors = [
            ("floats", view(safetensors::Dtype::F32, values.len(), &floats)),
            ("ids", view(safetensors::Dtype::I64, ids.len(), &integers)),
        ];
        let file = SafeFile::from_bytes("x", safetensors::serialize(tensors, None).unwrap()).unwrap();
        prop_assert_eq!(file.i64("ids").unwrap(), ids);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&file.f32("floats").unwrap()), bits(&values));
    }
}

proptest! {
    // Each case waits for the disk a dozen times.
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any sharding opens and holds every tensor; no shard is over the limit unless it is one tensor.
    #[test]
    fn shardings_agree(n_tensors in 1usize..9, max_shard_bytes in 0u64..200) {
        let stored: Vec<Stored> = (0..n_tensors).map(|i| counting(&format!("w{i}"), &[i, 5], i)).collect();
        let metas: Vec<TensorMeta> = stored.iter().map(|(meta, _)| meta.clone()).collect();
        let folder = Folder::empty().add("config.json", CONFIG);
        let files = save_weights(folder.path(), &metas, max_shard_bytes, |meta| {
            Ok(stored.iter().find(|(other, _)| other.name == meta.name).unwrap().1.clone())
        })
        .unwrap();
        for file in &files {
            let shard = SafeFile::open(file).unwrap();
            let n_bytes: usize = shard.names().map(|name| shard.bytes(name).unwrap().len()).sum();
            prop_assert!(n_bytes as u64 <= max_shard_bytes || shard.names().len() == 1 || files.len() == 1);
        }
        let model = folder.open().unwrap();
        prop_assert_eq!(model.names().len(), n_tensors);
        for i in 0..n_tensors {
            let expected: Vec<f32> = (i..i + i * 5).map(|v| v as f32).collect();
            prop_assert_eq!(model.read_f32(&format!("w{i}"), &[i, 5]).unwrap(), expected);
        }
    }
}

#[test]
fn typed_values_read_back_from_disk() {
    let folder = Folder::empty();
    let path = folder.path().join("trace.safetensors");
    let tensors = [
        (TensorMeta::new("ids", Dtype::I64, [3]), bytes_from_i64(&[1, -2, i64::MAX]).into()),
        (TensorMeta::new("topk", Dtype::I32, [2, 1]), bytes_from_i32(&[5, -1]).into()),
        tensor("logits", Dtype::F32, &[2], &[0.5, -0.25]),
    ];
    write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
    let file = SafeFile::open(&path).unwrap();
    assert_eq!(file.i64("ids").unwrap(), [1, -2, i64::MAX]);
    assert_eq!(file.i32("topk").unwrap(), [5, -1]);
    assert_eq!(file.f32("logits").unwrap(), [0.5, -0.25]);
    assert_eq!(listing(folder.path()), ["trace.safetensors"], "no temporary file is left");
}

#[test]
fn every_tensor_is_aligned_to_its_elements() {
    let bytes = file_bytes(vec![
        raw("bytes", Dtype::U8, &[3], vec![1; 3]),
        tensor("half", Dtype::Bf16, &[1], &[1.0]),
        tensor("single", Dtype::F32, &[1], &[1.0]),
    ]);
    let file = SafeFile::from_bytes("x", bytes.clone()).unwrap();
    let data_begin = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!(data_begin % 8, 0);
    assert_eq!(file.bytes("single").unwrap(), &bytes[data_begin..data_begin + 4]);
    assert_eq!(file.bytes("half").unwrap(), &bytes[data_begin + 4..data_begin + 6]);
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = Folder::empty().add("a.safetensors", "old");
    let path = folder.path().join("a.safetensors");
    let metas = [TensorMeta::new("a", Dtype::F32, [1]), TensorMeta::new("b", Dtype::F32, [1])];
    let message = write_safetensors_with(&path, &metas, &BTreeMap::new(), |meta| {
        Ok(if meta.name == "a" { vec![0; 4].into() } else { vec![0; 5].into() })
    })
    .unwrap_err()
    .to_string();
    assert_holds(&message, &["cannot write tensor `b`", "need 4 bytes, found 5"]);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(listing(folder.path()), ["a.safetensors"]);
}

#[test]
fn the_producers_error_comes_back() {
    let folder = Folder::empty();
    let metas = [TensorMeta::new("a", Dtype::F32, [1])];
    let missing = || WeightsError::NoTensor { tensor: "a".into(), found: "nothing".into(), path: "source".into() };
    let error = save_weights(folder.path(), &metas, 100, |_| Err(missing())).unwrap_err();
    assert_eq!(error.to_string(), missing().to_string());
    assert!(listing(folder.path()).is_empty());
}

#[test]
fn impossible_names_and_sizes_are_refused() {
    let twice = vec![counting("a", &[1], 0), counting("a", &[1], 0)];
    assert_holds(&serialize(twice.clone(), &BTreeMap::new()).unwrap_err().to_string(), &["tensor `a`", "used twice"]);
    let metas: Vec<TensorMeta> = twice.into_iter().map(|(meta, _)| meta).collect();
    let error = save_weights(Folder::empty().path(), &metas, 1, |_| Ok(vec![0; 2].into())).unwrap_err();
    assert_holds(&error.to_string(), &["tensor `a`", "used twice"]);
    let reserved = serialize(vec![counting("__metadata__", &[1], 0)], &BTreeMap::new()).unwrap_err();
    assert_holds(&reserved.to_string(), &["`__metadata__`", "reserved"]);
    let huge = serialize(vec![raw("h", Dtype::F32, &[usize::MAX, 8], vec![])], &BTreeMap::new()).unwrap_err();
    assert_holds(&huge.to_string(), &["tensor `h`", "found 0"]);
}

#[test]
fn saving_again_replaces_the_other_layout() {
    let stored = [counting("a", &[4], 0), counting("b", &[4], 9)];
    let metas = stored.clone().map(|(meta, _)| meta);
    let folder = Folder::empty().add("config.json", CONFIG);
    let save = |max_shard_bytes| {
        save_weights(folder.path(), &metas, max_shard_bytes, |meta| {
            Ok(if meta.name == "a" { stored[0].1.clone() } else { stored[1].1.clone() })
        })
        .unwrap()
    };
    assert_eq!(save(100).len(), 1);
    assert_eq!(save(8).len(), 2);
    let sharded =
        ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"];
    assert_eq!(listing(folder.path()), sharded);
    folder.open().unwrap().check(&wanted(&[("a", &[4]), ("b", &[4])])).unwrap();
    assert_eq!(save(100).len(), 1);
    assert!(!listing(folder.path()).contains(&"model.safetensors.index.json".to_owned()));
    assert_eq!(folder.open().unwrap().read_f32("b", &[4]).unwrap(), [9.0, 10.0, 11.0, 12.0]);
}

/// Replacing a file that is mapped must not change what the map shows.
#[test]
fn an_open_checkpoint_keeps_its_bytes_when_the_file_is_replaced() {
    let folder = Folder::with_model(&file_bytes(vec![counting("a", &[2], 0)]));
    let model = folder.open().unwrap();
    assert_eq!(model.read_f32("a", &[2]).unwrap(), [0.0, 1.0]);
    write_atomic(folder.path().join("model.safetensors"), &file_bytes(vec![counting("a", &[2], 5)])).unwrap();
    assert_eq!(model.read_f32("a", &[2]).unwrap(), [0.0, 1.0]);
    assert_eq!(folder.open().unwrap().read_f32("a", &[2]).unwrap(), [5.0, 6.0]);
}

#[test]
fn a_file_in_no_folder_is_an_error() {
    let path = Folder::empty().path().join("gone/config.json");
    assert_holds(&write_atomic(&path, b"{}").unwrap_err().to_string(), &["cannot create the file", "gone/config.json"]);
}
