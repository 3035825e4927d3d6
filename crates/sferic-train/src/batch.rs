//! What one forward pass sees, and how it becomes tensors.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use sferic_model::TrainInput;

use crate::loss::Targets;
use crate::token_set::Row;

/// Rows of token ids for one forward pass, with what attention and loss have to know of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Rows and tokens per row, `[B, T]`.
    pub shape: [usize; 2],
    /// `[B, T]`
    pub token_ids: Vec<i32>,
    /// The token to predict at each place that counts in the loss, `[R]`.
    pub targets: Vec<i32>,
    /// The places that count, ascending indices into `[B · T]`; all of them when absent.
    pub places: Option<Vec<i32>>,
    /// As in [`TrainInput::documents`], `[B, T]`.
    pub documents: Option<Vec<i32>>,
    /// As in [`TrainInput::lengths`], `[B]`.
    pub lengths: Option<Vec<usize>>,
}

impl Batch {
    /// Makes a batch of rows of one length with one more token than inputs: each token's target is the next one.
    ///
    /// With `within_documents` attention stays in each document.
    pub fn of_rows(rows: impl IntoIterator<Item = Row>, within_documents: bool) -> Self {
        let (mut token_ids, mut targets, mut documents) = (Vec::new(), Vec::new(), Vec::new());
        let mut n_rows = 0;
        for Row { ids, starts } in rows {
            let n_tokens = ids.len().saturating_sub(1);
            token_ids.extend(ids[..n_tokens].iter().map(|&id| id as i32));
            targets.extend(ids.iter().skip(1).map(|&id| id as i32));
            let mut starts = starts.into_iter().peekable();
            let mut start = 0;
            for token_idx in 0..n_tokens {
                start = starts.next_if_eq(&token_idx).unwrap_or(start);
                documents.push(start as i32);
            }
            n_rows += 1;
        }
        let n_tokens = token_ids.len().checked_div(n_rows).unwrap_or(0);
        let documents = within_documents.then_some(documents);
        Self { shape: [n_rows, n_tokens], token_ids, targets, places: None, documents, lengths: None }
    }

    /// Returns the number of tokens that are not padding.
    pub fn n_tokens(&self) -> usize {
        self.lengths.as_ref().map_or(self.token_ids.len(), |lengths| lengths.iter().sum())
    }

    /// Returns what the model takes.
    pub fn input(&self, device: &Device) -> TrainInput {
        let ids = |values: &[i32]| Tensor::<2, Int>::from_data(TensorData::new(values.to_vec(), self.shape), device);
        TrainInput {
            token_ids: ids(&self.token_ids),
            documents: self.documents.as_deref().map(ids),
            lengths: self.lengths.clone(),
            experts: BTreeMap::new(),
        }
    }

    /// Returns what the loss takes.
    pub fn targets(&self, device: &Device) -> Targets {
        let list = |values: &[i32], device: &Device| {
            Tensor::<1, Int>::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
        };
        // Places pick rows that are off the graph.
        let plain = device.clone().inner();
        Targets { token_ids: list(&self.targets, device), places: self.places.as_deref().map(|places| list(places, &plain)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_next_tokens_and_attention_stays_in_documents() {
        let row = |ids: [u32; 5], starts: &[usize]| Row { ids: ids.to_vec(), starts: starts.to_vec() };
        let rows = || [row([7, 8, 0, 9, 70_000], &[2]), row([0, 5, 6, 0, 0], &[0, 3, 4])];
        let batch = Batch::of_rows(rows(), true);
        assert_eq!(batch.shape, [2, 4]);
        assert_eq!(batch.token_ids, [7, 8, 0, 9, 0, 5, 6, 0]);
        assert_eq!(batch.targets, [8, 0, 9, 70_000, 5, 6, 0, 0]);
        assert_eq!(batch.documents, Some(vec![0, 0, 2, 2, 0, 0, 0, 3]));
        assert_eq!(Batch::of_rows(rows(), false).documents, None);
        assert_eq!(Batch::of_rows([], true).shape, [0, 0]);
    }
}
