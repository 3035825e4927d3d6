//! Trains the models that the rest of the project runs: tokenizer, data, losses, and the stages from random weights to an assistant.
//!
//! The steps of a run, each a command of the `sferic` binary:
//! 1. [`tokenizer::train_from_corpus`] learns a byte-level BPE vocabulary;
//! 2. [`dataset::prepare`] turns corpus files into token files;
//! 3. [`run_stage`] trains the model, [`config::Stage`] by stage, and writes a model folder after each.
//!
//! All read one [`config::RunConfig`]. A run is a function of its configuration: data order and initial weights follow
//! from the seed, so a resumed run on the same device continues exactly as the uninterrupted one.
#![deny(missing_docs)]

pub mod balance;
pub mod batch;
pub mod chat;
pub mod chat_data;
pub mod chat_format;
pub mod checkpoint;
pub mod config;
pub mod control;
pub mod corpus;
pub mod dataset;
pub mod encoder;
mod error;
pub mod eval;
pub mod evaluate;
mod exchange;
pub mod export;
mod feed;
pub mod filter;
#[cfg(test)]
mod foreign_tests;
pub mod generate;
mod hash;
pub mod init;
pub mod loss;
pub mod muon;
mod optimizer;
mod parallel;
pub mod report;
pub mod rl;
pub mod sampler;
pub mod schedule;
pub mod small_talk;
mod stage;
mod start;
pub mod task_source;
#[cfg(test)]
mod test_model;
#[cfg(test)]
mod test_tokenizer;
pub mod token_set;
pub mod tokenizer;

pub use error::TrainError;
pub use stage::{Event, Outcome, RunOptions, run_stage};
pub use start::{config_of, first_model_config, model_config};
