//! Choice of a token's experts and their weights.
//!
//! `p = sigmoid(z)` or `softmax(z)`; biased scores `b = p + bias` choose: the `topk_group` best groups (a group scores the sum of its
//! `n_summed` best), then the `A` best experts in them. `weight_e = p_e / (Σ_chosen p + 1e-20) · scale`, or `p_e · scale` without
//! normalisation. The experts of a token are ascending; `S` shared experts `E..E+S` follow with weight 1.
//!
//! Source: spec §4.2 (`noaux_tc`); DeepSeek-V2's `group_limited_greedy` for the softmax rule.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::route;

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, launch};

/// The routing rule of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Probabilities by softmax over all experts instead of a sigmoid for each.
    pub softmax: bool,
    /// Groups of equal size; 1 switches groups off.
    pub n_group: usize,
    /// Groups kept.
    pub topk_group: usize,
    /// How many of a group's best experts its score sums: 2 in DeepSeek-V3, 1 in DeepSeek-V2.
    pub n_summed: usize,
    /// Active experts.
    pub n_active: usize,
    /// Whether the chosen probabilities are divided by their sum.
    pub normalise: bool,
    /// Factor on every weight.
    pub scale: f64,
}

/// The kernel for one model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Route {
    /// Routed experts `E`.
    pub n_experts: u32,
    /// Shared experts `S`, which every token takes.
    pub n_shared: u32,
    /// How experts are chosen.
    pub rule: Rule,
}

/// Sizes of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Tokens `T`.
    pub t: u32,
    /// Elements from one token's logits to the next.
    pub logits_stride: u32,
    /// Element of the first logit.
    pub logits_offset: u32,
    /// Factor on every weight; `Route::launch` sets it from the rule.
    pub scale: f32,
}

impl Route {
    const NAME: &'static str = "moe/route";
    /// The most experts: their keys and probabilities are kept in workgroup memory.
    pub const MAX_EXPERTS: u32 = 1024;
    /// Experts that are ranked against each other first where no groups say so.
    const SLICE: u32 = 32;
    const BINDINGS: [Binding; 4] =
        [Binding::read("logits"), Binding::read("bias"), Binding::write("experts"), Binding::write("expert_weights")];

    /// Experts of a chunk, and chunks.
    fn chunks(self) -> (u32, u32) {
        let n_group = self.rule.n_group as u32;
        let chunk = if n_group > 1 { self.n_experts / n_group } else { Self::SLICE.min(self.n_experts) };
        (chunk, self.n_experts.div_ceil(chunk))
    }

    fn wg_size(self) -> u32 {
        self.n_experts.next_power_of_two().clamp(64, 256)
    }

    /// The composed program, for sizes that `launch` accepts.
    pub fn program(self) -> Program {
        let rule = self.rule;
        let (e, active) = (self.n_experts, rule.n_active as u32);
        let (chunk, chunks) = self.chunks();
        let grouped = rule.n_group > 1;
        let per_chunk = chunk.min(active.max(if grouped { rule.n_summed as u32 } else { 0 }));
        let kept = if grouped { rule.topk_group as u32 } else { chunks };
        let sizes = [
            ("WG_SIZE", self.wg_size()),
            ("E", e),
            ("A", active),
            ("SHARED", self.n_shared),
            ("CHUNK", chunk),
            ("CHUNKS", chunks),
            ("PER_CHUNK", per_chunk),
            ("BEST", chunks * per_chunk),
            ("KEPT", kept),
            ("SUMMED", rule.n_summed as u32),
        ];
        let prelude = sizes.iter().fold(Prelude::new(), |prelude, &(name, value)| prelude.constant(name, value));
        let prelude = prelude.flag("SOFTMAX", rule.softmax).flag("NORMALISE", rule.normalise);
        let name = format!(
            "{}[{},e{e}+{},g{}/{}x{},a{active}{}]",
            Self::NAME,
            if rule.softmax { "softmax" } else { "sigmoid" },
            self.n_shared,
            kept,
            chunks,
            rule.n_summed,
            if rule.normalise { ",normalised" } else { "" },
        );
        Program::new(name, &prelude, include_str!("route.wgsl"), &Self::BINDINGS, [self.wg_size(), 1, 1])
            .with_workgroup_bytes(4 * (2 * e + chunks * per_chunk + chunks + active))
    }

    /// Checks the sizes and returns the launch. Buffers: logits, bias, experts, expert weights.
    ///
    /// # Errors
    /// [`KernelError`] for no experts or too many, groups that do not divide them, more active experts than the kept groups have, a stride
    /// that is shorter than a row, or more tokens than one dimension of a dispatch.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        let refuse = |what: &str, expected: String, found: u64| Err(KernelError::shape(Self::NAME, what, expected, found));
        let (e, rule) = (u64::from(self.n_experts), self.rule);
        if e == 0 || self.n_experts > Self::MAX_EXPERTS {
            return refuse("experts E", format!("1 to {}", Self::MAX_EXPERTS), e);
        }
        let n_group = rule.n_group as u64;
        if n_group == 0 || e % n_group != 0 {
            return refuse("n_group", format!("a divisor of E = {e}"), n_group);
        }
        let (group, mut reachable) = (e / n_group, e);
        if n_group > 1 {
            if rule.topk_group == 0 || rule.topk_group > rule.n_group {
                return refuse("topk_group", format!("1 to n_group = {n_group}"), rule.topk_group as u64);
            }
            if rule.n_summed == 0 || rule.n_summed as u64 > group {
                return refuse("n_summed", format!("1 to the {group} experts of a group"), rule.n_summed as u64);
            }
            reachable = group * rule.topk_group as u64;
        }
        if rule.n_active == 0 || rule.n_active as u64 > reachable {
            return refuse("active experts A", format!("1 to the {reachable} of the kept groups"), rule.n_active as u64);
        }
        if u64::from(params.logits_stride) < e && params.t > 1 {
            return refuse("logits_stride", format!("at least E = {e}"), u64::from(params.logits_stride));
        }
        launch(self.program(), &Params { scale: rule.scale as f32, ..params }, [params.t, 1, 1], device)
    }
}
