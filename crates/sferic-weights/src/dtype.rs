//! The element types of safetensors files.

use std::fmt;

use serde::{Serialize, Serializer};

/// An element type of a stored tensor, one variant for each whole-byte type of the safetensors format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Dtype {
    /// `BOOL`: one byte, 0 or 1.
    Bool,
    /// `U8`.
    U8,
    /// `I8`.
    I8,
    /// `F8_E4M3`: FP8 with 4 exponent bits, without infinities; see [`crate::fp8`].
    F8E4M3,
    /// `F8_E5M2`: FP8 with 5 exponent bits.
    F8E5M2,
    /// `F8_E8M0`: a power of two, used as a scale.
    F8E8M0,
    /// `I16`.
    I16,
    /// `U16`.
    U16,
    /// `F16`: IEEE half precision.
    F16,
    /// `BF16`: the upper half of an `F32`.
    Bf16,
    /// `I32`.
    I32,
    /// `U32`.
    U32,
    /// `F32`.
    F32,
    /// `I64`.
    I64,
    /// `U64`.
    U64,
    /// `F64`.
    F64,
}

/// Every type with its name in a safetensors header.
const NAMES: [(Dtype, &str); 16] = [
    (Dtype::Bool, "BOOL"),
    (Dtype::U8, "U8"),
    (Dtype::I8, "I8"),
    (Dtype::F8E4M3, "F8_E4M3"),
    (Dtype::F8E5M2, "F8_E5M2"),
    (Dtype::F8E8M0, "F8_E8M0"),
    (Dtype::I16, "I16"),
    (Dtype::U16, "U16"),
    (Dtype::F16, "F16"),
    (Dtype::Bf16, "BF16"),
    (Dtype::I32, "I32"),
    (Dtype::U32, "U32"),
    (Dtype::F32, "F32"),
    (Dtype::I64, "I64"),
    (Dtype::U64, "U64"),
    (Dtype::F64, "F64"),
];

impl Dtype {
    /// Returns the name that safetensors headers use, such as `BF16`.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(dtype, _)| *dtype == self).map_or("?", |(_, name)| name)
    }

    /// Returns the type of a safetensors name, or `None` for a name that is unknown or not made of whole bytes.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Dtype> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(dtype, _)| *dtype)
    }

    /// Returns the bytes of one element.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            Dtype::Bool | Dtype::U8 | Dtype::I8 | Dtype::F8E4M3 | Dtype::F8E5M2 | Dtype::F8E8M0 => 1,
            Dtype::I16 | Dtype::U16 | Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::I32 | Dtype::U32 | Dtype::F32 => 4,
            Dtype::I64 | Dtype::U64 | Dtype::F64 => 8,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Dtype {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_sizes_follow_the_name() {
        for (dtype, name) in NAMES {
            assert_eq!(Dtype::from_name(name), Some(dtype));
            assert_eq!(dtype.to_string(), name);
            let bits: usize = match name {
                "BOOL" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => 8,
                _ => name.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse().unwrap_or(0),
            };
            assert_eq!(dtype.size_bytes() * 8, bits, "{name}");
        }
        assert_eq!(Dtype::from_name("F4"), None);
    }
}
