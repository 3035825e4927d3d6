//! The kernels' path: what it needs to know of a configuration, and its results in the engine's terms.

use super::{Attention, CachePrecision, Computed, ExpertRows, Pace, Runtime, Wanted, WeightPrecision};
use crate::EngineError;
use sferic_lightning::architecture::{self as lightning, Architecture};
use sferic_lightning::{
    CacheFormats, Device, Draw, Drawing, Draws, Experts, Formats, LoadError, Logits, ModelError, ModelWeights, Replay, Request,
    Settings, WeightFormat,
};
use sferic_model::moe::{GroupScore, Scoring};
use sferic_model::rope::{RopeLayout, inv_freq};
use sferic_model::{AttentionMode, Config, IndexerType, Options};
use sferic_weights::{Checkpoint, Dtype, WeightsError};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Why the kernels do not compute a model, if they do not.
pub(crate) fn unsupported(config: &Config) -> Option<&'static str> {
    if config.attention_bias {
        return Some("its attention projections have biases");
    }
    if config.indexer.as_ref().is_some_and(|indexer| indexer.yarn != config.rope.yarn) {
        return Some("its indexer rotates by other angles than its attention");
    }
    let eights = [config.kv_lora_rank, config.qk_nope_head_dim, config.qk_rope_head_dim, config.hidden_size];
    if eights.iter().any(|width| !width.is_multiple_of(8)) {
        return Some("a width of its heads or its model is no multiple of 8");
    }
    if config.kv_lora_rank > 512 {
        return Some("its latent is wider than 512");
    }
    let fours = [config.v_head_dim * config.num_attention_heads, config.v_head_dim, config.q_lora_rank.unwrap_or(4)];
    if fours.iter().any(|width| !width.is_multiple_of(4)) {
        return Some("its value heads or its query latent are no multiple of 4 wide");
    }
    let experts = config.moe.as_ref().map_or(8, |moe| moe.moe_intermediate_size);
    if [config.intermediate_size, experts].iter().any(|width| !width.is_multiple_of(8)) {
        return Some("a width of its feed-forward blocks is no multiple of 8");
    }
    let indexer = config.indexer.as_ref();
    if indexer.is_some_and(|i| !i.index_head_dim.is_multiple_of(16) || !i.index_head_dim.is_multiple_of(config.qk_rope_head_dim))
    {
        return Some("its index heads are no multiple of 16 and of the rotated width");
    }
    None
}

/// Formats of weights and caches for what was asked and what is stored.
pub(crate) fn formats_of(
    weights: WeightPrecision,
    cache: CachePrecision,
    stored: &BTreeMap<Dtype, usize>,
) -> (Formats, CacheFormats) {
    let matrices = match weights {
        // Codes that are rounded again stay the same codes.
        WeightPrecision::Stored if stored.contains_key(&Dtype::U8) => WeightFormat::Q4,
        WeightPrecision::Stored if stored.contains_key(&Dtype::I8) => WeightFormat::Q8,
        WeightPrecision::Stored if stored.contains_key(&Dtype::Bf16) || stored.contains_key(&Dtype::F8E4M3) => WeightFormat::Bf16,
        WeightPrecision::Stored if stored.contains_key(&Dtype::F16) => WeightFormat::F16,
        WeightPrecision::Stored => WeightFormat::F32,
        WeightPrecision::Bf16 => WeightFormat::Bf16,
        WeightPrecision::F32 => WeightFormat::F32,
        WeightPrecision::F16 => WeightFormat::F16,
        WeightPrecision::Fp8 => WeightFormat::Fp8,
        WeightPrecision::Q8 => WeightFormat::Q8,
        WeightPrecision::Q4 => WeightFormat::Q4,
    };
    let caches = match cache {
        CachePrecision::Auto if matrices == WeightFormat::F32 => CacheFormats::F32,
        CachePrecision::F32 => CacheFormats::F32,
        CachePrecision::Auto | CachePrecision::F16 => CacheFormats::F16,
        CachePrecision::Fp8 => CacheFormats::FP8,
    };
    (Formats::new(matrices), caches)
}

/// The configuration in the kernels' terms.
pub(crate) fn architecture(config: &Config) -> Architecture {
    let layout = |layout| match layout {
        RopeLayout::Interleaved => lightning::RopeLayout::Interleaved,
        RopeLayout::HalfSplit => lightning::RopeLayout::Half,
    };
    let rope = &config.rope;
    let angles = inv_freq(rope.rope_theta, config.qk_rope_head_dim, rope.yarn.as_ref());
    let kind = |layer_idx| lightning::LayerKind {
        selection: match &config.indexer {
            None => lightning::Selection::All,
            Some(indexer) if indexer.indexer_types.get(layer_idx) == Some(&IndexerType::Shared) => lightning::Selection::Shared,
            Some(_) => lightning::Selection::Own,
        },
        is_moe: config.is_moe(layer_idx),
    };
    Architecture {
        vocab: config.vocab_size,
        d_model: config.hidden_size,
        layers: (0..config.num_hidden_layers).map(kind).collect(),
        n_heads: config.num_attention_heads,
        q_rank: config.q_lora_rank,
        kv_rank: config.kv_lora_rank,
        d_nope: config.qk_nope_head_dim,
        d_rope: config.qk_rope_head_dim,
        d_value: config.v_head_dim,
        d_feed_forward: config.intermediate_size,
        norm_eps: config.rms_norm_eps,
        latent_norm_eps: config.latent_norm_eps,
        softmax_scale: config.softmax_scale(),
        rope_layout: layout(config.rope_layout),
        inv_freq: angles.clone(),
        rope_factor: rope.attention_factor,
        indexer: config.indexer.as_ref().map(|indexer| lightning::Indexer {
            n_heads: indexer.index_n_heads,
            d_head: indexer.index_head_dim,
            top_k: indexer.index_topk,
            layout: layout(indexer.rope_layout),
            inv_freq: angles.clone(),
            k_norm_eps: indexer.k_norm_eps,
        }),
        experts: config.moe.as_ref().map(|moe| lightning::Experts {
            n_routed: moe.n_routed_experts,
            n_shared: moe.n_shared_experts,
            width: moe.moe_intermediate_size,
            has_bias: moe.has_correction_bias,
            routing: lightning::Routing {
                sigmoid: moe.routing.scoring == Scoring::Sigmoid,
                n_active: moe.routing.num_experts_per_tok,
                n_groups: moe.routing.n_group,
                top_groups: moe.routing.topk_group,
                group_sum_of_two: moe.routing.group_score == GroupScore::TopTwoSum,
                normalise: moe.routing.norm_topk_prob,
                scale: moe.routing.routed_scaling_factor,
            },
        }),
        tied: config.tie_word_embeddings,
        has_attention_bias: config.attention_bias,
        residual_scale: config.residual_scale(),
        embedding_scale: config.scale_emb,
        logits_scale: config.logits_scale(),
    }
}

/// The checkpoint's tensors, counted as they go to the device.
struct Tensors<'a> {
    checkpoint: &'a Checkpoint,
    each: &'a mut dyn FnMut(u64),
}

impl sferic_lightning::Source for Tensors<'_> {
    type Error = WeightsError;

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let values = self.checkpoint.read_f32(name, shape)?;
        (self.each)((values.len() * size_of::<f32>()) as u64);
        Ok(values)
    }
}

/// Loads a model for the kernels; `each` hears the bytes of every tensor that was read.
pub(crate) fn load(
    config: &Config,
    checkpoint: &Checkpoint,
    device: Device,
    (formats, caches): (Formats, CacheFormats),
    settings: (usize, usize, Option<Pace>, &Options),
    each: &mut dyn FnMut(u64),
) -> Result<Runtime, EngineError> {
    let architecture = architecture(config);
    let (context, chunk, pace, options) = settings;
    let hadamard = caches == CacheFormats::FP8;
    // Sessions share the caches; each may be as long as the context.
    let settings = Settings { caches, hadamard, context, chunk, cached_tokens: context.saturating_mul(Runtime::SESSIONS) };
    let mut source = Tensors { checkpoint, each };
    let loaded = while_compiling(&device, &architecture, formats, &settings, || {
        ModelWeights::load(&device, &architecture, formats, &mut source, &mut |_| ())
    });
    let weights = loaded.map_err(|error| match error {
        LoadError::Source(error) => EngineError::Weights(error),
        LoadError::Gpu(error) => failed("loading the weights", &error),
        LoadError::Unsupported(why) => EngineError::NoKernels { why: why.into() },
    })?;
    let model = sferic_lightning::Model::new(device, architecture, weights, settings)
        .map_err(|error| model_error("preparing the model", error))?;
    let dense = options.attention == AttentionMode::Dense;
    Ok(Runtime::Kernels { model, config: Box::new(config.clone()), dense, pace: pace.map(Mutex::new) })
}

/// Does `work` while another thread, or a browser, compiles what the model will launch. What does not compile says so when it is launched.
fn while_compiling<T>(
    device: &Device,
    architecture: &Architecture,
    formats: Formats,
    settings: &Settings,
    work: impl FnOnce() -> T,
) -> T {
    #[cfg(target_family = "wasm")]
    {
        // A browser compiles in another process: a first prompt's programs now, and the others when nobody waits.
        device.compile_early(&sferic_lightning::first_programs(device, architecture, formats, settings).unwrap_or_default());
        work()
    }
    #[cfg(not(target_family = "wasm"))]
    std::thread::scope(|scope| {
        let compiler = scope.spawn(|| {
            let programs = sferic_lightning::programs(device, architecture, formats, settings).unwrap_or_default();
            device.compile_together(&programs)
        });
        let done = work();
        // A failure is that of a launch to come.
        let _ = compiler.join();
        done
    })
}

impl Runtime {
    /// Whole contexts that the caches of the kernels may grow to.
    const SESSIONS: usize = 8;
}

pub(super) async fn compute(
    model: &sferic_lightning::Model,
    sequence: &mut sferic_lightning::Sequence,
    ids: &[u32],
    wanted: Wanted,
    experts: bool,
    attention: &Attention,
) -> Result<Computed, EngineError> {
    let dense = *attention == Attention::Dense;
    let doing = if ids.len() == 1 { "computing a token" } else { "computing the prompt" };
    let start = sequence.len();
    let (logits, probe) = match wanted {
        Wanted::Nothing => (Logits::None, false),
        Wanted::Last => (Logits::Last, false),
        Wanted::Logits => (Logits::All, false),
        Wanted::Everything => (Logits::All, true),
        Wanted::Selections => (Logits::None, true),
    };
    let scores = wanted == Wanted::Selections;
    let a = model.architecture();
    let replay = match (attention, &a.indexer) {
        (Attention::Replayed(layers), Some(indexer)) => {
            layers.iter().map(|(&layer_idx, rows)| (layer_idx, slots(rows, indexer.top_k))).collect()
        }
        _ => Replay::new(),
    };
    let output = sequence.advance_replaying(ids, Request { logits, probe, scores, experts, dense }, &replay).await;
    let output = output.map_err(|error| model_error(doing, error))?;
    let mut computed = Computed { logits: output.logits, hidden: output.hidden, ..Computed::default() };
    computed.experts = expert_rows(output.experts, a);
    let Some(indexer) = a.indexer.as_ref().filter(|_| !dense && probe) else { return Ok(computed) };
    for (layer_idx, scores) in output.scores.into_iter().enumerate() {
        if let Some(scores) = scores {
            computed.scores.insert(layer_idx, scores.chunks(indexer.top_k).map(<[f32]>::to_vec).collect());
        }
    }
    for (layer_idx, selected) in output.selected.into_iter().enumerate() {
        let rows = match selected {
            Some(values) => values.chunks(indexer.top_k).map(<[i32]>::to_vec).collect(),
            // A short context is selected whole.
            None => (start..start + ids.len()).map(|position| (0..=position as i32).collect()).collect(),
        };
        computed.selected.insert(layer_idx, rows);
    }
    Ok(computed)
}

pub(super) async fn draws(model: &sferic_lightning::Model, drawing: Drawing) -> Result<Draws, EngineError> {
    Draws::new(model, drawing).await.map_err(|error| model_error("preparing the draws", error))
}

pub(super) async fn draw(
    sequence: &mut sferic_lightning::Sequence,
    draws: &mut Draws,
    tokens: &[u32],
    go_on: bool,
) -> Result<(Draw, ExpertRows), EngineError> {
    let mut draw = draws.next(sequence, tokens, go_on).await.map_err(|error| model_error("computing a token", error))?;
    let experts = expert_rows(std::mem::take(&mut draw.experts), sequence.architecture());
    Ok((draw, experts))
}

pub(super) fn expert_rows(experts: Experts, a: &Architecture) -> ExpertRows {
    let n_active = a.experts.as_ref().map_or(1, |experts| experts.routing.n_active);
    let rows = |experts: Vec<i32>| experts.chunks(n_active).map(<[i32]>::to_vec).collect();
    experts.into_iter().map(|(layer_idx, experts)| (layer_idx, rows(experts))).collect()
}

/// Rows of positions as a kernel reads them: ascending, and unfilled slots last.
fn slots(rows: &[Vec<i32>], top_k: usize) -> Vec<i32> {
    let mut all = Vec::with_capacity(rows.len() * top_k);
    for row in rows {
        let mut row: Vec<i32> = row.iter().copied().filter(|&position| position >= 0).take(top_k).collect();
        row.sort_unstable();
        row.resize(top_k, -1);
        all.extend(row);
    }
    all
}

pub(crate) fn model_error(doing: &'static str, error: ModelError) -> EngineError {
    match error {
        ModelError::CacheFormat { .. } => EngineError::NoKernels { why: error.to_string() },
        ModelError::Full(full) => EngineError::CachesFull { message: full.to_string() },
        error => failed(doing, &error),
    }
}

fn failed(doing: &'static str, source: &dyn std::fmt::Display) -> EngineError {
    EngineError::Device { doing, message: source.to_string() }
}
