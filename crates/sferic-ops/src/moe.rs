//! Mixture of experts: routing and the experts' feed-forward blocks (spec §§4.2, 4.3).

use burn::tensor::{Int, Tensor, TensorData, activation};

use crate::{linear::silu_mul, select::top_k_row};

/// How router logits become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Each expert on its own: DeepSeek-V3 and later, GLM.
    Sigmoid,
    /// Over all experts: DeepSeek-V2.
    Softmax,
}

/// How a group of experts is scored before groups are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupScore {
    /// The sum of the group's two best experts (`noaux_tc`, DeepSeek-V3).
    TopTwoSum,
    /// The group's best expert (`group_limited_greedy`, DeepSeek-V2).
    Max,
}

/// The routing rule of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing {
    /// Probabilities from logits.
    pub scoring: Scoring,
    /// Number of groups of equal size; 1 disables group selection.
    pub n_group: usize,
    /// Number of groups kept.
    pub topk_group: usize,
    /// How groups are ranked.
    pub group_score: GroupScore,
    /// Active experts per token, `A`.
    pub num_experts_per_tok: usize,
    /// Whether the chosen probabilities are divided by their sum.
    pub norm_topk_prob: bool,
    /// Factor on every weight.
    pub routed_scaling_factor: f64,
}

/// The experts chosen for each token and their weights.
#[derive(Clone, Debug)]
pub struct Routed {
    /// `[N, A]`, ascending expert indices.
    pub experts: Tensor<2, Int>,
    /// `[N, A]`
    pub weights: Tensor<2>,
}

/// Chooses the experts of each token from the router logits.
///
/// The bias takes part in the choice and not in the weights; experts outside the chosen groups can never be chosen, whatever the sign of their biased score.
/// Ties go to the lower index. Gradients flow through the weights and not through the choice.
///
/// # Shapes
/// - logits: `[N, E]`
/// - bias: `[E]`, `e_score_correction_bias`
///
/// # Source
/// Spec §4.2.
pub fn route(logits: Tensor<2>, bias: Option<Tensor<1>>, routing: &Routing) -> Routed {
    let scores = probabilities(logits, routing.scoring);
    let experts = choose(&scores, bias, routing);
    weigh(scores, experts, routing)
}

/// As [`route`] with experts that were chosen before: weights come from these logits and the choice does not.
///
/// A row that begins with a negative number was not recorded, and chooses as [`route`] does.
///
/// # Shapes
/// - kept: `[N, A]`
///
/// # Source
/// Spec §7.3 (3), Keep Routing.
pub fn route_kept(logits: Tensor<2>, bias: Option<Tensor<1>>, routing: &Routing, kept: Tensor<2, Int>) -> Routed {
    let scores = probabilities(logits, routing.scoring);
    let is_unknown = kept.clone().narrow(1, 0, 1).lower_elem(0);
    let has_unknown = is_unknown.clone().any().into_data().iter::<bool>().any(|any| any);
    let experts = if has_unknown {
        let chosen = choose(&scores, bias, routing);
        let is_unknown = is_unknown.expand(chosen.dims());
        kept.mask_where(is_unknown, chosen)
    } else {
        kept
    };
    weigh(scores, experts, routing)
}

/// Returns how many tokens each expert was chosen for, `[E]`.
///
/// # Shapes
/// - experts: `[N, A]`
/// - counted: `[N]`, 1 for tokens that count and 0 for those that fill a row; every token counts without it
pub fn loads(experts: &Tensor<2, Int>, n_experts: usize, counted: Option<Tensor<1>>) -> Tensor<1> {
    let [n_tokens, n_active] = experts.dims();
    let device = experts.device();
    let flat = experts.clone().reshape([n_tokens * n_active]);
    let counted = counted.unwrap_or_else(|| Tensor::ones([n_tokens], &device));
    let counted: Tensor<2> = counted.unsqueeze_dim(1);
    let counted = counted.expand([n_tokens, n_active]).reshape([n_tokens * n_active]);
    Tensor::<1>::zeros([n_experts], &device).scatter(0, flat, counted, burn::tensor::IndexingUpdateOp::Add)
}

fn probabilities(logits: Tensor<2>, scoring: Scoring) -> Tensor<2> {
    match scoring {
        Scoring::Sigmoid => activation::sigmoid(logits),
        Scoring::Softmax => activation::softmax(logits, 1),
    }
}

/// Chooses the experts of each row of scores on the host.
fn choose(scores: &Tensor<2>, bias: Option<Tensor<1>>, routing: &Routing) -> Tensor<2, Int> {
    let [n_tokens, n_experts] = scores.dims();
    let biased = match bias {
        Some(bias) => scores.clone().detach().add(bias.unsqueeze()),
        None => scores.clone().detach(),
    };
    let biased: Vec<f64> = biased.into_data().iter::<f64>().collect();
    let chosen: Vec<i32> = biased
        .chunks(n_experts.max(1))
        .flat_map(|row| choose_experts(row, routing))
        .map(|expert_idx| expert_idx as i32)
        .collect();
    let n_active = routing.num_experts_per_tok.min(n_experts);
    Tensor::from_data(TensorData::new(chosen, [n_tokens, n_active]), &scores.device())
}

/// Weighs chosen experts by their scores.
fn weigh(scores: Tensor<2>, experts: Tensor<2, Int>, routing: &Routing) -> Routed {
    let mut weights = scores.gather(1, experts.clone());
    if routing.norm_topk_prob {
        weights = weights.clone().div(weights.sum_dim(1).add_scalar(1e-20));
    }
    Routed { experts, weights: weights.mul_scalar(routing.routed_scaling_factor) }
}

/// Chooses the experts of one token from its biased scores; returns ascending indices.
pub fn choose_experts(biased: &[f64], routing: &Routing) -> Vec<u32> {
    let group_size = biased.len() / routing.n_group.max(1);
    if routing.n_group <= 1 || group_size == 0 {
        return top_k_row(biased, routing.num_experts_per_tok);
    }
    let group_scores: Vec<f64> = biased.chunks(group_size).map(|group| score_group(group, routing.group_score)).collect();
    let groups = top_k_row(&group_scores, routing.topk_group);
    let masked: Vec<f64> = biased
        .iter()
        .enumerate()
        .map(|(i, score)| {
            let kept = groups.contains(&((i / group_size) as u32));
            if kept { *score } else { f64::NEG_INFINITY }
        })
        .collect();
    top_k_row(&masked, routing.num_experts_per_tok)
}

fn score_group(group: &[f64], rule: GroupScore) -> f64 {
    let mut best = f64::NEG_INFINITY;
    let mut second = f64::NEG_INFINITY;
    for &score in group {
        if score > best {
            (best, second) = (score, best);
        } else if score > second {
            second = score;
        }
    }
    match rule {
        GroupScore::TopTwoSum if group.len() > 1 => best + second,
        _ => best,
    }
}

/// Returns `y = Σ_a weight_a · down_a(silu(gate_a x) · up_a x)` over each token's chosen experts.
///
/// Few tokens gather the weights of the chosen experts alone; many tokens run every expert and weigh the rest with zero.
///
/// # Shapes
/// - x: `[N, D]`
/// - gate_up: `[E, 2I, D]`, gate rows first
/// - down: `[E, D, I]`
/// - returns: `[N, D]`
pub fn experts(x: Tensor<2>, routed: &Routed, gate_up: Tensor<3>, down: Tensor<3>) -> Tensor<2> {
    let [n_tokens, n_active] = routed.weights.dims();
    let n_experts = gate_up.dims()[0];
    if n_tokens * n_active <= n_experts {
        gathered_experts(x, routed, gate_up, down)
    } else {
        all_experts(x, routed, gate_up, down)
    }
}

fn gathered_experts(x: Tensor<2>, routed: &Routed, gate_up: Tensor<3>, down: Tensor<3>) -> Tensor<2> {
    let [n_tokens, d_model] = x.dims();
    let [_, n_active] = routed.weights.dims();
    let flat = routed.experts.clone().reshape([n_tokens * n_active]);
    let x = x.reshape([n_tokens, 1, 1, d_model]).repeat_dim(1, n_active).reshape([n_tokens * n_active, 1, d_model]);
    let y = feed_forward(x, gate_up.select(0, flat.clone()), down.select(0, flat)); // [N·A, 1, D]
    y.reshape([n_tokens, n_active, d_model]).mul(routed.weights.clone().unsqueeze_dim(2)).sum_dim(1).reshape([n_tokens, d_model])
}

fn all_experts(x: Tensor<2>, routed: &Routed, gate_up: Tensor<3>, down: Tensor<3>) -> Tensor<2> {
    let [n_tokens, d_model] = x.dims();
    let n_experts = gate_up.dims()[0];
    // [N, E] with the weight of each chosen expert and zero elsewhere.
    let dense: Tensor<2> = Tensor::zeros([n_tokens, n_experts], (&x.device(), x.dtype()));
    let dense = dense.scatter(1, routed.experts.clone(), routed.weights.clone(), burn::tensor::IndexingUpdateOp::Add);
    let x = x.unsqueeze_dim::<3>(0).expand([n_experts, n_tokens, d_model]);
    feed_forward(x, gate_up, down) // [E, N, D]
        .mul(dense.transpose().unsqueeze_dim(2))
        .sum_dim(0)
        .reshape([n_tokens, d_model])
}

/// One SwiGLU block per batch entry.
///
/// # Shapes
/// - x: `[E, N, D]`
/// - gate_up: `[E, 2I, D]`
/// - down: `[E, D, I]`
fn feed_forward(x: Tensor<3>, gate_up: Tensor<3>, down: Tensor<3>) -> Tensor<3> {
    let width = down.dims()[2];
    let hidden = x.matmul(gate_up.swap_dims(1, 2)); // [E, N, 2I]
    let gate = hidden.clone().narrow(2, 0, width);
    let up = hidden.narrow(2, width, width);
    silu_mul(gate, up).matmul(down.swap_dims(1, 2))
}
