//! What a stage is fed with: rows of the prepared data, or conversations.

use std::collections::BTreeMap;

use sferic_model::Config;

use crate::TrainError;
use crate::batch::Batch;
use crate::chat_data::{ChatData, ChatLimits};
use crate::config::{Objective, RunConfig, Stage, StageConfig};
use crate::corpus::SourceConfig;
use crate::sampler::{Phase, RowId, Sampler};
use crate::token_set::TokenSet;

/// The batches of a stage: a function of the run's seed and the step, so that a resumed run sees the same data.
pub(crate) enum Feed {
    /// Rows of the prepared data.
    Rows { train: TokenSet, sampler: Sampler, batch_size: usize, within_documents: bool },
    /// Conversations.
    Chats { chats: ChatData, batches_per_step: usize },
}

impl Feed {
    /// Makes the feed of a stage; `train` is the training half of the prepared data.
    ///
    /// # Errors
    /// Those of [`Sampler::new`] and [`ChatData::open`]; [`TrainError::ConfigValue`] where conversations have no table.
    pub(crate) fn open(config: &RunConfig, stage: Stage, model: &Config, train: TokenSet) -> Result<Self, TrainError> {
        let settings = config.stage(stage)?;
        if matches!(stage, Stage::Sft | Stage::Distill) {
            let chats = &config.chats_of(stage)?;
            let limits = ChatLimits {
                // Where nothing is selected, attention is dense anyway.
                max_packed: model.indexer.as_ref().map_or(usize::MAX, |indexer| indexer.index_topk),
                max_len: settings.seq_len,
                tokens_per_batch: settings.batch_size * settings.seq_len,
            };
            let batches_per_step = settings.gradient_accumulation;
            let n_batches = settings.steps * batches_per_step;
            let chats = ChatData::open(chats, &config.data, limits, n_batches, config.seed)?;
            return Ok(Self::Chats { chats, batches_per_step });
        }
        let dense = stage.objective() != Objective::Both;
        Ok(Self::Rows {
            sampler: sampler(config, settings, &train)?,
            train,
            batch_size: settings.batch_size,
            within_documents: settings.within_documents.unwrap_or(dense),
        })
    }

    /// Returns the batches of a step.
    pub(crate) fn batches(&self, step: usize) -> Vec<Batch> {
        match self {
            Self::Rows { train, sampler, batch_size, within_documents } => {
                let row = |row: &RowId| train.row(row.source_idx, row.row_idx);
                let rows = sampler.rows(step);
                rows.chunks(*batch_size).map(|rows| Batch::of_rows(rows.iter().map(row), *within_documents)).collect()
            }
            Self::Chats { chats, batches_per_step } => {
                let first = step * batches_per_step;
                (first..(first + batches_per_step).min(chats.n_batches())).map(|batch_idx| chats.batch(batch_idx)).collect()
            }
        }
    }

    /// Returns name, number of rows or conversations, and share of each source at a step.
    pub(crate) fn sources(&self, step: usize) -> Vec<(String, usize, f64)> {
        match self {
            Self::Rows { train, sampler, .. } => {
                let named = train.sources().iter().zip(sampler.shares(step)).enumerate();
                named.map(|(source_idx, (source, share))| (source.name.clone(), train.n_rows(source_idx), share)).collect()
            }
            Self::Chats { chats, .. } => {
                chats.sources().iter().map(|source| (source.name.clone(), source.n_chats, source.share)).collect()
            }
        }
    }
}

fn sampler(config: &RunConfig, settings: &StageConfig, train: &TokenSet) -> Result<Sampler, TrainError> {
    let sources = &config.data.sources;
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    let n_rows: Vec<usize> = (0..sources.len()).map(|source_idx| train.n_rows(source_idx)).collect();
    let weights = |mix: Option<&BTreeMap<String, f64>>| -> Vec<f64> {
        let weight = |source: &SourceConfig| match mix {
            Some(mix) => mix.get(&source.name).copied().unwrap_or(0.0),
            None => source.weight,
        };
        sources.iter().map(weight).collect()
    };
    let mut phases = vec![Phase { from_step: 0, weights: weights(settings.mix.as_ref()) }];
    let later = settings.phases.iter();
    phases.extend(later.map(|phase| Phase { from_step: phase.from_step, weights: weights(Some(&phase.mix)) }));
    Sampler::new(config.seed, settings.rows_per_step(), &names, &n_rows, &phases)
}
