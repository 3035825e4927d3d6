//! The next token of each row of logits, chosen on the device, and the row's state one step further.
//!
//! The order of operations is the one of the engine's sampler on the host:
//!
//! 1. repetition penalty for tokens of the prompt or the reply: `l > 0 ? l / r : l · r`;
//! 2. presence and frequency penalties for tokens of the reply: `l − presence − frequency · count`;
//! 3. bias: `l + bias[v]`; −∞ bans a token;
//! 4. temperature: `l / temperature`; 0 takes the largest logit here, the lowest token among equals;
//! 5. top-k: the `k` largest logits, the lower token first among equals;
//! 6. top-p: the smallest set of most likely tokens whose mass, after top-k, reaches `p`;
//! 7. min-p: tokens at least `min_p` times as likely as the most likely one;
//! 8. one draw by inverting the cumulative distribution in the order of tokens.
//!
//! Draw `n` of a seed is SplitMix64's finaliser over a mixed key plus `n` steps of its increment (Steele, Lea and Flood 2014), as on the host, so
//! that a reply can be continued on either. Seed and counter are in the state, so that a replayed graph draws anew each time.
//!
//! Weights are f32 and summed in 64-bit whole numbers. Against f64, boundaries of the cumulative distribution and of top-p move by about 10⁻⁶ of
//! the mass; everything else is the same. NaN and −∞ are never chosen; a NaN or +∞, or a row with nothing to draw, is reported in the status.
//!
//! The state of a row is `[seed low, seed high, draws low, draws high, steps, status, ln p, token | history]`. A step writes the token to
//! `tokens[t]`, to the header and to the history, counts it for the penalties, and advances draws, steps and `positions[t]`. `ln p` is the model's:
//! the log-softmax of the logits before step 1, in f32 bits, to about 10⁻⁶; it means nothing where the status says that logits are bad.
//!
//! Source: the engine's sampler; Holtzman et al. 2019, <https://arxiv.org/abs/1904.09751> (top-p); Nguyen et al. 2024,
//! <https://arxiv.org/abs/2407.01082> (min-p).

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::{adjust, choose, logprob, uniform};

use crate::kernel::{Binding, Capabilities, Features, KernelError, Launch, Prelude, Program, composed, grid, launch};

/// Words of a row's state before its history.
pub const STATE_HEADER: u32 = 8;
/// Bit of the status: a logit was NaN or +∞.
pub const BAD_LOGITS: u32 = 1;
/// Bit of the status: no token could be chosen; the token is 0.
pub const NOTHING_TO_DRAW: u32 = 2;
/// Bit of a token's count that says that it is in the prompt.
pub const IN_PROMPT: u32 = 1 << 31;
/// Largest vocabulary.
pub const MAX_VOCABULARY: u32 = 1 << 18;

const CHUNK: u32 = 512;

/// How a token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Keeps so many of the most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the smallest set of most likely tokens whose mass reaches it; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least so many times as likely as the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens in the prompt or the reply.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens in the reply.
    pub presence_penalty: f32,
    /// Subtracted from the logit of a token once for each time it is in the reply.
    pub frequency_penalty: f32,
}

impl Settings {
    /// The most likely token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
    };
}

/// Sizes of a launch; strides and offsets count words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows `T`.
    pub t: u32,
    /// Tokens `V`.
    pub v: u32,
    /// From one row of logits to the next.
    pub stride: u32,
    /// Before the first row of logits.
    pub offset: u32,
    /// Tokens that a row's history holds; later ones are not written.
    pub history: u32,
}

impl Shape {
    /// Words of the scratch buffer `partials`.
    pub fn partial_words(&self) -> u32 {
        self.t * self.v.div_ceil(CHUNK) * 8
    }

    /// Words of a row of `counts` and of `bias`.
    pub fn vocabulary_words(&self) -> u32 {
        self.v.next_multiple_of(4)
    }
}

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NextToken {
    /// Invocations of the workgroup that chooses.
    pub workgroup: u32,
    /// Whether there are penalties and a bias.
    pub adjusted: bool,
}

/// Parameters of both passes, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    t: u32,
    v: u32,
    chunks: u32,
    stride: u32,
    offset: u32,
    state_stride: u32,
    top_k: u32,
    top_p: u32,
    rest_p: f32,
    log_min_p: f32,
    temperature: f32,
    repetition: f32,
    presence: f32,
    frequency: f32,
}

impl Params {
    fn new(shape: Shape, settings: Settings) -> Self {
        let p = f64::from(settings.top_p);
        Self {
            t: shape.t,
            v: shape.v,
            chunks: shape.v.div_ceil(CHUNK),
            stride: shape.stride / 4,
            offset: shape.offset / 4,
            state_stride: STATE_HEADER + shape.history,
            top_k: settings.top_k,
            top_p: if p < 1.0 { (p * 2f64.powi(32)).round().max(1.0) as u32 } else { 0 },
            rest_p: (1.0 - p) as f32,
            log_min_p: if settings.min_p > 0.0 { f64::from(settings.min_p).ln() as f32 } else { -3e38 },
            temperature: settings.temperature,
            repetition: settings.repetition_penalty,
            presence: settings.presence_penalty,
            frequency: settings.frequency_penalty,
        }
    }
}

impl NextToken {
    /// The best permutation on `device`.
    pub fn best(device: &Capabilities, adjusted: bool) -> Self {
        let is_wide = device.features.subgroups && device.limits.max_invocations >= 1024;
        Self { workgroup: if is_wide { 1024 } else { 256 }, adjusted }
    }

    /// What both passes share, with the bindings from `first` on: counts and bias where there are any, and the parameters.
    fn prelude(self, first: usize, counting: bool) -> Prelude {
        let access = if counting { "read_write" } else { "read" };
        let (side, bindings, params) = if self.adjusted {
            let counts = format!(
                "@group(0) @binding({first}) var<storage, {access}> counts: array<u32>; // (T, V rounded up to 4) prompt bit, count"
            );
            let bias = format!(
                "@group(0) @binding({}) var<storage, read> bias: array<vec4<f32>>; // (T, V rounded up to 4) f32",
                first + 1
            );
            let count = if counting { "fn count_token(at: u32) {\n    counts[at] += 1u;\n}\n" } else { "" };
            (include_str!("adjusted.wgsl"), format!("{counts}\n{bias}\n{count}"), first + 2)
        } else {
            (include_str!("plain.wgsl"), String::new(), first)
        };
        Prelude::new()
            .fragment(&bindings)
            .fragment(&format!("@group(0) @binding({params}) var<storage, read> params: Params;"))
            .fragment(include_str!("logit.wgsl"))
            .fragment(side)
    }

    /// More invocations than the base tier promises are for the tiers above it, the lowest of which is that with subgroups.
    fn features(self) -> Features {
        if self.workgroup > 256 { Features::SUBGROUPS } else { Features::BASE }
    }

    fn name(self, pass: &str) -> String {
        format!("sample/next_token[{pass},{}{}]", self.workgroup, if self.adjusted { ",adjusted" } else { "" })
    }

    /// The first pass. Buffers: logits, partials, and where adjusted counts, bias.
    pub fn chunks(self) -> Program {
        let mut bindings = vec![Binding::read("logits"), Binding::write("partials")];
        if self.adjusted {
            bindings.extend([Binding::read("counts"), Binding::read("bias")]);
        }
        let prelude = self.prelude(2, false);
        Program::new(self.name("chunks"), &prelude, include_str!("chunks.wgsl"), &bindings, [256, 1, 1])
            .with_workgroup_bytes(6144)
    }

    /// The second pass. Buffers: logits, partials, state, tokens, positions, and where adjusted counts, bias.
    pub fn choice(self) -> Program {
        let mut bindings = vec![
            Binding::read("logits"),
            Binding::read("partials"),
            Binding::write("state"),
            Binding::write("tokens"),
            Binding::write("positions"),
        ];
        if self.adjusted {
            bindings.extend([Binding::write("counts"), Binding::read("bias")]);
        }
        let prelude = self.prelude(5, true).constant("WG_SIZE", self.workgroup).fragment(include_str!("wide.wgsl"));
        Program::new(self.name("choice"), &prelude, include_str!("next_token.wgsl"), &bindings, [self.workgroup, 1, 1])
            .with_workgroup_bytes(12_384)
            .with_features(self.features())
    }

    /// Checks the sizes and returns the launches of both passes, in order. `partials` is scratch of [`Shape::partial_words`].
    ///
    /// # Errors
    /// [`KernelError`] for rows that are not aligned to four logits, a vocabulary that is too large, or settings out of range.
    pub fn launch(self, shape: Shape, settings: Settings, device: &Capabilities) -> Result<[Launch; 2], KernelError> {
        let fail =
            |what: &str, expected: &str, found: u32| Err(KernelError::shape("sample/next_token", what, expected, found.into()));
        if shape.t == 0 {
            return fail("rows T", "at least 1", 0);
        }
        if shape.v == 0 || shape.v > MAX_VOCABULARY {
            return fail("vocabulary V", "1 to 262144", shape.v);
        }
        if !shape.stride.is_multiple_of(4) || shape.stride < shape.v {
            return fail("stride of the logits", "a multiple of 4 that is at least V", shape.stride);
        }
        if !shape.offset.is_multiple_of(4) {
            return fail("offset of the logits", "a multiple of 4", shape.offset);
        }
        let ranges = [
            (
                "temperature in units of 10⁻⁶",
                "0 to 100",
                settings.temperature,
                settings.temperature.is_sign_positive() && settings.temperature <= 100.0,
            ),
            ("top_p in units of 10⁻⁶", "above 0 to 1", settings.top_p, settings.top_p > 0.0 && settings.top_p <= 1.0),
            ("min_p in units of 10⁻⁶", "0 to 1", settings.min_p, (0.0..=1.0).contains(&settings.min_p)),
        ];
        for (what, expected, found, holds) in ranges {
            if !holds {
                return fail(what, expected, (found * 1e6) as u32);
            }
        }
        let params = Params::new(shape, settings);
        let groups = u64::from(shape.t) * u64::from(params.chunks.div_ceil(2));
        let groups = u32::try_from(groups).unwrap_or(u32::MAX);
        Ok([
            launch(composed(&self, "chunks", || self.chunks()), &params, grid(groups, &device.limits), device)?,
            launch(composed(&self, "choice", || self.choice()), &params, [shape.t, 1, 1], device)?,
        ])
    }
}
