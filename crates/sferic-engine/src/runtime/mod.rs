//! The two ways to compute a model: the reference path, and our own kernels.
//!
//! The reference path is Burn's stock operations on any device; it is the oracle. The kernels run on GPUs, with the weights and caches in the
//! formats that were asked for.

mod batches;
mod kernels;
mod pace;
mod reference;

use crate::EngineError;
use crate::clock::Clock;
use burn::tensor::Device;
use sferic_lightning::{Draw, Drawing, Draws, MAX_VOCABULARY};
use sferic_model::{AttentionForm, AttentionMode, Cache, CacheFormat, Config, Model, Options};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

pub(crate) use kernels::{architecture, formats_of, load as load_kernels, model_error, unsupported};
pub(crate) use pace::Pace;

/// Which implementation computes a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    /// The kernels on a GPU, where they know the model; else the reference path.
    #[default]
    Auto,
    /// The tensor library's stock operations in f32: slow and exact.
    Reference,
    /// The kernels; an error where that cannot be.
    Kernels,
}

/// Number format of the weights on the kernels' path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightPrecision {
    /// As the checkpoint stores them; FP8 as BF16, which holds it exactly.
    #[default]
    Stored,
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Floats of 8 exponent and 7 fraction bits.
    Bf16,
    /// e4m3 with a scale for each block of 128 × 128.
    Fp8,
    /// 8-bit integers with a scale for each group of 32.
    Q8,
    /// 4-bit integers with a scale for each group of 32.
    Q4,
}

impl WeightPrecision {
    /// Every format with its name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("stored", Self::Stored),
        ("f32", Self::F32),
        ("f16", Self::F16),
        ("bf16", Self::Bf16),
        ("fp8", Self::Fp8),
        ("q8", Self::Q8),
        ("q4", Self::Q4),
    ];
}

/// Number format of the caches on the kernels' path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePrecision {
    /// F32 beside weights of F32, else F16.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// e4m3 as DeepSeek serves its models, behind a Hadamard transform for index keys.
    Fp8,
}

impl CachePrecision {
    /// Every format with its name.
    pub const ALL: [(&'static str, Self); 4] = [("auto", Self::Auto), ("f32", Self::F32), ("f16", Self::F16), ("fp8", Self::Fp8)];
}

macro_rules! named {
    ($type:ty, $what:literal) => {
        impl FromStr for $type {
            type Err = EngineError;

            fn from_str(text: &str) -> Result<Self, EngineError> {
                let found = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
                found.ok_or_else(|| EngineError::UnknownFormat {
                    what: $what,
                    found: text.to_owned(),
                    allowed: Self::ALL.map(|(name, _)| name).join(", "),
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Self::ALL.iter().find(|(_, value)| value == self).map_or("", |(name, _)| name))
            }
        }
    };
}

named!(WeightPrecision, "weights");
named!(CachePrecision, "cache");

/// A model that can be computed.
pub(crate) enum Runtime {
    /// Stock operations.
    Reference(Box<Model>, Options),
    /// Our own kernels.
    Kernels {
        /// Weights, caches, recorded steps.
        model: sferic_lightning::Model,
        /// Its configuration.
        config: Box<Config>,
        /// Whether every token is attended to, always.
        dense: bool,
        /// How much of a prompt is computed at a time; `None` where the user said so.
        pace: Option<Mutex<Pace>>,
    },
}

/// What a sequence has cached.
pub(crate) enum Cached {
    /// Its rows, and the tokens that they are of.
    Reference(Cache, Vec<u32>),
    /// Its pages of the caches.
    Kernels(sferic_lightning::Sequence),
}

/// How new tokens are fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// As part of a text.
    Prefill,
    /// One, as decode does it.
    Decode,
}

/// Which rows of logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// None; the call still ends when the work is done, so that progress is real and cancelling comes in time.
    Nothing,
    /// The last token's.
    Last,
    /// All.
    Logits,
    /// All, with the hidden states and selections of every layer.
    Everything,
    /// None, but the selections of every layer with their index scores.
    Selections,
}

/// What is attended to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Attention {
    /// What each layer selects.
    #[default]
    Selected,
    /// Every token.
    Dense,
    /// These positions of each layer, row by row, instead of what it selects; on the kernels' path alone.
    Replayed(BTreeMap<usize, Vec<Vec<i32>>>),
}

/// What was computed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Computed {
    /// `[rows, V]`
    pub(crate) logits: Vec<f32>,
    /// Output of each layer, `[T, D]`.
    pub(crate) hidden: Vec<Vec<f32>>,
    /// Selected positions of each layer that selects, row by row, −1 in unfilled slots.
    pub(crate) selected: BTreeMap<usize, Vec<Vec<i32>>>,
    /// The index scores of these positions, where they are wanted and known: the kernels compute none while everything is selected.
    pub(crate) scores: BTreeMap<usize, Vec<Vec<f32>>>,
    /// Routed experts of each mixture layer, row by row, ascending.
    pub(crate) experts: ExpertRows,
}

/// Routed experts by mixture layer, row by row, ascending.
pub(crate) type ExpertRows = BTreeMap<usize, Vec<Vec<i32>>>;

impl Runtime {
    pub(crate) fn config(&self) -> &Config {
        match self {
            Self::Reference(model, _) => model.config(),
            Self::Kernels { config, .. } => config,
        }
    }

    /// Loads the reference path.
    pub(crate) fn reference<S: sferic_model::TensorSource>(
        config: &Config,
        source: &mut S,
        device: &Device,
        options: Options,
    ) -> Result<Self, S::Error> {
        Ok(Self::Reference(Box::new(Model::load(config, source, device)?), options))
    }

    /// Whether the kernels compute it.
    pub(crate) fn is_kernels(&self) -> bool {
        matches!(self, Self::Kernels { .. })
    }

    /// The model on the kernels.
    pub(crate) fn kernels(&self) -> Option<&sferic_lightning::Model> {
        match self {
            Self::Reference(..) => None,
            Self::Kernels { model, .. } => Some(model),
        }
    }

    /// Starts an empty sequence of up to `capacity` tokens.
    pub(crate) fn start(&self, capacity: usize) -> Cached {
        match self {
            Self::Reference(model, _) => Cached::Reference(model.new_cache(capacity), Vec::new()),
            Self::Kernels { model, .. } => Cached::Kernels(model.sequence()),
        }
    }

    /// Tokens of the next chunk of a prompt, `planned` of them at most.
    pub(crate) fn chunk(&self, planned: usize) -> usize {
        match self {
            Self::Kernels { pace: Some(pace), .. } => planned.min(pace.lock().unwrap_or_else(PoisonError::into_inner).next()),
            _ => planned,
        }
    }

    /// Most tokens of one call of [`Runtime::compute`].
    pub(crate) fn longest_step(&self) -> usize {
        match self {
            Self::Reference(..) => usize::MAX,
            Self::Kernels { model, .. } => model.settings().chunk,
        }
    }

    /// Prepares the draws of a reply on the device, where they can be made there.
    pub(crate) async fn draws(&self, drawing: impl FnOnce() -> Drawing) -> Result<Option<Draws>, EngineError> {
        match self {
            Self::Kernels { model, dense, .. } if model.architecture().vocab <= MAX_VOCABULARY as usize => {
                kernels::draws(model, Drawing { dense: *dense, ..drawing() }).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Computes `ids` after what is cached; with `experts`, or where everything is wanted, the experts are read.
    pub(crate) async fn compute(
        &self,
        cached: &mut Cached,
        ids: &[u32],
        feed: Feed,
        (wanted, experts): (Wanted, bool),
        attention: &Attention,
    ) -> Result<Computed, EngineError> {
        let dense = *attention == Attention::Dense;
        match (self, cached) {
            (Self::Reference(model, options), Cached::Reference(cache, tokens)) => {
                let mut options = *options;
                if dense {
                    options.attention = AttentionMode::Dense;
                }
                let computed = reference::compute(model, &options, cache, ids, feed, wanted, experts).await;
                tokens.truncate(cache.len().saturating_sub(ids.len()));
                tokens.extend_from_slice(&ids[..cache.len() - tokens.len()]);
                computed
            }
            (Self::Kernels { model, dense: always, pace, .. }, Cached::Kernels(sequence)) => {
                let clock = Clock::start();
                let attention = if *always { &Attention::Dense } else { attention };
                let computed = kernels::compute(model, sequence, ids, wanted, experts, attention).await?;
                if let (Feed::Prefill, Some(pace)) = (feed, pace) {
                    pace.lock().unwrap_or_else(PoisonError::into_inner).took(ids.len(), clock.secs());
                }
                Ok(computed)
            }
            // A sequence is only ever used with the runtime that started it.
            _ => Err(EngineError::Device { doing: "computing a token", message: "the sequence is of another model".into() }),
        }
    }
}

impl Cached {
    /// Computes those of `tokens` that are not cached and draws the next one; with `go_on` the device begins the step after that. Returns the
    /// experts of what was computed as well, where they are recorded.
    pub(crate) async fn draw(
        &mut self,
        draws: &mut Draws,
        tokens: &[u32],
        go_on: bool,
    ) -> Result<(Draw, ExpertRows), EngineError> {
        match self {
            Self::Kernels(sequence) => kernels::draw(sequence, draws, tokens, go_on).await,
            // Draws are only ever prepared on the kernels' path.
            Self::Reference(..) => {
                Err(EngineError::Device { doing: "drawing a token", message: "the sequence is of another model".into() })
            }
        }
    }

    /// Tokens that are cached.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Reference(cache, _) => cache.len(),
            Self::Kernels(sequence) => sequence.len(),
        }
    }

    /// Forgets everything from `n_tokens` on, and perhaps some tokens before.
    pub(crate) fn truncate(&mut self, n_tokens: usize) {
        match self {
            Self::Reference(cache, tokens) => {
                cache.truncate(n_tokens);
                tokens.truncate(n_tokens);
            }
            Self::Kernels(sequence) => sequence.truncate(n_tokens),
        }
    }

    /// Keeps the longest cached beginning of `tokens`, its last token excepted; returns how many tokens are cached then. With `own` nothing is
    /// taken over from other sequences.
    pub(crate) fn resume(&mut self, tokens: &[u32], own: bool) -> usize {
        match self {
            Self::Reference(_, cached) => {
                let most = tokens.len().saturating_sub(1);
                let n_shared = cached.iter().zip(&tokens[..most]).take_while(|(cached, new)| cached == new).count();
                self.truncate(n_shared);
                n_shared
            }
            Self::Kernels(sequence) if own => sequence.resume_own(tokens),
            Self::Kernels(sequence) => sequence.resume(tokens),
        }
    }
}

/// Whether these switches exist on the reference path alone.
pub(crate) fn needs_reference(options: &Options) -> bool {
    options.form != AttentionForm::Auto
        || options.hadamard
        || options.index_format != CacheFormat::F32
        || options.latent_format != CacheFormat::F32
}
