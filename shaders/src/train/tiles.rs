//! What the kernels of training attention have in common: widths, what a token sees, and how products are formed.

use crate::kernel::{Binding, Capabilities, Features, KernelError, Prelude};

/// Widths of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Widths {
    /// Queries and keys, a multiple of 16 up to 256.
    pub qk: u32,
    /// Values, a multiple of 16 up to 256.
    pub v: u32,
}

/// What a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visible {
    /// All tokens from the start of its document to itself. Buffer: starts `[B, T]` u32, never falling within a sequence.
    Causal,
    /// Its selection. Buffer: `[B, T, ceil(T / 32)]` u32, bit `s mod 32` of word `s / 32` for token `s ≤ t`.
    Selected,
}

impl Visible {
    /// Its name in permutation ids.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Causal => "causal",
            Self::Selected => "selected",
        }
    }

    /// Its buffer.
    pub(super) fn binding(self) -> Binding {
        match self {
            Self::Causal => Binding::read("starts"),
            Self::Selected => Binding::read("selected"),
        }
    }

    /// Adds `visible_word`, `first_key` and `past`, reading the buffer at `binding`.
    pub(super) fn add(self, prelude: Prelude, binding: u32) -> Prelude {
        prelude.constant("VISIBLE_AT", binding).fragment(match self {
            Self::Causal => include_str!("../shared/visible_causal.wgsl"),
            Self::Selected => include_str!("../shared/visible_selected.wgsl"),
        })
    }
}

/// How products are formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tiles {
    /// In f32, tiles of 32 × 32 by 64 invocations.
    Fma,
    /// In f16 with f32 sums, on cooperative matrices.
    Coop {
        /// Subgroups of a workgroup.
        subgroups: u32,
        /// Tiles of 16 rows that a subgroup keeps.
        row_tiles: u32,
        /// Rows of the other side that pass through workgroup memory at a time: 16, 32 or 64.
        step: u32,
        /// Lanes of a subgroup: 16, 32 or 64.
        lanes: u32,
    },
}

impl Tiles {
    /// Workgroup memory that the products of [`Self::Fma`] take.
    pub(super) const FMA_BYTES: u32 = 16 * 256 + 4 * 1056;

    /// Rows of a workgroup.
    pub fn rows(self) -> u32 {
        match self {
            Self::Fma => 32,
            Self::Coop { subgroups, row_tiles, .. } => 16 * subgroups * row_tiles,
        }
    }

    /// Invocations of a workgroup.
    pub(super) fn workgroup(self) -> u32 {
        match self {
            Self::Fma => 64,
            Self::Coop { subgroups, lanes, .. } => subgroups * lanes,
        }
    }

    /// Its part of permutation ids.
    pub(super) fn name(self) -> String {
        match self {
            Self::Fma => "fma".into(),
            Self::Coop { subgroups, row_tiles, step, .. } => format!("coop {subgroups}x{row_tiles}x{step}"),
        }
    }

    pub(super) fn features(self) -> Features {
        if self == Self::Fma { Features::BASE } else { Features::COOPMAT }
    }

    /// Checks that its sizes divide each other and that subgroups have the lanes that it is laid out for.
    pub(super) fn check(self, kernel: &str, device: &Capabilities) -> Result<(), KernelError> {
        let Self::Coop { step, lanes, .. } = self else { return Ok(()) };
        if ![16, 32, 64].contains(&step) {
            return Err(KernelError::shape(kernel, "rows of a step", "16, 32 or 64", step.into()));
        }
        if ![16, 32, 64].contains(&lanes) || (device.subgroup.min, device.subgroup.max) != (lanes, lanes) {
            return Err(KernelError::shape(kernel, "lanes of a subgroup", lanes.to_string(), device.subgroup.max.into()));
        }
        Ok(())
    }
}

/// Sizes of a launch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// Sequences `B`.
    pub b: u32,
    /// Tokens of a sequence `T`.
    pub t: u32,
    /// Heads `H`.
    pub h: u32,
    /// Softmax scale.
    pub scale: f32,
}

impl Sizes {
    /// Checks that there is something to do, that widths suit, and that a buffer of `widest` values for each head of each token can be bound.
    pub(super) fn check(&self, kernel: &str, widths: &[u32], widest: u32, device: &Capabilities) -> Result<(), KernelError> {
        for (what, n) in [("sequences B", self.b), ("tokens T", self.t), ("heads H", self.h)] {
            if n == 0 {
                return Err(KernelError::shape(kernel, what, "at least 1", 0));
            }
        }
        if let Some(&width) = widths.iter().find(|width| !width.is_multiple_of(16) || !(16..=256).contains(*width)) {
            return Err(KernelError::shape(kernel, "width of a head", "a multiple of 16 up to 256", width.into()));
        }
        let rows = u64::from(self.b) * u64::from(self.t);
        let bits = 4 * rows * u64::from(self.t.div_ceil(32));
        let bytes = (4 * rows * u64::from(self.h) * u64::from(widest)).max(bits);
        let most = device.limits.max_binding_bytes;
        if bytes > most {
            return Err(KernelError::limit(kernel, "bytes of a buffer", bytes, most));
        }
        Ok(())
    }

    /// The parameters that all kernels of attention read.
    pub(super) fn params(&self) -> Params {
        Params { t: self.t, h: self.h, scale: self.scale * std::f32::consts::LOG2_E }
    }
}

/// Sizes as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Params {
    t: u32,
    h: u32,
    scale: f32,
}
