//! The memory that a conversion takes. Alone in its file: the peak of a process is shared by all tests in it.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::{collections::BTreeMap, fs, ops::ControlFlow};

use sferic_weights::{
    Checkpoint, ConvertOptions, Dtype, TensorMeta, WeightFormat, bytes_from_f32, convert_model, write_safetensors_with,
};

/// Returns a line of the process's memory account in bytes.
fn status_bytes(key: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Converting 160 MB of BF16, half of it in one stack of experts, peaks below three times the 8 MiB that one matrix has as `f32`.
#[test]
fn a_conversion_holds_one_matrix_at_a_time() {
    let (n_matrices, o, i) = (20, 1024, 2048);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let mut metas: Vec<TensorMeta> =
        (0..n_matrices).map(|n| TensorMeta::new(format!("w{n}.weight"), Dtype::Bf16, [o, i])).collect();
    metas.push(TensorMeta::new("model.layers.0.mlp.experts.down_proj", Dtype::Bf16, [n_matrices, o, i]));
    let values: Vec<f32> = (0..n_matrices * o * i).map(|n| (n % 251) as f32 - 125.0).collect();
    let bytes = bytes_from_f32(&values, Dtype::Bf16).unwrap();
    drop(values);
    let path = folder.path().join("model.safetensors");
    write_safetensors_with(path, &metas, &BTreeMap::new(), |meta| Ok(bytes[..meta.size_bytes() as usize].into())).unwrap();
    drop(bytes);

    let model = Checkpoint::open(folder.path()).unwrap();
    // Writing 5 to clear_refs starts the peak anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status_bytes("VmRSS:");
    let options = ConvertOptions::new(WeightFormat::Q4);
    convert_model(&model, folder.path().join("out"), &[], &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let growth = status_bytes("VmHWM:").saturating_sub(before);
    assert!(growth < 3 * o * i * 4, "the conversion took {growth} bytes more than before it");
    assert!(growth > o * i * 4, "the account does not see the conversion: {growth} bytes");
}
