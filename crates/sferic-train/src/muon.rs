//! Muon: momentum whose matrices are made orthogonal, so that a step moves every direction of a matrix alike.
//!
//! AdamW follows the few directions in which gradients are large; rare associations, the looking up of a name among them, lie in the others.

use burn::tensor::Tensor;

/// Share of the momentum that stays.
const MOMENTUM: f64 = 0.95;
/// Coefficients of the iteration `X ← aX + (bA + cA²)X` with `A = X Xᵀ`: steep at zero, and all singular values end between 0.7 and 1.2.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// Rounds of the iteration.
const N_ROUNDS: usize = 5;
/// What the root of the mean square of an update is to be, AdamW's.
const UPDATE_SIZE: f64 = 0.2;

/// Returns the step of some matrices, one after the other in a vector, and their new momentum. The step has AdamW's size, so that it takes
/// AdamW's learning rate.
///
/// # Shapes
/// - grad, momentum: `[Σ rows · columns]`
/// - shapes: `[rows, columns]` of each matrix
///
/// # Source
/// Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); Liu et al., "Muon is scalable for LLM training" (2025),
/// section 2.2, for the size.
pub(crate) fn step(grad: Tensor<1>, momentum: Option<Tensor<1>>, shapes: &[[usize; 2]]) -> (Tensor<1>, Tensor<1>) {
    let momentum = match momentum {
        Some(momentum) => momentum.mul_scalar(MOMENTUM).add(grad.clone()),
        None => grad.clone(),
    };
    // Nesterov's form looks one step ahead.
    let ahead = grad.add(momentum.clone().mul_scalar(MOMENTUM));
    let mut first = 0;
    let steps = shapes.iter().map(|&[rows, columns]| {
        let matrix = ahead.clone().narrow(0, first, rows * columns).reshape([rows, columns]);
        first += rows * columns;
        let size = UPDATE_SIZE * (rows.max(columns) as f64).sqrt();
        orthogonal(matrix).mul_scalar(size).reshape([rows * columns])
    });
    (Tensor::cat(steps.collect(), 0), momentum)
}

/// Returns a matrix with the singular vectors of another whose singular values are near 1, by Newton and Schulz.
fn orthogonal(matrix: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = matrix.dims();
    let wide = if rows > columns { matrix.transpose() } else { matrix };
    let norm = wide.clone().square().sum().sqrt().add_scalar(1e-20);
    let mut x = wide.div(norm.reshape([1, 1]));
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..N_ROUNDS {
        let squares = times_transposed(x.clone(), x.clone());
        // Symmetric, so that its transposed is itself.
        let fourth = times_transposed(squares.clone(), squares.clone());
        let factor = squares.mul_scalar(b).add(fourth.mul_scalar(c));
        x = times_transposed(factor, x.clone().transpose()).add(x.mul_scalar(a));
    }
    if rows > columns { x.transpose() } else { x }
}

/// Returns `a · bᵀ`, by the kernels of training where there are some.
///
/// # Shapes
/// - a: `[M, K]`, b: `[N, K]`; returns `[M, N]`
fn times_transposed(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let [m, k] = a.dims();
    let n = b.dims()[0];
    match sferic_model::linear(&a.clone().reshape([1, m, k]), &b) {
        Some(product) => product.reshape([m, n]),
        None => a.matmul(b.transpose()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{Device, TensorData};

    use super::*;

    fn tensor<const D: usize>(values: Vec<f32>, dims: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, dims), &Device::flex())
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as::<f32>().unwrap()
    }

    /// Numbers without a pattern, from −1 to 1.
    fn noise(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i as f32 * 12.9898).sin() * 43758.547).fract()).collect()
    }

    #[test]
    fn singular_values_come_near_one_and_directions_stay() {
        for [rows, columns] in [[6, 20], [20, 6], [8, 8]] {
            let matrix = tensor(noise(rows * columns), [rows, columns]);
            let made = orthogonal(matrix.clone());
            assert_eq!(made.dims(), [rows, columns]);
            let n = rows.min(columns);
            let gram = if rows < columns {
                made.clone().matmul(made.clone().transpose())
            } else {
                made.clone().transpose().matmul(made.clone())
            };
            let gram = values(gram);
            // The eigenvalues of the Gram matrix are squares of numbers from 0.7 to 1.2; its trace is their sum.
            let trace: f32 = (0..n).map(|i| gram[i * n + i]).sum();
            assert!((0.6..1.3).contains(&(trace / n as f32)), "{trace}");
            // The polar factor of M makes ⟨M, UVᵀ⟩ the sum of singular values, which no other orthogonal matrix does.
            let overlap: f32 = values(matrix.clone().mul(made)).iter().sum();
            assert!(overlap > 0.0);
            // Scale does not matter.
            let scaled = orthogonal(matrix.clone().mul_scalar(1e-4));
            let differences = values(scaled.sub(orthogonal(matrix)));
            assert!(differences.iter().all(|difference| difference.abs() < 1e-3), "{differences:?}");
        }
    }

    #[test]
    fn a_diagonal_keeps_its_signs_and_loses_its_sizes() {
        let sizes = [3.0, -1.0, 0.5, 2.0];
        let mut diagonal = vec![0.0; 16];
        for (i, size) in sizes.iter().enumerate() {
            diagonal[i * 5] = *size;
        }
        let made = values(orthogonal(tensor(diagonal, [4, 4])));
        for (i, size) in sizes.iter().enumerate() {
            let value = made[i * 5];
            assert!((0.65..1.25).contains(&value.abs()) && value.signum() == f32::signum(*size), "{value}");
        }
    }

    #[test]
    fn steps_have_adamws_size_and_momentum_looks_ahead() {
        let shapes = [[4, 8], [8, 4]];
        let grad = tensor(noise(64), [64]);
        let (first, momentum) = step(grad.clone(), None, &shapes);
        assert_eq!(values(momentum.clone()), values(grad.clone()));
        let step_values = values(first.clone());
        for matrix in step_values.chunks(32) {
            let size = (matrix.iter().map(|value| value * value).sum::<f32>() / 32.0).sqrt();
            // Four singular values near 1, spread over 32 entries, times 0.2 √8.
            assert!((0.14..0.25).contains(&size), "{size}");
        }
        let (_, again) = step(grad.clone(), Some(momentum), &shapes);
        for (value, grad) in values(again).iter().zip(values(grad)) {
            assert!((value - 1.95 * grad).abs() < 1e-6);
        }
    }
}
