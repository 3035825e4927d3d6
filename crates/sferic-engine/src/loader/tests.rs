#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::SamplingParams;
use crate::testing::{EOS, TEMPLATE, config, config_json, options, prompt, tokenizer_json, try_engine, weights};
use pollster::block_on;
use tempfile::TempDir;

/// The test model as a folder.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("config.json", config_json().to_string().as_bytes());
    write("model.safetensors", &weights(&config(), |_, _| ()));
    write("tokenizer.json", &tokenizer_json());
    write("chat_template.jinja", TEMPLATE.as_bytes());
    write("generation_config.json", br#"{"temperature": 0.5, "eos_token_id": [10, 257]}"#);
    folder
}

fn open(folder: &TempDir) -> Result<Engine, EngineError> {
    block_on(Engine::open(folder.path(), options()))
}

#[test]
fn a_folder_is_loaded_with_everything_in_it() {
    let folder = folder();
    let mut seen = Vec::new();
    let engine = block_on(Engine::open_with_progress(folder.path(), options(), &mut |progress| seen.push(progress))).unwrap();
    assert!(engine.warnings().is_empty(), "{:?}", engine.warnings());
    assert_eq!(engine.end_tokens(), &BTreeSet::from([10, EOS]));
    assert_eq!(engine.default_sampling(), SamplingParams { temperature: 0.5, ..SamplingParams::default() });
    assert_eq!(engine.plan().context, 256);
    assert_eq!(engine.tokenizer().unwrap().encode("a", false).unwrap(), [97]);
    assert!(matches!(engine.prompt_format().unwrap(), PromptFormat::Jinja(_)));
    assert_eq!(seen.len(), config().tensors().len());
    assert!(seen.windows(2).all(|pair| pair[0].loaded_bytes < pair[1].loaded_bytes));
    let last = seen.last().unwrap();
    assert_eq!(last.loaded_bytes, last.total_bytes);
    assert_eq!(last.total_bytes, 4 * config().n_parameters());
}

#[test]
fn a_folder_and_its_parts_are_the_same_model() {
    let from_parts = try_engine(&config_json(), weights(&config(), |_, _| ()), true, options()).unwrap();
    let run = |engine: &Engine| {
        let request = crate::TraceRequest { ids: prompt(9), generate: 5, ..Default::default() };
        block_on(engine.trace(&request)).unwrap()
    };
    assert_eq!(run(&open(&folder()).unwrap()), run(&from_parts));
}

#[test]
fn files_and_a_folder_are_the_same_model() {
    let config_json = config_json().to_string();
    let file = || SafeFile::from_bytes("model.safetensors", weights(&config(), |_, _| ())).unwrap();
    let parts = || ModelParts {
        config_json: &config_json,
        weights: WeightFiles::Files(vec![file()]),
        tokenizer_json: None,
        tokenizer_config_json: None,
        chat_template_jinja: None,
        generation_config_json: None,
    };
    let inspection = block_on(inspect_parts(parts(), &options())).unwrap();
    assert_eq!(inspection.n_parameters, config().n_parameters());
    assert!(inspection.fits.is_ok());
    let mut last = None;
    let engine = block_on(Engine::from_parts_with_progress(parts(), options(), &mut |progress| last = Some(progress))).unwrap();
    assert_eq!(last.map(|progress| progress.loaded_bytes), Some(inspection.plan.weight_bytes));
    let run = |engine: &Engine| {
        let request = crate::TraceRequest { ids: prompt(9), generate: 5, ..Default::default() };
        block_on(engine.trace(&request)).unwrap()
    };
    assert_eq!(run(&engine), run(&open(&folder()).unwrap()));
}

/// The weights change and nothing else does: neither the old engine nor its sessions.
#[test]
fn an_engine_with_other_weights_is_the_engine_of_these_weights() {
    let halved = || weights(&config(), |_, values| values.iter_mut().for_each(|value| *value *= 0.5));
    let run = |engine: &Engine| {
        let request = crate::TraceRequest { ids: prompt(9), generate: 5, ..Default::default() };
        block_on(engine.trace(&request)).unwrap()
    };
    let first = try_engine(&config_json(), weights(&config(), |_, _| ()), true, options()).unwrap();
    let before = run(&first);
    let second = block_on(first.with_weights(halved())).unwrap();
    assert_eq!(run(&second), run(&try_engine(&config_json(), halved(), true, options()).unwrap()));
    assert!(run(&second) != before && run(&first) == before);
    assert_eq!(second.end_tokens(), first.end_tokens());
    assert_eq!(second.encode("a b").unwrap(), first.encode("a b").unwrap());
    let error = block_on(first.with_weights(vec![1, 2, 3])).unwrap_err();
    assert!(matches!(error, EngineError::Weights(_)), "{error}");
}

#[test]
fn inspecting_loads_nothing_and_tells_all() {
    let folder = folder();
    let options = EngineOptions { max_context: Some(100), ..options() };
    let inspection = block_on(inspect(folder.path(), &options)).unwrap();
    assert_eq!(inspection.n_parameters, config().n_parameters());
    assert_eq!(inspection.plan.context, 100);
    assert_eq!(inspection.report.size_bytes, 4 * config().n_parameters());
    assert!(inspection.has_tokenizer && inspection.fits.is_ok());
    assert!(inspection.device_reason.starts_with("cpu"), "{}", inspection.device_reason);
    let beyond = EngineOptions { max_context: Some(1000), ..options };
    let inspection = block_on(inspect(folder.path(), &beyond)).unwrap();
    assert!(matches!(inspection.fits, Err(EngineError::ContextRange { found: 1000, model_context: 256 })));
    assert!(matches!(block_on(Engine::open(folder.path(), beyond)), Err(EngineError::ContextRange { .. })));
}

#[test]
fn a_broken_folder_is_an_error_that_names_the_file() {
    type Edit = fn(&Path);
    let cases: [(&str, Edit); 7] = [
        ("config.json", |path| std::fs::remove_file(path).unwrap()),
        ("config.json", |path| std::fs::write(path, "{").unwrap()),
        ("config.json", |path| std::fs::write(path, r#"{"model_type": "bert"}"#).unwrap()),
        ("model.safetensors", |path| std::fs::write(path, [0; 20]).unwrap()),
        ("tokenizer.json", |path| std::fs::write(path, "{}").unwrap()),
        ("chat_template.jinja", |path| std::fs::write(path, "{% if %}").unwrap()),
        ("generation_config.json", |path| std::fs::write(path, "{").unwrap()),
    ];
    for (name, edit) in cases {
        let folder = folder();
        edit(&folder.path().join(name));
        let message = open(&folder).unwrap_err().to_string();
        let stem = name.split('.').next().unwrap();
        assert!(message.contains(name) || message.contains(stem) || message.contains("template"), "{name}: {message}");
    }
    let nowhere = block_on(Engine::open("no/such/folder", options())).unwrap_err();
    assert!(nowhere.to_string().contains("no/such/folder"), "{nowhere}");
}

#[test]
fn a_missing_tensor_is_named() {
    let mut narrow = config();
    narrow.num_hidden_layers = 1;
    narrow.moe_layers.truncate(1);
    let error = try_engine(&config_json(), weights(&narrow, |_, _| ()), true, options()).unwrap_err();
    assert!(matches!(error, EngineError::Weights(_)), "{error:?}");
    assert!(error.to_string().contains("model.layers.1."), "{error}");
}

#[test]
fn a_model_without_optional_files_loads() {
    let folder = folder();
    for name in ["tokenizer.json", "chat_template.jinja", "generation_config.json"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    let engine = open(&folder).unwrap();
    assert!(matches!(engine.tokenizer(), Err(EngineError::NoTokenizer)));
    assert_eq!(engine.end_tokens(), &BTreeSet::from([EOS]));
    assert_eq!(engine.default_sampling(), SamplingParams::default());
}

#[test]
fn a_tokenizer_larger_than_the_model_is_a_warning() {
    let mut json = config_json();
    json["vocab_size"] = 100.into();
    json["eos_token_id"] = 10.into();
    json["bos_token_id"] = 11.into();
    let weights = weights(&Config::from_json(&json).unwrap(), |_, _| ());
    let engine = try_engine(&json, weights, true, options()).unwrap();
    assert!(
        engine.warnings().iter().any(|warning| warning.contains("257") && warning.contains("100")),
        "{:?}",
        engine.warnings()
    );
}
