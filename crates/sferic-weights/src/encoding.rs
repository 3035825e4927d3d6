//! How the values of a stored tensor are encoded.
//!
//! | encoding | `NAME` | scales | `quantization_config` in `config.json` |
//! |---|---|---|---|
//! | float | BF16, F16 or F32 `[.., O, I]` | none | none |
//! | FP8 | `F8_E4M3` `[.., O, I]` | `NAME_scale_inv`, F32 `[.., ceil(O/128), ceil(I/128)]` | DeepSeek's: `quant_method` `fp8`, `weight_block_size` |
//! | q8 | `I8` `[.., O, I]` | `NAME_scale`, F16 `[.., O, I/32]` | `quant_method` `sferic`, `format` `q8`, `group_size` 32 |
//! | q4 | `U8` `[.., O, I/2]` | `NAME_scale`, F16 `[.., O, I/32]` | `quant_method` `sferic`, `format` `q4`, `group_size` 32 |
//!
//! In q8 and q4 a value is `code · scale`, with one scale, of either sign, for 32 values along `I`, which is a multiple of 32.
//! A q8 code is a signed byte; a q4 code is a nibble less 8, and the lower nibble of a byte comes first.
//! One folder may hold tensors of several encodings: each says its own by its type, and `format` says what most are.
//! `I8` and `U8` are refused without `quant_method` `sferic`, because other programs pack other codes into them.
//!
//! Source of the FP8 layout: DeepSeek-V3. The other two are ours; they are what the kernels read, byte by byte.

use std::path::Path;

use serde_json::Value;
use sferic_shaders::kernel::WeightFormat;

use crate::{Dtype, Result, WeightsError, fp8, header::Entry};

/// The `quant_method` of q8 and q4.
pub(crate) const METHOD: &str = "sferic";

/// Values that share a scale in q8 and q4.
pub(crate) const GROUP: usize = WeightFormat::GROUP;

/// How the values of a stored tensor are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// BF16, F16 or F32.
    Float,
    /// FP8 with a scale for each block.
    Blocks,
    /// Signed bytes with a scale for each group.
    Q8,
    /// Nibbles with a scale for each group.
    Q4,
    /// Nothing that a model could be made from.
    Other,
}

impl Encoding {
    /// Returns the encoding of a stored type; `is_grouped` says that the configuration names our quantisation.
    pub(crate) fn of(dtype: Dtype, is_grouped: bool) -> Encoding {
        match dtype {
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => Encoding::Float,
            Dtype::F8E4M3 => Encoding::Blocks,
            Dtype::I8 if is_grouped => Encoding::Q8,
            Dtype::U8 if is_grouped => Encoding::Q4,
            _ => Encoding::Other,
        }
    }

    /// Returns the number format of values that are stored in groups.
    pub(crate) fn grouped(self) -> Option<WeightFormat> {
        match self {
            Encoding::Q8 => Some(WeightFormat::Q8),
            Encoding::Q4 => Some(WeightFormat::Q4),
            Encoding::Float | Encoding::Blocks | Encoding::Other => None,
        }
    }

    /// Returns whether values of a shape can be stored so.
    pub(crate) fn suits(self, shape: &[usize]) -> bool {
        self.grouped().is_none() || matches!(shape, [.., _, width] if width.is_multiple_of(GROUP))
    }

    /// Returns the stored shape of values `[.., O, I]`.
    pub(crate) fn stored_shape(self, shape: &[usize]) -> Option<Vec<usize>> {
        let mut stored = shape.to_vec();
        if self == Encoding::Q4 {
            let width = stored.last_mut()?;
            *width /= 2;
        }
        Some(stored)
    }

    /// Returns the shape of the values of a stored tensor; `None` for one that no memory could hold.
    pub(crate) fn value_shape(self, stored: &[usize]) -> Option<Vec<usize>> {
        let mut shape = stored.to_vec();
        if self == Encoding::Q4 {
            let width = shape.last_mut()?;
            *width = width.checked_mul(2)?;
        }
        Some(shape)
    }

    /// Returns the number of values of a stored tensor.
    pub(crate) fn n_values(self, entry: &Entry) -> usize {
        let n_elements = entry.n_bytes() as usize / entry.dtype.size_bytes();
        if self == Encoding::Q4 { n_elements.saturating_mul(2) } else { n_elements }
    }

    /// Returns the name of the tensor that holds the scales.
    pub(crate) fn scale_name(self, name: &str) -> Option<String> {
        match self {
            Encoding::Blocks => Some(format!("{name}_scale_inv")),
            Encoding::Q8 | Encoding::Q4 => Some(format!("{name}_scale")),
            Encoding::Float | Encoding::Other => None,
        }
    }

    /// Returns type and shape of the scales of values `[.., O, I]`; `None` for values that cannot have any.
    pub(crate) fn scales(self, shape: &[usize], block: [usize; 2]) -> Option<(Dtype, Vec<usize>)> {
        match self {
            Encoding::Blocks => Some((Dtype::F32, fp8::scale_shape(shape, block)?)),
            Encoding::Q8 | Encoding::Q4 if shape.len() >= 2 => {
                let mut scales = shape.to_vec();
                *scales.last_mut()? /= GROUP;
                Some((Dtype::F16, scales))
            }
            _ => None,
        }
    }
}

/// Stored bytes that are widened at a time, as in [`crate::convert`].
const STRIPE_BYTES: usize = 1 << 18;

/// Appends the values of rows of width `width` that are stored in groups.
///
/// `stripe_done` is called with the appended values and the bytes they came from, after every few rows.
pub(crate) fn dequantize_groups(
    format: WeightFormat,
    data: &[u8],
    scales: &[u8],
    width: usize,
    out: &mut Vec<f32>,
    mut stripe_done: impl FnMut(&[f32], usize),
) {
    let row_bytes = width / format.values_per_vector() as usize * 16;
    let row_scale_bytes = width / GROUP * Dtype::F16.size_bytes();
    if row_bytes == 0 {
        return;
    }
    let n_rows = (STRIPE_BYTES / row_bytes).max(1);
    for (data, scales) in data.chunks(n_rows * row_bytes).zip(scales.chunks(n_rows * row_scale_bytes)) {
        let begin = out.len();
        for (data, scales) in data.chunks_exact(row_bytes).zip(scales.chunks_exact(row_scale_bytes)) {
            format.dequantize_row(data, scales, out);
        }
        stripe_done(out.get(begin..).unwrap_or_default(), data.len() + scales.len());
    }
}

/// Returns whether the configuration names our quantisation, after checking what it says about it.
pub(crate) fn is_grouped(config: &Value, path: &Path) -> Result<bool> {
    let Some(quantization) = config.get("quantization_config").filter(|q| q.get("quant_method") == Some(&METHOD.into())) else {
        return Ok(false);
    };
    let error = |key, expected, found: Option<&Value>| {
        let found = crate::checkpoint::shortened(found.unwrap_or(&Value::Null));
        WeightsError::ConfigValue { key, expected, found, path: path.join("config.json") }
    };
    let format = quantization.get("format");
    if !["q8", "q4"].iter().any(|known| format == Some(&(*known).into())) {
        return Err(error("quantization_config.format", "\"q8\" or \"q4\"", format));
    }
    let group = quantization.get("group_size");
    if group.and_then(Value::as_u64) != Some(GROUP as u64) {
        return Err(error("quantization_config.group_size", "32", group));
    }
    Ok(true)
}
