//! Held-out documents: as tokens to be predicted, and as text to hide facts in.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use sferic_tasks::{Setting, TextFiller};
use sferic_text::Tokenizer;

use crate::TrainError;
use crate::hash::{mix, permute};
use crate::token_set::TokenSet;

/// Tokens of each source that become filler: more than the longest documents need.
const FILLER_TOKENS: usize = 400_000;
/// Sentences whose lengths are remembered.
const MAX_REMEMBERED: usize = 1 << 18;

/// Returns the places of a source's documents in an order that the seed shuffles.
pub(super) fn documents(heldout: &TokenSet, source_idx: usize, seed: u64) -> Vec<Range<usize>> {
    let in_order = heldout.documents(source_idx);
    let n = in_order.len() as u64;
    (0..n).map(|nth| in_order[permute(nth, n, mix(seed ^ mix(source_idx as u64))) as usize].clone()).collect()
}

/// Returns a setting for documents of at most `max_length` tokens, with filler from the named sources.
///
/// # Errors
/// [`TrainError::ConfigValue`] for a source that does not exist, with `key` as the place; [`TrainError::Engine`] for tokens that are no text.
pub(super) fn setting(
    heldout: &TokenSet,
    (key, filler): (&str, &[String]),
    seed: u64,
    max_length: usize,
    tokenizer: &Tokenizer,
) -> Result<Setting, TrainError> {
    let mut texts = Vec::new();
    for name in filler {
        let Some(source_idx) = heldout.sources().iter().position(|source| source.name == *name) else {
            let names: Vec<&str> = heldout.sources().iter().map(|source| source.name.as_str()).collect();
            return Err(TrainError::config(key, format!("sources among {}", names.join(", ")), name.as_str()));
        };
        let mut n_tokens = 0;
        for document in documents(heldout, source_idx, seed) {
            let left = FILLER_TOKENS - n_tokens;
            let ids = heldout.ids(document.start..document.end.min(document.start + left));
            n_tokens += ids.len();
            texts.push(tokenizer.decode(&ids, true).map_err(sferic_engine::EngineError::Text)?);
            if n_tokens >= FILLER_TOKENS {
                break;
            }
        }
    }
    let filler = TextFiller::new(texts.iter().map(String::as_str));
    let (tokenizer, lengths) = (tokenizer.clone(), Mutex::new(HashMap::<String, usize>::new()));
    Ok(Setting::measured(filler, max_length, move |text| {
        // Sentences of the filler come again and again.
        let mut lengths = lengths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&length) = lengths.get(text) {
            return length;
        }
        // What has no tokens could not be asked either.
        let length = tokenizer.encode(text, false).map_or(text.len(), |ids| ids.len());
        if lengths.len() < MAX_REMEMBERED {
            lengths.insert(text.to_owned(), length);
        }
        length
    }))
}
