//! Prepares a step's tokens for attention in one dispatch: rotated queries, latent rows, index keys, index queries and head weights.
//!
//! For each token `t` at the position whose angles and cache row [`step`](crate::rope::step) gives:
//! - `qfull[t, h, C..] = rope(q[t, h, Dn..])`;
//! - `cache[row] = [g · c / sqrt(mean(c²) + eps) | rope(k_pe)]`, in f32, f16, or e4m3 tiles of 128 with their scales and bf16 (spec §5.2);
//! - `index_cache[row] = e(rope(w · (k − mean) / sqrt(var + eps) + b))`, where `rope` turns the first `R` components and `e` is the optional
//!   Hadamard transform and FP8 rounding (planar pages, spec §5.3);
//! - `index_q[t, h] = e(rope(index_q[t, h]))` and `index_w[t, h] *= w_scale`, both where they are. With FP8 the query becomes the e4m3 values
//!   before their scale, and the weight takes the scale (spec §3.2).
//!
//! A layer without an indexer has the first two only.
//!
//! Source: spec §2.2, §2.3, §2.6, §3.2, §3.5.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::{index_key, index_query, latent_row};

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, composed, grid, launch};
use crate::rope::rotate::Layout;
use crate::shared::Lanes;

/// Number format of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, two in a word, the first in the low half.
    F16,
    /// e4m3 with power-of-two scales.
    Fp8,
}

impl Format {
    /// Its name in permutation ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Fp8 => "fp8",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Fp8 => 2,
        }
    }

    /// Words of a latent row of `latent` and `rope` components.
    pub fn latent_words(self, latent: u32, rope: u32) -> u32 {
        match self {
            Self::F32 => latent + rope,
            Self::F16 => (latent + rope) / 2,
            Self::Fp8 => latent / 4 + latent / 128 + rope / 2,
        }
    }

    /// Words of a page of 64 index keys of width `dim`.
    pub fn index_page_words(self, dim: u32) -> u32 {
        match self {
            Self::F32 => 64 * dim,
            Self::F16 => 32 * dim,
            Self::Fp8 => 16 * dim + 64,
        }
    }
}

/// The indexer's side of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Heads `Hi`.
    pub heads: u32,
    /// Width `Di`.
    pub dim: u32,
    /// Pairs of the rotation.
    pub layout: Layout,
    /// Format of the keys.
    pub format: Format,
    /// Whether queries and keys are transformed.
    pub hadamard: bool,
}

impl Index {
    /// Whether more of a query than its rotated part changes.
    fn whole(&self) -> bool {
        self.hadamard || self.format == Format::Fp8
    }
}

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Append {
    /// How a row is summed.
    pub lanes: Lanes,
    /// Heads `H`; 0 where [`mla_query`](crate::attention::mla_query) takes the queries.
    pub heads: u32,
    /// Width `Dn` of a head that is not rotated.
    pub nope: u32,
    /// Latent rank `C`.
    pub latent: u32,
    /// Rotated width `R`.
    pub rope: u32,
    /// Pairs of the rotation.
    pub layout: Layout,
    /// Format of the latent rows.
    pub format: Format,
    /// The indexer, in layers that have one.
    pub index: Option<Index>,
}

/// Sizes of a launch, as the WGSL reads them. Strides and offsets count values.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Tokens `T`.
    pub t: u32,
    /// From one token to the next in `queries`.
    pub q_stride: u32,
    /// Where head 0 starts in a token's `queries`: `[H, Dn + R]`.
    pub q_offset: u32,
    /// From one token to the next in `projections`.
    pub p_stride: u32,
    /// Where the latent and after it the key's rotated part start in a token's `projections`: `[C + R]`.
    pub kv_offset: u32,
    /// Where index head 0 starts in a token's `queries`: `[Hi, Di]`.
    pub index_q_offset: u32,
    /// Where the index key starts in a token's `projections`: `[Di]`.
    pub index_k_offset: u32,
    /// Where the head weights start in a token's `projections`: `[Hi]`.
    pub index_w_offset: u32,
    /// Added to the latent's mean square.
    pub eps: f32,
    /// Added to the index key's variance.
    pub index_eps: f32,
    /// Constant of the head weights, see [`weight_scale`](crate::indexer::index_scores::weight_scale).
    pub w_scale: f32,
}

impl Append {
    const WG_SIZE: u32 = 256;

    /// Its buffers, in order.
    fn bindings(self) -> Vec<Binding> {
        let indexed = self.index.is_some();
        let inputs = |name| if indexed { Binding::write(name) } else { Binding::read(name) };
        let mut bindings = vec![inputs("projections")];
        if indexed || self.heads > 0 {
            bindings.push(inputs("queries"));
        }
        bindings.extend([Binding::read("norms"), Binding::read("step")]);
        if self.heads > 0 {
            bindings.push(Binding::write("qfull"));
        }
        bindings.push(Binding::write("cache"));
        if indexed {
            bindings.push(Binding::write("index_cache"));
        }
        bindings
    }

    /// Permutation id.
    fn name(self) -> String {
        let half_split = |layout| if layout == Layout::HalfSplit { ",half" } else { "" };
        let index = self.index.map_or(String::new(), |index| {
            let hadamard = if index.hadamard { ",hadamard" } else { "" };
            format!(",hi{},di{},{}{}{hadamard}", index.heads, index.dim, index.format.name(), half_split(index.layout))
        });
        let (lanes, format) = (self.lanes.name(), self.format.name());
        let half = half_split(self.layout);
        format!("rope/append[{lanes},h{},n{},c{},r{},{format}{half}{index}]", self.heads, self.nope, self.latent, self.rope)
    }

    /// Workgroups of one token.
    fn units(self) -> u32 {
        let groups = |heads: u32, width: u32| (heads * (width / 8)).div_ceil(Self::WG_SIZE);
        let index = self.index.map_or(0, |index| 1 + groups(index.heads, if index.whole() { index.dim } else { self.rope }));
        groups(self.heads, self.rope) + 1 + index
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let mut prelude = Prelude::new()
            .constant("WG_SIZE", Self::WG_SIZE)
            .constant("HEADS", self.heads)
            .constant("NOPE", self.nope)
            .constant("LATENT", self.latent)
            .constant("ROPE", self.rope)
            .constant("F16", Format::F16.number())
            .constant("FP8", Format::Fp8.number())
            .constant("LATENT_FORMAT", self.format.number())
            .constant("LATENT_WORDS", self.format.latent_words(self.latent, self.rope))
            .flag("HALF_SPLIT", self.layout == Layout::HalfSplit);
        let mut bytes = 8 * Self::WG_SIZE;
        if let Some(index) = self.index {
            let slots = if index.hadamard { 2 * Self::WG_SIZE } else { 1 };
            bytes += 16 * slots;
            prelude = prelude
                .constant("INDEX_HEADS", index.heads)
                .constant("INDEX_DIM", index.dim)
                .constant("INDEX_FORMAT", index.format.number())
                .constant("INDEX_LANES", if index.whole() { index.dim / 8 } else { self.rope / 8 })
                .constant("HADAMARD_SLOTS", slots)
                .flag("INDEX_HALF_SPLIT", index.layout == Layout::HalfSplit)
                .flag("HADAMARD", index.hadamard)
                .flag("WHOLE", index.whole());
        }
        let bindings = self.bindings();
        for (name, at) in bindings.iter().map(|binding| binding.name).chain(["params"]).zip(0..) {
            prelude = prelude.constant(&name.to_uppercase(), at);
        }
        prelude = prelude.reduce(self.lanes).fragment(include_str!("../../shared/narrow.wgsl")).rotated();
        prelude = match (self.heads, self.index) {
            (0, _) => prelude.fragment(include_str!("no_queries.wgsl")),
            (_, Some(_)) => prelude.fragment(include_str!("queries.wgsl")),
            (_, None) => prelude.fragment(include_str!("queries_read.wgsl")).fragment(include_str!("queries.wgsl")),
        };
        let side = if self.index.is_some() { include_str!("index.wgsl") } else { include_str!("dense.wgsl") };
        Program::new(self.name(), &prelude.fragment(side), include_str!("append.wgsl"), &bindings, [Self::WG_SIZE, 1, 1])
            .with_workgroup_bytes(bytes)
            .with_features(self.lanes.features())
    }

    /// Checks the sizes and returns the launch.
    ///
    /// Buffers: projections, queries (where there are heads or an indexer), norms (the latent's weight `[C]`, then the index key's weight and
    /// bias, `[Di]` each), step, qfull (where there are heads), cache, and with an indexer index_cache. The caches must reach to the last page
    /// of the block table.
    ///
    /// # Errors
    /// [`KernelError`] for widths that do not suit the vectors or the formats, and for parts outside a token's values.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        self.check_widths()?;
        self.check_places(&params)?;
        let bindings = [
            ("bytes of queries", u64::from(params.t) * u64::from(params.q_stride) * 4),
            ("bytes of projections", u64::from(params.t) * u64::from(params.p_stride) * 4),
            ("bytes of qfull", u64::from(params.t) * u64::from(self.heads) * u64::from(self.latent + self.rope) * 4),
        ];
        for (what, bytes) in bindings {
            if bytes > device.limits.max_binding_bytes {
                return Err(KernelError::limit("rope/append", what, bytes, device.limits.max_binding_bytes));
            }
        }
        launch(
            composed(&self, "", || self.program()),
            &params,
            grid(params.t.saturating_mul(self.units()), &device.limits),
            device,
        )
    }

    fn check_widths(self) -> Result<(), KernelError> {
        let fail = |what: &str, expected: &str, found: u32| Err(KernelError::shape("rope/append", what, expected, found.into()));
        for (what, width) in [("latent rank C", self.latent), ("rotated width R", self.rope)] {
            if width == 0 {
                return fail(what, "at least 1", 0);
            }
        }
        for (what, width) in [("width Dn", self.nope), ("latent rank C", self.latent), ("rotated width R", self.rope)] {
            if !width.is_multiple_of(8) {
                return fail(what, "a multiple of 8", width);
            }
        }
        if self.latent + self.rope > 8 * Self::WG_SIZE {
            return fail("latent row C + R", "at most 2048", self.latent + self.rope);
        }
        if self.format == Format::Fp8 && !self.latent.is_multiple_of(128) {
            return fail("latent rank C of an FP8 cache", "a multiple of 128", self.latent);
        }
        let Some(index) = self.index else { return Ok(()) };
        if index.heads == 0 {
            return fail("index heads Hi", "at least 1", 0);
        }
        if index.dim == 0 || !index.dim.is_multiple_of(self.rope) || index.dim > 8 * Self::WG_SIZE {
            return fail("index width Di", "a multiple of the rotated width R, at most 2048", index.dim);
        }
        if index.whole() && !index.dim.is_power_of_two() {
            return fail("index width Di with a transform or FP8", "a power of two", index.dim);
        }
        if index.format == Format::Fp8 && index.dim > 128 {
            return fail("index width Di of an FP8 cache", "at most 128, one scale's block", index.dim);
        }
        Ok(())
    }

    fn check_places(self, params: &Params) -> Result<(), KernelError> {
        let fail =
            |what: &str, expected: String, found: u32| Err(KernelError::shape("rope/append", what, expected, found.into()));
        if params.t == 0 {
            return fail("tokens T", "at least 1".into(), 0);
        }
        for (what, place) in
            [("q_stride", params.q_stride), ("q_offset", params.q_offset), ("index_q_offset", params.index_q_offset)]
        {
            if !place.is_multiple_of(4) {
                return fail(what, "a multiple of 4".into(), place);
            }
        }
        let mut parts = vec![
            ("end of the query heads", params.q_offset, self.heads * (self.nope + self.rope), params.q_stride),
            ("end of the latent row", params.kv_offset, self.latent + self.rope, params.p_stride),
        ];
        if let Some(index) = self.index {
            parts.push(("end of the index queries", params.index_q_offset, index.heads * index.dim, params.q_stride));
            parts.push(("end of the index key", params.index_k_offset, index.dim, params.p_stride));
            parts.push(("end of the head weights", params.index_w_offset, index.heads, params.p_stride));
        }
        for (what, offset, width, stride) in parts {
            let end = offset.saturating_add(width);
            if end > stride {
                return fail(what, format!("at most the stride {stride}"), end);
            }
        }
        Ok(())
    }
}
