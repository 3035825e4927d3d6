//! The demo model that the program carries.

use sferic_engine::{Engine, EngineError, EngineOptions, ModelParts};

/// How the demo model is called in messages.
pub const NAME: &str = "the embedded demo model";

/// `config.json` of the demo model.
pub const CONFIG_JSON: &str = include_str!("../../../assets/demo/config.json");
/// `tokenizer.json` of the demo model.
pub const TOKENIZER_JSON: &[u8] = include_bytes!("../../../assets/demo/tokenizer.json");
/// `tokenizer_config.json` of the demo model.
pub const TOKENIZER_CONFIG_JSON: &str = include_str!("../../../assets/demo/tokenizer_config.json");
/// The weights of the demo model.
pub const WEIGHTS: &[u8] = include_bytes!("../../../assets/demo/model.safetensors");

const GENERATION_CONFIG_JSON: &str = include_str!("../../../assets/demo/generation_config.json");

/// The files of the demo model.
pub fn parts() -> ModelParts<'static> {
    ModelParts {
        config_json: CONFIG_JSON,
        weights: WEIGHTS.into(),
        tokenizer_json: Some(TOKENIZER_JSON),
        tokenizer_config_json: Some(TOKENIZER_CONFIG_JSON),
        chat_template_jinja: None,
        generation_config_json: Some(GENERATION_CONFIG_JSON),
    }
}

/// Loads the demo model.
pub async fn open(options: EngineOptions) -> Result<Engine, EngineError> {
    Engine::from_parts(parts(), options).await
}
