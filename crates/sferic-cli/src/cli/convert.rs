//! The grammar of `sferic convert` and `sferic compare`.

use super::EngineArgs;
use clap::{Args, ValueEnum};
use sferic_engine::WeightFormat;
use std::path::PathBuf;

#[derive(Args, Debug)]
#[command(override_usage = "sferic convert [OPTIONS] --weights <FORMAT> [IN] <OUT>")]
pub struct ConvertArgs {
    /// Model folder and the folder to write, or the latter alone for the demo model
    #[arg(value_name = "[IN] OUT", num_args = 1..=2, required = true)]
    pub folders: Vec<PathBuf>,
    /// Number format of the matrices; norms, biases, routers and the indexer's weights keep theirs
    #[arg(long, short = 'w', value_name = "FORMAT", value_enum)]
    pub weights: Weights,
    /// Replaces OUT if it is a model folder
    #[arg(long)]
    pub force: bool,
    /// Writes JSON
    #[arg(long)]
    pub json: bool,
}

/// Number formats of matrices.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Weights {
    /// 4 bits and a scale for 32 values: 4.5 bits per weight; embedding, head and the matrices of the latent in q8
    Q4,
    /// 8 bits and a scale for 32 values: 8.5 bits per weight
    Q8,
    /// DeepSeek's 8-bit floats with a scale for 128×128 values
    Fp8,
    /// 16-bit floats
    F16,
    /// The upper half of 32-bit floats
    Bf16,
    /// 32-bit floats
    F32,
}

impl Weights {
    /// The same for the library.
    pub fn format(self) -> WeightFormat {
        match self {
            Self::Q4 => WeightFormat::Q4,
            Self::Q8 => WeightFormat::Q8,
            Self::Fp8 => WeightFormat::Fp8,
            Self::F16 => WeightFormat::F16,
            Self::Bf16 => WeightFormat::Bf16,
            Self::F32 => WeightFormat::F32,
        }
    }
}

#[derive(Args, Debug)]
#[command(override_usage = "sferic compare [OPTIONS] [REFERENCE] <MODEL>")]
pub struct CompareArgs {
    /// Two model folders, or one to be compared with the demo model
    #[arg(value_name = "[REFERENCE] MODEL", num_args = 1..=2, required = true)]
    pub folders: Vec<PathBuf>,
    /// The text to read, a UTF-8 file, `-` for standard input; a short one that the program carries when left out
    #[arg(long, short = 't', value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Most tokens to read of it; the logits of the reference are kept for each
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = at_least_one)]
    pub max_tokens: usize,
    /// Tokens that are read at once, without those before them
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    pub window: usize,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Writes JSON
    #[arg(long)]
    pub json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| format!("expected a whole number from 1, found `{text}`"))
}

/// Takes the last folder and the one before it, if there is one.
pub fn pair(mut folders: Vec<PathBuf>) -> (Option<PathBuf>, PathBuf) {
    let last = folders.pop().unwrap_or_default();
    (folders.pop(), last)
}
