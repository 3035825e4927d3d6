//! Where a run's first weights come from: a seeded initialiser, a model folder, or a training checkpoint.

use std::f64::consts::TAU;

use burn::tensor::TensorData;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sferic_model::{Config, TensorSource, TensorSpec};
use sferic_weights::Checkpoint;

use crate::TrainError;
use crate::hash::{fnv1a, mix};

/// Random weights that depend on the seed and the tensor's name alone.
///
/// Matrices are normal with standard deviation `initializer_range`; those that write into the residual stream (`o_proj`,
/// `down_proj`) have it divided by `sqrt(2 · layers)`, so that the stream's variance does not grow with depth. Norm weights are
/// one, biases zero.
///
/// Source: Radford et al. 2019 (GPT-2), section 2.3, for the residual scaling.
#[derive(Debug, Clone, Copy)]
pub struct RandomWeights {
    seed: u64,
    initializer_range: f64,
    residual_scale: f64,
}

impl RandomWeights {
    /// Returns the initialiser for a model of this configuration.
    pub fn new(config: &Config, initializer_range: f64, seed: u64) -> Self {
        let residual_scale = (2.0 * config.num_hidden_layers as f64).sqrt().recip();
        Self { seed, initializer_range, residual_scale }
    }

    fn values(&self, spec: &TensorSpec) -> Vec<f32> {
        let n_values = spec.shape.iter().product();
        if spec.name.ends_with("bias") {
            return vec![0.0; n_values];
        }
        if spec.shape.len() < 2 {
            return vec![1.0; n_values];
        }
        let writes_residual = spec.name.contains("o_proj") || spec.name.contains("down_proj");
        let std = self.initializer_range * if writes_residual { self.residual_scale } else { 1.0 };
        let mut rng = StdRng::seed_from_u64(mix(self.seed) ^ fnv1a(spec.name.as_bytes()));
        let mut values = Vec::with_capacity(n_values + 1);
        while values.len() < n_values {
            // Box and Muller 1958: two uniform numbers give two normal ones. 1 − u keeps the logarithm finite.
            let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * std;
            let angle = TAU * rng.random::<f64>();
            values.push((radius * angle.cos()) as f32);
            values.push((radius * angle.sin()) as f32);
        }
        values.truncate(n_values);
        values
    }
}

impl TensorSource for RandomWeights {
    type Error = TrainError;

    fn tensor(&mut self, spec: &TensorSpec) -> Result<TensorData, TrainError> {
        Ok(TensorData::new(self.values(spec), spec.shape.clone()))
    }
}

/// The weights of a model folder, as f32.
#[derive(Debug)]
pub struct FolderWeights<'a>(pub &'a Checkpoint);

impl TensorSource for FolderWeights<'_> {
    type Error = TrainError;

    fn tensor(&mut self, spec: &TensorSpec) -> Result<TensorData, TrainError> {
        Ok(TensorData::new(self.0.read_f32(&spec.name, &spec.shape)?, spec.shape.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, shape: &[usize]) -> TensorSpec {
        TensorSpec { name: name.to_owned(), shape: shape.to_vec() }
    }

    fn std(values: &[f32]) -> f64 {
        (values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn kinds_of_tensors_get_their_distributions() {
        let source = RandomWeights { seed: 3, initializer_range: 0.02, residual_scale: 0.25 };
        assert_eq!(source.values(&spec("model.norm.weight", &[3])), [1.0; 3]);
        assert_eq!(source.values(&spec("model.layers.0.self_attn.indexer.k_norm.bias", &[3])), [0.0; 3]);
        // The standard deviation of n normal values has a relative error of about 1/sqrt(2n) = 0.4 %; four of them.
        let plain = std(&source.values(&spec("model.layers.0.mlp.up_proj.weight", &[200, 151])));
        assert!((plain / 0.02 - 1.0).abs() < 0.017, "{plain}");
        let residual = std(&source.values(&spec("model.layers.0.mlp.down_proj.weight", &[200, 151])));
        assert!((residual / 0.005 - 1.0).abs() < 0.017, "{residual}");
    }

    #[test]
    fn values_depend_on_seed_and_name_alone() {
        let source = RandomWeights { seed: 3, initializer_range: 0.02, residual_scale: 1.0 };
        let weight = spec("a.weight", &[4, 5]);
        assert_eq!(source.values(&weight), source.values(&weight));
        assert_ne!(source.values(&weight), source.values(&spec("b.weight", &[4, 5])));
        assert_ne!(source.values(&weight), RandomWeights { seed: 4, ..source }.values(&weight));
    }
}
