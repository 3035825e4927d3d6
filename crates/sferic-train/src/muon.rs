//! Muon: momentum whose matrices are made orthogonal, so that a step moves every direction of a matrix alike.
//!
//! AdamW follows the few directions in which gradients are large; rare associations, the looking up of a name among them, lie in the others.

use std::collections::BTreeMap;

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
    let mut places: BTreeMap<[usize; 2], Vec<usize>> = BTreeMap::new();
    for (idx, &[rows, columns]) in shapes.iter().enumerate() {
        places.entry([rows.min(columns), rows.max(columns)]).or_default().push(idx);
    }
    let firsts = shapes.iter().scan(0, |first, [rows, columns]| Some(std::mem::replace(first, *first + rows * columns)));
    let mut steps: Vec<Tensor<1>> =
        firsts.zip(shapes).map(|(first, [rows, columns])| ahead.clone().narrow(0, first, rows * columns)).collect();
    // Matrices of one size go together, each with its rows along its shorter side.
    for ([short, long], members) in places {
        let is_tall = |idx: usize| shapes[idx][0] > shapes[idx][1];
        let wide = members.iter().map(|&idx| {
            let matrix = steps[idx].clone();
            if is_tall(idx) { matrix.reshape([1, long, short]).swap_dims(1, 2) } else { matrix.reshape([1, short, long]) }
        });
        let made = orthogonal(Tensor::cat(wide.collect(), 0)).mul_scalar(UPDATE_SIZE * (long as f64).sqrt());
        for (place, &idx) in members.iter().enumerate() {
            let matrix = made.clone().narrow(0, place, 1);
            let matrix = if is_tall(idx) { matrix.swap_dims(1, 2) } else { matrix };
            steps[idx] = matrix.reshape([short * long]);
        }
    }
    (Tensor::cat(steps, 0), momentum)
}

/// Returns matrices with the singular vectors of others whose singular values are near 1, by Newton and Schulz.
///
/// # Shapes
/// - matrices: `[Z, M, N]` with M at most N; returns the same
fn orthogonal(matrices: Tensor<3>) -> Tensor<3> {
    let norms = matrices.clone().square().sum_dim(2).sum_dim(1).sqrt().add_scalar(1e-20);
    let mut x = matrices.div(norms);
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..N_ROUNDS {
        let squares = times_transposed(x.clone(), x.clone());
        // Symmetric, so that its transposed is itself.
        let fourth = times_transposed(squares.clone(), squares.clone());
        let factor = squares.mul_scalar(b).add(fourth.mul_scalar(c));
        x = times_transposed(factor, x.clone().swap_dims(1, 2)).add(x.mul_scalar(a));
    }
    x
}

/// Returns `a · bᵀ`, by the kernels of training where there are some.
///
/// # Shapes
/// - a: `[Z, M, K]`, b: `[Z, N, K]`; returns `[Z, M, N]`
fn times_transposed(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    sferic_model::products(&a, &b).unwrap_or_else(|| a.matmul(b.swap_dims(1, 2)))
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
        for [n, rows, columns] in [[1, 6, 20], [3, 8, 8]] {
            let matrices = tensor(noise(n * rows * columns), [n, rows, columns]);
            let made = orthogonal(matrices.clone());
            assert_eq!(made.dims(), [n, rows, columns]);
            let gram = values(made.clone().matmul(made.clone().swap_dims(1, 2)));
            let overlaps = values(matrices.clone().mul(made.clone()));
            for (gram, overlaps) in gram.chunks(rows * rows).zip(overlaps.chunks(rows * columns)) {
                // The eigenvalues of the Gram matrix are squares of numbers from 0.7 to 1.2; its trace is their sum.
                let trace: f32 = (0..rows).map(|i| gram[i * rows + i]).sum();
                assert!((0.6..1.3).contains(&(trace / rows as f32)), "{trace}");
                // The polar factor of M makes ⟨M, UVᵀ⟩ the sum of singular values, which no other orthogonal matrix does.
                assert!(overlaps.iter().sum::<f32>() > 0.0);
            }
            // Scale does not matter.
            let scaled = orthogonal(matrices.mul_scalar(1e-4));
            let differences = values(scaled.sub(made));
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
        let made = values(orthogonal(tensor(diagonal, [1, 4, 4])));
        for (i, size) in sizes.iter().enumerate() {
            let value = made[i * 5];
            assert!((0.65..1.25).contains(&value.abs()) && value.signum() == f32::signum(*size), "{value}");
        }
    }

    #[test]
    fn matrices_of_all_sizes_keep_their_places() {
        let shapes = [[4, 8], [6, 3], [8, 4], [3, 6], [4, 8]];
        let grad = noise(32 + 18 + 32 + 18 + 32);
        let (together, _) = step(tensor(grad.clone(), [grad.len()]), None, &shapes);
        let together = values(together);
        let mut first = 0;
        for shape in shapes {
            let n = shape[0] * shape[1];
            let (alone, _) = step(tensor(grad[first..first + n].to_vec(), [n]), None, &[shape]);
            for (a, b) in values(alone).iter().zip(&together[first..first + n]) {
                assert!((a - b).abs() < 1e-5, "{shape:?}: {a}, {b}");
            }
            // A gradient in the direction of a step shrinks under it: the rows of a tall matrix have not become columns.
            let overlap: f32 = grad[first..first + n].iter().zip(&together[first..first + n]).map(|(g, s)| g * s).sum();
            assert!(overlap > 0.0, "{shape:?}: {overlap}");
            first += n;
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
