use std::f64::consts::PI;

use super::{Layout, Yarn};

/// Returns `f_i = θ^(−2i/R)`; with YaRN `f_i / factor · ramp_i + f_i · (1 − ramp_i)`, `ramp_i = clamp((i − low) / (high − low), 0, 1)`.
///
/// `low = floor(corr(beta_fast))`, `high = ceil(corr(beta_slow))`, `corr(β) = R · ln(original / (2πβ)) / (2 ln θ)`, both kept in `[0, R − 1]`.
///
/// # Shapes
/// - returns: `[R/2]`, radians per token
pub fn inv_freq(theta: f64, dim: usize, yarn: Option<&Yarn>) -> Vec<f64> {
    let mut frequencies = Vec::new();
    for i in 0..dim / 2 {
        let base = theta.powf(-2.0 * i as f64 / dim as f64);
        frequencies.push(match yarn {
            None => base,
            Some(yarn) => {
                let corr = |beta: f64| dim as f64 * (yarn.original / (2.0 * PI * beta)).ln() / (2.0 * theta.ln());
                let low = corr(yarn.beta_fast).floor().max(0.0);
                let mut high = corr(yarn.beta_slow).ceil().min(dim as f64 - 1.0);
                if high == low {
                    high += 0.001;
                }
                let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                base / yarn.factor * ramp + base * (1.0 - ramp)
            }
        });
    }
    frequencies
}

/// Returns YaRN's correction `m = 0.1 · mscale · ln(factor) + 1`; the softmax scale carries its square, cosines and sines do not.
pub fn yarn_mscale(factor: f64, mscale: f64) -> f64 {
    0.1 * mscale * factor.ln() + 1.0
}

/// Rotates every pair `(a, b)` of row `n` to `(a cos φ − b sin φ, a sin φ + b cos φ)` with `φ = positions[n] · inv_freq[i]`.
///
/// # Shapes
/// - x, returned: `[N, R]`
/// - positions: `[N]`
/// - inv_freq: `[R/2]`
pub fn rotate(x: &[f64], positions: &[usize], inv_freq: &[f64], layout: Layout) -> Vec<f64> {
    let half = inv_freq.len();
    let mut y = x.to_vec();
    for (row, position) in y.chunks_mut(2 * half).zip(positions) {
        for (i, f) in inv_freq.iter().enumerate() {
            let (first, second) = match layout {
                Layout::Interleaved => (2 * i, 2 * i + 1),
                Layout::HalfSplit => (i, i + half),
            };
            let angle = *position as f64 * f;
            let (a, b) = (row[first], row[second]);
            row[first] = a * angle.cos() - b * angle.sin();
            row[second] = a * angle.sin() + b * angle.cos();
        }
    }
    y
}
