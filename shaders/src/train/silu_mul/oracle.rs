/// Returns `gate / (1 + exp(−gate)) · up`.
///
/// # Shapes
/// - gate, up, returned: `[N]`
pub fn silu_mul(gate: &[f64], up: &[f64]) -> Vec<f64> {
    gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
}

/// Returns the gradients of gate and up: `dh · up · (s + gate · s · (1 − s))` with `s = 1 / (1 + exp(−gate))`, and `dh · gate · s`.
///
/// # Shapes
/// - gate, up, dh, returned: `[N]`
pub fn silu_mul_grad(gate: &[f64], up: &[f64], dh: &[f64]) -> [Vec<f64>; 2] {
    let mut grads = [Vec::new(), Vec::new()];
    for ((g, u), d) in gate.iter().zip(up).zip(dh) {
        let s = 1.0 / (1.0 + (-g).exp());
        grads[0].push(d * u * (s + g * s * (1.0 - s)));
        grads[1].push(d * g * s);
    }
    grads
}
