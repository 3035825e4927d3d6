//! Rotary position embedding with YaRN frequencies (spec §2.3).

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Which components of a vector form the pairs that are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeLayout {
    /// Pairs `(v[2i], v[2i+1])`: main attention of DeepSeek and GLM, and GLM-5's indexer.
    Interleaved,
    /// Pairs `(v[i], v[i + R/2])`: DeepSeek-V3.2's indexer, and MiniCPM3's attention.
    HalfSplit,
}

/// YaRN context extension (Peng et al. 2023, <https://arxiv.org/abs/2309.00071>), as DeepSeek parameterises it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// Context extension factor.
    pub factor: f64,
    /// Context length before the extension, in tokens.
    pub original_max_position_embeddings: usize,
    /// Rotations over the original context above which a frequency is kept.
    pub beta_fast: f64,
    /// Rotations over the original context below which a frequency is divided by `factor`.
    pub beta_slow: f64,
    /// Whether the correction range is rounded outwards to whole pair indices.
    pub truncate: bool,
}

/// Returns the inverse frequencies `θ^(−2i/R)`, blended by YaRN's ramp when `yarn` is given.
///
/// The result has `dim / 2` entries, in radians per token.
///
/// # Source
/// Spec §2.3; the golden table is in §11.1.
pub fn inv_freq(theta: f64, dim: usize, yarn: Option<&Yarn>) -> Vec<f64> {
    let base = (0..dim / 2).map(|i| theta.powf(-((2 * i) as f64) / dim as f64));
    let Some(yarn) = yarn else {
        return base.collect();
    };
    let correction = |rotations: f64| {
        let original = yarn.original_max_position_embeddings as f64;
        dim as f64 * (original / (rotations * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln())
    };
    let (mut low, mut high) = (correction(yarn.beta_fast), correction(yarn.beta_slow));
    if yarn.truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(dim as f64 - 1.0));
    if low == high {
        // Keeps the ramp finite, as the reference does.
        high += 0.001;
    }
    base.enumerate()
        .map(|(i, f)| {
            let keep = 1.0 - ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            f / yarn.factor * (1.0 - keep) + f * keep
        })
        .collect()
}

/// Cosines and sines of a contiguous run of positions.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// `[T, R/2]`
    cos: Tensor<2>,
    /// `[T, R/2]`
    sin: Tensor<2>,
}

impl Rotation {
    /// Computes the rotation of positions `start..start + n_tokens`.
    ///
    /// Angles are formed in f64 on the host, so that long positions lose nothing to f32.
    /// `scale` multiplies cosines and sines; it is 1 for every DeepSeek model (spec §2.3).
    pub fn new(inv_freq: &[f64], start: usize, n_tokens: usize, scale: f64, device: &Device, dtype: DType) -> Self {
        let angles: Vec<f64> =
            (start..start + n_tokens).flat_map(|position| inv_freq.iter().map(move |f| position as f64 * f)).collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f64> = angles.iter().map(|a| f(*a) * scale).collect();
            let data = TensorData::new(values, [n_tokens, inv_freq.len()]).convert_dtype(dtype);
            Tensor::from_data(data, (device, dtype))
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Cosines and sines side by side, `[T, R/2, 2]`, off any graph.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn turns(&self) -> Tensor<3> {
        Tensor::stack(vec![self.cos.clone().inner(), self.sin.clone().inner()], 2)
    }

    /// Rotates the last dimension of `x`, all of it.
    ///
    /// # Shapes
    /// - x, returned: `[B, T, H, R]`
    pub fn apply(&self, x: Tensor<4>, layout: RopeLayout) -> Tensor<4> {
        let [n_batch, n_tokens, n_heads, dim] = x.dims();
        let half = dim / 2;
        // Pairs become the two columns of one axis; which axis depends on the layout.
        let (pair_shape, pair_axis) = match layout {
            RopeLayout::Interleaved => ([n_batch * n_tokens, n_heads, half, 2], 3),
            RopeLayout::HalfSplit => ([n_batch * n_tokens, n_heads, 2, half], 2),
        };
        let pairs = x.reshape(pair_shape);
        let a = pairs.clone().narrow(pair_axis, 0, 1).reshape([n_batch, n_tokens, n_heads, half]);
        let b = pairs.narrow(pair_axis, 1, 1).reshape([n_batch, n_tokens, n_heads, half]);
        let cos: Tensor<4> = self.cos.clone().reshape([1, n_tokens, 1, half]);
        let sin: Tensor<4> = self.sin.clone().reshape([1, n_tokens, 1, half]);
        let rotated_a = a.clone().mul(cos.clone()).sub(b.clone().mul(sin.clone()));
        let rotated_b = a.mul(sin).add(b.mul(cos));
        let stacked: Tensor<5> = match layout {
            RopeLayout::Interleaved => Tensor::stack(vec![rotated_a, rotated_b], 4),
            RopeLayout::HalfSplit => Tensor::stack(vec![rotated_a, rotated_b], 3),
        };
        stacked.reshape([n_batch, n_tokens, n_heads, dim])
    }
}
