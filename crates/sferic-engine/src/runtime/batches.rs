//! Many replies at a time, where the kernels compute the model.

use super::{ExpertRows, Runtime, kernels};
use crate::EngineError;
use sferic_lightning::{
    Batch, BatchDraw, BatchSettings, Drawing, Experts, LogitsBatch, MAX_VOCABULARY, Model, Order, StepLogits,
};

impl Runtime {
    /// Whether many replies can be computed together.
    pub(crate) fn has_batches(&self) -> bool {
        self.kernels().is_some_and(|model| model.architecture().vocab <= MAX_VOCABULARY as usize)
    }

    /// Prepares `rows` replies at a time, or as many as a step may have tokens, drawn as `drawing` says but for seeds and counts.
    pub(crate) fn batch(&self, rows: usize, drawing: Drawing) -> Result<Batch, EngineError> {
        let (model, dense) = self.batched()?;
        let rows = rows.min(model.settings().chunk);
        let bias = drawing.adjustments.map(|(_, bias)| bias);
        let settings = BatchSettings { rows, sampling: drawing.settings, bias, dense, experts: drawing.experts };
        Batch::new(model, settings).map_err(|error| kernels::model_error("preparing a batch", error))
    }

    /// Adds a reply.
    pub(crate) fn push(batch: &mut Batch, order: Order) -> Result<usize, EngineError> {
        batch.push(order).map_err(|error| kernels::model_error("adding to a batch", error))
    }

    /// Computes a token of every reply.
    pub(crate) async fn step(batch: &mut Batch) -> Result<Vec<BatchDraw>, EngineError> {
        batch.step().await.map_err(|error| kernels::model_error("computing a batch", error))
    }

    /// Prepares `rows` replies at a time, or as many as a step may have tokens, which the host draws.
    pub(crate) fn logits_batch(&self, rows: usize, experts: bool) -> Result<LogitsBatch, EngineError> {
        let (model, dense) = self.batched()?;
        let rows = rows.min(model.settings().chunk);
        LogitsBatch::new(model, rows, dense, experts).map_err(|error| kernels::model_error("preparing a batch", error))
    }

    /// Adds a reply of up to `most` tokens that the host draws.
    pub(crate) fn push_undrawn(batch: &mut LogitsBatch, prompt: Vec<u32>, most: usize) -> Result<usize, EngineError> {
        batch.push(prompt, most).map_err(|error| kernels::model_error("adding to a batch", error))
    }

    /// Computes the logits of the next token of every reply.
    pub(crate) async fn step_logits(batch: &mut LogitsBatch) -> Result<StepLogits, EngineError> {
        batch.step().await.map_err(|error| kernels::model_error("computing a batch", error))
    }

    /// Experts of a batch as rows.
    pub(crate) fn expert_rows(&self, experts: Experts) -> ExpertRows {
        self.kernels().map_or_else(ExpertRows::new, |model| kernels::expert_rows(experts, model.architecture()))
    }

    fn batched(&self) -> Result<(&Model, bool), EngineError> {
        match self {
            Self::Kernels { model, dense, .. } => Ok((model, *dense)),
            Self::Reference(..) => {
                let message = "the reference path computes one reply at a time".into();
                Err(EngineError::Device { doing: "preparing a batch", message })
            }
        }
    }
}
