//! Loading a model with a bar, and saying what was loaded.

use crate::output::{count, dim, note};
use crate::progress::Progress;
use crate::{embedded, interrupt};
use anyhow::Result;
use serde_json::{Value, json};
use sferic_engine::{Engine, EngineOptions};
use std::path::Path;

/// Loads the model in `folder`, or the embedded one, and shows its warnings.
///
/// # Errors
/// Those of [`Engine::open`].
pub fn open(folder: Option<&Path>, options: EngineOptions) -> Result<Engine> {
    let engine = pollster::block_on(async {
        match folder {
            Some(folder) => {
                let mut progress = Progress::bytes("loading");
                Engine::open_with_progress(folder, options, &mut |loaded| progress.show(loaded.loaded_bytes, loaded.total_bytes))
                    .await
            }
            None => embedded::open(options).await,
        }
    })?;
    for warning in engine.warnings() {
        note(&format!("warning: {warning}"));
    }
    Ok(engine)
}

/// As [`open`] for commands that write a reply: Ctrl-C is taken over, and the model and its device are named on standard error.
///
/// # Errors
/// Those of [`open`].
pub fn open_for_reply(folder: Option<&Path>, options: EngineOptions) -> Result<Engine> {
    interrupt::install()?;
    let engine = open(folder, options)?;
    let config = engine.config();
    dim(&format!(
        "{}: {}, {} parameters · {} ({}) · context {} tokens",
        name(folder),
        config.model_type.name(),
        count(config.n_parameters()),
        engine.device().info.name,
        engine.device().reason,
        engine.plan().context,
    ));
    Ok(engine)
}

/// What the model is called in messages.
pub fn name(folder: Option<&Path>) -> String {
    folder.map_or_else(|| embedded::NAME.to_owned(), |folder| folder.display().to_string())
}

/// The first event of a stream of JSON lines.
pub fn start_event(folder: Option<&Path>, engine: &Engine) -> Value {
    json!({
        "event": "start",
        "model": name(folder),
        "model_type": engine.config().model_type.name(),
        "n_parameters": engine.config().n_parameters(),
        "device": engine.device().info,
        "device_reason": engine.device().reason,
        "context": engine.plan().context,
    })
}
