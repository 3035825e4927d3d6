//! What a model takes on a device, before any of it is there.

use crate::architecture::{Architecture, Selection};
use crate::cache::CacheFormats;
use crate::formats::Formats;
use crate::pages::PAGE;
use crate::record::partial_sizes;
use crate::workspace::Workspace;
use sferic_shaders::kernel::{Capabilities, WeightFormat};

/// Bytes of a model in given formats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    /// All weights.
    pub weights: u64,
    /// The largest buffer of weights: the checkpoint's name of its first tensor, and its bytes.
    pub largest_weight: (String, u64),
    /// One token in the caches of all layers.
    pub cache_per_token: u64,
    /// One token in the largest buffer of the caches.
    pub largest_cache_per_token: u64,
}

impl Footprint {
    /// Counts what loading will allocate.
    pub fn new(a: &Architecture, formats: Formats, caches: CacheFormats) -> Self {
        let mut counted = Self {
            weights: 0,
            largest_weight: Default::default(),
            cache_per_token: caches.bytes(a).div_ceil(PAGE as u64),
            largest_cache_per_token: 0,
        };
        counted.add("model.embed_tokens.weight".into(), formats.vocabulary, [1, a.vocab, a.d_model]);
        if !a.tied || a.embedding_scale != 1.0 {
            counted.add("lm_head.weight".into(), formats.vocabulary, [1, a.vocab, a.d_model]);
        }
        counted.weights += 4 * a.d_model as u64;
        for (layer_idx, layer) in a.layers.iter().enumerate() {
            counted.layer(a, formats, layer_idx);
            let largest = caches.page_bytes(a, layer.selection).into_iter().max().unwrap_or(0).div_ceil(PAGE as u64);
            counted.largest_cache_per_token = counted.largest_cache_per_token.max(largest);
        }
        counted
    }

    fn layer(&mut self, a: &Architecture, formats: Formats, layer_idx: usize) {
        let kind = a.layers[layer_idx];
        let name = |leaf: &str| format!("model.layers.{layer_idx}.{leaf}");
        let d = a.d_model;
        let d_query_in = a.q_rank.unwrap_or(d);
        let mut down = a.q_rank.unwrap_or(0) + a.d_latent();
        let mut queries = a.n_heads * a.d_query();
        let mut vectors = 2 * d + a.q_rank.unwrap_or(0) + a.kv_rank;
        let mut format = formats.of_down(down * d);
        if let Some(indexer) = a.indexer.as_ref().filter(|_| kind.selection == Selection::Own) {
            queries += indexer.n_heads * indexer.d_head;
            down += indexer.d_head;
            vectors += 2 * indexer.d_head;
            format = formats.of_down((down + indexer.n_heads) * d);
            if format.is_some() {
                down += indexer.n_heads;
            } else {
                self.add(name("self_attn.indexer.weights_proj.weight"), formats.sensitive, [1, indexer.n_heads, d]);
            }
        }
        let matrices = formats.matrices;
        self.add(name("self_attn.kv_a_proj_with_mqa.weight"), format.unwrap_or(matrices), [1, down, d]);
        self.add(name("self_attn.q_b_proj.weight"), matrices, [1, queries, d_query_in]);
        self.add(name("self_attn.kv_b_proj.weight"), matrices, [a.n_heads, a.kv_rank, a.d_nope]);
        self.add(name("self_attn.kv_b_proj.weight"), matrices, [a.n_heads, a.d_value, a.kv_rank]);
        self.add(name("self_attn.o_proj.weight"), matrices, [1, d, a.n_heads * a.d_value]);
        let (n, width) = match a.experts.filter(|_| kind.is_moe) {
            Some(experts) => {
                self.add(name("mlp.gate.weight"), formats.sensitive, [1, experts.n_routed, d]);
                vectors += if experts.has_bias { experts.n_routed } else { 0 };
                (experts.n_routed + experts.n_shared, experts.width)
            }
            None => (1, a.d_feed_forward),
        };
        self.add(name("mlp.experts.gate_up_proj"), matrices, [n, 2 * width, d]);
        self.add(name("mlp.experts.down_proj"), matrices, [n, d, width]);
        self.weights += 4 * vectors as u64;
    }

    fn add(&mut self, name: String, wanted: WeightFormat, [z, o, i]: [usize; 3]) {
        let format = Formats::fitting(wanted, i);
        let (z, o, i) = (z as u64, o as u32, i as u32);
        let scales = if format.has_scales() { (z * format.scale_bytes(o, i)).next_multiple_of(4) } else { 0 };
        let data = z * format.bytes(o, i);
        self.weights += data + scales;
        if data > self.largest_weight.1 {
            self.largest_weight = (name, data);
        }
    }
}

/// Bytes that steps of up to `chunk` tokens in contexts of up to `context` pass their values through, on a device whose largest buffer has
/// `largest_buffer` bytes.
pub fn workspace_bytes(a: &Architecture, caches: CacheFormats, context: usize, chunk: usize, largest_buffer: u64) -> u64 {
    let partial = partial_sizes(a, caches, context, &Capabilities::base());
    Workspace::bytes_for(a, context, chunk, partial, largest_buffer)
}
