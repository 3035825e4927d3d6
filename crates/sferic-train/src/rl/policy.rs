//! The trained model as an engine that draws replies: weights go from one to the other in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sferic_engine::{Engine, EngineOptions, ModelParts};
use sferic_model::Model;
use sferic_weights::{Dtype, TensorMeta, bytes_from_f32, serialize};

use crate::TrainError;

/// What a model folder holds beside the weights, and the engine that was made of them last.
#[derive(Debug)]
pub struct Policy {
    folder: PathBuf,
    options: EngineOptions,
    engine: Option<Engine>,
}

impl Policy {
    /// Takes tokenizer and prompt format from a model folder; nothing is loaded yet.
    pub fn new(folder: &Path, options: EngineOptions) -> Self {
        Self { folder: folder.to_path_buf(), options, engine: None }
    }

    /// Returns an engine with the weights of `model`, in f32. After the first time the device and its kernels are kept.
    ///
    /// # Errors
    /// [`TrainError::Io`] for files of the folder that cannot be read, [`TrainError::Weights`] and [`TrainError::Engine`].
    pub fn engine(&mut self, model: &Model) -> Result<Engine, TrainError> {
        let weights = weights(model)?;
        let engine = match &self.engine {
            Some(engine) => pollster::block_on(engine.with_weights(weights))?,
            None => self.open(model, weights)?,
        };
        self.engine = Some(engine.clone());
        Ok(engine)
    }

    fn open(&self, model: &Model, weights: Vec<u8>) -> Result<Engine, TrainError> {
        let path = self.folder.join("tokenizer.json");
        let tokenizer = std::fs::read(&path).map_err(TrainError::io("read the tokenizer", &path))?;
        let [tokenizer_config, template, generation] =
            ["tokenizer_config.json", "chat_template.jinja", "generation_config.json"].map(|name| self.optional(name));
        let (tokenizer_config, template, generation) = (tokenizer_config?, template?, generation?);
        let mut config = model.config().to_json();
        if let Value::Object(keys) = &mut config {
            keys.insert("torch_dtype".to_owned(), json!("float32"));
        }
        let parts = ModelParts {
            config_json: &config.to_string(),
            weights: weights.into(),
            tokenizer_json: Some(&tokenizer),
            tokenizer_config_json: tokenizer_config.as_deref(),
            chat_template_jinja: template.as_deref(),
            generation_config_json: generation.as_deref(),
        };
        Ok(pollster::block_on(Engine::from_parts(parts, self.options.clone()))?)
    }

    fn optional(&self, name: &str) -> Result<Option<String>, TrainError> {
        let path = self.folder.join(name);
        if !path.exists() {
            return Ok(None);
        }
        std::fs::read_to_string(&path).map(Some).map_err(TrainError::io("read the model's folder", &path))
    }
}

/// The bytes of a safetensors file with all weights in f32.
fn weights(model: &Model) -> Result<Vec<u8>, TrainError> {
    let mut tensors = Vec::new();
    for (spec, data) in model.named_tensors() {
        let values = data.try_into_vec::<f32>().map_err(|error| TrainError::Device {
            step: 0,
            action: "reading the weights",
            message: error.to_string(),
        })?;
        // f32 has an encoding, so that there are always bytes.
        let bytes = bytes_from_f32(&values, Dtype::F32).unwrap_or_default();
        tensors.push((TensorMeta::new(spec.name, Dtype::F32, spec.shape), bytes.into()));
    }
    Ok(serialize(tensors, &BTreeMap::new())?)
}
