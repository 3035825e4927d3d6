//! From a model folder, or a model in memory, to an engine.

use crate::EngineError;
use crate::device::{Chosen, DeviceInfo, choose_device};
use crate::engine::{Engine, EngineOptions, Inner, Text};
use crate::generation_config::GenerationConfig;
use crate::plan::MemoryPlan;
use crate::runtime::{self, Path as ComputePath, Runtime};
use burn::tensor::TensorData;
use serde_json::Value;
use sferic_lightning::{CacheFormats, Formats};
use sferic_model::{Config, TensorSource, TensorSpec};
use sferic_text::{PromptFormat, Tokenizer};
use sferic_weights::{Checkpoint, Report, SafeFile, WeightsError};
use std::borrow::Cow;
use std::collections::BTreeSet;
#[cfg(not(target_family = "wasm"))]
use std::path::Path;

/// How far a load has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of the weights that are on the device, counted as f32 whatever their format there.
    pub loaded_bytes: u64,
    /// Bytes of all weights, counted so.
    pub total_bytes: u64,
}

impl LoadProgress {
    fn of(config: &Config) -> Self {
        let values = |spec: &TensorSpec| spec.shape.iter().fold(1u64, |product, &n| product.saturating_mul(n as u64));
        let n_values = config.tensors().iter().map(values).fold(0, u64::saturating_add);
        Self { loaded_bytes: 0, total_bytes: n_values.saturating_mul(size_of::<f32>() as u64) }
    }
}

/// The weights of a model that is no folder.
#[derive(Debug)]
pub enum WeightFiles {
    /// Bytes of the one safetensors file, in memory.
    Memory(Cow<'static, [u8]>),
    /// The open safetensors file, or all shards. With [`SafeFile::from_source`] no more than a tensor of them is in memory.
    Files(Vec<SafeFile>),
}

impl From<Vec<u8>> for WeightFiles {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes.into())
    }
}

impl From<&'static [u8]> for WeightFiles {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Memory(bytes.into())
    }
}

impl WeightFiles {
    /// Opens the model with the text of its `config.json`.
    pub(crate) fn open(self, config_json: &str) -> Result<Checkpoint, WeightsError> {
        match self {
            Self::Memory(bytes) => Checkpoint::from_parts(config_json, bytes),
            Self::Files(files) => Checkpoint::from_files(config_json, files),
        }
    }
}

/// A model without a folder: one that is embedded in a program or fetched by a page.
#[derive(Debug)]
pub struct ModelParts<'a> {
    /// Text of `config.json`.
    pub config_json: &'a str,
    /// Its safetensors files.
    pub weights: WeightFiles,
    /// Bytes of `tokenizer.json`; without it the model works with token ids alone.
    pub tokenizer_json: Option<&'a [u8]>,
    /// Text of `tokenizer_config.json`, which may hold the chat template.
    pub tokenizer_config_json: Option<&'a str>,
    /// Text of `chat_template.jinja`.
    pub chat_template_jinja: Option<&'a str>,
    /// Text of `generation_config.json`.
    pub generation_config_json: Option<&'a str>,
}

/// A model that has been looked at and not loaded.
#[derive(Debug)]
pub struct Inspection {
    /// Its configuration.
    pub config: Config,
    /// Number of its parameters.
    pub n_parameters: u64,
    /// What is stored: counts, bytes and element types.
    pub report: Report,
    /// The device that it would run on.
    pub device: DeviceInfo,
    /// Why that device.
    pub device_reason: String,
    /// What it would need there.
    pub plan: MemoryPlan,
    /// Whether that is possible.
    pub fits: Result<(), EngineError>,
    /// Whether it has a tokenizer.
    pub has_tokenizer: bool,
    /// What is odd about it.
    pub warnings: Vec<String>,
}

/// Reads the configuration and the headers of a model folder, checks them, and plans the memory. Nothing is loaded.
///
/// # Errors
/// Those of [`Engine::open`], but not those of the memory plan: they are in [`Inspection::fits`].
#[cfg(not(target_family = "wasm"))]
pub async fn inspect(folder: impl AsRef<Path>, options: &EngineOptions) -> Result<Inspection, EngineError> {
    inspect_source(Source::open(folder.as_ref())?, options).await
}

/// Checks the configuration and the headers of a model without a folder, and plans the memory. Nothing is loaded.
///
/// # Errors
/// Those of [`Engine::from_parts`], but not those of the memory plan: they are in [`Inspection::fits`].
pub async fn inspect_parts(parts: ModelParts<'_>, options: &EngineOptions) -> Result<Inspection, EngineError> {
    inspect_source(Source::from_parts(parts)?, options).await
}

async fn inspect_source(source: Source, options: &EngineOptions) -> Result<Inspection, EngineError> {
    let device = choose(&source.config, options).await?;
    let plan = plan(&source, options, &device);
    Ok(Inspection {
        n_parameters: source.config.n_parameters(),
        fits: plan.check(),
        plan,
        has_tokenizer: source.text.is_some(),
        warnings: source.warnings(),
        report: source.report,
        config: source.config,
        device_reason: device.reason,
        device: device.info,
    })
}

impl Engine {
    /// Loads a Hugging Face model folder.
    ///
    /// # Errors
    /// - [`EngineError::Weights`] for a folder, a file or a tensor that is missing, broken or not the model's;
    /// - [`EngineError::Config`] for a configuration that is not supported;
    /// - [`EngineError::Text`] for a broken tokenizer or chat template; [`EngineError::Json`] and [`EngineError::File`] for other files;
    /// - those of [`resolve_device`] and [`MemoryPlan::check`].
    #[cfg(not(target_family = "wasm"))]
    pub async fn open(folder: impl AsRef<Path>, options: EngineOptions) -> Result<Engine, EngineError> {
        Self::open_with_progress(folder, options, &mut |_| ()).await
    }

    /// Loads a Hugging Face model folder and reports after every tensor.
    ///
    /// # Errors
    /// Those of [`Engine::open`].
    #[cfg(not(target_family = "wasm"))]
    pub async fn open_with_progress(
        folder: impl AsRef<Path>,
        options: EngineOptions,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Engine, EngineError> {
        load(Source::open(folder.as_ref())?, options, progress).await
    }

    /// Loads a model without a folder.
    ///
    /// # Errors
    /// Those of [`Engine::open`].
    pub async fn from_parts(parts: ModelParts<'_>, options: EngineOptions) -> Result<Engine, EngineError> {
        Self::from_parts_with_progress(parts, options, &mut |_| ()).await
    }

    /// Loads a model without a folder and reports after every tensor.
    ///
    /// # Errors
    /// Those of [`Engine::open`].
    pub async fn from_parts_with_progress(
        parts: ModelParts<'_>,
        options: EngineOptions,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Engine, EngineError> {
        load(Source::from_parts(parts)?, options, progress).await
    }

    /// Returns an engine that differs from this one in its weights alone: a policy after a step of its training.
    ///
    /// `weights` are the bytes of one safetensors file. Device and compiled kernels are shared; sessions stay with the engine that started them.
    ///
    /// # Errors
    /// [`EngineError::Weights`] for a file or a tensor that is missing, broken or not the model's, and those of the device.
    pub async fn with_weights(&self, weights: impl Into<Cow<'static, [u8]>>) -> Result<Engine, EngineError> {
        let inner = self.inner();
        let (config, options) = (self.config(), &inner.options);
        let checkpoint = Checkpoint::from_parts(&config.to_json().to_string(), weights)?;
        let report = checkpoint.check(&wanted(config))?;
        let state = LoadProgress::of(config);
        let mut tensors = Tensors { checkpoint: &checkpoint, progress: &mut |_| (), state };
        let runtime = match self.kernels() {
            Some(model) => load_kernels(config, &report, options, &inner.plan, model.device().clone(), &mut tensors)?.0,
            None => Runtime::reference(config, &mut tensors, &inner.device.burn_device(), options.model)?,
        };
        Ok(Engine::new(Inner {
            runtime,
            is_exact: inner.is_exact,
            device: inner.device.clone(),
            plan: inner.plan.clone(),
            end_tokens: inner.end_tokens.clone(),
            unused_tokens: inner.unused_tokens.clone(),
            sampling: inner.sampling.clone(),
            warnings: inner.warnings.clone(),
            text: inner.text.clone(),
            options: inner.options.clone(),
        }))
    }
}

/// A checked model before it is loaded.
struct Source {
    checkpoint: Checkpoint,
    config: Config,
    report: Report,
    text: Option<Text>,
    generation: GenerationConfig,
}

impl Source {
    #[cfg(not(target_family = "wasm"))]
    fn open(folder: &Path) -> Result<Self, EngineError> {
        let checkpoint = Checkpoint::open(folder)?;
        let config = Config::from_json(checkpoint.config_json())?;
        let tokenizer_file = folder.join("tokenizer.json");
        let text = if tokenizer_file.is_file() {
            let format = PromptFormat::from_folder_files(config.model_type.name(), folder)?;
            Some(Text { tokenizer: Tokenizer::from_file(&tokenizer_file)?, format })
        } else {
            None
        };
        let generation = read_optional(&folder.join("generation_config.json"))?;
        Self::new(checkpoint, config, text, generation.as_deref())
    }

    fn from_parts(parts: ModelParts<'_>) -> Result<Self, EngineError> {
        let checkpoint = parts.weights.open(parts.config_json)?;
        let config = Config::from_json(checkpoint.config_json())?;
        let text = match parts.tokenizer_json {
            Some(bytes) => {
                let (tokenizer_config, template) = (parts.tokenizer_config_json, parts.chat_template_jinja);
                let format = PromptFormat::choose(config.model_type.name(), tokenizer_config, template)?;
                Some(Text { tokenizer: Tokenizer::from_bytes(bytes)?, format })
            }
            None => None,
        };
        Self::new(checkpoint, config, text, parts.generation_config_json)
    }

    fn new(
        checkpoint: Checkpoint,
        config: Config,
        text: Option<Text>,
        generation_config: Option<&str>,
    ) -> Result<Self, EngineError> {
        let report = checkpoint.check(&wanted(&config))?;
        let generation = match generation_config {
            Some(text) => {
                let json: Value = serde_json::from_str(text)
                    .map_err(|source| EngineError::Json { file: "generation_config.json".into(), source })?;
                GenerationConfig::from_json(&json, config.vocab_size)
            }
            None => GenerationConfig::default(),
        };
        Ok(Self { checkpoint, config, report, text, generation })
    }

    /// What is odd so far, in sentences for the user.
    fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.checkpoint.warnings().iter().map(ToString::to_string).collect();
        warnings.extend(self.generation.warnings.iter().cloned());
        let id_bound = self.text.as_ref().map_or(0, |text| text.tokenizer.id_bound());
        if id_bound as usize > self.config.vocab_size {
            let vocab_size = self.config.vocab_size;
            warnings.push(format!(
                "tokenizer.json has token ids up to {}, the model knows {vocab_size} tokens; the others cannot be used",
                id_bound - 1
            ));
        }
        warnings
    }

    /// Rows of the model's head that no token stands for.
    fn unused_tokens(&self) -> Vec<u32> {
        let Some(text) = &self.text else { return Vec::new() };
        let n_rows = u32::try_from(self.config.vocab_size).unwrap_or(u32::MAX);
        (0..n_rows).filter(|&token_id| text.tokenizer.id_to_token(token_id).is_none()).collect()
    }
}

async fn load(source: Source, options: EngineOptions, progress: &mut dyn FnMut(LoadProgress)) -> Result<Engine, EngineError> {
    let chosen = choose(&source.config, &options).await?;
    let plan = plan(&source, &options, &chosen);
    plan.check()?;
    let state = LoadProgress::of(&source.config);
    let mut tensors = Tensors { checkpoint: &source.checkpoint, progress, state };
    let mut is_exact = true;
    let (runtime, device) = match kernels_device(&source.config, &options, &chosen).await? {
        Some(device) => {
            let runtime;
            (runtime, is_exact) = load_kernels(&source.config, &source.report, &options, &plan, device, &mut tensors)?;
            (runtime, chosen.resolved())
        }
        None => {
            let device = chosen.start().await?;
            (Runtime::reference(&source.config, &mut tensors, &device.burn_device(), options.model)?, device)
        }
    };
    let known = |&token_id: &u32| (token_id as usize) < source.config.vocab_size;
    let end_tokens: BTreeSet<u32> = source.config.eos_token_id.iter().copied().filter(known).collect();
    Ok(Engine::new(Inner {
        runtime,
        is_exact,
        device,
        plan,
        end_tokens: end_tokens.union(&source.generation.end_tokens).copied().collect(),
        unused_tokens: source.unused_tokens(),
        sampling: source.generation.sampling.clone(),
        warnings: source.warnings(),
        text: source.text,
        options,
    }))
}

/// Names and shapes of a model's tensors.
fn wanted(config: &Config) -> Vec<(String, Vec<usize>)> {
    config.tensors().into_iter().map(|spec| (spec.name, spec.shape)).collect()
}

/// Loads a model for the kernels; tells whether weights and caches are f32.
fn load_kernels(
    config: &Config,
    report: &Report,
    options: &EngineOptions,
    plan: &MemoryPlan,
    device: sferic_lightning::Device,
    tensors: &mut Tensors<'_>,
) -> Result<(Runtime, bool), EngineError> {
    let formats = runtime::formats_of(options.weights, options.cache, &report.dtypes);
    let pace = options.prefill_chunk.is_none().then(|| runtime::Pace::new(plan.prefill_chunk));
    let settings = (plan.context, plan.prefill_chunk, pace, &options.model);
    let checkpoint = tensors.checkpoint;
    let runtime = runtime::load_kernels(config, checkpoint, device, formats, settings, &mut |bytes| tensors.count(bytes))?;
    Ok((runtime, formats == (Formats::F32, CacheFormats::F32)))
}

/// The memory plan of the path that will be taken.
fn plan(source: &Source, options: &EngineOptions, chosen: &Chosen) -> MemoryPlan {
    let (config, context, chunk) = (&source.config, options.max_context, options.prefill_chunk);
    if !chosen.is_gpu() || options.path == ComputePath::Reference || against_kernels(config, options).is_some() {
        return MemoryPlan::new(config, &chosen.info, context, chunk);
    }
    let formats = runtime::formats_of(options.weights, options.cache, &source.report.dtypes);
    MemoryPlan::for_kernels(config, &chosen.info, formats, context, chunk)
}

/// The device that is asked for, if it can compute the model: in browsers the reference path has no GPU.
async fn choose(config: &Config, options: &EngineOptions) -> Result<Chosen, EngineError> {
    let chosen = choose_device(&options.device).await?;
    let is_asked = (options.path == ComputePath::Reference).then_some("the reference path was asked for");
    Ok(match against_kernels(config, options).or(is_asked) {
        Some(why) if cfg!(target_family = "wasm") => chosen.or_cpu(why),
        _ => chosen,
    })
}

/// Why the kernels cannot compute a model with these options, if they cannot.
fn against_kernels(config: &Config, options: &EngineOptions) -> Option<&'static str> {
    let reference_only = runtime::needs_reference(&options.model).then_some("a switch is set that the reference path alone has");
    runtime::unsupported(config).or(reference_only)
}

/// The chosen device for our kernels, where they are to compute the model and can.
async fn kernels_device(
    config: &Config,
    options: &EngineOptions,
    chosen: &Chosen,
) -> Result<Option<sferic_lightning::Device>, EngineError> {
    match (options.path, against_kernels(config, options)) {
        (ComputePath::Reference, _) | (ComputePath::Auto, Some(_)) => Ok(None),
        (ComputePath::Kernels, Some(why)) => Err(EngineError::NoKernels { why: why.into() }),
        (path, None) => match chosen.start_kernels().await {
            Some(device) => {
                let device = device?;
                let device = if options.browser_subgroups { device.with_browser_subgroups() } else { device };
                Ok(Some(device.without(options.left_out)))
            }
            None if path == ComputePath::Kernels => {
                Err(EngineError::NoKernels { why: "they need a gpu, and the cpu was taken".into() })
            }
            None => Ok(None),
        },
    }
}

/// The tensors of a checkpoint in f32, counted as they go to the device.
struct Tensors<'a> {
    checkpoint: &'a Checkpoint,
    progress: &'a mut dyn FnMut(LoadProgress),
    state: LoadProgress,
}

impl Tensors<'_> {
    fn count(&mut self, size_bytes: u64) {
        self.state.loaded_bytes += size_bytes;
        (self.progress)(self.state);
    }
}

impl TensorSource for Tensors<'_> {
    type Error = WeightsError;

    fn tensor(&mut self, spec: &TensorSpec) -> Result<TensorData, WeightsError> {
        let values = self.checkpoint.read_f32(&spec.name, &spec.shape)?;
        self.count((values.len() * size_of::<f32>()) as u64);
        Ok(TensorData::new(values, spec.shape.clone()))
    }
}

#[cfg(not(target_family = "wasm"))]
fn read_optional(path: &Path) -> Result<Option<String>, EngineError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EngineError::File { doing: "read", source, path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests;
