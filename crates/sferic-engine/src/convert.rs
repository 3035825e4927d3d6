//! A model in another number format.

use crate::{EngineError, ModelParts};
use sferic_model::Config;
use sferic_weights::{Checkpoint, Companion, Conversion, ConvertOptions, WeightsError, convert_model};
use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::Path;

/// Hears stored bytes done and in all, and may end the conversion.
pub type ConvertProgress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Beginnings of the names of files that belong to a model beside its weights and its configuration.
const COMPANIONS: [&str; 8] =
    ["tokenizer", "chat_template", "generation_config", "special_tokens", "added_tokens", "vocab", "merges", "LICENSE"];

/// Converts a Hugging Face model folder into a new folder `out`, with its tokenizer, its chat template and its generation settings.
///
/// # Errors
/// Those of [`Engine::open`](crate::Engine::open) for the folder, and those of [`convert_model`].
pub fn convert_folder(
    folder: impl AsRef<Path>,
    out: impl AsRef<Path>,
    options: &ConvertOptions,
    progress: ConvertProgress<'_>,
) -> Result<Conversion, EngineError> {
    let folder = folder.as_ref();
    let checkpoint = Checkpoint::open(folder)?;
    check(&checkpoint)?;
    convert(&checkpoint, out.as_ref(), &companions(folder)?, options, progress)
}

/// Converts a model in memory into a new folder `out`.
///
/// # Errors
/// Those of [`convert_folder`].
pub fn convert_parts(
    parts: ModelParts<'_>,
    out: impl AsRef<Path>,
    options: &ConvertOptions,
    progress: ConvertProgress<'_>,
) -> Result<Conversion, EngineError> {
    let checkpoint = parts.weights.open(parts.config_json)?;
    check(&checkpoint)?;
    let texts = [
        ("tokenizer_config.json", parts.tokenizer_config_json),
        ("chat_template.jinja", parts.chat_template_jinja),
        ("generation_config.json", parts.generation_config_json),
    ];
    let files = texts.into_iter().map(|(name, text)| (name, text.map(str::as_bytes)));
    let files = files.chain([("tokenizer.json", parts.tokenizer_json)]);
    let companions: Vec<Companion<'_>> =
        files.filter_map(|(name, bytes)| Some((name.to_owned(), Cow::Borrowed(bytes?)))).collect();
    convert(&checkpoint, out.as_ref(), &companions, options, progress)
}

/// Checks that the tensors are those of the configured model: what is wrong had better show now than when the result is loaded.
fn check(checkpoint: &Checkpoint) -> Result<(), EngineError> {
    let config = Config::from_json(checkpoint.config_json())?;
    let wanted: Vec<_> = config.tensors().into_iter().map(|spec| (spec.name, spec.shape)).collect();
    checkpoint.check(&wanted)?;
    Ok(())
}

fn convert(
    checkpoint: &Checkpoint,
    out: &Path,
    companions: &[Companion<'_>],
    options: &ConvertOptions,
    progress: ConvertProgress<'_>,
) -> Result<Conversion, EngineError> {
    let mut progress = |state: sferic_weights::Progress| progress(state.done_bytes, state.total_bytes);
    Ok(convert_model(checkpoint, out, companions, options, &mut progress)?)
}

/// Reads the files of a folder that belong to the model.
fn companions(folder: &Path) -> Result<Vec<Companion<'static>>, EngineError> {
    let io = |action, reason, path: &Path| WeightsError::Io { action, reason, path: path.to_owned() };
    let mut companions = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|reason| io("list the folder", reason, folder))? {
        let path = entry.map_err(|reason| io("list the folder", reason, folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if COMPANIONS.iter().any(|beginning| name.starts_with(beginning)) && path.is_file() {
            let bytes = std::fs::read(&path).map_err(|reason| io("read the file", reason, &path))?;
            companions.push((name.to_owned(), Cow::Owned(bytes)));
        }
    }
    companions.sort();
    Ok(companions)
}
