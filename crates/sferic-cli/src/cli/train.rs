//! The grammar of `sferic train`.

use crate::failure::EXIT_CODES;
use clap::{Args, Subcommand};
use sferic_engine::DeviceChoice;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub struct TrainArgs {
    #[command(subcommand)]
    pub stage: Stage,
}

/// A stage of training.
#[derive(Debug, Subcommand)]
pub enum Stage {
    /// Learns a byte-level BPE vocabulary from the corpus
    #[command(after_help = EXIT_CODES)]
    Tokenizer(StageArgs),
    /// Turns the corpus into token files
    #[command(after_help = EXIT_CODES)]
    Data(StageArgs),
    /// Trains the model and writes a model folder
    #[command(after_help = EXIT_CODES)]
    Pretrain(PretrainArgs),
}

#[derive(Args, Debug)]
pub struct StageArgs {
    /// Training configuration, TOML
    pub config: PathBuf,
    /// Writes JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct PretrainArgs {
    #[command(flatten)]
    pub stage: StageArgs,
    /// Continues from the newest checkpoint, if there is one
    #[arg(long)]
    pub resume: bool,
    /// Stops with a checkpoint after this many minutes
    #[arg(long, value_name = "MINUTES")]
    pub stop_after: Option<u64>,
    /// Device: auto, cpu, gpu or gpu:N
    #[arg(long, short = 'd', default_value = "auto")]
    pub device: DeviceChoice,
}
