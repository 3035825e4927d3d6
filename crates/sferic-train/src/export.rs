//! Writes a model folder that `sferic` and Hugging Face's libraries read.

use std::path::Path;

use serde_json::{Value, json};
use sferic_model::Model;
use sferic_weights::{Dtype, TensorMeta, WeightsError, bytes_from_f32, save_weights, write_atomic};

use crate::TrainError;

/// Writes `config.json` and `model.safetensors` with the weights as `dtype` (F32, BF16 or F16).
///
/// # Errors
/// [`TrainError::Io`] when the folder cannot be made, [`TrainError::Weights`] when a file cannot be written.
pub fn write_model(model: &Model, dtype: Dtype, folder: &Path) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder).map_err(TrainError::io("create the model's folder", folder))?;
    let mut config = model.config().to_json();
    if let Value::Object(keys) = &mut config {
        let name = if dtype == Dtype::Bf16 { "bfloat16" } else { "float32" };
        keys.insert("torch_dtype".to_owned(), json!(name));
    }
    let mut tensors = model.named_tensors();
    tensors.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let metas: Vec<TensorMeta> =
        tensors.iter().map(|(spec, _)| TensorMeta::new(spec.name.clone(), dtype, spec.shape.clone())).collect();
    save_weights(folder, &metas, u64::MAX, |meta| {
        let data = tensors.iter().find(|(spec, _)| spec.name == meta.name).map(|(_, data)| data);
        let values: Vec<f32> = data.map(|data| data.iter::<f32>().collect()).unwrap_or_default();
        // A type without an encoding yields no bytes, which the writer refuses with the tensor's name.
        Ok::<_, WeightsError>(bytes_from_f32(&values, dtype).unwrap_or_default().into())
    })?;
    Ok(write_atomic(folder.join("config.json"), format!("{config:#}\n").as_bytes())?)
}

/// Whether `folder` holds a complete model of [`export`]: its last file is there.
pub fn is_exported(folder: &Path) -> bool {
    folder.join("generation_config.json").exists()
}

/// Files of a checkpoint that say how its text is read and written.
const TEXT_FILES: [&str; 8] = [
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
];

/// Writes a complete model folder: BF16 weights, configuration, tokenizer and generation defaults.
///
/// `tokenizer` is the tokenizer.json; the checkpoint's other files about text that lie beside it are copied too, and its
/// generation_config.json takes the place of the defaults.
///
/// # Errors
/// As [`write_model`], and [`TrainError::Io`] when the tokenizer cannot be copied.
pub fn export(model: &Model, tokenizer: &Path, folder: &Path) -> Result<(), TrainError> {
    write_model(model, Dtype::Bf16, folder)?;
    let read = |path: &Path| std::fs::read(path).map_err(TrainError::io("read the tokenizer", path));
    write_atomic(folder.join("tokenizer.json"), &read(tokenizer)?)?;
    for name in TEXT_FILES {
        let path = tokenizer.with_file_name(name);
        if path.exists() {
            write_atomic(folder.join(name), &read(&path)?)?;
        }
    }
    let config = model.config();
    let path = tokenizer.with_file_name("generation_config.json");
    let generation = match path.exists() {
        true => read(&path)?,
        false => {
            let defaults = json!({
                "bos_token_id": config.bos_token_id,
                "eos_token_id": config.eos_token_id,
                "do_sample": true,
                "temperature": 0.7,
                "top_p": 0.95,
            });
            format!("{defaults:#}\n").into_bytes()
        }
    };
    Ok(write_atomic(folder.join("generation_config.json"), &generation)?)
}
