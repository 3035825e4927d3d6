//! WGSL fragments that several kernels append, and what they need to be bound.

use crate::kernel::{Features, Prelude, WeightFormat};

/// How lanes of a workgroup talk to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lanes {
    /// Through workgroup memory.
    Shared,
    /// Through subgroup operations, whatever the size of a subgroup.
    Subgroup,
}

impl Lanes {
    /// The better one that an adapter offers.
    pub fn of(features: Features) -> Self {
        if features.subgroups { Self::Subgroup } else { Self::Shared }
    }

    /// The features that it needs.
    pub fn features(self) -> Features {
        if self == Self::Subgroup { Features::SUBGROUPS } else { Features::BASE }
    }

    /// Its name in permutation ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Subgroup => "subgroup",
        }
    }
}

/// Bytes of workgroup memory that [`Prelude::packed_q4`] takes for x of at most `capacity` vectors of 32 values.
pub fn packed_q4_bytes(capacity: u32) -> u32 {
    64 * (capacity + 1) + 8 * capacity
}

impl Prelude {
    /// Adds `pack`, which leaves a row of x in workgroup memory as bytes, and `part_of` and `product`, which multiply nibbles with them.
    ///
    /// Needs the constants `WG_SIZE` and `CAPACITY`, and a function `gained`.
    #[must_use]
    pub fn packed_q4(self) -> Self {
        self.packed_q4_product().fragment(include_str!("packed_q4.wgsl"))
    }

    /// Adds `product`, which multiplies a vector of nibbles with bytes, and the struct `Part` that it takes them in.
    #[must_use]
    pub fn packed_q4_product(self) -> Self {
        self.fragment(include_str!("packed_q4_product.wgsl"))
    }

    /// Adds `rotated(v, angles, half_split)`, the rotation of eight components, with the structs and functions that go with it.
    ///
    /// Needs the constant `ROPE` and the binding `step` of [`rope::step`](crate::rope::step).
    #[must_use]
    pub fn rotated(self) -> Self {
        self.fragment(include_str!("rotated.wgsl"))
    }

    /// Adds `workgroup_sum(value, lid, lane, lanes)` and the struct `Lane` of entry-point inputs that it needs.
    ///
    /// Needs the constant `WG_SIZE`.
    #[must_use]
    pub fn reduce(self, lanes: Lanes) -> Self {
        let prelude = self.lane(lanes);
        match lanes {
            Lanes::Shared => prelude.fragment(include_str!("reduce.wgsl")),
            Lanes::Subgroup => prelude.fragment(include_str!("reduce_subgroup.wgsl")),
        }
    }

    /// Adds the struct `Lane` of entry-point inputs alone.
    #[must_use]
    pub fn lane(self, lanes: Lanes) -> Self {
        match lanes {
            Lanes::Shared => self.fragment(include_str!("lane.wgsl")),
            Lanes::Subgroup => self.fragment(include_str!("lane_subgroup.wgsl")),
        }
    }

    /// Adds `stepped4(words, q)` and `stepped_x(value)`: values `4q … 4q + 3` of a vector of weights, as `weight4` gives them but perhaps with
    /// factors, and the values of x to be multiplied with them, divided by those. Comes after [`Self::weights`].
    #[must_use]
    pub fn stepped(self, format: WeightFormat) -> Self {
        self.fragment(if format == WeightFormat::Q4 { include_str!("stepped_q4.wgsl") } else { include_str!("stepped.wgsl") })
    }

    /// Adds `lanes_sum(value)`, the sum over `LANES` consecutive lanes, which is a constant to be set before.
    #[must_use]
    pub fn lanes_sum(self, lanes: Lanes) -> Self {
        match lanes {
            Lanes::Shared => self.fragment(include_str!("lanes_sum_one.wgsl")),
            Lanes::Subgroup => self.fragment(include_str!("lanes_sum.wgsl")),
        }
    }

    /// Adds `weight4(words, q)`, values `4q … 4q + 3` of the vector `words` without their scale, `weight_scale(matrix, row, column, rows,
    /// columns)`, the factor of all values of that vector, and the constant `WEIGHT_VALUES`, how many values a vector holds.
    ///
    /// Formats with scales bind them as `scales: array<u32>` at `binding`; the others leave that number out.
    #[must_use]
    pub fn weights(self, format: WeightFormat, binding: u32) -> Self {
        let source = match format {
            WeightFormat::F32 => include_str!("weight_f32.wgsl"),
            WeightFormat::F16 => include_str!("weight_f16.wgsl"),
            WeightFormat::Bf16 => include_str!("weight_bf16.wgsl"),
            WeightFormat::Fp8 => include_str!("weight_fp8.wgsl"),
            WeightFormat::Q8 => include_str!("weight_q8.wgsl"),
            WeightFormat::Q4 => include_str!("weight_q4.wgsl"),
        };
        let prelude = if format.has_scales() { self.constant("SCALES", binding) } else { self };
        prelude.fragment(source)
    }
}
