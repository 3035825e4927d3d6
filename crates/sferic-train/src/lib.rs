//! Trains the models that the rest of the project runs: tokenizer, data, losses and the pretraining stage.
//!
//! The steps of a run, each a command of the `sferic` binary:
//! 1. [`tokenizer::train_from_corpus`] learns a byte-level BPE vocabulary;
//! 2. [`dataset::prepare`] turns corpus files into token files;
//! 3. [`pretrain`] trains the model with the lightning indexer beside it and writes a model folder.
//!
//! All three read one [`config::PretrainConfig`]. A run is a function of its configuration: data order and initial weights follow
//! from the seed, so a resumed run on the same device continues exactly as the uninterrupted one.
#![deny(missing_docs)]

pub mod balance;
pub mod checkpoint;
pub mod config;
pub mod corpus;
pub mod dataset;
mod error;
pub mod evaluate;
pub mod export;
pub mod generate;
pub mod grpo;
mod hash;
pub mod init;
pub mod loss;
pub mod optimizer;
mod pretrain;
pub mod report;
pub mod sampler;
pub mod schedule;
#[cfg(test)]
mod test_model;
pub mod tokenizer;

pub use error::TrainError;
pub use pretrain::{Event, Outcome, RunOptions, model_config, pretrain};
