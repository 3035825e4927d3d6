//! The numbers that make a model: what the kernels need to know of a configuration.

/// How a rotary embedding pairs components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// `(0, 1), (2, 3), …`
    Interleaved,
    /// `(0, R/2), (1, R/2 + 1), …`
    Half,
}

/// Where a layer's selection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Every past token: a dense layer.
    All,
    /// The layer's own indexer.
    Own,
    /// The selection of the last layer with an indexer.
    Shared,
}

/// A layer's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// Where its selection comes from.
    pub selection: Selection,
    /// Whether its feed-forward block is a mixture of experts.
    pub is_moe: bool,
}

/// The lightning indexer.
#[derive(Debug, Clone, PartialEq)]
pub struct Indexer {
    /// Heads, `Hi`.
    pub n_heads: usize,
    /// Width of a head, `Di`.
    pub d_head: usize,
    /// Tokens selected, `K`.
    pub top_k: usize,
    /// Pairs of its rotation.
    pub layout: RopeLayout,
    /// Angle per position of each pair.
    pub inv_freq: Vec<f64>,
    /// Epsilon of `k_norm`.
    pub k_norm_eps: f64,
}

/// How experts are chosen, spec §4.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    /// Sigmoid scores; else softmax.
    pub sigmoid: bool,
    /// Experts per token, `A`.
    pub n_active: usize,
    /// Groups of experts; 1 for none.
    pub n_groups: usize,
    /// Groups that may be chosen from.
    pub top_groups: usize,
    /// Whether a group is judged by the sum of its two best; else by its best.
    pub group_sum_of_two: bool,
    /// Whether the weights are divided by their sum.
    pub normalise: bool,
    /// Factor on the weights.
    pub scale: f64,
}

/// The experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    /// Routed experts, `E`.
    pub n_routed: usize,
    /// Shared experts of the same width.
    pub n_shared: usize,
    /// Width of an expert, `I`.
    pub width: usize,
    /// Whether the router has `e_score_correction_bias`.
    pub has_bias: bool,
    /// How they are chosen.
    pub routing: Routing,
}

/// A model's numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Model width, `D`.
    pub d_model: usize,
    /// The layers.
    pub layers: Vec<LayerKind>,
    /// Attention heads, `H`.
    pub n_heads: usize,
    /// Rank of the query latent; `None` for one projection.
    pub q_rank: Option<usize>,
    /// Rank of the latent, `C`.
    pub kv_rank: usize,
    /// Head width without rotation, `Dn`.
    pub d_nope: usize,
    /// Rotated head width, `R`.
    pub d_rope: usize,
    /// Value head width, `Dv`.
    pub d_value: usize,
    /// Width of a dense feed-forward block.
    pub d_feed_forward: usize,
    /// Epsilon of the layer norms.
    pub norm_eps: f64,
    /// Epsilon of the norms of the latents.
    pub latent_norm_eps: f64,
    /// Softmax scale `σ`.
    pub softmax_scale: f64,
    /// Pairs of the main rotation.
    pub rope_layout: RopeLayout,
    /// Angle per position of each pair.
    pub inv_freq: Vec<f64>,
    /// Factor on cosines and sines.
    pub rope_factor: f64,
    /// The indexer, if any layer has one.
    pub indexer: Option<Indexer>,
    /// The experts, if any layer has them.
    pub experts: Option<Experts>,
    /// Whether the head is the embedding table.
    pub tied: bool,
    /// Whether the attention projections have biases.
    pub has_attention_bias: bool,
    /// Factor on each residual branch.
    pub residual_scale: f64,
    /// Factor on embeddings.
    pub embedding_scale: f64,
    /// Factor on hidden states before the head.
    pub logits_scale: f64,
}

impl Architecture {
    /// Width of a latent row, `C + R`.
    pub fn d_latent(&self) -> usize {
        self.kv_rank + self.d_rope
    }

    /// Width of a query head, `Dn + R`.
    pub fn d_query(&self) -> usize {
        self.d_nope + self.d_rope
    }

    /// Parameters in all, norms and biases left out.
    pub fn n_parameters(&self) -> u64 {
        let (d, h) = (self.d_model, self.n_heads);
        let query = match self.q_rank {
            Some(rank) => rank * d + h * self.d_query() * rank,
            None => h * self.d_query() * d,
        };
        let attention = query + self.d_latent() * d + h * (self.d_nope + self.d_value) * self.kv_rank + d * h * self.d_value;
        let mut n = (if self.tied { 1 } else { 2 } * self.vocab * d) as u64;
        for layer in &self.layers {
            n += attention as u64;
            if let (Some(indexer), Selection::Own) = (&self.indexer, layer.selection) {
                n +=
                    (indexer.n_heads * indexer.d_head * self.q_rank.unwrap_or(d) + (indexer.d_head + indexer.n_heads) * d) as u64;
            }
            n += match &self.experts {
                Some(experts) if layer.is_moe => {
                    (3 * (experts.n_routed + experts.n_shared) * experts.width * d + experts.n_routed * d) as u64
                }
                _ => (3 * self.d_feed_forward * d) as u64,
            };
        }
        n
    }

    /// The sizes of DeepSeek-V2-Lite with an indexer of 16 heads of 128 and k = 2048: a synthetic mixture of 16 B parameters for benchmarks.
    ///
    /// The indexer takes its queries from a query latent, which V2-Lite lacks; here they come from the hidden state, as wide as the model.
    pub fn v2_lite_with_indexer() -> Self {
        let inv_freq: Vec<f64> = (0..32).map(|i| 10_000_f64.powf(-f64::from(i) / 32.0)).collect();
        let routing = Routing {
            sigmoid: false,
            n_active: 6,
            n_groups: 1,
            top_groups: 1,
            group_sum_of_two: false,
            normalise: false,
            scale: 1.0,
        };
        Self {
            vocab: 102_400,
            d_model: 2048,
            layers: (0..27).map(|i| LayerKind { selection: Selection::Own, is_moe: i > 0 }).collect(),
            n_heads: 16,
            q_rank: None,
            kv_rank: 512,
            d_nope: 128,
            d_rope: 64,
            d_value: 128,
            d_feed_forward: 10_944,
            norm_eps: 1e-6,
            latent_norm_eps: 1e-6,
            softmax_scale: 192_f64.powf(-0.5),
            rope_layout: RopeLayout::Interleaved,
            inv_freq: inv_freq.clone(),
            rope_factor: 1.0,
            indexer: Some(Indexer {
                n_heads: 16,
                d_head: 128,
                top_k: 2048,
                layout: RopeLayout::Half,
                inv_freq,
                k_norm_eps: 1e-6,
            }),
            experts: Some(Experts { n_routed: 64, n_shared: 2, width: 1408, has_bias: false, routing }),
            tied: false,
            has_attention_bias: false,
            residual_scale: 1.0,
            embedding_scale: 1.0,
            logits_scale: 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_synthetic_mixture_has_sixteen_billion_parameters() {
        let n = Architecture::v2_lite_with_indexer().n_parameters() as f64 / 1e9;
        assert!((15.5..16.5).contains(&n), "{n} billion");
    }
}
