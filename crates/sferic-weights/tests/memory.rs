//! The memory that a load takes. Alone in its file: the peak of a process is shared by all tests in it.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::{collections::BTreeMap, fs};

use sferic_weights::{Checkpoint, Dtype, TensorMeta, bytes_from_f32, write_safetensors_with};

/// Returns a line of the process's memory account in bytes.
fn status_bytes(key: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Reading 160 MB of BF16, tensor by tensor, peaks below three times the 8 MiB that one tensor has as `f32`.
#[test]
fn a_load_holds_one_tensor_at_a_time() {
    let n_values = 1 << 21;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let metas: Vec<TensorMeta> = (0..40).map(|i| TensorMeta::new(format!("w{i}"), Dtype::Bf16, [n_values])).collect();
    let bytes = bytes_from_f32(&vec![1.0; n_values], Dtype::Bf16).unwrap();
    let path = folder.path().join("model.safetensors");
    write_safetensors_with(path, &metas, &BTreeMap::new(), |_| Ok(bytes.as_slice().into())).unwrap();
    drop(bytes);

    let model = Checkpoint::open(folder.path()).unwrap();
    // Writing 5 to clear_refs starts the peak anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status_bytes("VmRSS:");
    for meta in &metas {
        assert_eq!(model.read_f32(&meta.name, &meta.shape).unwrap().len(), n_values);
    }
    let growth = status_bytes("VmHWM:").saturating_sub(before);
    assert!(growth < 3 * n_values * 4, "the load took {growth} bytes more than before it");
    assert!(growth > n_values * 4, "the account does not see the load: {growth} bytes");
}
