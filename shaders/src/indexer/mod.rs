//! The lightning indexer.

pub mod index_scores;
pub mod top_k;
