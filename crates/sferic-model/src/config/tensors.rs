//! The tensors of a checkpoint, by name and shape (spec §1.3).

use super::{Config, MoeConfig};

/// A tensor that the model needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The checkpoint's name.
    pub name: String,
    /// The shape, `[out, in]` for matrices.
    pub shape: Vec<usize>,
}

impl Config {
    /// Returns every tensor that the model needs, in loading order.
    ///
    /// Experts are listed stacked: `….mlp.experts.gate_up_proj` `[E, 2I, D]` and `….mlp.experts.down_proj` `[E, D, I]`.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut list = List::default();
        list.add("model.embed_tokens.weight", &[self.vocab_size, self.hidden_size]);
        for layer_idx in 0..self.num_hidden_layers {
            let prefix = format!("model.layers.{layer_idx}");
            list.add(format!("{prefix}.input_layernorm.weight"), &[self.hidden_size]);
            self.attention_tensors(&format!("{prefix}.self_attn"), layer_idx, &mut list);
            list.add(format!("{prefix}.post_attention_layernorm.weight"), &[self.hidden_size]);
            match &self.moe {
                Some(moe) if self.is_moe(layer_idx) => self.moe_tensors(&format!("{prefix}.mlp"), moe, &mut list),
                _ => list.mlp(&format!("{prefix}.mlp"), self.hidden_size, self.intermediate_size),
            }
        }
        list.add("model.norm.weight", &[self.hidden_size]);
        if !self.tie_word_embeddings {
            list.add("lm_head.weight", &[self.vocab_size, self.hidden_size]);
        }
        list.0
    }

    fn attention_tensors(&self, prefix: &str, layer_idx: usize, list: &mut List) {
        let heads = self.num_attention_heads;
        let d_query = heads * self.qk_head_dim();
        match self.q_lora_rank {
            None => list.linear(prefix, "q_proj", d_query, self.hidden_size, false),
            Some(rank) => {
                list.linear(prefix, "q_a_proj", rank, self.hidden_size, self.attention_bias);
                list.add(format!("{prefix}.q_a_layernorm.weight"), &[rank]);
                list.linear(prefix, "q_b_proj", d_query, rank, false);
            }
        }
        list.linear(prefix, "kv_a_proj_with_mqa", self.latent_width(), self.hidden_size, self.attention_bias);
        list.add(format!("{prefix}.kv_a_layernorm.weight"), &[self.kv_lora_rank]);
        let d_kv = heads * (self.qk_nope_head_dim + self.v_head_dim);
        list.linear(prefix, "kv_b_proj", d_kv, self.kv_lora_rank, false);
        list.linear(prefix, "o_proj", self.hidden_size, heads * self.v_head_dim, self.attention_bias);
        if let (Some(indexer), true, Some(rank)) = (&self.indexer, self.has_indexer(layer_idx), self.q_lora_rank) {
            let (n_heads, dim) = (indexer.index_n_heads, indexer.index_head_dim);
            list.linear(prefix, "indexer.wq_b", n_heads * dim, rank, false);
            list.linear(prefix, "indexer.wk", dim, self.hidden_size, false);
            list.add(format!("{prefix}.indexer.k_norm.weight"), &[dim]);
            list.add(format!("{prefix}.indexer.k_norm.bias"), &[dim]);
            list.linear(prefix, "indexer.weights_proj", n_heads, self.hidden_size, false);
        }
    }

    fn moe_tensors(&self, prefix: &str, moe: &MoeConfig, list: &mut List) {
        let (n_experts, width) = (moe.n_routed_experts, moe.moe_intermediate_size);
        list.add(format!("{prefix}.gate.weight"), &[n_experts, self.hidden_size]);
        if moe.has_correction_bias {
            list.add(format!("{prefix}.gate.e_score_correction_bias"), &[n_experts]);
        }
        list.add(format!("{prefix}.experts.gate_up_proj"), &[n_experts, 2 * width, self.hidden_size]);
        list.add(format!("{prefix}.experts.down_proj"), &[n_experts, self.hidden_size, width]);
        if moe.n_shared_experts > 0 {
            list.mlp(&format!("{prefix}.shared_experts"), self.hidden_size, width * moe.n_shared_experts);
        }
    }
}

#[derive(Default)]
struct List(Vec<TensorSpec>);

impl List {
    fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push(TensorSpec { name: name.into(), shape: shape.to_vec() });
    }

    fn linear(&mut self, prefix: &str, name: &str, d_out: usize, d_in: usize, bias: bool) {
        self.add(format!("{prefix}.{name}.weight"), &[d_out, d_in]);
        if bias {
            self.add(format!("{prefix}.{name}.bias"), &[d_out]);
        }
    }

    fn mlp(&mut self, prefix: &str, d_model: usize, width: usize) {
        self.linear(prefix, "gate_proj", width, d_model, false);
        self.linear(prefix, "up_proj", width, d_model, false);
        self.linear(prefix, "down_proj", d_model, width, false);
    }
}
