//! Mixture of experts.
//!
//! A decode step runs `route`, `gate_up` and `down`; only the weights of the chosen experts are read.

pub mod combine;
pub mod down;
pub mod experts;
pub mod gate_up;
pub mod grouped;
mod packed;
pub mod route;
pub mod sort;

use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Limits, Prelude, WeightFormat, unrolled};
use crate::shared::Lanes;

/// Sizes of a model's experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Experts in the stack, the shared ones included.
    pub n_experts: u32,
    /// Slots of a token: active experts, the shared ones included, `A`.
    pub n_active: u32,
    /// Model width `D`.
    pub d: u32,
    /// Width of an expert `I`.
    pub i: u32,
}

/// In which numbers hidden values lie between the two halves of a few tokens' experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hidden {
    /// f32, in the order of [`gate_up::hidden_index`].
    Float,
    /// 16-bit integers with a scale for each group of 32, an error below `2e-5` of the group's largest value: for products with q4 weights in
    /// bytes. `[T, 5, A·I / 32]` vectors of four words: four of codes, and one with the scale and what products start from.
    Packed,
}

impl Shape {
    /// Checks that `tokens` of them can be computed with these weights.
    fn check(
        &self,
        kernel: &str,
        format: WeightFormat,
        [o, i]: [u32; 2],
        tokens: u32,
        limits: &Limits,
    ) -> Result<(), KernelError> {
        format.check(kernel, self.n_experts, o, i, limits)?;
        if self.n_active == 0 {
            return Err(KernelError::shape(kernel, "active experts A", "at least 1", 0));
        }
        let hidden = 4 * u64::from(tokens) * u64::from(self.n_active) * u64::from(self.i);
        if hidden > limits.max_binding_bytes {
            return Err(KernelError::limit(kernel, "bytes of hidden values in one binding", hidden, limits.max_binding_bytes));
        }
        Ok(())
    }
}

/// Both halves of few tokens' experts on `device`, the first one with its norm; hidden values are packed where both know them so.
pub fn halves(shape: Shape, up: WeightFormat, down: WeightFormat, device: &Capabilities) -> (gate_up::GateUp, down::Down) {
    let (first, second) = (gate_up::GateUp::best(shape, up, down, true, device), down::Down::best(shape, down, device));
    match (first.packing(device), second.packed()) {
        (Some(packing), Some(packed)) => (packing, packed),
        _ => (first, second),
    }
}

/// Returns `source` after the fragment of `bring_sums`, `team_sum` and `whole_sum`, with loops over the constants `counts` written out. These
/// must include `SUMS`; the prelude gets them, and the struct `Lane`. The source needs `WG_SIZE` and `TEAM` besides.
fn with_sums(prelude: Prelude, source: &str, lanes: Lanes, counts: &[(&str, u32)]) -> (Prelude, String) {
    let (lane, sums) = match lanes {
        Lanes::Shared => (include_str!("../shared/lane.wgsl"), include_str!("../shared/sums_shared.wgsl")),
        Lanes::Subgroup => (include_str!("../shared/lane_subgroup.wgsl"), include_str!("../shared/sums_subgroup.wgsl")),
    };
    let prelude = counts.iter().fold(prelude, |prelude, &(name, count)| prelude.constant(name, count));
    (prelude.fragment(lane), unrolled(&[sums, source].join("\n"), counts))
}

/// Bytes of workgroup memory that `with_sums` takes.
fn sums_bytes(lanes: Lanes, sums: u32, wg_size: u32) -> u32 {
    4 * sums * if lanes == Lanes::Shared { wg_size } else { wg_size.div_ceil(4) }
}

/// Experts of each token for a case: distinct ones, ascending, as the router leaves them.
fn chosen(random: &mut Random, t: u32, shape: Shape) -> Vec<u32> {
    let mut all = Vec::new();
    for _ in 0..t {
        let mut left: Vec<u32> = (0..shape.n_experts).collect();
        let mut row: Vec<u32> = (0..shape.n_active.min(shape.n_experts))
            .map(|_| left.swap_remove(random.below(left.len() as u32) as usize))
            .collect();
        row.sort_unstable();
        all.extend(row);
    }
    all
}

/// A random stack `[z, o, i]` for a case: its data, its scales, and the values that they stand for.
fn quantized_stack(random: &mut Random, format: WeightFormat, z: u32, o: u32, i: u32) -> (Init, Init, Vec<f64>) {
    let (mut data, mut scales, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..z {
        let weights = format.quantize(&random.vector((o * i) as usize, 0.3), o as usize, i as usize);
        values.extend(widen(&weights.dequantize()));
        data.extend(weights.data);
        scales.extend(weights.scales);
    }
    (Init::Bytes(data), Init::Bytes(scales), values)
}

/// Leaves out a benchmark that is too large for the adapter.
fn if_it_fits(case: Result<Case, KernelError>) -> Result<Option<Case>, KernelError> {
    match case {
        Err(KernelError::Limit { .. }) => Ok(None),
        other => other.map(Some),
    }
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}
