//! What an adapter can do, as far as kernels ask.

use super::KernelError;
use std::fmt;
use std::str::FromStr;

/// Optional features of an adapter, or the ones that a program needs. The base tier has none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features {
    /// Subgroup operations.
    pub subgroups: bool,
    /// `f16` in shaders.
    pub f16: bool,
    /// `dot4I8Packed` is one instruction. It works everywhere; where it is emulated it is not worth its own permutation.
    pub dp4a: bool,
    /// 16×16×16 cooperative matrices, f16 × f16 → f32.
    pub coopmat: bool,
}

impl Features {
    /// No optional feature: WebGPU as every implementation offers it.
    pub const BASE: Self = Self { subgroups: false, f16: false, dp4a: false, coopmat: false };
    /// Subgroup operations only.
    pub const SUBGROUPS: Self = Self { subgroups: true, ..Self::BASE };
    /// `f16` only.
    pub const F16: Self = Self { f16: true, ..Self::BASE };
    /// Subgroups and `f16`.
    pub const SUBGROUPS_F16: Self = Self { f16: true, ..Self::SUBGROUPS };
    /// Packed 8-bit dot products only.
    pub const DP4A: Self = Self { dp4a: true, ..Self::BASE };
    /// Cooperative matrices, with the subgroups and `f16` that they are made of.
    pub const COOPMAT: Self = Self { coopmat: true, ..Self::SUBGROUPS_F16 };
    /// The tiers that suites run in, from nothing to everything.
    pub const TIERS: [(&'static str, Self); 5] = [
        ("base", Self::BASE),
        ("subgroups", Self::SUBGROUPS),
        ("f16", Self::SUBGROUPS_F16),
        ("dp4a", Self { dp4a: true, ..Self::SUBGROUPS_F16 }),
        ("coopmat", Self { dp4a: true, ..Self::COOPMAT }),
    ];

    /// The names of the features, each with whether it is set.
    pub fn named(self) -> [(&'static str, bool); 4] {
        [("subgroups", self.subgroups), ("f16", self.f16), ("dp4a", self.dp4a), ("coopmat", self.coopmat)]
    }

    /// The first feature of `needed` that is missing here.
    pub fn missing(self, needed: Self) -> Option<&'static str> {
        let pairs = self.named().into_iter().zip(needed.named());
        pairs.into_iter().find_map(|((name, has), (_, needs))| (needs && !has).then_some(name))
    }

    /// Those that both have.
    pub fn intersection(self, other: Self) -> Self {
        Self {
            subgroups: self.subgroups && other.subgroups,
            f16: self.f16 && other.f16,
            dp4a: self.dp4a && other.dp4a,
            coopmat: self.coopmat && other.coopmat,
        }
    }

    /// Those that either has.
    pub fn union(self, other: Self) -> Self {
        Self {
            subgroups: self.subgroups || other.subgroups,
            f16: self.f16 || other.f16,
            dp4a: self.dp4a || other.dp4a,
            coopmat: self.coopmat || other.coopmat,
        }
    }

    /// Those that `other` has not; cooperative matrices go with what they are made of.
    pub fn without(self, other: Self) -> Self {
        Self {
            subgroups: self.subgroups && !other.subgroups,
            f16: self.f16 && !other.f16,
            dp4a: self.dp4a && !other.dp4a,
            coopmat: self.coopmat && !(other.coopmat || other.subgroups || other.f16),
        }
    }

    /// Each of them alone, the most special one first.
    pub fn single(self) -> impl Iterator<Item = Self> {
        let alone = [Self { coopmat: true, ..Self::BASE }, Self::DP4A, Self::F16, Self::SUBGROUPS];
        alone.into_iter().filter(move |feature| self.missing(*feature).is_none())
    }
}

impl fmt::Display for Features {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set: Vec<_> = self.named().into_iter().filter_map(|(name, has)| has.then_some(name)).collect();
        out.write_str(&if set.is_empty() { "base".into() } else { set.join("+") })
    }
}

impl FromStr for Features {
    type Err = String;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut found = Self::BASE;
        for name in text.split('+').filter(|name| *name != "base") {
            found = match name {
                "subgroups" => found.union(Self::SUBGROUPS),
                "f16" => found.union(Self::F16),
                "dp4a" => found.union(Self::DP4A),
                "coopmat" => Self { coopmat: true, ..found },
                _ => return Err(format!("`{name}` is no feature of a device: expected base, subgroups, f16, dp4a or coopmat")),
            };
        }
        Ok(found)
    }
}

/// Sizes of a subgroup that an adapter may choose, lanes. Both are powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubgroupSizes {
    /// The smallest.
    pub min: u32,
    /// The largest.
    pub max: u32,
}

/// Limits of an adapter. The default is what WebGPU promises everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Storage buffers of one program.
    pub max_storage_buffers: u32,
    /// Bytes of one binding.
    pub max_binding_bytes: u64,
    /// Bytes of workgroup memory.
    pub max_workgroup_bytes: u32,
    /// Invocations of one workgroup.
    pub max_invocations: u32,
    /// Workgroups along one dimension of a dispatch.
    pub max_workgroups_per_dimension: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_storage_buffers: 8,
            max_binding_bytes: 128 << 20,
            max_workgroup_bytes: 16 << 10,
            max_invocations: 256,
            max_workgroups_per_dimension: 65_535,
        }
    }
}

/// An adapter, as far as kernels ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// What it offers beyond the base.
    pub features: Features,
    /// Its limits.
    pub limits: Limits,
    /// Its subgroup sizes; one lane where it has no subgroups.
    pub subgroup: SubgroupSizes,
}

impl Capabilities {
    /// The base tier: no features and the limits that WebGPU promises.
    pub fn base() -> Self {
        Self { features: Features::BASE, limits: Limits::default(), subgroup: SubgroupSizes { min: 1, max: 1 } }
    }

    /// The same adapter with no more than `features`; in the base tier, with no more than the promised limits either.
    #[must_use]
    pub fn limited_to(self, features: Features) -> Self {
        if features == Features::BASE { Self::base() } else { Self { features: self.features.intersection(features), ..self } }
    }

    /// The same adapter without some features.
    #[must_use]
    pub fn without(self, left_out: Features) -> Self {
        let features = self.features.without(left_out);
        let subgroup = if features.subgroups { self.subgroup } else { SubgroupSizes { min: 1, max: 1 } };
        Self { features, subgroup, ..self }
    }

    /// Checks that the adapter has `needed`.
    ///
    /// # Errors
    /// [`KernelError::Unsupported`] naming `kernel` and the feature.
    pub fn require(&self, kernel: &str, needed: Features) -> Result<(), KernelError> {
        match self.features.missing(needed) {
            Some(feature) => Err(KernelError::Unsupported { kernel: kernel.into(), feature }),
            None => Ok(()),
        }
    }
}
