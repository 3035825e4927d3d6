//! Attention of many query rows over cached latent rows, each query in one piece.
//!
//! `u_h = Σ_s softmax_s(σ · q_h · row_s) · row_s[0..C]`, with `s` the selected positions of a query or all positions up to its own. With enough
//! queries to fill the device nothing is split, so that the sums are divided where they are and no second dispatch is needed.
//!
//! Cost for each query: `H / heads of a workgroup · K · bytes of a row` read, mostly from the cache of the device; `2 · H · K · (2C + R)`
//! operations.
//!
//! Source: spec §§2.4 (form b), 5.2, 5.6, 5.7.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::mla_prefill;

use super::mla_decode::{LatentFormat, MlaDecode, Slots, Tiles};
use crate::kernel::{Binding, Capabilities, KernelError, Launch, Program, composed, launch};

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MlaPrefill {
    /// Latent rank `C`.
    pub c: u32,
    /// Rotated width `R`.
    pub r: u32,
    /// Format of the cache.
    pub format: LatentFormat,
    /// What is attended to.
    pub slots: Slots,
    /// How products are summed.
    pub tiles: Tiles,
}

/// Sizes of a launch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// Queries `T`.
    pub t: u32,
    /// Heads `H`.
    pub h: u32,
    /// Values between two rows of the query buffer; a multiple of 4, as are the other strides and offsets.
    pub q_stride: u32,
    /// Where the first query starts.
    pub q_offset: u32,
    /// Values between two rows of the output buffer.
    pub u_stride: u32,
    /// Where the first output starts.
    pub u_offset: u32,
    /// Slots `K` of a query; of no consequence for [`Slots::Dense`].
    pub n_slots: u32,
    /// Entries from the block table of a query to that of the next; 0 where all queries are of one text.
    pub table_stride: u32,
    /// Softmax scale `σ`.
    pub scale: f32,
}

/// Sizes as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    h: u32,
    q_stride: u32,
    q_offset: u32,
    n_slots: u32,
    u_stride: u32,
    u_offset: u32,
    table_stride: u32,
    scale: f32,
}

impl MlaPrefill {
    const NAME: &str = "attention/mla_prefill";

    /// The best permutation on `device` for `h` heads.
    pub fn best(c: u32, r: u32, h: u32, format: LatentFormat, slots: Slots, device: &Capabilities) -> Self {
        let MlaDecode { tiles, .. } = MlaDecode::best(c, r, h, format, slots, device);
        // A tile of heads is written whole.
        let tiles = match tiles {
            Tiles::Coop { .. } if !h.is_multiple_of(16) => Tiles::Fma { heads: 16 },
            tiles => tiles,
        };
        Self { c, r, format, slots, tiles }
    }

    /// The kernel of one split, which this one ends differently.
    fn rows(self) -> MlaDecode {
        let Self { c, r, format, slots, tiles } = self;
        MlaDecode { c, r, format, slots, tiles }
    }

    /// The composed program. Buffers: q, cache, block_table, selected or positions, u.
    pub fn program(self) -> Program {
        let sums = match self.tiles {
            Tiles::Fma { .. } => include_str!("ending_fma.wgsl"),
            Tiles::Coop { .. } | Tiles::Step { .. } => include_str!("ending_coop.wgsl"),
        };
        self.rows().program(Self::NAME, &[include_str!("mla_prefill.wgsl"), sums], &[Binding::write("sums")], true)
    }

    fn check_sizes(self, sizes: &Sizes) -> Result<(), KernelError> {
        let Sizes { t, h, q_stride, q_offset, u_stride, u_offset, n_slots, .. } = *sizes;
        let at_least_1 = [("queries T", t), ("heads H", h), ("slots K", n_slots)];
        if let Some((what, _)) = at_least_1.into_iter().find(|(_, n)| *n == 0) {
            return Err(KernelError::shape(Self::NAME, what, "at least 1", 0));
        }
        if matches!(self.tiles, Tiles::Step { .. }) {
            return Err(KernelError::shape(Self::NAME, "steps of a workgroup", "as many as there are", 1));
        }
        if matches!(self.tiles, Tiles::Coop { .. }) && h % 16 != 0 {
            return Err(KernelError::shape(Self::NAME, "heads H", "a multiple of 16", u64::from(h)));
        }
        let fours =
            [("query stride", q_stride), ("query offset", q_offset), ("output stride", u_stride), ("output offset", u_offset)];
        if let Some((what, found)) = fours.into_iter().find(|(_, n)| n % 4 != 0) {
            return Err(KernelError::shape(Self::NAME, what, "a multiple of 4", u64::from(found)));
        }
        let rows = [("query stride", q_stride, h * (self.c + self.r)), ("output stride", u_stride, h * self.c)];
        if let Some((what, found, least)) = rows.into_iter().find(|(_, stride, row)| t > 1 && stride < row) {
            return Err(KernelError::shape(Self::NAME, what, format!("at least {least}"), u64::from(found)));
        }
        Ok(())
    }

    /// Checks the sizes and returns the launch. Buffers: q, cache, block_table, selected or positions, u.
    ///
    /// An unfilled slot comes only after the filled ones; a query without slots gets zeros.
    ///
    /// # Errors
    /// [`KernelError`] for widths that the permutation is not made for, empty sizes, strides that are no multiple of 4 or too short, and what
    /// the adapter lacks.
    pub fn launch(self, sizes: &Sizes, device: &Capabilities) -> Result<Launch, KernelError> {
        self.rows().check_widths(Self::NAME)?;
        self.tiles.check_lanes(Self::NAME, device)?;
        self.check_sizes(sizes)?;
        let Sizes { t, h, q_stride, q_offset, u_stride, u_offset, n_slots, table_stride, scale } = *sizes;
        let scale = scale * std::f32::consts::LOG2_E;
        let params = Params { h, q_stride, q_offset, n_slots, u_stride, u_offset, table_stride, scale };
        launch(composed(&self, "", || self.program()), &params, [h.div_ceil(self.rows().heads()), 1, t], device)
    }
}
