use super::{IN_PROMPT, Settings};
use std::cmp::Ordering;

/// Returns the logits after penalties and bias, steps 1 to 3; NaN becomes −∞.
///
/// # Shapes
/// - logits, counts, bias, returned: `[V]`
pub fn adjust(logits: &[f64], counts: &[u32], bias: &[f64], settings: &Settings) -> Vec<f64> {
    let mut adjusted = Vec::with_capacity(logits.len());
    for ((&logit, &count), &bias) in logits.iter().zip(counts).zip(bias) {
        let mut logit = if logit.is_nan() { f64::NEG_INFINITY } else { logit };
        if count != 0 {
            let repetition = f64::from(settings.repetition_penalty);
            logit = if logit > 0.0 { logit / repetition } else { logit * repetition };
        }
        let replies = count & !IN_PROMPT;
        if replies > 0 {
            logit -= f64::from(settings.presence_penalty) + f64::from(settings.frequency_penalty) * f64::from(replies);
        }
        adjusted.push(logit + bias);
    }
    adjusted
}

/// Returns the logarithm of the probability of `token` before any adjustment. Logits of NaN and −∞ have no probability.
///
/// # Shapes
/// - logits: `[V]`
pub fn logprob(logits: &[f32], token: usize) -> f64 {
    let finite = || logits.iter().filter(|logit| logit.is_finite()).map(|&logit| f64::from(logit));
    let most = finite().fold(f64::NEG_INFINITY, f64::max);
    let mass: f64 = finite().map(|logit| (logit - most).exp()).sum();
    f64::from(logits[token]) - most - mass.ln()
}

/// Returns the token that steps 4 to 8 choose with the random number `u` in `[0, 1)`, `None` where no logit is finite.
///
/// # Shapes
/// - adjusted: `[V]`, without NaN
pub fn choose(adjusted: &[f64], settings: &Settings, u: f64) -> Option<usize> {
    let mut ranked: Vec<usize> = (0..adjusted.len()).filter(|&token| adjusted[token].is_finite()).collect();
    // A stable sort: the lower token stays first among equals.
    ranked.sort_by(|&a, &b| adjusted[b].partial_cmp(&adjusted[a]).unwrap_or(Ordering::Equal));
    let largest = adjusted[*ranked.first()?];
    if settings.temperature == 0.0 {
        return ranked.first().copied();
    }
    let weight = |token: usize| ((adjusted[token] - largest) / f64::from(settings.temperature)).exp();
    if settings.top_k > 0 {
        ranked.truncate(settings.top_k as usize);
    }
    if settings.top_p < 1.0 {
        let all: f64 = ranked.iter().map(|&token| weight(token)).sum();
        let (mut mass, mut kept) = (0.0, 0);
        for &token in &ranked {
            mass += weight(token);
            kept += 1;
            if mass / all >= f64::from(settings.top_p) {
                break;
            }
        }
        ranked.truncate(kept);
    }
    ranked.retain(|&token| weight(token) >= f64::from(settings.min_p));
    ranked.sort_unstable();
    let target = u * ranked.iter().map(|&token| weight(token)).sum::<f64>();
    let (mut cumulative, mut last) = (0.0, None);
    for token in ranked {
        cumulative += weight(token);
        if weight(token) > 0.0 {
            last = Some(token);
        }
        if cumulative > target {
            break;
        }
    }
    last
}

/// Returns draw `n` of a seed, uniform in `[0, 1)`.
pub fn uniform(seed: u64, n: u64) -> f64 {
    const INCREMENT: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let key = mix(seed.wrapping_add(INCREMENT));
    (mix(key.wrapping_add((n + 1).wrapping_mul(INCREMENT))) >> 11) as f64 / 2f64.powi(53)
}
