//! How well held-out documents are predicted, by position.

use sferic_engine::Engine;

use super::config::{Attention, LikelihoodConfig};
use super::record::LikelihoodRecord;
use super::texts::documents;
use crate::TrainError;
use crate::token_set::TokenSet;

/// Reads documents of a source until the configured number of tokens is reached; nothing for a source without a document.
pub(super) async fn likelihood(
    engine: &Engine,
    heldout: &TokenSet,
    source_idx: usize,
    attention: Attention,
    (config, seed): (&LikelihoodConfig, u64),
) -> Result<Option<LikelihoodRecord>, TrainError> {
    let longest = config.edges.last().copied().unwrap_or(0).min(engine.plan().context);
    let mut record = LikelihoodRecord {
        source: heldout.sources()[source_idx].name.clone(),
        attention,
        n_documents: 0,
        stretches: vec![(0, 0.0); config.edges.len()],
    };
    let mut n_tokens = 0;
    for document in documents(heldout, source_idx, seed) {
        let n_read = document.len().min(longest).min(config.max_tokens - n_tokens);
        if n_read < 2 {
            continue;
        }
        let nll = engine.token_nll(&heldout.ids(document.start..document.start + n_read)).await?;
        add(&mut record.stretches, &config.edges, &nll);
        record.n_documents += 1;
        n_tokens += n_read;
        if n_tokens + 2 > config.max_tokens {
            break;
        }
    }
    Ok((record.n_documents > 0).then_some(record))
}

/// Adds a document to the stretches that its positions lie in; the first value is that of position 1.
fn add(stretches: &mut [(usize, f64)], edges: &[usize], nll: &[f64]) {
    for (position, value) in (1..).zip(nll) {
        let stretch_idx = edges.partition_point(|&edge| edge <= position);
        if let Some((n_tokens, sum)) = stretches.get_mut(stretch_idx) {
            *n_tokens += 1;
            *sum += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_fall_into_their_stretches() {
        let mut stretches = vec![(0, 0.0); 3];
        // Positions 1 to 6; the stretches are 0 to 1, 2 to 3, 4 to 4, and what is behind does not count.
        add(&mut stretches, &[2, 4, 5], &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
        assert_eq!(stretches, [(1, 1.0), (2, 6.0), (1, 8.0)]);
        add(&mut stretches, &[2, 4, 5], &[0.5]);
        assert_eq!(stretches[0], (2, 1.5));
    }
}
