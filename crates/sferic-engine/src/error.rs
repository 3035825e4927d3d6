//! Why something could not be done.

use std::path::PathBuf;

/// Why the engine could not do what was asked. A session that returns one stays usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Occurs when a device is asked for by an unknown name.
    #[error("device {found:?} is unknown: expected auto, cpu, gpu or gpu:N")]
    UnknownDeviceChoice {
        /// What was given.
        found: String,
    },
    /// Occurs when a GPU is asked for on a machine where no graphics driver offers one.
    #[error("no gpu was found: expected a vulkan, metal, dx12 or webgpu driver, found none; install one or use the cpu")]
    NoGpu,
    /// Occurs when a GPU is asked for by a number that does not exist.
    #[error("gpu:{found} does not exist: this machine has {n_gpus} (numbers start at 0); list them with `sferic devices`")]
    GpuIndex {
        /// The number given.
        found: usize,
        /// How many there are.
        n_gpus: usize,
    },
    /// Occurs when the driver refuses to start a GPU.
    #[error("gpu {name:?} could not be started: {message}; update its driver or use the cpu")]
    DeviceStart {
        /// The GPU.
        name: String,
        /// What the driver says.
        message: String,
    },
    /// Occurs when a computation or the transfer of its result fails on the device, a lost device or a lack of memory for example.
    #[error("the device failed while {doing}: {message}; the conversation is kept and can go on, if need be on another device")]
    Device {
        /// What was being done.
        doing: &'static str,
        /// What the device says.
        message: String,
    },
    /// Occurs when the kernels are asked for and cannot compute the model, or not on this device.
    #[error("the kernels cannot run this model: {why}; leave the choice to the engine or take the reference path")]
    NoKernels {
        /// What stands in the way.
        why: String,
    },
    /// Occurs when a number format is asked for by an unknown name.
    #[error("{found:?} is no format of {what}: expected one of {allowed}")]
    UnknownFormat {
        /// What it is a format of.
        what: &'static str,
        /// What was given.
        found: String,
        /// The names that exist.
        allowed: String,
    },
    /// Occurs when the conversations on one model hold more tokens together than the caches may grow to.
    #[error("{message}")]
    CachesFull {
        /// How much there is and how much was needed.
        message: String,
    },
    /// Occurs when the model's configuration is refused.
    #[error(transparent)]
    Config(#[from] sferic_model::ConfigError),
    /// Occurs when the weights cannot be read.
    #[error(transparent)]
    Weights(#[from] sferic_weights::WeightsError),
    /// Occurs when the tokenizer or the chat template is refused.
    #[error(transparent)]
    Text(#[from] sferic_text::TextError),
    /// Occurs when a file cannot be read or written.
    #[error("cannot {doing} the file: {source}: {}", .path.display())]
    File {
        /// `read` or `write`.
        doing: &'static str,
        /// What the system says.
        source: std::io::Error,
        /// The file.
        path: PathBuf,
    },
    /// Occurs when a file that should hold JSON does not.
    #[error("{file} is not valid json: {source}; download the file again")]
    Json {
        /// The file's name.
        file: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Occurs when a conversation or text is to be generated with a model that has no tokenizer.
    #[error("the model has no tokenizer.json: text needs one; add the file to the model's folder or work with token ids")]
    NoTokenizer,
    /// Occurs when the asked context is outside what the model was made for.
    #[error(
        "a context of {found} tokens was asked for: expected 1 to {model_context}, which is the model's max_position_embeddings"
    )]
    ContextRange {
        /// What was asked for.
        found: usize,
        /// The model's context.
        model_context: usize,
    },
    /// Occurs when a tensor is larger than the device lets a shader reach.
    #[error("tensor {tensor:?} takes {size_bytes} bytes, the device reaches {limit_bytes} at a time; {advice}")]
    BindingTooLarge {
        /// The tensor's name.
        tensor: String,
        /// Its size.
        size_bytes: u64,
        /// The device's limit.
        limit_bytes: u64,
        /// What would fit.
        advice: String,
    },
    /// Occurs when the model and its caches need more memory than the device has.
    #[error(
        "not enough memory: {total_bytes} bytes are needed (weights {weight_bytes}, caches {cache_bytes} at {context} tokens, workspace {workspace_bytes}), {available_bytes} are available; {advice}"
    )]
    DoesNotFit {
        /// Sum at the worst moment.
        total_bytes: u64,
        /// Weights.
        weight_bytes: u64,
        /// Caches.
        cache_bytes: u64,
        /// Temporaries.
        workspace_bytes: u64,
        /// The planned context.
        context: usize,
        /// What the device has.
        available_bytes: u64,
        /// What would fit.
        advice: String,
    },
    /// Occurs when a sampling parameter is out of range.
    #[error("sampling parameter {field}: allowed {allowed}, found {found}")]
    InvalidSampling {
        /// The field's name.
        field: &'static str,
        /// Its range.
        allowed: String,
        /// What was given.
        found: String,
    },
    /// Occurs when the model's output cannot be sampled from.
    #[error(
        "the logits hold {n_bad} values of {n_logits} that cannot be sampled from (the first is {first_value}, of token id {first_token_id}); check the weights for nan and infinity, and the logit bias for a ban of every token"
    )]
    BadLogits {
        /// Number of values that are NaN or +∞, or of all values when none is finite.
        n_bad: usize,
        /// Size of the vocabulary.
        n_logits: usize,
        /// Token of the first such value.
        first_token_id: u32,
        /// The first such value.
        first_value: f32,
    },
    /// Occurs when a prompt has no tokens.
    #[error("the prompt is empty: expected one token or more; give some text or the model's start token")]
    EmptyPrompt,
    /// Occurs when a prompt holds a token that the model does not know.
    #[error(
        "token id {token_id} at position {position} of the prompt is beyond the vocabulary of {vocab_size} tokens; check that the tokenizer belongs to the model"
    )]
    TokenBeyondVocabulary {
        /// The token.
        token_id: u32,
        /// Its place in the prompt.
        position: usize,
        /// Size of the model's vocabulary.
        vocab_size: usize,
    },
    /// Occurs when a prompt is longer than the context.
    #[error(
        "the prompt has {n_tokens} tokens, the context holds {context} (the model's own is {model_context}); shorten the prompt by {} or ask for a longer context",
        .n_tokens - .context
    )]
    PromptTooLong {
        /// Length of the prompt.
        n_tokens: usize,
        /// The engine's context.
        context: usize,
        /// The model's context.
        model_context: usize,
    },
    /// Occurs when a file of reference values does not hold what is needed, or not in the expected form.
    #[error("reference values: tensor {tensor:?}: expected {expected}, found {found}; check that the file belongs to this model")]
    Reference {
        /// The tensor.
        tensor: String,
        /// What is needed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Occurs when a trace is asked for with impossible settings.
    #[error("trace setting {field}: allowed {allowed}, found {found}")]
    InvalidTrace {
        /// The setting.
        field: &'static str,
        /// Its range.
        allowed: String,
        /// What was given.
        found: String,
    },
}
