//! The command line's grammar.

mod convert;
mod train;

pub use convert::{CompareArgs, ConvertArgs, pair};
pub use train::{RunArgs, Stage, StageArgs, TrainArgs};

use crate::failure::EXIT_CODES;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use sferic_engine::{
    AttentionMode, CacheFormat, CachePrecision, ComputePath, DeviceChoice, EngineOptions, ModelOptions, SamplingParams,
    WeightPrecision,
};
use std::path::PathBuf;

/// Runs and trains language models with sparse attention (DSA) on the CPU or any GPU.
#[derive(Debug, Parser)]
#[command(
    name = "sferic",
    version,
    args_conflicts_with_subcommands = true,
    after_help = format!(
        "Without a command, sferic chats with the demo model that it carries and takes the options of `sferic chat`.\n\n{EXIT_CODES}"
    )
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub chat: ChatOptions,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Chats with a model
    #[command(after_help = EXIT_CODES)]
    Chat(ChatArgs),
    /// Continues a text and writes the continuation alone to standard output
    #[command(after_help = EXIT_CODES)]
    Generate(GenerateArgs),
    /// Shows a model's architecture, its size and the memory it needs
    #[command(after_help = EXIT_CODES)]
    Info(InfoArgs),
    /// Lists the devices of this machine
    #[command(after_help = EXIT_CODES)]
    Devices(DevicesArgs),
    /// Writes logits, hidden states and selections for a list of token ids
    #[command(after_help = EXIT_CODES)]
    Trace(TraceArgs),
    /// Compares a run with the folder's golden.safetensors
    #[command(after_help = EXIT_CODES)]
    Verify(VerifyArgs),
    /// Writes a model in another number format
    #[command(after_help = EXIT_CODES)]
    Convert(ConvertArgs),
    /// Shows how far a model is from another on a text
    #[command(after_help = EXIT_CODES)]
    Compare(CompareArgs),
    /// Shows which positions each layer selected for a token
    #[command(after_help = EXIT_CODES)]
    Xray(XrayArgs),
    /// Measures this machine's GPU
    #[command(after_help = EXIT_CODES)]
    Bench(BenchArgs),
    /// Prints the exact prompt of a conversation
    #[command(after_help = EXIT_CODES)]
    Prompt(PromptArgs),
    /// Trains a tokenizer or a small model
    #[command(after_help = EXIT_CODES)]
    Train(TrainArgs),
}

/// A model that may be left out.
#[derive(Args, Clone, Debug)]
pub struct ModelArg {
    /// Model folder; the embedded demo model when left out
    #[arg(value_name = "MODEL")]
    folder: Option<PathBuf>,
    /// The same as an option
    #[arg(long = "model", short = 'm', value_name = "MODEL", conflicts_with = "folder")]
    folder_option: Option<PathBuf>,
}

impl ModelArg {
    /// The folder, if one was given.
    pub fn into_folder(self) -> Option<PathBuf> {
        self.folder.or(self.folder_option)
    }
}

/// Where and how a model runs.
#[derive(Args, Clone, Debug, Default)]
pub struct EngineArgs {
    /// Device: auto, cpu, gpu or gpu:N; auto takes a real GPU if there is one, gpu the first adapter of any kind
    #[arg(long, short = 'd', default_value = "auto")]
    pub device: DeviceChoice,
    /// Tokens of context; the model's own, or what fits, when left out
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Reads every token instead of the selected ones
    #[arg(long)]
    pub dense: bool,
    /// Rounds the caches of the reference path as DeepSeek serves its models: Hadamard and FP8 index keys, FP8 latents
    #[arg(long)]
    pub simulate_fp8: bool,
    /// Computes with the tensor library's stock operations in f32 instead of our kernels: slow and exact
    #[arg(long, conflicts_with_all = ["weights", "cache"])]
    pub reference: bool,
    /// Number format of the weights on a GPU: stored, f32, f16, bf16, fp8, q8 or q4
    #[arg(long, value_name = "FORMAT", default_value = "stored")]
    pub weights: WeightPrecision,
    /// Number format of the caches on a GPU: auto, f32, f16 or fp8
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub cache: CachePrecision,
}

impl EngineArgs {
    /// The same for the engine.
    pub fn to_options(&self) -> EngineOptions {
        let attention = if self.dense { AttentionMode::Dense } else { AttentionMode::Sparse };
        let format = if self.simulate_fp8 { CacheFormat::Fp8 } else { CacheFormat::F32 };
        EngineOptions {
            device: self.device.clone(),
            max_context: self.context,
            prefill_chunk: None,
            model: ModelOptions {
                attention,
                hadamard: self.simulate_fp8,
                index_format: format,
                latent_format: format,
                ..ModelOptions::default()
            },
            path: if self.reference { ComputePath::Reference } else { ComputePath::Auto },
            weights: self.weights,
            cache: self.cache,
            ..EngineOptions::default()
        }
    }
}

/// How tokens are drawn. What is left out follows the model's generation_config.json.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sampling (the model's own settings where left out)")]
pub struct SamplingArgs {
    /// Divides the logits; 0 takes the most likely token
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Keeps the N most likely tokens; 0 keeps all
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Keeps the most likely tokens that together have probability P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Keeps tokens at least P times as likely as the most likely one
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Makes tokens of the prompt and the reply less likely; 1 is off
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    repetition_penalty: Option<f32>,
    /// Subtracts X from the logit of each token in the reply
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Subtracts X from the logit of a token for each time it is in the reply
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// Adds BIAS to the logit of token ID; -inf bans it; may be repeated
    #[arg(long, value_name = "ID=BIAS", value_parser = logit_bias)]
    logit_bias: Vec<(u32, f32)>,
    /// Seed of the draws; the same seed gives the same text on the same device
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Most tokens of a reply
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_TOKENS)]
    max_tokens: usize,
    /// Ends the reply at this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Goes on after the model's end token
    #[arg(long)]
    ignore_eos: bool,
    /// Reports the N most likely tokens at each step (with --json)
    #[arg(long, value_name = "N", requires = "json")]
    top_logprobs: Option<usize>,
}

/// Long enough for an answer, short enough for a model that never ends by itself.
const DEFAULT_MAX_TOKENS: usize = 512;

impl SamplingArgs {
    /// Lays the options over the model's own settings.
    pub fn over(&self, mut params: SamplingParams) -> SamplingParams {
        fn set<T: Copy>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut params.temperature, self.temperature);
        set(&mut params.top_k, self.top_k);
        set(&mut params.top_p, self.top_p);
        set(&mut params.min_p, self.min_p);
        set(&mut params.repetition_penalty, self.repetition_penalty);
        set(&mut params.presence_penalty, self.presence_penalty);
        set(&mut params.frequency_penalty, self.frequency_penalty);
        set(&mut params.top_logprobs, self.top_logprobs);
        params.logit_bias.extend(self.logit_bias.iter().copied());
        params.seed = self.seed.or(params.seed);
        params.max_tokens = Some(self.max_tokens);
        params.stop.extend(self.stop.iter().cloned());
        params.ignore_eos |= self.ignore_eos;
        params
    }
}

fn logit_bias(text: &str) -> Result<(u32, f32), String> {
    let expected = || format!("expected ID=BIAS, a token id and a number, found `{text}`");
    let (token_id, bias) = text.split_once('=').ok_or_else(expected)?;
    Ok((token_id.trim().parse().map_err(|_| expected())?, bias.trim().parse().map_err(|_| expected())?))
}

/// How the model is spoken to.
#[derive(Args, Clone, Debug, Default)]
pub struct ChatOptions {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Puts a UTF-8 text file before the first message, as a document to ask about
    #[arg(long, value_name = "FILE")]
    pub document: Option<PathBuf>,
    /// Instructions before the conversation
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Asks the model to reason before it answers
    #[arg(long)]
    pub thinking: bool,
    /// Keeps the reasoning of earlier turns in the prompt
    #[arg(long)]
    pub keep_thinking: bool,
    /// Writes one JSON object per event and line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

#[derive(Args, Debug)]
pub struct ChatArgs {
    #[command(flatten)]
    pub model: ModelArg,
    #[command(flatten)]
    pub options: ChatOptions,
}

#[derive(Args, Debug)]
#[command(
    override_usage = "sferic generate [OPTIONS] [MODEL] <PROMPT | --file FILE>",
    group = ArgGroup::new("turn").args(["chat", "document"]).multiple(true)
)]
pub struct GenerateArgs {
    /// Model folder and prompt, or the prompt alone for the demo model; the prompt `-` reads standard input
    #[arg(value_name = "[MODEL] PROMPT", num_args = 0..=2, allow_hyphen_values = false)]
    pub words: Vec<String>,
    /// Model folder, as an option
    #[arg(long, short = 'm', value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// Reads the prompt from a file, `-` for standard input; one line end at its end is left out
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Takes the prompt as one user turn of the model's chat format
    #[arg(long)]
    pub chat: bool,
    /// Puts a UTF-8 text file before the prompt, as a document to ask about; implies --chat
    #[arg(long, value_name = "FILE")]
    pub document: Option<PathBuf>,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Instructions before the turn
    #[arg(long, value_name = "TEXT", requires = "turn")]
    pub system: Option<String>,
    /// Asks the model to reason before it answers
    #[arg(long, requires = "turn")]
    pub thinking: bool,
    /// Writes one JSON object per event and line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

#[derive(Args, Debug)]
pub struct InfoArgs {
    #[command(flatten)]
    pub model: ModelArg,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Writes JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct DevicesArgs {
    /// Writes JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct TraceArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// Safetensors file with `input_ids` [T] I64
    #[arg(long, short = 'i', value_name = "FILE")]
    pub input: PathBuf,
    /// Safetensors file to write
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: PathBuf,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Tokens per prefill chunk
    #[arg(long, value_name = "N")]
    pub chunk: Option<usize>,
    /// Prefills N tokens and feeds the rest one at a time
    #[arg(long, value_name = "N")]
    pub decode_from: Option<usize>,
    /// Continues with the N most likely tokens
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub generate: usize,
    /// Writes JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct XrayArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// The text to look at, a UTF-8 file; `-` for standard input
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: PathBuf,
    /// The token whose selections are shown, counted from 0; the last one when left out
    #[arg(long, value_name = "POSITION")]
    pub position: Option<usize>,
    /// Writes the heat map to this SVG file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub suite: BenchSuite,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchSuite {
    /// Every kernel by itself, each behind its correctness gate
    Kernels(BenchKernelsArgs),
    /// One layer of sparse attention against dense, over the cached length
    Attention(BenchAttentionArgs),
    /// Prefill and decode of a whole model against the depth of its context
    Model(BenchModelArgs),
}

#[derive(Args, Debug)]
pub struct BenchKernelsArgs {
    /// Kernels or cases whose name contains this text; all when left out
    #[arg(default_value = "")]
    pub filter: String,
    /// Adapter whose name contains this text; the best one when left out
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Tier: base, subgroups, f16, dp4a or coopmat; the highest that the adapter offers when left out
    #[arg(long, value_parser = ["base", "subgroups", "f16", "dp4a", "coopmat"])]
    pub tier: Option<String>,
    /// Samples of which the median is shown
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub samples: u16,
    /// Takes small cases: shows in seconds that everything works, with times that say little
    #[arg(long)]
    pub short: bool,
    /// Writes JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct BenchAttentionArgs {
    /// Widths of the layer: v32 is DeepSeek-V3.2, v2-lite is DeepSeek-V2-Lite with an indexer of its size
    #[arg(long, default_value = "v32", value_parser = ["v32", "v2-lite"])]
    pub shape: String,
    /// Number format of the caches
    #[arg(long, default_value = "f16", value_parser = ["f16", "fp8"])]
    pub dtype: String,
    /// Query counts, each a curve of its own
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,16")]
    pub queries: Vec<u32>,
    /// Cached tokens, `64K` is 65536; 1K, 2K and so on to 128K when left out, to 4K on a software adapter
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = tokens)]
    pub lengths: Vec<u32>,
    /// Measures a prefill chunk of 2048 queries at 64K as well
    #[arg(long)]
    pub prefill: bool,
    /// Adapter whose name contains this text; the best one when left out
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Samples of which the median is shown
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub samples: u16,
    /// Leaves out what steadies the times: shows in seconds that everything works, with times that say little
    #[arg(long)]
    pub short: bool,
    /// Draws time over length to this SVG file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Writes Markdown instead of a table
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Writes JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// `64K` or `65536`.
fn tokens(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1024),
        None => (text, 1),
    };
    let n: Option<u32> = digits.parse().ok();
    n.and_then(|n| n.checked_mul(unit)).ok_or_else(|| "expected a number of tokens such as 65536 or 64K".into())
}

#[derive(Args, Debug)]
pub struct BenchModelArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// Measures random weights in the sizes of a known model instead of files: v2-lite is DeepSeek-V2-Lite with an indexer, 16 B parameters
    #[arg(long, value_parser = ["v2-lite"], conflicts_with = "model")]
    pub synthetic: Option<String>,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Cached tokens before what is measured
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "0,512")]
    pub depths: Vec<usize>,
    /// Tokens of a decode sample
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub decode: u32,
    /// Tokens of a prefill sample; 0 leaves prefill out
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub prefill: usize,
    /// Samples of which the median is shown
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub samples: u16,
    /// Times every launch of a decode step by itself
    #[arg(long)]
    pub profile: bool,
    /// Writes JSON instead of a page
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Model folder
    pub model: PathBuf,
    /// File of reference values; golden.safetensors in the model folder when left out
    #[arg(long, value_name = "FILE")]
    pub golden: Option<PathBuf>,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Tokens per prefill chunk
    #[arg(long, value_name = "N")]
    pub chunk: Option<usize>,
    /// Prefills N tokens and feeds the rest one at a time
    #[arg(long, value_name = "N")]
    pub decode_from: Option<usize>,
    /// Writes JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct PromptArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// JSON file, `-` for standard input: a list of messages, or an object with `messages` and perhaps `tools`
    #[arg(long, value_name = "FILE")]
    pub messages: PathBuf,
    /// Asks the model to reason before it answers
    #[arg(long)]
    pub thinking: bool,
    /// Keeps the reasoning of earlier turns
    #[arg(long)]
    pub keep_thinking: bool,
    /// Takes this format instead of the model's own
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Writes JSON, with the token ids where the model has a tokenizer
    #[arg(long)]
    pub json: bool,
}

/// Prompt formats that need no model.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// DeepSeek-V3.2's
    V32,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Clap's own check of this is left out of optimised builds.
    #[test]
    fn no_option_means_two_things() {
        fn check(command: &clap::Command) {
            let mut names: Vec<String> = Vec::new();
            for arg in command.get_arguments() {
                names.extend(arg.get_short().map(|short| format!("-{short}")));
                names.extend(arg.get_long().map(|long| format!("--{long}")));
            }
            let n_names = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), n_names, "{}: {names:?}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn options_lie_over_the_models_settings() {
        let cli = Cli::try_parse_from(["sferic", "--temperature", "0.5", "--logit-bias", "7=-inf", "--stop", "x"]).unwrap();
        let own = SamplingParams { temperature: 0.9, top_p: 0.8, ..SamplingParams::default() };
        let params = cli.chat.sampling.over(own);
        assert_eq!((params.temperature, params.top_p), (0.5, 0.8));
        assert_eq!(params.logit_bias.get(&7), Some(&f32::NEG_INFINITY));
        assert_eq!(params.stop, ["x"]);
    }

    #[test]
    fn a_logit_bias_is_an_id_and_a_number() {
        assert_eq!(logit_bias("12 = -3.5"), Ok((12, -3.5)));
        for text in ["12", "a=1", "1=b", "-1=2", "=", ""] {
            assert!(logit_bias(text).unwrap_err().contains(text), "{text}");
        }
    }
}
