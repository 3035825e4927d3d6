/// Returns `ln Σ_v exp(logits_v) − logits_target` of each row, and `scale · (softmax(logits)_v − [v = target])`.
///
/// # Shapes
/// - logits, second returned: `[R, V]`
/// - targets, first returned: `[R]`
pub fn cross_entropy(logits: &[f64], targets: &[usize], scale: f64) -> (Vec<f64>, Vec<f64>) {
    let vocab = logits.len() / targets.len();
    let (mut losses, mut grads) = (Vec::new(), Vec::new());
    for (row, &chosen) in logits.chunks(vocab).zip(targets) {
        let largest = row.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = row.iter().map(|logit| (logit - largest).exp()).sum();
        losses.push(sum.ln() + largest - row[chosen]);
        for (v, logit) in row.iter().enumerate() {
            let hit = if v == chosen { 1.0 } else { 0.0 };
            grads.push(scale * ((logit - largest).exp() / sum - hit));
        }
    }
    (losses, grads)
}
