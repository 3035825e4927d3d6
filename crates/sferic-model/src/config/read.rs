//! Reading `config.json`.

use serde_json::{Map, Value};
use sferic_ops::{
    moe::{GroupScore, Routing, Scoring},
    rope::{RopeLayout, Yarn},
};

use super::{Config, ConfigError, IndexerConfig, IndexerType, ModelType, MoeConfig, Rope, yarn_mscale};

/// Sizes above this are refused: no such model exists, and products of sizes must not overflow.
const MAX_SIZE: usize = 1 << 28;

impl Config {
    /// Reads a parsed `config.json`.
    ///
    /// Both spellings of the rotary settings are read: `rope_parameters`, and `rope_scaling` with `rope_theta`.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key, what was expected and what was found.
    pub fn from_json(value: &Value) -> Result<Config, ConfigError> {
        let Value::Object(map) = value else {
            return Err(ConfigError::NotAnObject { found: kind_of(value) });
        };
        let model_type = read_model_type(map)?;
        let keys = Keys { map, model_type };
        let layers = keys.size("num_hidden_layers")?;
        let hidden_size = keys.size("hidden_size")?;
        let heads = keys.size("num_attention_heads")?;
        let rope = read_rope(&keys)?;
        let is_minicpm = model_type == ModelType::Minicpm3;
        let config = Config {
            model_type,
            vocab_size: keys.size("vocab_size")?,
            hidden_size,
            intermediate_size: keys.size("intermediate_size")?,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            q_lora_rank: keys.optional_size("q_lora_rank")?,
            kv_lora_rank: keys.size("kv_lora_rank")?,
            qk_nope_head_dim: keys.size("qk_nope_head_dim")?,
            qk_rope_head_dim: keys.size("qk_rope_head_dim")?,
            v_head_dim: match keys.optional_size("v_head_dim")? {
                Some(width) => width,
                None if is_minicpm => hidden_size / heads,
                None => return Err(keys.missing("v_head_dim")),
            },
            max_position_embeddings: keys.size("max_position_embeddings")?,
            rms_norm_eps: keys.number_or("rms_norm_eps", default_eps(model_type))?,
            latent_norm_eps: keys.number_or("latent_norm_eps", 1e-6)?,
            attention_bias: keys.flag_or("attention_bias", false)?,
            tie_word_embeddings: keys
                .flag_or("tie_word_embeddings", matches!(model_type, ModelType::Youtu | ModelType::Minicpm3))?,
            rope_layout: layout(keys.flag_or("rope_interleave", !is_minicpm)?),
            moe_layers: read_moe_layers(&keys, layers)?,
            moe: read_moe(&keys)?,
            indexer: read_indexer(&keys, layers, &rope)?,
            rope,
            scale_emb: keys.number_or("scale_emb", if is_minicpm { 12.0 } else { 1.0 })?,
            scale_depth: if is_minicpm { Some(keys.number_or("scale_depth", 1.4)?) } else { None },
            dim_model_base: if is_minicpm { keys.optional_size("dim_model_base")? } else { None },
            initializer_range: keys.number_or("initializer_range", 0.02)?,
            bos_token_id: keys.tokens("bos_token_id")?.first().copied(),
            eos_token_id: keys.tokens("eos_token_id")?,
        };
        check(&config)?;
        Ok(config)
    }
}

fn default_eps(model_type: ModelType) -> f64 {
    match model_type {
        ModelType::GlmMoeDsa | ModelType::Glm4MoeLite | ModelType::Minicpm3 => 1e-5,
        _ => 1e-6,
    }
}

fn layout(interleaved: bool) -> RopeLayout {
    if interleaved { RopeLayout::Interleaved } else { RopeLayout::HalfSplit }
}

fn read_model_type(map: &Map<String, Value>) -> Result<ModelType, ConfigError> {
    let found = match map.get("model_type") {
        Some(Value::String(name)) => name.clone(),
        Some(other) => other.to_string(),
        None => "(absent)".to_string(),
    };
    ModelType::ALL
        .iter()
        .find(|(name, _)| *name == found)
        .map(|(_, model_type)| *model_type)
        .ok_or_else(|| ConfigError::UnknownModelType { found, supported: ModelType::ALL.map(|(name, _)| name).join(", ") })
}

fn read_rope(keys: &Keys) -> Result<Rope, ConfigError> {
    let settings = match (keys.map.get("rope_parameters"), keys.map.get("rope_scaling")) {
        (Some(Value::Object(map)), _) | (_, Some(Value::Object(map))) => Some(map),
        _ => None,
    };
    let empty = Map::new();
    let inner = Keys { map: settings.unwrap_or(&empty), model_type: keys.model_type };
    let rope_theta = match inner.map.get("rope_theta") {
        Some(_) => inner.number_or("rope_theta", 10_000.0)?,
        None => keys.number_or("rope_theta", 10_000.0)?,
    };
    let kind = inner.map.get("rope_type").or_else(|| inner.map.get("type"));
    let kind = kind.and_then(Value::as_str).unwrap_or("default");
    let mscale = inner.optional_number("mscale")?;
    let mscale_all_dim = inner.optional_number("mscale_all_dim")?;
    let mut rope = Rope { rope_theta, yarn: None, attention_factor: 1.0, mscale, mscale_all_dim };
    match kind {
        "default" => {}
        "yarn" | "deepseek_yarn" => {
            let factor = inner.optional_number("factor")?.ok_or_else(|| keys.missing("rope_parameters.factor"))?;
            rope.yarn = Some(Yarn {
                factor,
                original_max_position_embeddings: inner.size("original_max_position_embeddings")?,
                beta_fast: inner.number_or("beta_fast", 32.0)?,
                beta_slow: inner.number_or("beta_slow", 1.0)?,
                truncate: inner.flag_or("truncate", true)?,
            });
            rope.attention_factor = match (inner.optional_number("attention_factor")?, mscale, mscale_all_dim) {
                (Some(given), ..) => given,
                (None, Some(m), Some(all)) if m != 0.0 && all != 0.0 => yarn_mscale(factor, m) / yarn_mscale(factor, all),
                _ => yarn_mscale(factor, 1.0),
            };
        }
        other => {
            return Err(ConfigError::WrongValue {
                key: "rope_parameters.rope_type".into(),
                expected: "\"default\" or \"yarn\"".into(),
                found: format!("{other:?}"),
            });
        }
    }
    Ok(rope)
}

fn read_moe_layers(keys: &Keys, n_layers: usize) -> Result<Vec<bool>, ConfigError> {
    if matches!(keys.model_type, ModelType::Youtu | ModelType::Minicpm3) {
        return Ok(vec![false; n_layers]);
    }
    if let Some(Value::Array(kinds)) = keys.map.get("mlp_layer_types") {
        expect_length("mlp_layer_types", kinds.len(), n_layers)?;
        return Ok(kinds.iter().map(|kind| kind.as_str() == Some("sparse")).collect());
    }
    let default_dense = match keys.model_type {
        ModelType::DeepseekV2 => 0,
        ModelType::Glm4MoeLite => 1,
        _ => 3,
    };
    let n_dense = keys.count_or("first_k_dense_replace", default_dense)?;
    let every = keys.count_or("moe_layer_freq", 1)?.max(1);
    Ok((0..n_layers).map(|i| i >= n_dense && i.is_multiple_of(every)).collect())
}

fn read_moe(keys: &Keys) -> Result<Option<MoeConfig>, ConfigError> {
    if matches!(keys.model_type, ModelType::Youtu | ModelType::Minicpm3) {
        return Ok(None);
    }
    let Some(n_routed_experts) = keys.optional_size("n_routed_experts")? else {
        return Ok(None);
    };
    let is_v2 = keys.model_type == ModelType::DeepseekV2;
    let topk_method = keys.map.get("topk_method").and_then(Value::as_str);
    let grouped = !is_v2 || topk_method == Some("group_limited_greedy");
    let routing = Routing {
        scoring: if is_v2 { Scoring::Softmax } else { Scoring::Sigmoid },
        n_group: if grouped { keys.count_or("n_group", 1)?.max(1) } else { 1 },
        topk_group: if grouped { keys.count_or("topk_group", 1)?.max(1) } else { 1 },
        group_score: if is_v2 { GroupScore::Max } else { GroupScore::TopTwoSum },
        num_experts_per_tok: keys.size("num_experts_per_tok")?,
        // The reference of DeepSeek-V2 never normalises, whatever the key says.
        norm_topk_prob: !is_v2 && keys.flag_or("norm_topk_prob", true)?,
        routed_scaling_factor: keys.number_or("routed_scaling_factor", 1.0)?,
    };
    Ok(Some(MoeConfig {
        n_routed_experts,
        n_shared_experts: keys.count_or("n_shared_experts", 0)?,
        moe_intermediate_size: keys.size("moe_intermediate_size")?,
        routing,
        has_correction_bias: !is_v2,
    }))
}

fn read_indexer(keys: &Keys, n_layers: usize, rope: &Rope) -> Result<Option<IndexerConfig>, ConfigError> {
    let is_glm = match keys.model_type {
        ModelType::DeepseekV32 => false,
        ModelType::GlmMoeDsa => true,
        _ => return Ok(None),
    };
    Ok(Some(IndexerConfig {
        index_n_heads: keys.size("index_n_heads")?,
        index_head_dim: keys.size("index_head_dim")?,
        index_topk: keys.size("index_topk")?,
        indexer_types: read_indexer_types(keys, n_layers)?,
        rope_layout: layout(keys.flag_or("indexer_rope_interleave", is_glm)?),
        yarn: rope.yarn,
        k_norm_eps: keys.number_or("indexer_k_norm_eps", 1e-6)?,
    }))
}

/// Reads the sharing of selections: `indexer_types`, else `index_topk_pattern`, else `index_topk_freq` with `index_skip_topk_offset`.
fn read_indexer_types(keys: &Keys, n_layers: usize) -> Result<Vec<IndexerType>, ConfigError> {
    let names: Option<Vec<String>> = match (keys.map.get("indexer_types"), keys.map.get("index_topk_pattern")) {
        (Some(Value::Array(list)), _) | (_, Some(Value::Array(list))) => {
            Some(list.iter().map(|v| v.as_str().unwrap_or_default().to_string()).collect())
        }
        (_, Some(Value::String(pattern))) => Some(pattern.chars().map(String::from).collect()),
        _ => None,
    };
    if let Some(names) = names {
        expect_length("indexer_types", names.len(), n_layers)?;
        return names
            .iter()
            .map(|name| match name.as_str() {
                "full" | "F" => Ok(IndexerType::Full),
                "shared" | "S" => Ok(IndexerType::Shared),
                other => Err(ConfigError::WrongValue {
                    key: "indexer_types".into(),
                    expected: "\"full\" or \"shared\" per layer".into(),
                    found: format!("{other:?}"),
                }),
            })
            .collect();
    }
    let freq = keys.count_or("index_topk_freq", 1)?.max(1);
    let offset = keys.count_or("index_skip_topk_offset", 2)?;
    let is_full = |layer_idx: usize| (layer_idx + 1).saturating_sub(offset).is_multiple_of(freq);
    Ok((0..n_layers).map(|i| if is_full(i) { IndexerType::Full } else { IndexerType::Shared }).collect())
}

fn expect_length(key: &str, found: usize, expected: usize) -> Result<(), ConfigError> {
    if found == expected {
        return Ok(());
    }
    Err(ConfigError::WrongValue {
        key: key.into(),
        expected: format!("one entry for each of {expected} layers"),
        found: format!("{found} entries"),
    })
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let fail = |what: String| Err(ConfigError::Inconsistent { what });
    if !config.qk_rope_head_dim.is_multiple_of(2) {
        return fail(format!("qk_rope_head_dim is {} and rotary pairs need an even number", config.qk_rope_head_dim));
    }
    if let Some(indexer) = &config.indexer {
        if indexer.index_head_dim < config.qk_rope_head_dim {
            let (head, rope) = (indexer.index_head_dim, config.qk_rope_head_dim);
            return fail(format!("index_head_dim is {head} and must hold the {rope} rotated components"));
        }
        if indexer.indexer_types.first() != Some(&IndexerType::Full) {
            return fail("indexer_types starts with a shared layer, which has no selection to share".into());
        }
        if config.q_lora_rank.is_none() {
            return fail("q_lora_rank is absent and the indexer's queries are made from the query latent".into());
        }
    }
    let Some(moe) = &config.moe else {
        if config.moe_layers.contains(&true) {
            return fail("n_routed_experts is absent and some layers are mixtures of experts".into());
        }
        return Ok(());
    };
    let routing = &moe.routing;
    if !moe.n_routed_experts.is_multiple_of(routing.n_group) {
        return fail(format!("{} routed experts do not divide into n_group = {} groups", moe.n_routed_experts, routing.n_group));
    }
    let reachable = moe.n_routed_experts / routing.n_group * routing.topk_group;
    if routing.topk_group > routing.n_group || routing.num_experts_per_tok > reachable {
        let (active, groups) = (routing.num_experts_per_tok, routing.topk_group);
        return fail(format!(
            "num_experts_per_tok = {active} experts cannot be chosen from topk_group = {groups} of {} groups",
            routing.n_group
        ));
    }
    Ok(())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Typed access to the keys of one JSON object.
struct Keys<'a> {
    map: &'a Map<String, Value>,
    model_type: ModelType,
}

impl Keys<'_> {
    fn missing(&self, key: &str) -> ConfigError {
        ConfigError::MissingKey { key: key.into(), model_type: self.model_type.name() }
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> ConfigError {
        ConfigError::WrongValue { key: key.into(), expected: expected.into(), found: found.to_string() }
    }

    /// Returns the value, with `null` the same as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn count(&self, key: &str, lowest: usize) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let found = value.as_u64().and_then(|n| usize::try_from(n).ok());
        match found {
            Some(n) if (lowest..=MAX_SIZE).contains(&n) => Ok(Some(n)),
            _ => Err(self.wrong(key, &format!("a whole number from {lowest} to {MAX_SIZE}"), value)),
        }
    }

    fn size(&self, key: &str) -> Result<usize, ConfigError> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        self.count(key, 1)
    }

    fn count_or(&self, key: &str, default: usize) -> Result<usize, ConfigError> {
        Ok(self.count(key, 0)?.unwrap_or(default))
    }

    fn optional_number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64() {
            Some(x) if x.is_finite() => Ok(Some(x)),
            _ => Err(self.wrong(key, "a finite number", value)),
        }
    }

    fn number_or(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    fn flag_or(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(key, "true or false", other)),
        }
    }

    /// Reads one token id or a list of them.
    fn tokens(&self, key: &str) -> Result<Vec<u32>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let list = match value {
            Value::Array(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        list.iter().map(|v| id(v).ok_or_else(|| self.wrong(key, "a token id or a list of token ids", value))).collect()
    }
}
