//! The header of a safetensors file, and the checks that make its byte ranges safe to use.
//!
//! Layout: 8 bytes of little-endian header length N, N bytes of JSON, then the tensors without holes. The JSON maps each tensor name to
//! `dtype`, `shape` and `data_offsets` (begin and end, counted from the end of the header); `__metadata__` maps text to text.

use std::{collections::BTreeMap, fmt, ops::Range, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use crate::{Dtype, Result, WeightsError, storage::Storage};

/// The largest header that is accepted, as in the reference implementation: a larger one is a damaged file, not a model.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The name under which a header keeps its text metadata.
pub(crate) const METADATA: &str = "__metadata__";

/// A checked header: every range lies in the file, fits its shape, and overlaps no other.
#[derive(Debug)]
pub(crate) struct Header {
    /// Tensors by name.
    pub(crate) entries: BTreeMap<String, Entry>,
    /// Text metadata.
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Where a tensor lies in its file.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Bytes of the whole file.
    pub(crate) range: Range<u64>,
}

impl Entry {
    /// Returns the number of stored bytes.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl Header {
    /// Reads, parses and checks the header of a file. `path` serves the errors alone.
    pub(crate) fn parse(file: &Storage, path: &Path) -> Result<Header> {
        let file_bytes = file.len();
        let read = |range: Range<u64>| {
            file.read(&range).map_err(|reason| WeightsError::Io { action: "read the header", reason, path: path.into() })
        };
        let truncated =
            |what: String, needed_bytes| WeightsError::Truncated { what, needed_bytes, file_bytes, path: path.into() };
        if file_bytes < 8 {
            return Err(truncated("the header".into(), 8));
        }
        let length = read(0..8)?;
        let header_bytes = u64::from_le_bytes(length.first_chunk().copied().unwrap_or_default());
        if header_bytes > MAX_HEADER_BYTES {
            return Err(WeightsError::HeaderTooLong { header_bytes, limit_bytes: MAX_HEADER_BYTES, path: path.into() });
        }
        let data_begin = 8 + header_bytes;
        if data_begin > file_bytes {
            return Err(truncated("the header".into(), data_begin));
        }
        let json = read(8..data_begin)?;
        let raw: RawHeader =
            serde_json::from_slice(&json).map_err(|reason| WeightsError::HeaderJson { reason, path: path.into() })?;

        let mut entries = BTreeMap::new();
        for (name, raw_entry) in raw.tensors {
            let range = raw_entry.check(&name, path)?;
            if range.end > file_bytes - data_begin {
                return Err(truncated(format!("tensor `{name}`"), range.end.saturating_add(data_begin)));
            }
            let entry = Entry {
                // `check` has seen that both conversions fit.
                dtype: Dtype::from_name(&raw_entry.dtype).unwrap_or(Dtype::U8),
                shape: raw_entry.shape.iter().map(|&n| n as usize).collect(),
                range: data_begin + range.start..data_begin + range.end,
            };
            if entries.contains_key(&name) {
                let file = file_name(path);
                return Err(WeightsError::DuplicateTensor { tensor: name, first: file.clone(), second: file, path: path.into() });
            }
            entries.insert(name, entry);
        }
        check_cover(&entries, data_begin, file_bytes, path)?;
        Ok(Header { entries, metadata: raw.metadata })
    }
}

/// Returns the last part of a path, for messages that name the whole path elsewhere.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Checks that the tensors cover the data of a file once and without holes.
fn check_cover(entries: &BTreeMap<String, Entry>, data_begin: u64, file_bytes: u64, path: &Path) -> Result<()> {
    let mut in_order: Vec<(&String, &Range<u64>)> = entries.iter().map(|(name, entry)| (name, &entry.range)).collect();
    in_order.sort_by_key(|(_, range)| (range.start, range.end));
    let mut covered = data_begin;
    let mut last: Option<&String> = None;
    let after = |last: Option<&String>| last.map_or_else(|| "the header".to_owned(), |name| format!("tensor `{name}`"));
    for (name, range) in in_order {
        if let (true, Some(first)) = (range.start < covered, last) {
            let n_bytes = covered.min(range.end) - range.start;
            // An empty tensor inside another one shares no byte, yet its place is wrong all the same.
            return Err(WeightsError::Overlap { first: first.clone(), second: name.clone(), n_bytes, path: path.into() });
        }
        if range.start > covered {
            return Err(WeightsError::Gap { after: after(last), n_bytes: range.start - covered, path: path.into() });
        }
        covered = range.end;
        last = Some(name);
    }
    match file_bytes - covered {
        0 => Ok(()),
        n_bytes => Err(WeightsError::Gap { after: after(last), n_bytes, path: path.into() }),
    }
}

/// A header as it is written, in the order of the file; names may repeat.
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, RawEntry)>,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl RawEntry {
    /// Checks that the type is known and that the byte range has the length that shape and type need; returns the range.
    fn check(&self, name: &str, path: &Path) -> Result<Range<u64>> {
        let Some(dtype) = Dtype::from_name(&self.dtype) else {
            return Err(WeightsError::UnknownDtype { tensor: name.into(), dtype: self.dtype.clone(), path: path.into() });
        };
        let (begin, end) = self.data_offsets;
        let n_bytes = self.shape.iter().try_fold(dtype.size_bytes() as u64, |product, &n| product.checked_mul(n));
        let dims_fit = self.shape.iter().all(|&n| usize::try_from(n).is_ok());
        if !dims_fit || n_bytes.is_none() || end.checked_sub(begin) != n_bytes {
            let (tensor, shape) = (name.to_owned(), self.shape.clone());
            return Err(WeightsError::TensorRange { tensor, shape, dtype, begin, end, path: path.into() });
        }
        Ok(begin..end)
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader { metadata: BTreeMap::new(), tensors: Vec::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        header.metadata = map.next_value::<Option<_>>()?.unwrap_or_default();
                    } else {
                        let entry = map.next_value().map_err(|e| A::Error::custom(format_args!("tensor `{name}`: {e}")))?;
                        header.tensors.push((name, entry));
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}
