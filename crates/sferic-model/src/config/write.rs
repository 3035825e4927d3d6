//! Writing `config.json`.

use serde_json::{Map, Value, json};
use sferic_ops::rope::RopeLayout;

use super::{Config, IndexerType, ModelType};

impl Config {
    /// Returns a `config.json` that [`Config::from_json`] and Hugging Face transformers read.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| {
            map.insert(key.to_string(), value);
        };
        put("architectures", json!([architecture(self.model_type)]));
        put("model_type", json!(self.model_type.name()));
        put("vocab_size", json!(self.vocab_size));
        put("hidden_size", json!(self.hidden_size));
        put("intermediate_size", json!(self.intermediate_size));
        put("num_hidden_layers", json!(self.num_hidden_layers));
        put("num_attention_heads", json!(self.num_attention_heads));
        put("num_key_value_heads", json!(self.num_attention_heads));
        put("q_lora_rank", json!(self.q_lora_rank));
        put("kv_lora_rank", json!(self.kv_lora_rank));
        put("qk_nope_head_dim", json!(self.qk_nope_head_dim));
        put("qk_rope_head_dim", json!(self.qk_rope_head_dim));
        put("v_head_dim", json!(self.v_head_dim));
        put("max_position_embeddings", json!(self.max_position_embeddings));
        put("rms_norm_eps", json!(self.rms_norm_eps));
        put("attention_bias", json!(self.attention_bias));
        put("tie_word_embeddings", json!(self.tie_word_embeddings));
        put("hidden_act", json!("silu"));
        put("initializer_range", json!(self.initializer_range));
        put("rope_interleave", json!(self.rope_layout == RopeLayout::Interleaved));
        put("rope_parameters", self.rope_json());
        put("bos_token_id", json!(self.bos_token_id));
        put(
            "eos_token_id",
            match self.eos_token_id.as_slice() {
                [single] => json!(single),
                list => json!(list),
            },
        );
        self.put_blocks(&mut map);
        Value::Object(map)
    }

    fn put_blocks(&self, map: &mut Map<String, Value>) {
        let mut put = |key: &str, value: Value| {
            map.insert(key.to_string(), value);
        };
        if let Some(indexer) = &self.indexer {
            put("index_n_heads", json!(indexer.index_n_heads));
            put("index_head_dim", json!(indexer.index_head_dim));
            put("index_topk", json!(indexer.index_topk));
            put("indexer_rope_interleave", json!(indexer.rope_layout == RopeLayout::Interleaved));
            let name = |kind: &IndexerType| if *kind == IndexerType::Full { "full" } else { "shared" };
            put("indexer_types", json!(indexer.indexer_types.iter().map(name).collect::<Vec<_>>()));
        }
        let n_dense = self.moe_layers.iter().take_while(|is_moe| !**is_moe).count();
        put("first_k_dense_replace", json!(n_dense));
        let kind = |is_moe: &bool| if *is_moe { "sparse" } else { "dense" };
        put("mlp_layer_types", json!(self.moe_layers.iter().map(kind).collect::<Vec<_>>()));
        if let Some(moe) = &self.moe {
            let routing = &moe.routing;
            put("n_routed_experts", json!(moe.n_routed_experts));
            put("n_shared_experts", json!(moe.n_shared_experts));
            put("moe_intermediate_size", json!(moe.moe_intermediate_size));
            put("num_experts_per_tok", json!(routing.num_experts_per_tok));
            put("n_group", json!(routing.n_group));
            put("topk_group", json!(routing.topk_group));
            put("norm_topk_prob", json!(routing.norm_topk_prob));
            put("routed_scaling_factor", json!(routing.routed_scaling_factor));
            if self.model_type == ModelType::DeepseekV2 {
                put("topk_method", json!(if routing.n_group > 1 { "group_limited_greedy" } else { "greedy" }));
            }
        }
        if self.model_type == ModelType::Minicpm3 {
            put("scale_emb", json!(self.scale_emb));
            put("scale_depth", json!(self.scale_depth));
            put("dim_model_base", json!(self.dim_model_base));
        }
    }

    fn rope_json(&self) -> Value {
        let rope = &self.rope;
        let Some(yarn) = &rope.yarn else {
            return json!({ "rope_type": "default", "rope_theta": rope.rope_theta });
        };
        let mut map = Map::new();
        map.insert("rope_type".into(), json!("yarn"));
        map.insert("rope_theta".into(), json!(rope.rope_theta));
        map.insert("factor".into(), json!(yarn.factor));
        map.insert("original_max_position_embeddings".into(), json!(yarn.original_max_position_embeddings));
        map.insert("beta_fast".into(), json!(yarn.beta_fast));
        map.insert("beta_slow".into(), json!(yarn.beta_slow));
        map.insert("truncate".into(), json!(yarn.truncate));
        map.insert("attention_factor".into(), json!(rope.attention_factor));
        for (key, value) in [("mscale", rope.mscale), ("mscale_all_dim", rope.mscale_all_dim)] {
            if let Some(value) = value {
                map.insert(key.into(), json!(value));
            }
        }
        Value::Object(map)
    }
}

fn architecture(model_type: ModelType) -> &'static str {
    match model_type {
        ModelType::DeepseekV32 => "DeepseekV32ForCausalLM",
        ModelType::DeepseekV3 => "DeepseekV3ForCausalLM",
        ModelType::DeepseekV2 => "DeepseekV2ForCausalLM",
        ModelType::GlmMoeDsa => "GlmMoeDsaForCausalLM",
        ModelType::Glm4MoeLite => "Glm4MoeLiteForCausalLM",
        ModelType::Youtu => "YoutuForCausalLM",
        ModelType::Minicpm3 => "MiniCPM3ForCausalLM",
    }
}
