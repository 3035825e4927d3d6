//! A loaded model.

use crate::device::ResolvedDevice;
use crate::plan::MemoryPlan;
use crate::runtime::{self, CachePrecision, Path, Runtime, WeightPrecision};
use crate::sampler::SamplingParams;
use crate::session::Session;
use crate::{DeviceChoice, EngineError};
use sferic_lightning::Features;
use sferic_model::Config;
use sferic_text::{PromptFormat, Tokenizer};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How a model is loaded and run.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Device to run on.
    pub device: DeviceChoice,
    /// Tokens that a session can hold; `None` takes the model's context, or the largest part of it that fits the memory.
    pub max_context: Option<usize>,
    /// Tokens in one prefill chunk; `None` takes the plan's.
    pub prefill_chunk: Option<usize>,
    /// Switches of the model.
    pub model: sferic_model::Options,
    /// Which implementation computes it.
    pub path: Path,
    /// Number format of the weights, on the kernels' path.
    pub weights: WeightPrecision,
    /// Number format of the caches, on the kernels' path.
    pub cache: CachePrecision,
    /// Features of the device that no kernel may use, such as those that a self-test found wrong.
    pub left_out: Features,
    /// In a browser: the page has asked the adapter for subgroups and got them, which the graphics layer cannot know.
    pub browser_subgroups: bool,
}

impl EngineOptions {
    /// Formats of weights and caches on the kernels' path for a model that is not stored anywhere.
    pub fn formats(&self) -> (sferic_lightning::Formats, sferic_lightning::CacheFormats) {
        crate::runtime::formats_of(self.weights, self.cache, &std::collections::BTreeMap::from([(sferic_weights::Dtype::F16, 1)]))
    }
}

/// A loaded model on a device. Clones share it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What the loader has put together.
pub(crate) struct Inner {
    pub(crate) runtime: Runtime,
    /// Whether weights and caches are f32.
    pub(crate) is_exact: bool,
    pub(crate) device: ResolvedDevice,
    pub(crate) plan: MemoryPlan,
    pub(crate) text: Option<Text>,
    pub(crate) end_tokens: BTreeSet<u32>,
    /// Rows of the head that no token of the tokenizer stands for.
    pub(crate) unused_tokens: Vec<u32>,
    pub(crate) sampling: SamplingParams,
    pub(crate) warnings: Vec<String>,
    /// As they were given.
    pub(crate) options: EngineOptions,
}

/// The text side of a model.
#[derive(Clone)]
pub(crate) struct Text {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) format: PromptFormat,
}

impl Engine {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Returns the model's configuration.
    pub fn config(&self) -> &Config {
        self.inner.runtime.config()
    }

    /// Returns the device in use and why it was taken.
    pub fn device(&self) -> &ResolvedDevice {
        &self.inner.device
    }

    /// Returns the memory plan, which holds the context and the prefill chunk.
    pub fn plan(&self) -> &MemoryPlan {
        &self.inner.plan
    }

    /// Returns what was odd about the model but did not keep it from loading, in sentences for the user.
    pub fn warnings(&self) -> &[String] {
        &self.inner.warnings
    }

    /// Returns the tokenizer.
    ///
    /// # Errors
    /// [`EngineError::NoTokenizer`] for a model without one.
    pub fn tokenizer(&self) -> Result<&Tokenizer, EngineError> {
        Ok(&self.text()?.tokenizer)
    }

    /// Returns the format of conversations.
    ///
    /// # Errors
    /// [`EngineError::NoTokenizer`] for a model without a tokenizer.
    pub fn prompt_format(&self) -> Result<&PromptFormat, EngineError> {
        Ok(&self.text()?.format)
    }

    /// Returns the sampling parameters that the model's `generation_config.json` recommends, else the defaults.
    pub fn default_sampling(&self) -> SamplingParams {
        self.inner.sampling.clone()
    }

    /// Returns the tokens that end a reply.
    pub fn end_tokens(&self) -> &BTreeSet<u32> {
        &self.inner.end_tokens
    }

    /// Starts an empty conversation.
    pub fn session(&self) -> Session {
        Session::new(self.clone())
    }

    /// Returns the tokens of a text that is not a conversation, with the start token where the tokenizer adds one.
    ///
    /// # Errors
    /// [`EngineError::NoTokenizer`] for a model without a tokenizer, [`EngineError::Text`] when the text cannot be turned into tokens.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        Ok(self.tokenizer()?.encode(text, true)?)
    }

    /// Whether our kernels compute the model; else the reference path does.
    pub fn runs_on_kernels(&self) -> bool {
        self.inner.runtime.is_kernels()
    }

    /// Makes ready what the first prompt needs on the kernels. What the device could not hold shows here, where it does not say so at once.
    ///
    /// # Errors
    /// [`EngineError::Device`].
    pub async fn prepare(&self) -> Result<(), EngineError> {
        let Some(model) = self.kernels() else { return Ok(()) };
        model.prepare().await.map_err(|error| runtime::model_error("preparing the first step", error))
    }

    /// Compiles one more of the programs that a reply asks for; returns whether there was one left. For when nobody waits.
    ///
    /// # Errors
    /// [`EngineError::Device`].
    pub async fn compile_next(&self) -> Result<bool, EngineError> {
        let Some(model) = self.kernels() else { return Ok(false) };
        model.compile_next().await.map_err(|error| runtime::model_error("compiling for a reply", error))
    }

    /// The model on our kernels, where it runs on them.
    pub fn kernels(&self) -> Option<&sferic_lightning::Model> {
        self.inner.runtime.kernels()
    }

    /// Whether weights and caches are kept in f32, so that only the order of sums differs from a reference in f32.
    pub fn is_exact(&self) -> bool {
        self.inner.is_exact
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    pub(crate) fn unused_tokens(&self) -> &[u32] {
        &self.inner.unused_tokens
    }

    fn text(&self) -> Result<&Text, EngineError> {
        self.inner.text.as_ref().ok_or(EngineError::NoTokenizer)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("model_type", &self.config().model_type)
            .field("device", &self.device().info.name)
            .field("context", &self.plan().context)
            .finish_non_exhaustive()
    }
}
