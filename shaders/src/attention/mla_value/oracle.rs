use crate::dot;

/// Returns `Σ_c W[h, v, c] · u[t, h, c]` with `u = Σ_splits 2^(m − M) · a / Σ_splits 2^(m − M) · l` and `M` the largest `m` of a head; zeros
/// where every `l` is zero.
///
/// # Shapes
/// - sums `a`: `[T, SPLITS, P, C]`, with `P` the padded heads
/// - stats `m` and `l`: `[T, SPLITS, P, 2]`
/// - weight: `[H, V, C]`
/// - returned: `[T, H, V]`
pub fn mla_value(sums: &[f64], stats: &[f64], weight: &[f64], [n_splits, padded, h, v, c]: [usize; 5]) -> Vec<f64> {
    let mut out = Vec::new();
    for (sums, stats) in sums.chunks(n_splits * padded * c).zip(stats.chunks(n_splits * padded * 2)) {
        for head in 0..h {
            let at = |split: usize| split * padded + head;
            let filled: Vec<usize> = (0..n_splits).filter(|&split| stats[2 * at(split) + 1] > 0.0).collect();
            let largest = filled.iter().fold(f64::NEG_INFINITY, |most, &split| most.max(stats[2 * at(split)]));
            let factor = |split: usize| (stats[2 * at(split)] - largest).exp2();
            let total: f64 = filled.iter().map(|&split| factor(split) * stats[2 * at(split) + 1]).sum();
            let u: Vec<f64> =
                (0..c).map(|i| filled.iter().map(|&split| factor(split) * sums[at(split) * c + i] / total).sum()).collect();
            out.extend(weight[head * v * c..(head + 1) * v * c].chunks(c).map(|row| dot(row, &u)));
        }
    }
    out
}
