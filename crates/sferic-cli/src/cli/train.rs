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

/// A step of a training run. All read one configuration file.
#[derive(Debug, Subcommand)]
pub enum Stage {
    /// Learns a byte-level BPE vocabulary from the corpus
    #[command(after_help = EXIT_CODES)]
    Tokenizer(StageArgs),
    /// Turns the corpus into token files
    #[command(after_help = EXIT_CODES)]
    Data(StageArgs),
    /// Writes the conversations of the stage `sft` to JSONL files, to be read
    #[command(after_help = EXIT_CODES)]
    Chats(StageArgs),
    /// Trains a dense model from random weights, or further from a folder's
    #[command(after_help = EXIT_CODES)]
    Pretrain(RunArgs),
    /// Trains on longer rows, with the positions stretched by YaRN
    #[command(after_help = EXIT_CODES)]
    Extend(RunArgs),
    /// Trains the lightning indexer alone to find what dense attention attends to
    #[command(after_help = EXIT_CODES)]
    Warmup(RunArgs),
    /// Trains everything with attention over the selected tokens
    #[command(after_help = EXIT_CODES)]
    Sparse(RunArgs),
    /// Trains on conversations
    #[command(after_help = EXIT_CODES)]
    Sft(RunArgs),
    /// Trains a specialist for each domain by reinforcement learning
    #[command(after_help = EXIT_CODES)]
    Specialists(RunArgs),
    /// Collects conversations of the specialists that a rule finds right
    #[command(after_help = EXIT_CODES)]
    Collect(RunArgs),
    /// Trains one model on the specialists' conversations
    #[command(after_help = EXIT_CODES)]
    Distill(RunArgs),
    /// Trains by reinforcement learning on all domains (group relative policy optimisation)
    #[command(after_help = EXIT_CODES)]
    Grpo(RunArgs),
    /// Measures every model that the run has made, and writes a report
    #[command(after_help = EXIT_CODES)]
    Eval(RunArgs),
    /// Runs every step of the file that has not been finished, one after another, evaluation included
    #[command(after_help = EXIT_CODES)]
    All(RunArgs),
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
pub struct RunArgs {
    #[command(flatten)]
    pub stage: StageArgs,
    /// Continues from the newest checkpoint, if there is one
    #[arg(long)]
    pub resume: bool,
    /// Stops with a checkpoint after this many minutes
    #[arg(long, value_name = "MINUTES")]
    pub stop_after: Option<f64>,
    /// Device: auto, cpu, gpu or gpu:N
    #[arg(long, short = 'd', default_value = "auto")]
    pub device: DeviceChoice,
}
