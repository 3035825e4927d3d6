//! `convert` and `compare`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Run, copy_folder, edit_json, golden, model, sferic};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::Path;

fn convert(args: &[&str], out: &Path, weights: &str) -> Run {
    sferic(["convert"].iter().chain(args).copied().chain([out.to_str().unwrap(), "--weights", weights]))
}

/// The figures of a comparison with the demo model on the text that the program carries.
fn compare(out: &Path) -> Value {
    let run = sferic(["compare", out.to_str().unwrap(), "--device", "cpu", "--json"]);
    run.assert_done().json_lines().remove(0)
}

fn generate(args: &[&str]) -> String {
    let args = ["generate", "--device", "cpu", "--temperature", "0", "--max-tokens", "24"].iter().chain(args);
    sferic(args.copied().chain(["Once upon a time"])).assert_done().stdout.clone()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// The bounds of the project for its own model, which is q8: what a user may lose for fewer bytes. In q8 it stays what it is.
#[test]
fn the_demo_model_in_fewer_bits_predicts_nearly_as_well() {
    let folder = tempfile::tempdir().unwrap();
    for (weights, bits, bound) in [("q8", 8.6, 0.0), ("fp8", 10.0, 0.005), ("q4", 6.1, 0.03)] {
        let out = folder.path().join(weights);
        let run = convert(&["--json"], &out, weights);
        let json = &run.assert_done().json_lines()[0];
        assert_eq!((&json["model"], &json["weights"]), (&"the embedded demo model".into(), &weights.into()));
        let bits_found = json["size_bytes"].as_f64().unwrap() / json["source_bytes"].as_f64().unwrap() * 8.5;
        assert!(bits_found < bits, "{weights}: {bits_found} bits per weight");
        let json = compare(&out);
        let change = json["perplexity_change"].as_f64().unwrap();
        assert!(change <= bound, "{weights}: {json}");
        let comparison = &json["comparison"];
        assert_eq!(comparison["mean_kl"].as_f64().unwrap() == 0.0, weights == "q8", "{json}");
        assert!(comparison["n_predicted"].as_u64().unwrap() > 1500, "{json}");
        let text = generate(&["--model", out.to_str().unwrap()]);
        assert!(text.split_whitespace().count() > 8, "{weights}: {text}");
    }
}

#[test]
fn floats_of_the_demo_model_write_the_same_text() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = convert(&[], &out, "f32");
    assert!(run.assert_done().stdout.contains("of weights became"), "{}", run.stdout);
    assert_eq!(generate(&["--model", out.to_str().unwrap()]), generate(&[]));
    let run = sferic(["compare", out.to_str().unwrap(), "--device", "cpu", "--max-tokens", "100", "--window", "60"]);
    for part in ["positions                    100", "(+0.00 %)", "100.00 %", "max 0.000000 nats"] {
        assert!(run.assert_done().stdout.contains(part), "{part:?} is missing in: {}", run.stdout);
    }
}

#[test]
fn verify_and_info_take_converted_folders() {
    let (folder, source) = (tempfile::tempdir().unwrap(), golden("deepseek_v32-tiny"));
    let verify = |weights: &str| {
        let out = folder.path().join(weights);
        convert(&[source.to_str().unwrap()], &out, weights).assert_done();
        std::fs::copy(source.join("golden.safetensors"), out.join("golden.safetensors")).unwrap();
        sferic(["verify", out.to_str().unwrap(), "--device", "cpu"]).code
    };
    assert_eq!(verify("f32"), Some(0));
    assert_eq!(verify("q4"), Some(1), "a quarter of the bits is not within the bounds of rounding");
    let run = sferic(["info", folder.path().join("q4").to_str().unwrap(), "--device", "cpu", "--json"]);
    let dtypes = &run.assert_done().json_lines()[0]["dtypes"];
    assert!(dtypes["U8"].as_u64().unwrap() > 10 && dtypes["I8"].as_u64().unwrap() > 0, "{dtypes}");
}

#[test]
fn tokenizer_template_and_settings_come_along() {
    let (folder, source) = (tempfile::tempdir().unwrap(), model());
    let (source, out) = (source.path(), folder.path().join("out"));
    std::fs::write(source.join("notes.txt"), "not of the model").unwrap();
    convert(&[source.to_str().unwrap()], &out, "q8").assert_done();
    for name in ["tokenizer.json", "chat_template.jinja", "generation_config.json"] {
        assert_eq!(std::fs::read(out.join(name)).unwrap(), std::fs::read(source.join(name)).unwrap(), "{name}");
    }
    assert!(!out.join("notes.txt").exists() && !out.join("golden.safetensors").exists());
}

#[test]
fn a_folder_that_is_there_stays_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let source = golden("deepseek_v32-tiny");
    let source = source.to_str().unwrap();
    convert(&[source], &out, "q8").assert_done();
    let before = std::fs::read(out.join("model.safetensors")).unwrap();
    convert(&[source], &out, "q4").assert_fails(3, &["an empty folder", "--force"]);
    assert_eq!(std::fs::read(out.join("model.safetensors")).unwrap(), before);
    convert(&[source, "--force"], &out, "q4").assert_done();
    assert_ne!(std::fs::read(out.join("model.safetensors")).unwrap(), before);
    convert(&[out.to_str().unwrap(), "--force"], &out, "q4").assert_fails(3, &["the model is read from it"]);
}

#[test]
fn sources_that_are_no_models_write_nothing() {
    let (folder, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let out = folder.path().join("out");
    let source = source.path();
    copy_folder(&golden("deepseek_v32-yarn"), source);
    convert(&["nowhere"], &out, "q4").assert_fails(3, &["no such model folder", "nowhere"]);
    let weights = std::fs::read(source.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&weights).unwrap();
    let fewer = tensors.iter().filter(|(name, _)| *name != "model.norm.weight");
    std::fs::write(source.join("model.safetensors"), safetensors::serialize(fewer, None).unwrap()).unwrap();
    convert(&[source.to_str().unwrap()], &out, "q4").assert_fails(3, &["`model.norm.weight` is missing"]);
    edit_json(&source.join("config.json"), |config| config["model_type"] = "bert".into());
    convert(&[source.to_str().unwrap()], &out, "q4").assert_fails(3, &["bert"]);
    let below_a_file = source.join("config.json").join("out");
    convert(&[], &below_a_file, "q4").assert_fails(3, &["config.json"]);
    convert(&[], &folder.path().join("missing").join("out"), "q4").assert_fails(3, &["cannot create the folder", "missing"]);
    assert!(is_empty(folder.path()));
}

/// A limit on the size of files stands for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 4000; exec \"$0\" convert \"$1\" --weights q8";
    let out = folder.path().join("out");
    let run = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_sferic"), out.to_str().unwrap()])
        .output()
        .unwrap();
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: cannot write the file") && stderr.contains("model.safetensors"), "{stderr}");
    assert!(is_empty(folder.path()));
}

/// The signal comes while the folder is being written; were it written by then, it would have to be whole.
#[cfg(unix)]
#[test]
fn ctrl_c_leaves_nothing_or_all() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let args = ["convert", out.to_str().unwrap(), "--weights", "q4"];
    let mut child =
        common::command().args(args).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    while is_empty(folder.path()) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it wrote");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::process::Command::new("sh").args(["-c", "kill -INT \"$0\"", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.code() == Some(0) {
        compare(&out);
    } else {
        assert_eq!(output.status.code(), Some(130));
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: cancelled"));
        assert!(is_empty(folder.path()));
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = model();
    let path = folder.path().to_str().unwrap();
    let other = tempfile::tempdir().unwrap();
    copy_folder(folder.path(), other.path());
    let compare = |args: &[&str]| sferic(["compare", "--device", "cpu"].iter().chain(args));
    compare(&[path]).assert_fails(3, &["different tokens", "the embedded demo model"]);
    compare(&[path, "nowhere"]).assert_fails(3, &["no such model folder", "nowhere"]);
    let text = folder.path().join("text.txt");
    std::fs::write(&text, "").unwrap();
    compare(&[path, path, "--text", text.to_str().unwrap()]).assert_fails(3, &["the prompt is empty"]);
    std::fs::write(&text, b"a\xff").unwrap();
    compare(&[path, path, "--text", text.to_str().unwrap()]).assert_fails(3, &["not valid UTF-8", "text.txt"]);
    std::fs::write(&text, "A text of some length.").unwrap();
    let run = compare(&[path, other.path().to_str().unwrap(), "--text", text.to_str().unwrap(), "--json"]);
    assert_eq!(run.assert_done().json_lines()[0]["comparison"]["top1_agreement"], 1.0);
    std::fs::remove_file(other.path().join("tokenizer.json")).unwrap();
    compare(&[other.path().to_str().unwrap(), path]).assert_fails(3, &["no tokenizer.json"]);
}
