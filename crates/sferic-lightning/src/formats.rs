//! Which weights are kept in which format.

use sferic_shaders::kernel::WeightFormat;

/// Formats of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// Projections and experts.
    pub matrices: WeightFormat,
    /// Embedding and head.
    pub vocabulary: WeightFormat,
    /// What errors hurt most: the router, and `weights_proj` where it stands apart from 16-bit projections.
    pub sensitive: WeightFormat,
}

impl Formats {
    /// Everything as exact as it gets.
    pub const F32: Self = Self { matrices: WeightFormat::F32, vocabulary: WeightFormat::F32, sensitive: WeightFormat::F32 };

    /// `matrices` with f32 for what errors hurt most, and q8 for the vocabulary beside q4, as in folders that `sferic convert` writes.
    pub fn new(matrices: WeightFormat) -> Self {
        let vocabulary = if matrices == WeightFormat::Q4 { WeightFormat::Q8 } else { matrices };
        Self { matrices, vocabulary, sensitive: WeightFormat::F32 }
    }

    /// The format of a matrix whose rows have `i` values: those that do not fill a group stay in 16 or 32 bits.
    pub(crate) fn fitting(wanted: WeightFormat, i: usize) -> WeightFormat {
        let fits = |format: &WeightFormat| i.is_multiple_of(format.alignment() as usize);
        [wanted, WeightFormat::F16].into_iter().find(fits).unwrap_or(WeightFormat::F32)
    }

    /// Values of a layer's first projections up to which 16 bits for all of them cost less than a launch of its own for `weights_proj`.
    const SMALL: usize = 4 << 20;

    /// The format of a layer's first projections, `size` values, with `weights_proj` among them; `None` where that has to stand apart, because
    /// they are kept in codes and are too many for 16 bits.
    pub fn of_down(&self, size: usize) -> Option<WeightFormat> {
        match self.matrices {
            WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16 => Some(self.matrices),
            WeightFormat::Fp8 | WeightFormat::Q8 | WeightFormat::Q4 => (size <= Self::SMALL).then_some(WeightFormat::Bf16),
        }
    }
}
