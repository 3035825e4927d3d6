/// Returns the ascending indices of the `k` largest scores, or of all when there are no more than `k`.
///
/// `−0.0` equals `+0.0`; NaN never wins over a number, `−∞` included; of equal scores, and of NaN, the lower index comes first.
///
/// # Shapes
/// - scores: `[S]`, one row, the tokens that the query may see
/// - returns: `[min(k, S)]`
pub fn top_k(scores: &[f64], k: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < k.min(scores.len()) {
        let mut best: Option<(usize, f64)> = None;
        for (i, &score) in scores.iter().enumerate() {
            let wins = |(_, best): (usize, f64)| score > best || (best.is_nan() && !score.is_nan());
            if !chosen.contains(&i) && best.is_none_or(wins) {
                best = Some((i, score));
            }
        }
        chosen.extend(best.map(|(i, _)| i));
    }
    chosen.sort_unstable();
    chosen
}
