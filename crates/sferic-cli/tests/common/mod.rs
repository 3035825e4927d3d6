//! Runs the program and makes model folders for it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What the program left behind.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Standard output as JSON lines.
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Checks exit code and messages of a failure: no result on standard output, one `error:` line that holds `parts`.
    pub fn assert_fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert_eq!(self.stdout, "", "{}", self.stderr);
        let line = self.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{}", self.stderr));
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is missing in: {}", self.stderr);
        }
        assert!(!line.contains("internal error") && !self.stderr.contains("panicked"), "{}", self.stderr);
    }

    pub fn assert_done(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sferic"));
    command.env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command
}

/// Runs the program with arguments that need not be text.
pub fn sferic<I: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = I>) -> Run {
    sferic_with_input(args, b"")
}

/// Runs the program with bytes on standard input.
pub fn sferic_with_input<I: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = I>, input: &[u8]) -> Run {
    let mut child = command().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program that ends early closes its input.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A golden folder of the project, from the shared folder or from this repository's copies.
pub fn golden(name: &str) -> PathBuf {
    let manifest = env!("CARGO_MANIFEST_DIR");
    let places = [format!("{manifest}/../../../shared/golden/{name}"), format!("{manifest}/../../tests/fixtures/golden/{name}")];
    places.iter().map(PathBuf::from).find(|place| place.is_dir()).unwrap_or_else(|| panic!("no golden folder {name}"))
}

/// A copy of a golden folder with a byte tokenizer, to be changed at will.
pub fn model() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&golden("deepseek_v32-tiny"), folder.path());
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer_json()).unwrap();
    std::fs::write(folder.path().join("chat_template.jinja"), TEMPLATE).unwrap();
    folder
}

pub const TEMPLATE: &str = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

pub fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        // Content without permissions: the shared folder may be read-only.
        std::fs::write(copy, std::fs::read(&path).unwrap()).unwrap();
    }
}

/// Changes a JSON file.
pub fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// A tokenizer in which every byte is a token: 0 and 1 begin and end a text, byte `b` is token `b + 2`.
pub fn tokenizer_json() -> String {
    let mut n_other = 0;
    let mut char_of = |byte: u8| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => {
            n_other += 1;
            char::from_u32(0xff + n_other).unwrap()
        }
    };
    let mut vocab: serde_json::Map<String, Value> =
        (0..=255u8).map(|byte| (char_of(byte).to_string(), json!(u32::from(byte) + 2))).collect();
    vocab.insert("<bos>".into(), json!(0));
    vocab.insert("<eos>".into(), json!(1));
    let special = |token_id: u32, content: &str| json!({"id": token_id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(0, "<bos>"), special(1, "<eos>")],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []
        }
    })
    .to_string()
}

/// Writes token ids as the input of `sferic trace`.
pub fn write_ids(path: &Path, ids: &[i64]) {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![ids.len()], &bytes).unwrap();
    let file = safetensors::serialize([("input_ids", view)], None).unwrap();
    std::fs::write(path, file).unwrap();
}
