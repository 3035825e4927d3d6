//! What a model needs in memory, before any of it is loaded.
//!
//! The plan is for one session at its full context: `weights + max(staging while loading, caches + workspace)`. It is compared with the
//! memory of the device, where the system tells, and with the limits of the graphics interface. On the reference path weights and caches
//! are f32, and workspace is an estimate of the largest temporaries that live at the same time in one prefill chunk. On the kernels' path
//! they have the formats that were asked for, and workspace is made once and counted. The other figures are exact.

use crate::EngineError;
use crate::device::DeviceInfo;
use crate::runtime::architecture;
use serde::Serialize;
use sferic_lightning::architecture::Architecture;
use sferic_lightning::{CacheFormats, Footprint, Formats, workspace_bytes};
use sferic_model::Config;

/// Bound of one temporary of a prefill chunk: the gathered latent rows and the indexer's scores per head. Half of the smallest
/// binding (128 MiB) that WebGPU guarantees, and small enough for one submission to stay far below a driver's watchdog.
pub const TILE_BYTES: u64 = 64 << 20;

/// Most tokens in a prefill chunk: larger ones gain nothing and make progress and cancelling coarse.
pub const MAX_PREFILL_CHUNK: usize = 512;

const F32_BYTES: u64 = size_of::<f32>() as u64;

/// The largest tensor that a shader must reach in one piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LargestBinding {
    /// Checkpoint name of the tensor, or `latent cache`.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// What the device allows; `None` on the CPU.
    pub limit_bytes: Option<u64>,
}

/// The memory that a model and one session take on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Weights on the device.
    pub weight_bytes: u64,
    /// Cache of one token in all layers.
    pub cache_bytes_per_token: u64,
    /// Tokens of context that are planned for.
    pub context: usize,
    /// Tokens of context that the model was made for.
    pub model_context: usize,
    /// Caches at the planned context.
    pub cache_bytes: u64,
    /// Temporaries of the largest step.
    pub workspace_bytes: u64,
    /// Tokens in one prefill chunk.
    pub prefill_chunk: usize,
    /// The largest sum at any time.
    pub total_bytes: u64,
    /// Nine tenths of the device's memory; `None` where the system does not tell.
    pub available_bytes: Option<u64>,
    /// Largest context whose plan fits; `None` when the weights alone do not.
    pub max_context_that_fits: Option<usize>,
    /// The largest single tensor.
    pub largest_binding: LargestBinding,
}

impl MemoryPlan {
    /// Plans `config` on `device`.
    ///
    /// Without `max_context` the context is the model's, or the largest one that fits. Without `prefill_chunk` the chunk is the
    /// largest whose temporaries stay within [`TILE_BYTES`]. A chunk that is asked for is kept within the context.
    ///
    /// Never fails: [`MemoryPlan::check`] tells whether the plan holds.
    pub fn new(config: &Config, device: &DeviceInfo, max_context: Option<usize>, prefill_chunk: Option<usize>) -> Self {
        Self::of(Needs::new(config, device, prefill_chunk), max_context)
    }

    /// Plans `config` on our kernels in the formats of `options`, where `stored` are the element types of its checkpoint.
    ///
    /// Never fails, as [`MemoryPlan::new`].
    pub(crate) fn for_kernels(
        config: &Config,
        device: &DeviceInfo,
        (formats, caches): (Formats, CacheFormats),
        max_context: Option<usize>,
        prefill_chunk: Option<usize>,
    ) -> Self {
        let architecture = architecture(config);
        let footprint = Footprint::new(&architecture, formats, caches);
        let needs = Needs {
            weight_bytes: footprint.weights,
            cache_bytes_per_token: footprint.cache_per_token,
            largest_weight: footprint.largest_weight.clone(),
            kernels: Some(Kernels { architecture, caches, largest_cache_per_token: footprint.largest_cache_per_token }),
            ..Needs::new(config, device, prefill_chunk)
        };
        Self::of(needs, max_context)
    }

    fn of(needs: Needs<'_>, max_context: Option<usize>) -> Self {
        let config = needs.config;
        let model_context = config.max_position_embeddings;
        let max_context_that_fits = needs.max_context_that_fits(model_context);
        let context = max_context.unwrap_or_else(|| max_context_that_fits.unwrap_or(1));
        Self {
            weight_bytes: needs.weight_bytes,
            cache_bytes_per_token: needs.cache_bytes_per_token,
            context,
            model_context,
            cache_bytes: needs.cache_bytes(context),
            workspace_bytes: needs.workspace_bytes(context),
            prefill_chunk: needs.prefill_chunk(context),
            total_bytes: needs.total_bytes(context),
            available_bytes: needs.available_bytes,
            max_context_that_fits,
            largest_binding: needs.largest_binding(context),
        }
    }

    /// Tells whether the plan holds.
    ///
    /// # Errors
    /// - [`EngineError::ContextRange`] when the asked context is 0 or beyond the model's.
    /// - [`EngineError::BindingTooLarge`] when one tensor is larger than the device lets a shader reach.
    /// - [`EngineError::DoesNotFit`] when the sum is larger than the device's memory; it says which context would fit.
    pub fn check(&self) -> Result<(), EngineError> {
        if self.context == 0 || self.context > self.model_context {
            return Err(EngineError::ContextRange { found: self.context, model_context: self.model_context });
        }
        let fits = self.max_context_that_fits;
        if let Some(limit_bytes) = self.largest_binding.limit_bytes
            && self.largest_binding.size_bytes > limit_bytes
        {
            let LargestBinding { name, size_bytes, .. } = self.largest_binding.clone();
            return Err(EngineError::BindingTooLarge { tensor: name, size_bytes, limit_bytes, advice: advice(fits) });
        }
        match self.available_bytes {
            Some(available_bytes) if self.total_bytes > available_bytes => Err(EngineError::DoesNotFit {
                total_bytes: self.total_bytes,
                weight_bytes: self.weight_bytes,
                cache_bytes: self.cache_bytes,
                workspace_bytes: self.workspace_bytes,
                context: self.context,
                available_bytes,
                advice: advice(fits),
            }),
            _ => Ok(()),
        }
    }
}

fn advice(max_context_that_fits: Option<usize>) -> String {
    match max_context_that_fits {
        Some(n_tokens) => format!("a context of {n_tokens} tokens fits"),
        None => "no context fits: choose another device or a smaller model".into(),
    }
}

/// Sizes that the plan is made of, as functions of the context.
struct Needs<'a> {
    config: &'a Config,
    prefill_chunk: Option<usize>,
    weight_bytes: u64,
    cache_bytes_per_token: u64,
    largest_weight: (String, u64),
    available_bytes: Option<u64>,
    binding_limit_bytes: Option<u64>,
    kernels: Option<Kernels>,
}

/// What the kernels' path needs beyond the common figures.
struct Kernels {
    architecture: Architecture,
    caches: CacheFormats,
    largest_cache_per_token: u64,
}

impl<'a> Needs<'a> {
    fn new(config: &'a Config, device: &DeviceInfo, prefill_chunk: Option<usize>) -> Self {
        let mut weight_bytes = 0u64;
        let mut largest_weight = (String::new(), 0);
        for spec in config.tensors() {
            let n_values = spec.shape.iter().fold(1u64, |product, &size| product.saturating_mul(size as u64));
            let size_bytes = n_values.saturating_mul(F32_BYTES);
            weight_bytes = weight_bytes.saturating_add(size_bytes);
            if size_bytes > largest_weight.1 {
                largest_weight = (spec.name, size_bytes);
            }
        }
        let limits = device.limits.as_ref();
        Self {
            config,
            prefill_chunk,
            weight_bytes,
            cache_bytes_per_token: config.cache_bytes_per_token() as u64,
            largest_weight,
            available_bytes: device.memory_bytes.map(|bytes| bytes / 10 * 9),
            binding_limit_bytes: limits.map(|limits| limits.binding_bytes.min(limits.buffer_bytes)),
            kernels: None,
        }
    }

    fn cache_bytes(&self, context: usize) -> u64 {
        self.cache_bytes_per_token.saturating_mul(context as u64)
    }

    fn layer_cache_bytes(&self, context: usize) -> u64 {
        if let Some(kernels) = &self.kernels {
            return kernels.largest_cache_per_token.saturating_mul(context as u64);
        }
        (self.config.latent_width() as u64 * F32_BYTES).saturating_mul(context as u64)
    }

    /// Rows that one query reads: the selection, or the whole context of a dense model.
    fn n_read(&self, context: usize) -> u64 {
        let n_selected = self.config.indexer.as_ref().map_or(context, |indexer| indexer.index_topk.min(context));
        n_selected as u64
    }

    /// The largest temporary of one query row: gathered latent rows, scores of every indexer head, or dense attention scores.
    fn tile_row_bytes(&self, context: usize) -> u64 {
        let context_len = context as u64;
        let n_values = match &self.config.indexer {
            Some(indexer) => {
                let gathered = self.n_read(context).saturating_mul(self.config.latent_width() as u64);
                gathered.max(context_len.saturating_mul(indexer.index_n_heads as u64))
            }
            None => context_len.saturating_mul(self.config.num_attention_heads as u64),
        };
        n_values.saturating_mul(F32_BYTES).max(1)
    }

    fn prefill_chunk(&self, context: usize) -> usize {
        if self.kernels.is_some() {
            return self.prefill_chunk.unwrap_or(MAX_PREFILL_CHUNK).clamp(1, context.max(1));
        }
        let by_tile = (TILE_BYTES / self.tile_row_bytes(context)).clamp(1, MAX_PREFILL_CHUNK as u64) as usize;
        self.prefill_chunk.unwrap_or(by_tile).clamp(1, context.max(1))
    }

    /// Two copies of the largest tile (an operation's input and output), the activations of a chunk, one row of logits in f32 on
    /// the device and on the host, and one layer's cache while it grows.
    fn workspace_bytes(&self, context: usize) -> u64 {
        if let Some(Kernels { architecture, caches, .. }) = &self.kernels {
            let largest_buffer = self.binding_limit_bytes.unwrap_or(u64::MAX);
            return workspace_bytes(architecture, *caches, context, self.prefill_chunk(context), largest_buffer);
        }
        let config = self.config;
        let heads = config.num_attention_heads;
        let per_head = config.qk_head_dim() + config.qk_nope_head_dim + config.v_head_dim + config.latent_width();
        let active_width = config
            .moe
            .as_ref()
            .map_or(0, |moe| moe.moe_intermediate_size * (moe.routing.num_experts_per_tok + moe.n_shared_experts));
        let feed_forward = 3 * config.intermediate_size.max(active_width);
        let activations = (4 * config.hidden_size + heads * per_head + feed_forward) as u64 * F32_BYTES;
        let attention_scores = self.n_read(context).saturating_mul(heads as u64 * F32_BYTES);
        let row = (2 * self.tile_row_bytes(context)).saturating_add(activations).saturating_add(2 * attention_scores);
        row.saturating_mul(self.prefill_chunk(context) as u64)
            .saturating_add(2 * config.vocab_size as u64 * F32_BYTES)
            .saturating_add(self.layer_cache_bytes(context))
    }

    fn total_bytes(&self, context: usize) -> u64 {
        // A tensor is held twice while it is converted and copied to the device.
        let staging = self.largest_weight.1.saturating_mul(2);
        let running = self.cache_bytes(context).saturating_add(self.workspace_bytes(context));
        self.weight_bytes.saturating_add(staging.max(running))
    }

    fn largest_binding(&self, context: usize) -> LargestBinding {
        let (weight_name, weight_bytes) = &self.largest_weight;
        let cache_bytes = self.layer_cache_bytes(context);
        let (name, size_bytes) =
            if cache_bytes > *weight_bytes { ("latent cache", cache_bytes) } else { (weight_name.as_str(), *weight_bytes) };
        LargestBinding { name: name.to_owned(), size_bytes, limit_bytes: self.binding_limit_bytes }
    }

    fn fits(&self, context: usize) -> bool {
        self.available_bytes.is_none_or(|available| self.total_bytes(context) <= available)
            && self.binding_limit_bytes.is_none_or(|limit| self.largest_binding(context).size_bytes <= limit)
    }

    /// Bisects; the answer itself has been tried.
    fn max_context_that_fits(&self, model_context: usize) -> Option<usize> {
        if self.fits(model_context) {
            return Some(model_context);
        }
        if model_context == 0 || !self.fits(1) {
            return None;
        }
        let (mut fits, mut too_long) = (1, model_context);
        while too_long - fits > 1 {
            let middle = fits + (too_long - fits) / 2;
            if self.fits(middle) { fits = middle } else { too_long = middle }
        }
        Some(fits)
    }
}

#[cfg(test)]
mod tests;
