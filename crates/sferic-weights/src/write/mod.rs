//! Writes safetensors: to memory here, to files in [`files`], whole or not at all through [`atomic`].

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value, json};

use crate::{Dtype, Result, WeightsError, header::METADATA};

#[cfg(not(target_family = "wasm"))]
pub(crate) mod atomic;
#[cfg(not(target_family = "wasm"))]
pub(crate) mod files;
#[cfg(not(target_family = "wasm"))]
pub(crate) mod placed;

/// The name, type and shape of a tensor that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMeta {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl TensorMeta {
    /// Describes a tensor.
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: impl Into<Vec<usize>>) -> TensorMeta {
        TensorMeta { name: name.into(), dtype, shape: shape.into() }
    }

    /// Returns the bytes that shape and type need; `u64::MAX` stands for more than can be counted.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let n_values = self.shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n as u64));
        n_values.and_then(|n| n.checked_mul(self.dtype.size_bytes() as u64)).unwrap_or(u64::MAX)
    }

    /// Checks that `found_bytes` is the length that shape and type need.
    fn check_bytes(&self, found_bytes: usize) -> Result<()> {
        let (expected_bytes, found_bytes) = (self.size_bytes(), found_bytes as u64);
        if expected_bytes == found_bytes {
            return Ok(());
        }
        Err(WeightsError::ByteCount { tensor: self.name.clone(), expected_bytes, found_bytes })
    }
}

/// Returns the bytes of a safetensors file with the given tensors, whose data are little-endian and row-major, and text metadata.
///
/// # Errors
/// [`WeightsError::ByteCount`], [`WeightsError::TensorName`].
pub fn serialize<'a>(
    tensors: impl IntoIterator<Item = (TensorMeta, Cow<'a, [u8]>)>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let (metas, data): (Vec<TensorMeta>, Vec<Cow<'a, [u8]>>) = tensors.into_iter().unzip();
    let layout = Layout::new(&metas, metadata)?;
    let mut file = layout.header;
    for tensor_idx in layout.order {
        if let (Some(meta), Some(bytes)) = (metas.get(tensor_idx), data.get(tensor_idx)) {
            meta.check_bytes(bytes.len())?;
            file.extend_from_slice(bytes);
        }
    }
    Ok(file)
}

/// The beginning of a file and the order of what follows.
struct Layout {
    /// Length field and header.
    header: Vec<u8>,
    /// Indices of the tensors in the order of the file.
    order: Vec<usize>,
    /// First byte of each tensor behind the header, in the order of `metas`.
    #[cfg_attr(target_family = "wasm", expect(dead_code, reason = "files are placed on native systems alone"))]
    begins: Vec<u64>,
}

impl Layout {
    fn new(metas: &[TensorMeta], metadata: &BTreeMap<String, String>) -> Result<Layout> {
        let mut order: Vec<usize> = (0..metas.len()).collect();
        // Wide elements first: then every tensor is aligned to its element size.
        order.sort_by_key(|&tensor_idx| metas.get(tensor_idx).map(|meta| std::cmp::Reverse(meta.dtype.size_bytes())));
        let mut json = Map::new();
        if !metadata.is_empty() {
            json.insert(METADATA.to_owned(), json!(metadata));
        }
        let (mut begin, mut begins) = (0u64, vec![0; metas.len()]);
        for (tensor_idx, meta) in order.iter().filter_map(|&tensor_idx| Some((tensor_idx, metas.get(tensor_idx)?))) {
            if let Some(place) = begins.get_mut(tensor_idx) {
                *place = begin;
            }
            let too_large = || WeightsError::ByteCount {
                tensor: meta.name.clone(),
                expected_bytes: u64::MAX,
                found_bytes: meta.size_bytes(),
            };
            let end = begin.checked_add(meta.size_bytes()).ok_or_else(too_large)?;
            let entry = json!({ "dtype": meta.dtype.name(), "shape": meta.shape, "data_offsets": [begin, end] });
            let reserved = meta.name == METADATA;
            if json.insert(meta.name.clone(), entry).is_some() || reserved {
                let why = if reserved { "reserved" } else { "used twice" };
                return Err(WeightsError::TensorName { tensor: meta.name.clone(), why });
            }
            begin = end;
        }
        let mut text = Value::Object(json).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.append(&mut text);
        Ok(Layout { header, order, begins })
    }
}
