//! What a trained model can do.

mod recall;

pub use recall::{LayerRecall, Recall, RecallAt, RecallOptions, recall};
