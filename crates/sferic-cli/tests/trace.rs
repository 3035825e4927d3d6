//! `trace`, `verify`, `info` and `devices`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{copy_folder, golden, sferic, write_ids};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

fn trace(output: &Path, rest: &[&str]) -> Vec<u8> {
    let model = golden("deepseek_v32-tiny");
    let input = model.join("golden.safetensors");
    let (model, input, output) = (model.to_str().unwrap(), input.to_str().unwrap(), output.to_str().unwrap());
    sferic(["trace", model, "--input", input, "--output", output, "--device", "cpu"].iter().chain(rest)).assert_done();
    std::fs::read(output).unwrap()
}

#[test]
fn a_trace_holds_every_promised_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = trace(&folder.path().join("out.safetensors"), &["--chunk", "7", "--decode-from", "40", "--generate", "5"]);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut expected = vec![("logits".to_owned(), vec![48, 512], Dtype::F32), ("next_ids".to_owned(), vec![5], Dtype::I64)];
    for layer_idx in 0..4 {
        expected.push((format!("hidden.{layer_idx}"), vec![48, 128], Dtype::F32));
        expected.push((format!("topk.{layer_idx}"), vec![48, 8], Dtype::I32));
    }
    for (name, shape, dtype) in &expected {
        let tensor = file.tensor(name).unwrap();
        assert_eq!((tensor.shape(), tensor.dtype()), (&shape[..], *dtype), "{name}");
    }
    assert_eq!(file.len(), expected.len());
    let topk = file.tensor("topk.3").unwrap();
    let values: Vec<i32> = topk.data().chunks_exact(4).map(|bytes| i32::from_le_bytes(bytes.try_into().unwrap())).collect();
    for (row_idx, row) in values.chunks(8).enumerate() {
        let n_selected = 8.min(row_idx + 1);
        assert!(row.windows(2).all(|pair| pair[0] > pair[1] || pair == [-1, -1]), "{row:?}");
        assert!(row[..n_selected].iter().all(|&position| (0..=row_idx as i32).contains(&position)), "{row:?}");
        assert!(row[n_selected..].iter().all(|&position| position == -1), "{row:?}");
    }
}

#[test]
fn a_dense_trace_has_no_selection() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = trace(&folder.path().join("out.safetensors"), &["--dense"]);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert!(file.tensor("logits").is_ok());
    assert!(file.names().iter().all(|name| !name.starts_with("topk") && *name != "next_ids"), "{:?}", file.names());
}

#[test]
fn simulated_fp8_caches_change_the_logits_and_hardly_their_direction() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.safetensors"), folder.path().join("out.safetensors"));
    // The trained model: with random weights a rounding flips whole experts. More tokens than it selects, so that selections differ too.
    write_ids(&input, &(0..160).map(|i| 300 + i * i % 7000).collect::<Vec<i64>>());
    let logits = |rest: &[&str]| -> Vec<f64> {
        let (input, output) = (input.to_str().unwrap(), output.to_str().unwrap());
        sferic(["trace", "--input", input, "--output", output, "--device", "cpu"].iter().chain(rest)).assert_done();
        let bytes = std::fs::read(output).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let values = file.tensor("logits").unwrap().data();
        values.chunks_exact(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()))).collect()
    };
    let (exact, rounded) = (logits(&[]), logits(&["--simulate-fp8"]));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(&exact, &rounded) / (dot(&exact, &exact) * dot(&rounded, &rounded)).sqrt();
    // e4m3 errs by 2^-4 of a value at most: a noise of that size leaves at least 1 - 2^-9 of the direction.
    assert!(exact != rounded && cosine > 1.0 - 1.0 / 512.0, "cosine {cosine}");
}

#[test]
fn a_trace_lists_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.safetensors"), folder.path().join("out.safetensors"));
    write_ids(&input, &[5, 6, 7]);
    let model = golden("deepseek_v32-tiny");
    let args = ["trace", model.to_str().unwrap(), "-i", input.to_str().unwrap(), "-o", output.to_str().unwrap(), "-d", "cpu"];
    let table = sferic(args);
    assert!(table.assert_done().stdout.contains("logits    [3, 512]  F32"), "{}", table.stdout);
    let json = &sferic(args.iter().chain(&["--json"])).assert_done().json_lines()[0];
    assert_eq!(json["n_tokens"], 3);
    assert_eq!(json["tensors"][0], serde_json::json!({ "name": "logits", "shape": [3, 512], "dtype": "F32" }));
}

#[test]
fn verify_passes_on_the_reference_and_misses_on_a_corrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&golden("deepseek_v32-tiny"), folder.path());
    let path = folder.path().to_str().unwrap();
    let verify = |rest: &[&str]| sferic(["verify", path, "--device", "cpu"].iter().chain(rest));
    let good = verify(&[]);
    assert!(good.assert_done().stdout.contains("all passed of 10 checks"), "{}", good.stdout);
    verify(&["--chunk", "7"]).assert_done();
    verify(&["--decode-from", "24"]).assert_done();

    let file = folder.path().join("golden.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    corrupt(&mut bytes, "hidden.2");
    std::fs::write(&file, bytes).unwrap();
    let bad = verify(&[]);
    assert_eq!(bad.code, Some(1), "{}", bad.stderr);
    let missed: Vec<&str> = bad.stdout.lines().filter(|line| line.ends_with("MISS")).collect();
    assert!(matches!(missed[..], [line] if line.starts_with("hidden.2 ")), "{}", bad.stdout);
    let json = verify(&["--json"]);
    assert_eq!(json.code, Some(1));
    let json = &json.json_lines()[0];
    assert_eq!(json["passed"], false);
    assert_eq!(json["rows"].as_array().unwrap().iter().filter(|row| row["passed"] == false).count(), 1);
}

#[test]
fn verify_needs_reference_values() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&golden("deepseek_v32-tiny"), folder.path());
    std::fs::remove_file(folder.path().join("golden.safetensors")).unwrap();
    sferic(["verify", folder.path().to_str().unwrap(), "--device", "cpu"]).assert_fails(3, &["golden.safetensors"]);
}

#[test]
fn info_tells_architecture_and_memory() {
    let model = golden("deepseek_v32-tiny");
    let args = ["info", model.to_str().unwrap(), "--device", "cpu"];
    let table = sferic(args);
    table.assert_done();
    for part in ["deepseek_v32", "sparse: 8 tokens per query", "8 of width 64, 2 used per token", "memory needed"] {
        assert!(table.stdout.contains(part), "{part:?} is missing in: {}", table.stdout);
    }
    let json = &sferic(args.iter().chain(&["--json"])).assert_done().json_lines()[0];
    assert_eq!(json["model_type"], "deepseek_v32");
    // Four layers with a latent of 64 + 16 and an index key of 32 values, in f32.
    assert_eq!(json["cache_bytes_per_token"], 4 * (64 + 16 + 32) * 4);
    assert_eq!(json["plan"]["model_context"], 4096);
    assert_eq!(json["fits"], true);
    let embedded = &sferic(["info", "--device", "cpu", "--json"]).assert_done().json_lines()[0];
    assert_eq!(embedded["model"], "the embedded demo model");
}

#[test]
fn a_model_that_does_not_fit_is_a_fact_and_no_error() {
    let model = golden("deepseek_v32-tiny");
    let run = sferic(["info", model.to_str().unwrap(), "--device", "cpu", "--context", "9999", "--json"]);
    let json = &run.assert_done().json_lines()[0];
    assert_eq!(json["fits"], false);
    assert!(json["problem"].as_str().unwrap().contains("9999"));
}

#[test]
fn devices_end_with_the_cpu() {
    let table = sferic(["devices"]);
    assert!(table.assert_done().stdout.lines().last().unwrap().starts_with("cpu "), "{}", table.stdout);
    let json = &sferic(["devices", "--json"]).assert_done().json_lines()[0];
    let last = json.as_array().unwrap().last().unwrap();
    assert_eq!((&last["class"], &last["gpu_index"]), (&"cpu".into(), &serde_json::Value::Null));
}

/// Adds one to the first value of an F32 tensor.
fn corrupt(bytes: &mut [u8], name: &str) {
    let begin = {
        let file = SafeTensors::deserialize(bytes).unwrap();
        file.tensor(name).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize
    };
    let value = f32::from_le_bytes(bytes[begin..begin + 4].try_into().unwrap());
    bytes[begin..begin + 4].copy_from_slice(&(value + 1.0).to_le_bytes());
}
