use super::Rule;
use crate::indexer::top_k::top_k;

/// Returns the chosen experts of one token in ascending order, each with its weight.
///
/// Biased probabilities choose, unbiased ones weigh. Experts outside the kept groups cannot be chosen even where every other score is negative.
///
/// # Shapes
/// - logits, bias: `[E]`
pub fn route(logits: &[f64], bias: &[f64], rule: &Rule) -> Vec<(usize, f64)> {
    let n_experts = logits.len();
    let exps: Vec<f64> = logits.iter().map(|z| z.exp()).collect();
    let total: f64 = exps.iter().sum();
    let p: Vec<f64> = exps.iter().map(|e| if rule.softmax { e / total } else { e / (1.0 + e) }).collect();
    let biased: Vec<f64> = p.iter().zip(bias).map(|(p, b)| p + b).collect();
    let group_size = n_experts / rule.n_group;
    let mut group_scores = Vec::new();
    for group in biased.chunks(group_size) {
        group_scores.push(top_k(group, rule.n_summed).iter().map(|i| group[*i]).sum());
    }
    let groups = top_k(&group_scores, if rule.n_group > 1 { rule.topk_group } else { 1 });
    let reachable: Vec<usize> = (0..n_experts).filter(|e| groups.contains(&(e / group_size))).collect();
    let scores: Vec<f64> = reachable.iter().map(|e| biased[*e]).collect();
    let chosen: Vec<usize> = top_k(&scores, rule.n_active).into_iter().map(|i| reachable[i]).collect();
    let sum: f64 = chosen.iter().map(|e| p[*e]).sum();
    let divisor = if rule.normalise { sum + 1e-20 } else { 1.0 };
    chosen.into_iter().map(|e| (e, p[e] / divisor * rule.scale)).collect()
}
