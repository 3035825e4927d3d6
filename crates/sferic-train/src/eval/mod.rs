//! What a trained model can do: likelihood of held-out documents, recall of attention, questions about long documents, verifiable tasks.
//!
//! Everything but recall is asked of the engine, with dense and with sparse attention, so that it is the model as it will be used that is
//! measured. Replies take the most likely token at every step; tasks are of the test split; texts and tasks follow from the seed.
//!
//! Measurements are kept one by one in `records.jsonl`, where replies can be read, and an evaluation that was interrupted goes on behind them. On the
//! kernels tasks are asked many at a time, those with tools turn by turn, and an interruption loses the replies of those.
//! `results.json` ([`Results`]) has the figures, `report.md` shows them, also of several models side by side ([`write_report`]).
//!
//! It is the wrong tool for speed, and for evaluation between the steps of a stage, which [`crate::evaluate`] does on the tensors of training.

mod ask;
mod config;
mod grid;
mod likelihood;
mod page;
mod plot;
mod questions;
mod recall;
mod record;
mod results;
mod run;
mod share;
mod texts;

pub use config::{Attention, EvalConfig, GridConfig, LikelihoodConfig, RecallConfig, TaskConfig};
pub use page::write_report;
pub use recall::{LayerRecall, Recall, RecallAt, RecallOptions, recall};
pub use record::{Header, LikelihoodRecord, Place, Record, Reply};
pub use results::{GridScore, Likelihood, ModelFacts, Results, TaskScore};
pub use run::{Evaluation, Event, evaluate_model};
pub use share::Share;
