//! What becomes of each stored tensor.

use std::collections::HashSet;

use serde_json::{Value, json};
use sferic_shaders::kernel::WeightFormat;

use super::scale_dtype;
use crate::{
    Checkpoint, Dtype, Result, TensorMeta, WeightsError,
    encoding::{Encoding, GROUP, METHOD},
    fit::Fitted,
    fp8,
    sanitize::Part,
};

/// The largest f16 number.
const MOST_F16: f32 = 65504.0;

/// What a stored tensor becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Its bytes stay as they are.
    Copy,
    /// Floats.
    Float(Dtype),
    /// Codes and scales.
    Quantized(WeightFormat),
}

impl Target {
    /// Its name for people; `source` is the type of what is copied.
    pub(super) fn name(self, source: Dtype) -> &'static str {
        let float = |dtype| match dtype {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            _ => "other",
        };
        match self {
            Target::Copy => float(source),
            Target::Float(dtype) => float(dtype),
            Target::Quantized(format) => format.name(),
        }
    }

    /// The largest magnitude that it can hold; `None` where that is no narrower than f32's.
    pub(super) fn most(self) -> Option<f32> {
        match self {
            Target::Float(Dtype::F16) => Some(MOST_F16),
            Target::Quantized(WeightFormat::Q8) => Some(127.0 * MOST_F16),
            Target::Quantized(WeightFormat::Q4) => Some(7.0 * MOST_F16),
            _ => None,
        }
    }
}

/// A stored tensor and what becomes of it.
pub(super) struct Item<'a> {
    pub(super) stored: Fitted<'a>,
    /// Type of the stored tensor.
    pub(super) dtype: Dtype,
    /// Shape of its values.
    pub(super) shape: Vec<usize>,
    pub(super) target: Target,
    /// The new tensor, and its scales where it has some.
    pub(super) metas: Vec<TensorMeta>,
    /// Bytes of the stored tensor and its scales.
    pub(super) source_bytes: u64,
}

impl Item<'_> {
    /// Bytes of the new tensor and its scales.
    pub(super) fn size_bytes(&self) -> u64 {
        self.metas.iter().map(TensorMeta::size_bytes).fold(0, u64::saturating_add)
    }

    /// Number of matrices `[O, I]` in it, 1 for what has no more than two dimensions.
    pub(super) fn n_matrices(&self) -> usize {
        self.shape.split_last_chunk::<2>().map_or(1, |(leading, _)| leading.iter().product())
    }

    /// Rows and columns of each; a vector is one row.
    pub(super) fn matrix(&self) -> [usize; 2] {
        match self.shape.as_slice() {
            &[.., o, i] => [o, i],
            &[i] => [1, i],
            [] => [1, 1],
        }
    }
}

/// Lists the tensors of a checkpoint with what becomes of them, in the order of its files.
pub(super) fn items(source: &Checkpoint, format: WeightFormat) -> Result<Vec<Item<'_>>> {
    let names: Vec<&str> = source.files.iter().flat_map(|file| file.names()).collect();
    let scales: HashSet<String> = names
        .iter()
        .filter_map(|name| source.stored(name).and_then(|stored| stored.encoding.scale_name(name)))
        .filter(|scale| source.file_of.contains_key(scale))
        .collect();
    let (mut items, mut problems) = (Vec::with_capacity(names.len()), Vec::new());
    for name in names.into_iter().filter(|name| !scales.contains(*name)) {
        let Some(stored) = source.stored(name) else { continue };
        let shape = stored.encoding.value_shape(&stored.entry.shape).unwrap_or_default();
        // What is no weight is copied without a look at it.
        let stored = match stored.encoding {
            Encoding::Other => stored,
            _ => match source.fit(&Part { name: name.to_owned(), shape: shape.clone() }) {
                Ok(fitted) => fitted,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            },
        };
        items.push(item(stored, shape, format));
    }
    if problems.is_empty() { Ok(items) } else { Err(WeightsError::Unfit { problems, path: source.path.clone() }) }
}

fn item(stored: Fitted<'_>, shape: Vec<usize>, format: WeightFormat) -> Item<'_> {
    let (name, dtype) = (stored.name, stored.entry.dtype);
    let target = target(name, &shape, &stored, format);
    let metas = match target {
        Target::Copy => vec![TensorMeta::new(name, dtype, shape.clone())],
        Target::Float(dtype) => vec![TensorMeta::new(name, dtype, shape.clone())],
        Target::Quantized(format) => {
            let (encoding, dtype) = match format {
                WeightFormat::Q4 => (Encoding::Q4, Dtype::U8),
                WeightFormat::Q8 => (Encoding::Q8, Dtype::I8),
                _ => (Encoding::Blocks, Dtype::F8E4M3),
            };
            let codes = encoding.stored_shape(&shape).unwrap_or_default();
            let scales = encoding.scales(&shape, [fp8::BLOCK; 2]).map(|(_, shape)| shape).unwrap_or_default();
            let scale_name = encoding.scale_name(name).unwrap_or_default();
            vec![TensorMeta::new(name, dtype, codes), TensorMeta::new(scale_name, scale_dtype(format), scales)]
        }
    };
    let scale_bytes = stored.scale.as_ref().map_or(0, |scale| scale.entry.n_bytes());
    let source_bytes = stored.entry.n_bytes() + scale_bytes;
    Item { stored, dtype, shape, target, metas, source_bytes }
}

fn target(name: &str, shape: &[usize], stored: &Fitted<'_>, format: WeightFormat) -> Target {
    let is_float = match stored.encoding {
        Encoding::Other => return Target::Copy,
        Encoding::Float => true,
        Encoding::Blocks | Encoding::Q8 | Encoding::Q4 => false,
    };
    let floats = match format {
        WeightFormat::F32 => Some(Dtype::F32),
        WeightFormat::F16 => Some(Dtype::F16),
        WeightFormat::Bf16 => Some(Dtype::Bf16),
        WeightFormat::Fp8 | WeightFormat::Q8 | WeightFormat::Q4 => None,
    };
    let is_sensitive = is_sensitive(name, shape);
    // What was rounded before is exact in f32 alone.
    let kept = match (is_float, is_sensitive) {
        (true, _) => Target::Copy,
        (false, true) => Target::Float(Dtype::F32),
        (false, false) => Target::Float(Dtype::F16),
    };
    match floats {
        Some(Dtype::F32) => Target::Float(Dtype::F32),
        _ if is_sensitive => kept,
        Some(dtype) => Target::Float(dtype),
        None => {
            let format = match format {
                WeightFormat::Fp8 if is_vocabulary(name) => return kept,
                WeightFormat::Q4 if is_vocabulary(name) || is_latent(name) => WeightFormat::Q8,
                format => format,
            };
            let fits = shape.last().is_some_and(|width| width.is_multiple_of(format.alignment() as usize));
            if fits { Target::Quantized(format) } else { kept }
        }
    }
}

/// Returns whether errors in a tensor cost more than its bytes are worth.
///
/// The router and `weights_proj` decide what is computed at all, and a small error can decide otherwise; the rest is small.
fn is_sensitive(name: &str, shape: &[usize]) -> bool {
    let module = name.strip_suffix(".weight").unwrap_or(name);
    let last = module.rsplit('.').next().unwrap_or(module);
    shape.len() < 2
        || name.ends_with("bias")
        || last.ends_with("norm")
        || module.ends_with("mlp.gate")
        || module.ends_with("indexer.weights_proj")
}

/// Returns whether a tensor is the embedding or the head.
fn is_vocabulary(name: &str) -> bool {
    ["embed_tokens.weight", "lm_head.weight", "shared_head.head.weight"].iter().any(|known| name.ends_with(known))
}

/// Returns whether a tensor is the way into the latent that all heads share, or out of it.
fn is_latent(name: &str) -> bool {
    ["kv_a_proj_with_mqa.weight", "kv_b_proj.weight"].iter().any(|known| name.ends_with(known))
}

/// Returns the configuration of the new model.
pub(super) fn config(source: &Value, format: WeightFormat) -> Value {
    let mut config = source.clone();
    let Some(object) = config.as_object_mut() else { return config };
    object.remove("quantization_config");
    let quantization = match format {
        WeightFormat::Q8 | WeightFormat::Q4 => {
            json!({ "quant_method": METHOD, "format": format.name(), "group_size": GROUP })
        }
        WeightFormat::Fp8 => json!({
            "quant_method": "fp8",
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "scale_fmt": "ue8m0",
            "weight_block_size": [fp8::BLOCK, fp8::BLOCK],
        }),
        WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16 => {
            let name = match format {
                WeightFormat::F32 => "float32",
                WeightFormat::F16 => "float16",
                _ => "bfloat16",
            };
            for key in ["torch_dtype", "dtype"] {
                if let Some(value) = object.get_mut(key) {
                    *value = name.into();
                }
            }
            return config;
        }
    };
    object.insert("quantization_config".to_owned(), quantization);
    config
}
