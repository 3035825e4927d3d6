//! Multi-head latent attention with the selection of the lightning indexer (spec §2; DeepSeek-V2 report §2.1).

mod observe;
#[cfg(not(target_family = "wasm"))]
mod train;

use burn::{
    module::Module,
    tensor::{Bool, Tensor},
};
use sferic_ops::{
    attention::{dense_mqa, mha, sparse_mqa},
    quant,
    rope::{RopeLayout, Rotation},
    select::{Selection, causal_mask},
};

use crate::{
    cache::LayerCache,
    config::Config,
    indexer::Indexer,
    load::{Loader, TensorSource},
    model::{AttentionForm, AttentionMode, CacheFormat, Options},
    modules::{Linear, RmsNorm},
};

pub use observe::Observation;
#[cfg(not(target_family = "wasm"))]
pub(crate) use train::TrainAttention;

/// Width of an FP8 tile of the latent cache (spec §2.6).
const LATENT_TILE: usize = 128;

/// Multi-head latent attention.
#[derive(Module, Debug)]
pub struct Attention {
    /// `W^Q`: `[H · (Dn + Dr), D]`, in models without a query latent.
    pub q_proj: Option<Linear>,
    /// `W^{DQ}`: `[q_lora_rank, D]`
    pub q_a_proj: Option<Linear>,
    /// Norm of the query latent `c^Q`.
    pub q_a_layernorm: Option<RmsNorm>,
    /// `W^{UQ} | W^{QR}`: `[H · (Dn + Dr), q_lora_rank]`, rows head-major, nope before rope.
    pub q_b_proj: Option<Linear>,
    /// `W^{DKV} | W^{KR}`: `[C + Dr, D]`
    pub kv_a_proj_with_mqa: Linear,
    /// Norm of the latent `c^{KV}`; it does not touch the rotated part.
    pub kv_a_layernorm: RmsNorm,
    /// `W^{UK} | W^{UV}`: `[H · (Dn + Dv), C]`, rows head-major, keys before values.
    pub kv_b_proj: Linear,
    /// `W^O`: `[D, H · Dv]`
    pub o_proj: Linear,
    /// The lightning indexer; absent in dense models and in layers that share a selection.
    pub indexer: Option<Indexer>,
    #[module(skip)]
    dims: Dims,
}

/// Sizes and constants of one attention block.
#[derive(Clone, Debug)]
struct Dims {
    n_heads: usize,
    d_nope: usize,
    d_rope: usize,
    d_value: usize,
    d_latent: usize,
    scale: f64,
    rope_layout: RopeLayout,
}

/// What every layer of one forward pass shares.
#[derive(Clone, Debug)]
pub struct Step {
    /// Position of the first new token.
    pub start: usize,
    /// Tokens that the cache may hold.
    pub capacity: usize,
    /// Rotation of the new tokens' positions in the main attention.
    pub rotation: Rotation,
    /// Rotation of the same positions in the indexer.
    pub index_rotation: Rotation,
    /// The run's switches.
    pub options: Options,
}

/// The query side of a block.
struct Queries {
    /// `[B, T, H, Dn]`
    nope: Tensor<4>,
    /// `[B, T, H, Dr]`, rotated
    rope: Tensor<4>,
    /// `[B, T, q_lora_rank]`, the normalised query latent
    qr: Option<Tensor<3>>,
}

impl Attention {
    pub(crate) fn load<S: TensorSource>(
        config: &Config,
        layer_idx: usize,
        loader: &mut Loader<S>,
        prefix: &str,
    ) -> Result<Self, S::Error> {
        let name = |leaf: &str| format!("{prefix}.{leaf}");
        let (d_model, bias, heads) = (config.hidden_size, config.attention_bias, config.num_attention_heads);
        let d_query = heads * config.qk_head_dim();
        let d_kv = heads * (config.qk_nope_head_dim + config.v_head_dim);
        let rank = config.q_lora_rank;
        let q_proj = match rank {
            None => Some(loader.linear(&name("q_proj"), d_query, d_model, false)?),
            Some(_) => None,
        };
        let (mut q_a_proj, mut q_a_layernorm, mut q_b_proj) = (None, None, None);
        if let Some(rank) = rank {
            q_a_proj = Some(loader.linear(&name("q_a_proj"), rank, d_model, bias)?);
            q_a_layernorm = Some(loader.rms_norm(&name("q_a_layernorm"), rank, config.latent_norm_eps)?);
            q_b_proj = Some(loader.linear(&name("q_b_proj"), d_query, rank, false)?);
        }
        Ok(Self {
            q_proj,
            q_a_proj,
            q_a_layernorm,
            q_b_proj,
            kv_a_proj_with_mqa: loader.linear(&name("kv_a_proj_with_mqa"), config.latent_width(), d_model, bias)?,
            kv_a_layernorm: loader.rms_norm(&name("kv_a_layernorm"), config.kv_lora_rank, config.latent_norm_eps)?,
            kv_b_proj: loader.linear(&name("kv_b_proj"), d_kv, config.kv_lora_rank, false)?,
            o_proj: loader.linear(&name("o_proj"), d_model, heads * config.v_head_dim, bias)?,
            indexer: match (&config.indexer, rank, config.has_indexer(layer_idx)) {
                (Some(indexer), Some(rank), true) => Some(Indexer::load(config, indexer, rank, loader, &name("indexer"))?),
                _ => None,
            },
            dims: Dims {
                n_heads: heads,
                d_nope: config.qk_nope_head_dim,
                d_rope: config.qk_rope_head_dim,
                d_value: config.v_head_dim,
                d_latent: config.kv_lora_rank,
                scale: config.softmax_scale(),
                rope_layout: config.rope_layout,
            },
        })
    }

    /// Attends from a run of new tokens to everything cached and to themselves; appends them to the cache.
    ///
    /// `selection` carries the last selection from layer to layer, for layers that share it.
    ///
    /// # Shapes
    /// - x: `[B, T, D]`, after `input_layernorm`
    /// - returns: `[B, T, D]`
    pub(crate) fn prefill(
        &self,
        x: Tensor<3>,
        step: &Step,
        cache: &mut LayerCache,
        selection: &mut Option<Selection>,
    ) -> Tensor<3> {
        let n_tokens = x.dims()[1];
        let queries = self.queries(x.clone(), &step.rotation);
        let rows = cache.latent.append(self.latent_rows(x.clone(), step), step.start, step.capacity); // [B, S, C+Dr]
        self.select(x, &queries, step, cache, selection);
        let n_context = step.start + n_tokens;
        let u = match selection.as_ref().filter(|s| s.indices.dims()[2] < n_context) {
            // Fewer tokens selected than cached: gather them.
            Some(selection) if step.options.form != AttentionForm::Mha => self.sparse(queries, rows, selection),
            selected => {
                let mask = match selected {
                    Some(selection) => selection.to_mask(n_context),
                    None => causal_mask(n_tokens, n_context, step.start, &rows.device()).unsqueeze_dim(0),
                };
                match step.options.form {
                    AttentionForm::Mqa => self.absorbed(queries, rows, mask),
                    AttentionForm::Auto | AttentionForm::Mha => self.expanded(queries, rows, mask),
                }
            }
        };
        self.o_proj.forward(u)
    }

    /// Attends from one new token, in the absorbed form; appends it to the cache.
    ///
    /// # Shapes
    /// - x: `[B, 1, D]`, after `input_layernorm`
    /// - returns: `[B, 1, D]`
    pub(crate) fn decode(
        &self,
        x: Tensor<3>,
        step: &Step,
        cache: &mut LayerCache,
        selection: &mut Option<Selection>,
    ) -> Tensor<3> {
        let queries = self.queries(x.clone(), &step.rotation);
        let rows = cache.latent.append(self.latent_rows(x.clone(), step), step.start, step.capacity);
        self.select(x, &queries, step, cache, selection);
        let n_context = step.start + 1;
        let u = match selection.as_ref().filter(|s| s.indices.dims()[2] < n_context) {
            Some(selection) => self.sparse(queries, rows, selection),
            None => {
                let mask = causal_mask(1, n_context, step.start, &rows.device()).unsqueeze_dim(0);
                self.absorbed(queries, rows, mask)
            }
        };
        self.o_proj.forward(u)
    }

    /// Updates `selection` for this layer: none in dense mode, all of a short context, else the indexer's choice.
    fn select(&self, x: Tensor<3>, queries: &Queries, step: &Step, cache: &mut LayerCache, selection: &mut Option<Selection>) {
        let [n_batch, n_tokens, _] = x.dims();
        let (Some(indexer), Some(qr)) = (&self.indexer, &queries.qr) else {
            return;
        };
        let keys = indexer.keys(x.clone(), &step.index_rotation, &step.options);
        let keys = cache.index.append(keys, step.start, step.capacity); // [B, S, Di]
        *selection = if step.options.attention == AttentionMode::Dense {
            None
        } else if step.start + n_tokens <= indexer.index_topk {
            Some(Selection::all(n_batch, n_tokens, step.start, &x.device()))
        } else {
            Some(indexer.select(x, qr.clone(), keys, step))
        };
    }

    /// Projects and rotates the queries.
    fn queries(&self, x: Tensor<3>, rotation: &Rotation) -> Queries {
        let (q, qr) = self.query_rows(x);
        self.rotated(q, qr, rotation)
    }

    /// Projects the queries; returns them and their latent.
    ///
    /// # Shapes
    /// - returns: `[B, T, H · (Dn + Dr)]`, `[B, T, q_lora_rank]`
    fn query_rows(&self, x: Tensor<3>) -> (Tensor<3>, Option<Tensor<3>>) {
        match (&self.q_proj, &self.q_a_proj, &self.q_a_layernorm, &self.q_b_proj) {
            (_, Some(q_a_proj), Some(q_a_layernorm), Some(q_b_proj)) => {
                let qr = q_a_layernorm.forward(q_a_proj.forward(x)); // [B, T, q_lora_rank] c^Q
                (q_b_proj.forward(qr.clone()), Some(qr))
            }
            (Some(q_proj), ..) => (q_proj.forward(x), None),
            // `load` builds one of the two.
            _ => (x, None),
        }
    }

    /// Rotates projected queries.
    fn rotated(&self, q: Tensor<3>, qr: Option<Tensor<3>>, rotation: &Rotation) -> Queries {
        let [n_batch, n_tokens, _] = q.dims();
        let Dims { n_heads, d_nope, d_rope, .. } = self.dims;
        let q = q.reshape([n_batch, n_tokens, n_heads, d_nope + d_rope]);
        let nope = q.clone().narrow(3, 0, d_nope); // q^C
        let rope = rotation.apply(q.narrow(3, d_nope, d_rope), self.dims.rope_layout); // q^R
        Queries { nope, rope, qr }
    }

    /// Returns the cache rows `[c^{KV} | k^R]` of new tokens.
    ///
    /// # Shapes
    /// - x: `[B, T, D]`
    /// - returns: `[B, T, C + Dr]`
    fn latent_rows(&self, x: Tensor<3>, step: &Step) -> Tensor<3> {
        self.cached_rows(self.kv_a_proj_with_mqa.forward(x), step)
    }

    /// Returns the cache rows of projected tokens.
    ///
    /// # Shapes
    /// - a, returned: `[B, T, C + Dr]`
    fn cached_rows(&self, a: Tensor<3>, step: &Step) -> Tensor<3> {
        let [n_batch, n_tokens, _] = a.dims();
        let Dims { d_latent, d_rope, rope_layout, .. } = self.dims;
        let c = self.kv_a_layernorm.forward(a.clone().narrow(2, 0, d_latent)); // c^{KV}
        let kr = a.narrow(2, d_latent, d_rope).reshape([n_batch, n_tokens, 1, d_rope]);
        let kr = step.rotation.apply(kr, rope_layout).reshape([n_batch, n_tokens, d_rope]); // k^R
        let (c, kr) = match step.options.latent_format {
            CacheFormat::F32 => (c, kr),
            CacheFormat::Fp8 => {
                let c = quant::act_quant(c.unsqueeze_dim(2), LATENT_TILE).reshape([n_batch, n_tokens, d_latent]);
                (c, quant::round_bf16(kr))
            }
        };
        Tensor::cat(vec![c, kr], 2)
    }

    /// Attention over all cached rows, expanded per head (form (a) of spec §2.4).
    fn expanded(&self, queries: Queries, rows: Tensor<3>, mask: Tensor<3, Bool>) -> Tensor<3> {
        let (q, k, v) = self.heads(queries, rows);
        self.concatenated(mha(q, k, v, mask, self.dims.scale).0)
    }

    /// Queries, keys and values of each head.
    ///
    /// # Shapes
    /// - rows: `[B, S, C + Dr]`
    /// - returns: `[B, T, H, Dn + Dr]`, `[B, S, H, Dn + Dr]`, `[B, S, H, Dv]`
    fn heads(&self, queries: Queries, rows: Tensor<3>) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
        let Dims { n_heads, d_nope, d_rope, d_value, d_latent, .. } = self.dims;
        let [n_batch, n_context, _] = rows.dims();
        let kv = self.kv_b_proj.forward(rows.clone().narrow(2, 0, d_latent));
        let kv = kv.reshape([n_batch, n_context, n_heads, d_nope + d_value]);
        let kr = rows.narrow(2, d_latent, d_rope).reshape([n_batch, n_context, 1, d_rope]).repeat_dim(2, n_heads);
        let k = Tensor::cat(vec![kv.clone().narrow(3, 0, d_nope), kr], 3);
        let v = kv.narrow(3, d_nope, d_value);
        (Tensor::cat(vec![queries.nope, queries.rope], 3), k, v)
    }

    /// `[B, T, H, Dv]` as `[B, T, H · Dv]`.
    fn concatenated(&self, o: Tensor<4>) -> Tensor<3> {
        let [n_batch, n_tokens, n_heads, d_value] = o.dims();
        o.reshape([n_batch, n_tokens, n_heads * d_value])
    }

    /// Attention over all cached rows in the absorbed form (form (b) of spec §2.4).
    fn absorbed(&self, queries: Queries, rows: Tensor<3>, mask: Tensor<3, Bool>) -> Tensor<3> {
        let Dims { d_latent, scale, .. } = self.dims;
        let u = dense_mqa(self.absorb_queries(queries), rows, mask, d_latent, scale);
        self.expand_values(u)
    }

    /// Attention over the selected rows, gathered, in the absorbed form.
    fn sparse(&self, queries: Queries, rows: Tensor<3>, selection: &Selection) -> Tensor<3> {
        let Dims { d_latent, scale, .. } = self.dims;
        let u = sparse_mqa(self.absorb_queries(queries), rows, selection, d_latent, scale);
        self.expand_values(u)
    }

    /// Returns `[W_UK,hᵀ q^C_h | q^R_h]`.
    ///
    /// # Shapes
    /// - returns: `[B, T, H, C + Dr]`
    fn absorb_queries(&self, queries: Queries) -> Tensor<4> {
        let Dims { n_heads, d_nope, d_value, d_latent, .. } = self.dims;
        let [n_batch, n_tokens, _, _] = queries.nope.dims();
        let kv_b = self.kv_b_proj.weight.val().reshape([n_heads, d_nope + d_value, d_latent]);
        let w_uk = kv_b.narrow(1, 0, d_nope); // [H, Dn, C]
        let latent = queries
            .nope
            .reshape([n_batch * n_tokens, n_heads, d_nope])
            .swap_dims(0, 1)
            .matmul(w_uk) // [H, B·T, C]
            .swap_dims(0, 1)
            .reshape([n_batch, n_tokens, n_heads, d_latent]);
        Tensor::cat(vec![latent, queries.rope], 3)
    }

    /// Returns `concat_h(W_UV,h u_h)`.
    ///
    /// # Shapes
    /// - u: `[B, T, H, C]`
    /// - returns: `[B, T, H · Dv]`
    fn expand_values(&self, u: Tensor<4>) -> Tensor<3> {
        let Dims { n_heads, d_nope, d_value, d_latent, .. } = self.dims;
        let [n_batch, n_tokens, _, _] = u.dims();
        let kv_b = self.kv_b_proj.weight.val().reshape([n_heads, d_nope + d_value, d_latent]);
        let w_uv = kv_b.narrow(1, d_nope, d_value); // [H, Dv, C]
        u.reshape([n_batch * n_tokens, n_heads, d_latent])
            .swap_dims(0, 1)
            .matmul(w_uv.swap_dims(1, 2)) // [H, B·T, Dv]
            .swap_dims(0, 1)
            .reshape([n_batch, n_tokens, n_heads * d_value])
    }
}
