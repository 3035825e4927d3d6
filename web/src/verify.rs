//! A run against reference values in the browser, as `sferic verify` makes it.

use js_sys::Uint8Array;
use serde_json::json;
use sferic_engine::{Engine, EngineOptions, Golden, ModelParts, VerifyOptions, WeightPrecision};
use wasm_bindgen::prelude::*;

use crate::engine::{Fault, Opening, message, parse};

/// Runs the prompt of a `golden.safetensors` with weights in f32 and returns JSON in the fields of `sferic verify --json`. `options` are those of
/// [`Engine::open`](crate::engine::Engine::open), as JSON.
///
/// # Errors
/// A message that names what is wrong; a value that differs is a row and no error.
#[wasm_bindgen]
pub async fn verify(config: String, weights: Uint8Array, golden: Uint8Array, options: String) -> Result<String, Fault> {
    console_error_panic_hook::set_once();
    let options = EngineOptions { weights: WeightPrecision::F32, ..parse::<Opening>("options", &options)?.into_options()? };
    let golden = Golden::from_bytes(golden.to_vec()).map_err(message)?;
    let parts = ModelParts {
        config_json: &config,
        weights: weights.to_vec().into(),
        tokenizer_json: None,
        tokenizer_config_json: None,
        chat_template_jinja: None,
        generation_config_json: None,
    };
    let engine = Engine::from_parts(parts, options).await.map_err(message)?;
    let verification = engine.verify(&golden, VerifyOptions::default()).await.map_err(message)?;
    let report = json!({
        "device": engine.device().info,
        "device_reason": engine.device().reason,
        "n_tokens": golden.input_ids.len(),
        "passed": verification.passed(),
        "path": if engine.runs_on_kernels() { "kernels" } else { "reference" },
        "bound": verification.bound,
        "rows": verification.rows,
    });
    Ok(report.to_string())
}
