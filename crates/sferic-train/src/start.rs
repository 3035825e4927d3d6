//! The model that a stage starts from.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use serde_json::{Value, json};
use sferic_model::{Config, Model, TensorSource, TensorSpec};
use sferic_weights::Checkpoint;

use crate::TrainError;
use crate::checkpoint;
use crate::config::{RunConfig, Stage, Step};
use crate::dataset::hash_file;
use crate::export::is_exported;
use crate::init::{FolderWeights, RandomWeights};

/// Where a stage gets its first weights.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// Random ones.
    Seed,
    /// A model folder from outside the run.
    Folder(PathBuf),
    /// An earlier stage: its newest checkpoint, or its model folder where there are no checkpoints any more; or the model of a specialist.
    Earlier(PathBuf),
}

/// Reads the configuration of the model that a stage makes.
///
/// # Errors
/// [`TrainError::Io`] or [`TrainError::ModelConfig`]; [`TrainError::ConfigValue`] when the earlier stage has not been run.
pub fn model_config(run: &RunConfig, stage: Stage) -> Result<Config, TrainError> {
    let path = match origin(run, stage)? {
        Origin::Seed | Origin::Folder(_) => run.model.clone(),
        Origin::Earlier(folder) => folder.join("config.json"),
    };
    let mut value = read_config(&path)?;
    if let Some(context) = run.stage(stage)?.context {
        stretch(&mut value, context, stage, &path)?;
    }
    Config::from_json(&value).map_err(|source| TrainError::ModelConfig { source, path })
}

/// Reads the configuration of the model that the first stage makes.
///
/// # Errors
/// [`TrainError::Io`] or [`TrainError::ModelConfig`].
pub fn first_model_config(run: &RunConfig) -> Result<Config, TrainError> {
    let path = run.model.clone();
    Config::from_json(&read_config(&path)?).map_err(|source| TrainError::ModelConfig { source, path })
}

/// Reads the configuration of a finished model.
///
/// # Errors
/// [`TrainError::Io`] or [`TrainError::ModelConfig`].
pub fn config_of(folder: &Path) -> Result<Config, TrainError> {
    let path = folder.join("config.json");
    Config::from_json(&read_config(&path)?).map_err(|source| TrainError::ModelConfig { source, path })
}

/// Checks that a stage which starts from a folder outside the run reads tokens of that model's tokenizer.
///
/// # Errors
/// [`TrainError::ConfigValue`] when both have a tokenizer.json and these are not the same; [`TrainError::Io`].
pub(crate) fn check_tokenizer(run: &RunConfig, stage: Stage) -> Result<(), TrainError> {
    let Origin::Folder(folder) = origin(run, stage)? else { return Ok(()) };
    let (theirs, ours) = (folder.join("tokenizer.json"), &run.data.tokenizer);
    if !theirs.exists() || hash_file(&theirs)? == hash_file(ours)? {
        return Ok(());
    }
    let expected = format!("the tokenizer of `init_from`, {}, as token ids mean nothing to another model", theirs.display());
    Err(TrainError::config("data.tokenizer", expected, format!("another file, {}", ours.display())))
}

/// Returns the model that a stage starts from.
///
/// # Errors
/// Those of [`model_config`]; [`TrainError::Weights`] when weights are missing or of other shapes.
pub(crate) fn first_model(run: &RunConfig, stage: Stage, config: &Config, device: &Device) -> Result<Model, TrainError> {
    let random = RandomWeights::new(config, run.initializer_range, run.seed);
    match origin(run, stage)? {
        Origin::Seed => Model::load(config, &mut { random }, device),
        Origin::Folder(folder) | Origin::Earlier(folder) => {
            let checkpoint = Checkpoint::open(&folder)?;
            Model::load(config, &mut WithIndexer { folder: FolderWeights(&checkpoint), random }, device)
        }
    }
}

fn origin(run: &RunConfig, stage: Stage) -> Result<Origin, TrainError> {
    if let Some(name) = run.specialist_before(stage) {
        let model = run.folder(Step::Specialists).join(name).join("model");
        if !is_exported(&model) {
            let expected = format!("the specialist `{name}`; run `sferic train specialists` first");
            return Err(TrainError::config("distill.from", expected, format!("no model in {}", model.display())));
        }
        return Ok(Origin::Earlier(model));
    }
    let Some(before) = run.before(stage) else {
        return Ok(run.init_from.clone().map_or(Origin::Seed, Origin::Folder));
    };
    let folder = run.folder(before);
    let newest = checkpoint::latest(&folder.join("checkpoints"))?;
    let model = folder.join("model");
    match newest {
        _ if !run.is_finished(before) => {
            let expected =
                format!("the finished stage `{0}` in {1}; run `sferic train {0}` first", before.name(), folder.display());
            Err(TrainError::config(stage.name(), expected, "no model there"))
        }
        // The same weights, in full precision.
        Some(newest) => Ok(Origin::Earlier(newest)),
        None => Ok(Origin::Earlier(model)),
    }
}

fn read_config(path: &Path) -> Result<Value, TrainError> {
    let text = std::fs::read_to_string(path).map_err(TrainError::io("read the model configuration", path))?;
    serde_json::from_str(&text).map_err(|error| TrainError::ConfigSyntax { message: error.to_string(), path: path.to_path_buf() })
}

/// Stretches a model's positions to `context` by YaRN, with the constants of DeepSeek-V3 (spec §2.3).
fn stretch(config: &mut Value, context: usize, stage: Stage, path: &Path) -> Result<(), TrainError> {
    let parsed = Config::from_json(config).map_err(|source| TrainError::ModelConfig { source, path: path.to_path_buf() })?;
    let original = match &parsed.rope.yarn {
        Some(yarn) => yarn.original_max_position_embeddings,
        None => parsed.max_position_embeddings,
    };
    if context <= original {
        let expected = format!("more than the {original} positions that the model was trained on");
        return Err(TrainError::config(&format!("{}.context", stage.table()), expected, context.to_string()));
    }
    let Value::Object(keys) = config else { return Ok(()) };
    keys.remove("rope_scaling");
    keys.remove("rope_theta");
    keys.insert("max_position_embeddings".to_owned(), json!(context));
    let rope = json!({
        "rope_type": "yarn",
        "rope_theta": parsed.rope.rope_theta,
        "factor": context as f64 / original as f64,
        "original_max_position_embeddings": original,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    });
    keys.insert("rope_parameters".to_owned(), rope);
    Ok(())
}

/// The weights of a folder, with random indexers where it has none: what turns a dense checkpoint into one to warm up.
struct WithIndexer<'a> {
    folder: FolderWeights<'a>,
    random: RandomWeights,
}

impl TensorSource for WithIndexer<'_> {
    type Error = TrainError;

    fn tensor(&mut self, spec: &TensorSpec) -> Result<TensorData, TrainError> {
        if spec.name.contains(".indexer.") && self.folder.0.names().all(|name| name != spec.name) {
            return self.random.tensor(spec);
        }
        self.folder.tensor(spec)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const RUN: &str = r#"
init_from = "base"
output = "run"
model = "config.json"
[data]
root = "corpus"
folder = "data"
tokenizer = "tokenizer.json"
[[data.sources]]
name = "sums"
format = "tasks"
weight = 1.0
[[specialists]]
name = "math"
[specialists.grpo]
steps = 1
lr = 1e-5
[distill]
from = "math"
[distill.collect]
n_conversations = 1
[distill.train]
steps = 1
seq_len = 1024
batch_size = 1
lr = 1e-3
"#;

    #[test]
    fn one_model_of_the_specialists_starts_from_the_one_named() {
        let folder = tempfile::tempdir().unwrap();
        let parse = |text: &str| RunConfig::parse(text, &folder.path().join("run.toml")).unwrap();
        let run = parse(RUN);
        let error = origin(&run, Stage::Distill).unwrap_err().to_string();
        assert!(error.contains("`distill.from`") && error.contains("sferic train specialists"), "{error}");
        let model = folder.path().join("run/specialists/math/model");
        std::fs::create_dir_all(&model).unwrap();
        // The last file of a model.
        std::fs::write(model.join("generation_config.json"), "{}").unwrap();
        assert_eq!(origin(&run, Stage::Distill).unwrap(), Origin::Earlier(model));
        let base = folder.path().join("base");
        assert_eq!(origin(&parse(&RUN.replace("from = \"math\"", "")), Stage::Distill).unwrap(), Origin::Folder(base));
    }
}
