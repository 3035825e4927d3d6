//! The training loss and its gradients, with the logits of only a few rows in memory at a time.

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{IndexingUpdateOp, Int, Tensor, activation};
use sferic_model::{Model, TrainForward};

/// Returns the summed cross-entropy `−Σ_r log softmax(logits_r)[target_r]`, in nats, shape `[1]`.
///
/// The largest logit of each row is subtracted first, so no finite logit overflows.
///
/// # Shapes
/// - logits: `[R, V]` f32
/// - targets: `[R]` token ids below `V`
pub fn cross_entropy_sum(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let n_rows = logits.dims()[0];
    activation::log_softmax(logits, 1).gather(1, targets.reshape([n_rows, 1])).sum().neg()
}

/// How the parts of the loss are weighted and computed.
#[derive(Debug, Clone, Copy)]
pub struct LossOptions {
    /// Factor on the mean cross-entropy: the micro-batch's share of the step's targets.
    pub scale: f64,
    /// Factor on the indexer's divergence: its share of the step's tokens, padding left out.
    pub indexer_scale: f64,
    /// Weight of the indexer's divergence.
    pub indexer_kl_weight: f64,
    /// Rows of logits held at once.
    pub chunk_rows: usize,
    /// Factor on all gradients, a power of two: it lifts them into the range of f16 where products round to it.
    pub loss_scale: f64,
}

/// What is to be predicted, off the autodiff graph.
#[derive(Debug, Clone)]
pub struct Targets {
    /// `[R]`
    pub token_ids: Tensor<1, Int>,
    /// The places that the targets belong to, ascending indices into `[B · T]`; absent where `R = B · T`. Other places do not count.
    pub places: Option<Tensor<1, Int>>,
}

/// The loss of one micro-batch, off the autodiff graph.
#[derive(Debug, Clone, Default)]
pub struct LossParts {
    /// Mean cross-entropy over the tokens that count, in nats, times `scale`; `[1]`.
    pub cross_entropy: Option<Tensor<1>>,
    /// The indexer's divergence times `indexer_scale`, without its weight; `[1]`.
    pub indexer_kl: Option<Tensor<1>>,
}

impl LossParts {
    /// Returns the sums of both parts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sum = |a: Option<Tensor<1>>, b: Option<Tensor<1>>| match (a, b) {
            (Some(a), Some(b)) => Some(a.add(b)),
            (a, b) => a.or(b),
        };
        Self { cross_entropy: sum(self.cross_entropy, other.cross_entropy), indexer_kl: sum(self.indexer_kl, other.indexer_kl) }
    }
}

/// Adds the gradients of `loss_scale · (scale · mean CE + indexer_scale · weight · KL)` to `gradients` and returns the loss.
///
/// The head is run and differentiated chunk by chunk on detached hidden states; their gradients then enter the rest of the model
/// as one product. This gives the same gradients as the whole expression, and holds the logits of one chunk instead of all.
///
/// # Shapes
/// - forward.hidden: `[B, T, D]`, on the graph
pub fn accumulate_gradients(
    model: &Model,
    forward: TrainForward,
    targets: &Targets,
    options: &LossOptions,
    gradients: &mut GradientsAccumulator<Model>,
) -> LossParts {
    let [n_batch, n_tokens, width] = forward.hidden.dims();
    let all_rows = forward.hidden.clone().inner().reshape([n_batch * n_tokens, width]);
    let rows = match &targets.places {
        Some(places) => all_rows.clone().select(0, places.clone()),
        None => all_rows.clone(),
    };
    let (cross_entropy, upstream) = head_gradients(model, rows, &targets.token_ids, options, gradients);
    let upstream = match &targets.places {
        Some(places) => all_rows.zeros_like().select_assign(0, places.clone(), upstream, IndexingUpdateOp::Add),
        None => upstream,
    };
    let upstream = upstream.reshape([n_batch, n_tokens, width]);
    let language = forward.hidden.clone().mul(on_graph_of(&forward.hidden, upstream)).sum();
    let indexer_kl = forward.indexer_kl.map(|kl| kl.mul_scalar(options.indexer_scale));
    differentiate(model, Some(language), indexer_kl.clone(), options, gradients);
    LossParts { cross_entropy: Some(cross_entropy), indexer_kl: indexer_kl.map(Tensor::inner) }
}

/// Adds the gradients of `loss_scale · indexer_scale · weight · KL` to `gradients` and returns the loss: the warm-up has no other (spec §6.1).
pub fn accumulate_indexer_gradients(
    model: &Model,
    forward: TrainForward,
    options: &LossOptions,
    gradients: &mut GradientsAccumulator<Model>,
) -> LossParts {
    let indexer_kl = forward.indexer_kl.map(|kl| kl.mul_scalar(options.indexer_scale));
    differentiate(model, None, indexer_kl.clone(), options, gradients);
    LossParts { cross_entropy: None, indexer_kl: indexer_kl.map(Tensor::inner) }
}

/// Puts a tensor on the kind of graph that `other` is on: tensors of one operation must agree on what is kept for the backward pass.
pub(crate) fn on_graph_of<const N: usize, const D: usize>(other: &Tensor<N>, tensor: Tensor<D>) -> Tensor<D> {
    let tensor = Tensor::from_inner(tensor);
    match other.gradient_checkpointing_strategy() {
        Some(strategy) => tensor.with_gradient_checkpointing_strategy(strategy),
        None => tensor,
    }
}

/// Adds the gradients of both parts; `language` already carries its factors.
fn differentiate(
    model: &Model,
    language: Option<Tensor<1>>,
    indexer_kl: Option<Tensor<1>>,
    options: &LossOptions,
    gradients: &mut GradientsAccumulator<Model>,
) {
    let weighted = indexer_kl.map(|kl| kl.mul_scalar(options.indexer_kl_weight * options.loss_scale));
    let Some(objective) = [language, weighted].into_iter().flatten().reduce(Tensor::add) else { return };
    let mut grads = objective.backward();
    gradients.accumulate(model, GradientsParams::from_module(&mut grads, model));
}

/// Runs and differentiates the head chunk by chunk; returns the loss and `loss_scale` times the gradient of the rows.
fn head_gradients(
    model: &Model,
    rows: Tensor<2>,
    targets: &Tensor<1, Int>,
    options: &LossOptions,
    gradients: &mut GradientsAccumulator<Model>,
) -> (Tensor<1>, Tensor<2>) {
    let [n_rows, _] = rows.dims();
    let scale = options.scale / n_rows.max(1) as f64;
    let mut total: Option<Tensor<1>> = None;
    let mut upstream = Vec::new();
    for from in (0..n_rows).step_by(options.chunk_rows) {
        let to = (from + options.chunk_rows).min(n_rows);
        let rows = rows.clone().narrow(0, from, to - from);
        let targets = targets.clone().narrow(0, from, to - from);
        let (loss, gradient) = match model.head_gradients(&rows, &targets, scale * options.loss_scale) {
            Some((head, weight)) => {
                let mut grads = GradientsParams::new();
                grads.register(weight, head.weight);
                gradients.accumulate(model, grads);
                (head.loss.mul_scalar(scale), head.hidden)
            }
            None => chunk_gradients(model, rows, targets, [scale, options.loss_scale], gradients),
        };
        upstream.push(gradient);
        total = Some(match total {
            Some(total) => total.add(loss),
            None => loss,
        });
    }
    let total = total.unwrap_or_else(|| Tensor::zeros([1], &rows.device()));
    (total, if upstream.is_empty() { rows.zeros_like() } else { Tensor::cat(upstream, 0) })
}

/// Returns the loss of some rows times `scale` and the gradient of their hidden states, and adds those of the head, all of them times `loss_scale`.
fn chunk_gradients(
    model: &Model,
    rows: Tensor<2>,
    targets: Tensor<1, Int>,
    [scale, loss_scale]: [f64; 2],
    gradients: &mut GradientsAccumulator<Model>,
) -> (Tensor<1>, Tensor<2>) {
    let [n_rows, width] = rows.dims();
    let leaf = on_graph_of(&model.norm.weight.val(), rows).require_grad();
    let logits = model.logits(leaf.clone().reshape([1, n_rows, width]));
    let vocab_size = logits.dims()[2];
    let loss = cross_entropy_sum(logits.reshape([n_rows, vocab_size]), targets).mul_scalar(scale * loss_scale);
    let mut grads = loss.backward();
    // A leaf that took part always has a gradient; zeros would only mean that the head ignores its input.
    let gradient = leaf.grad_remove(&mut grads).unwrap_or_else(|| leaf.clone().inner().zeros_like());
    gradients.accumulate(model, GradientsParams::from_module(&mut grads, model));
    (loss.inner().div_scalar(loss_scale), gradient)
}

#[cfg(test)]
#[path = "loss_tests.rs"]
mod tests;
