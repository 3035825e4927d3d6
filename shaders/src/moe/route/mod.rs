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

use crate::kernel::{Binding, Capabilities, KernelError, Launch, Prelude, Program, composed, launch, unrolled};

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
    /// Turns up to which a loop over keys is written out.
    const WRITTEN_OUT: u32 = 64;
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

    /// Returns `source` after the fragment of `choose` and `expert_of`, with its loops written out. The prelude gets the constants of the choice;
    /// it needs the bindings LOGITS, BIAS, EXPERTS and EXPERT_WEIGHTS besides, and WG_SIZE.
    pub(super) fn choice(self, prelude: Prelude, source: &str) -> (Prelude, String) {
        let rule = self.rule;
        let (chunk, chunks) = self.chunks();
        let best = chunks * self.per_chunk();
        let sizes = [
            ("E", self.n_experts),
            ("CHOSEN", rule.n_active as u32),
            ("SHARED", self.n_shared),
            ("CHUNK", chunk),
            ("CHUNKS", chunks),
            ("PER_CHUNK", self.per_chunk()),
            ("BEST", best),
            ("KEPT", self.kept()),
            ("SUMMED", rule.n_summed as u32),
        ];
        let prelude = sizes.iter().fold(prelude, |prelude, &(name, value)| prelude.constant(name, value));
        let short: Vec<_> = [("CHUNK", chunk), ("BEST", best)].into_iter().filter(|(_, n)| *n <= Self::WRITTEN_OUT).collect();
        let choose = unrolled(include_str!("choose.wgsl"), &short);
        (prelude.flag("SOFTMAX", rule.softmax).flag("NORMALISE", rule.normalise), [&choose, source].join("\n"))
    }

    /// Bytes of workgroup memory that the choice takes.
    pub(super) fn choice_bytes(self) -> u32 {
        let (chunk, chunks) = self.chunks();
        4 * (self.n_experts + chunks * chunk + 1 + chunks * self.per_chunk() + chunks + self.rule.n_active as u32)
    }

    /// What tells permutations of the choice apart.
    pub(super) fn choice_name(self) -> String {
        let rule = self.rule;
        format!(
            "{},e{}+{},g{}/{}x{},a{}{}",
            if rule.softmax { "softmax" } else { "sigmoid" },
            self.n_experts,
            self.n_shared,
            self.kept(),
            self.chunks().1,
            rule.n_summed,
            rule.n_active,
            if rule.normalise { ",normalised" } else { "" },
        )
    }

    /// The best of a chunk that may be chosen.
    fn per_chunk(self) -> u32 {
        let summed = if self.rule.n_group > 1 { self.rule.n_summed as u32 } else { 0 };
        self.chunks().0.min(summed.max(self.rule.n_active as u32))
    }

    /// Chunks whose experts may be chosen.
    fn kept(self) -> u32 {
        if self.rule.n_group > 1 { self.rule.topk_group as u32 } else { self.chunks().1 }
    }

    /// The composed program, for sizes that `launch` accepts.
    pub fn program(self) -> Program {
        let names = ["LOGITS", "BIAS", "EXPERTS", "EXPERT_WEIGHTS", "PARAMS"];
        let prelude = (0..).zip(names).fold(Prelude::new(), |prelude, (binding, name)| prelude.constant(name, binding));
        let (prelude, source) = self.choice(prelude.constant("WG_SIZE", self.wg_size()), include_str!("route.wgsl"));
        let name = format!("{}[{}]", Self::NAME, self.choice_name());
        Program::new(name, &prelude, &source, &Self::BINDINGS, [self.wg_size(), 1, 1]).with_workgroup_bytes(self.choice_bytes())
    }

    /// Checks the sizes and returns the launch. Buffers: logits, bias, experts, expert weights.
    ///
    /// # Errors
    /// [`KernelError`] for no experts or too many, groups that do not divide them, more active experts than the kept groups have, a stride
    /// that is shorter than a row, or more tokens than one dimension of a dispatch.
    pub fn launch(self, params: Params, device: &Capabilities) -> Result<Launch, KernelError> {
        self.check(params.t, params.logits_stride)?;
        launch(
            composed(&self, "", || self.program()),
            &Params { scale: self.rule.scale as f32, ..params },
            [params.t, 1, 1],
            device,
        )
    }

    /// Checks the sizes for `t` tokens whose logits are `stride` apart.
    pub(super) fn check(self, t: u32, stride: u32) -> Result<(), KernelError> {
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
        if u64::from(stride) < e && t > 1 {
            return refuse("logits_stride", format!("at least E = {e}"), u64::from(stride));
        }
        Ok(())
    }
}
