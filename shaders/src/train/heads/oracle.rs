use super::Heads;
use crate::rope::rotate::rotate;

/// Where the parts of head `h` of token `n` begin: in the rows of q, in those of k and v, in padded queries or keys, in padded values.
fn starts(spec: &Heads, n: usize, h: usize) -> [usize; 4] {
    let [qk, kv] = [spec.d_nope + spec.d_rope, spec.d_nope + spec.d_value];
    [qk, kv, spec.widths.qk, spec.widths.v].map(|width| (n * spec.n_heads as usize + h) * width as usize)
}

/// Returns q, k and v of each head, padded with zeros.
///
/// # Shapes
/// - rows: `[N, H, Dn + Dr]`, `[N, H, Dn + Dv]`, `[N, Dr]`
/// - inv_freq: `[Dr / 2]`, radians per token
/// - returns: `[N, H, QK]`, `[N, H, QK]`, `[N, H, V]`
pub fn heads(spec: &Heads, t: usize, [q_rows, kv_rows, key_rows]: [&[f64]; 3], inv_freq: &[f64]) -> [Vec<f64>; 3] {
    let [n_heads, dn, dr, dv] = [spec.n_heads, spec.d_nope, spec.d_rope, spec.d_value].map(|n| n as usize);
    let n_tokens = key_rows.len() / dr;
    let padded = |width: u32| vec![0.0; n_tokens * n_heads * width as usize];
    let (mut q, mut k, mut v) = (padded(spec.widths.qk), padded(spec.widths.qk), padded(spec.widths.v));
    for n in 0..n_tokens {
        let turned = |row: &[f64]| rotate(row, &[n % t], inv_freq, spec.layout);
        let key = turned(&key_rows[n * dr..][..dr]);
        for h in 0..n_heads {
            let [from_q, from_kv, to_k, to_v] = starts(spec, n, h);
            q[to_k..][..dn].copy_from_slice(&q_rows[from_q..][..dn]);
            q[to_k + dn..][..dr].copy_from_slice(&turned(&q_rows[from_q + dn..][..dr]));
            k[to_k..][..dn].copy_from_slice(&kv_rows[from_kv..][..dn]);
            k[to_k + dn..][..dr].copy_from_slice(&key);
            v[to_v..][..dv].copy_from_slice(&kv_rows[from_kv + dn..][..dv]);
        }
    }
    [q, k, v]
}

/// Returns the gradients of the three kinds of rows: parts go back where they came from, rotated parts by the opposite angle, and those of the shared
/// key are summed over the heads.
///
/// # Shapes
/// - dq, dk: `[N, H, QK]`; dv: `[N, H, V]`
/// - returns: `[N, H, Dn + Dr]`, `[N, H, Dn + Dv]`, `[N, Dr]`
pub fn heads_grad(spec: &Heads, t: usize, [dq, dk, dv]: [&[f64]; 3], inv_freq: &[f64]) -> [Vec<f64>; 3] {
    let [n_heads, dn, dr, d_value] = [spec.n_heads, spec.d_nope, spec.d_rope, spec.d_value].map(|n| n as usize);
    let n_tokens = dq.len() / n_heads / spec.widths.qk as usize;
    let opposite: Vec<f64> = inv_freq.iter().map(|f| -f).collect();
    let rows = |width: usize| vec![0.0; n_tokens * width];
    let (mut q_rows, mut kv_rows, mut key_rows) = (rows(n_heads * (dn + dr)), rows(n_heads * (dn + d_value)), rows(dr));
    for n in 0..n_tokens {
        let back = |row: &[f64]| rotate(row, &[n % t], &opposite, spec.layout);
        for h in 0..n_heads {
            let [to_q, to_kv, from_k, from_v] = starts(spec, n, h);
            q_rows[to_q..][..dn].copy_from_slice(&dq[from_k..][..dn]);
            q_rows[to_q + dn..][..dr].copy_from_slice(&back(&dq[from_k + dn..][..dr]));
            kv_rows[to_kv..][..dn].copy_from_slice(&dk[from_k..][..dn]);
            kv_rows[to_kv + dn..][..d_value].copy_from_slice(&dv[from_v..][..d_value]);
            for (sum, value) in key_rows[n * dr..][..dr].iter_mut().zip(back(&dk[from_k + dn..][..dr])) {
                *sum += value;
            }
        }
    }
    [q_rows, kv_rows, key_rows]
}
