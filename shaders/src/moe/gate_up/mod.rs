//! The first half of the chosen experts, for few tokens: `hidden[t, a] = silu(W_gate[e] x_t) · (W_up[e] x_t)` with `e = experts[t, a]`.
//!
//! `W [E, 2·I, D]` holds the gate rows of an expert and then its up rows. With `norm`, `x_t` is first normalised by its root mean square and
//! multiplied by a gain. The hidden values lie in the order in which `down` reads them: [`hidden_index`].
//!
//! Source: spec §4.3, §2.1.

pub mod cases;
mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::gate_up;

use super::route::Route;
use super::{Hidden, Shape, sums_bytes, with_sums};
use crate::kernel::{
    Binding, Capabilities, KernelError, Launch, Limits, Prelude, Program, WeightFormat, composed, launch, unrolled,
};
use crate::shared::{Lanes, packed_q4_bytes};

/// A permutation of the kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateUp {
    /// Sizes of the model.
    pub shape: Shape,
    /// How every workgroup chooses its token's experts from the router's logits, where no launch before has.
    pub route: Option<Route>,
    /// Format of the gate and up weights.
    pub format: WeightFormat,
    /// Format of the down weights, which decides the order of the hidden values.
    pub down_format: WeightFormat,
    /// Whether x is normalised first.
    pub norm: bool,
    /// Whether products are taken in bytes, with x rounded to 16-bit integers with a scale for each group of 32: an error below `2e-5` of the
    /// group's largest value. For q4 weights.
    pub packed: bool,
    /// In which numbers the hidden values are left.
    pub hidden: Hidden,
    /// How sums are gathered.
    pub lanes: Lanes,
    /// Invocations that share a row.
    pub team: u32,
    /// Teams of a workgroup.
    pub teams: u32,
    /// Gate rows, and up rows, of a team.
    pub rows: u32,
    /// The most workgroups that share the blocks of all tokens, with packed products.
    pub workgroups: u32,
}

/// Places of a launch, as the WGSL reads them.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Params {
    /// Elements from one token's x to the next.
    pub x_stride: u32,
    /// Element of the first x.
    pub x_offset: u32,
    /// Added to the mean square.
    pub eps: f32,
    /// Elements from one token's logits to the next.
    pub logits_stride: u32,
    /// Element of the first logit.
    pub logits_offset: u32,
    /// Factor on the weights of experts; `GateUp::launch` sets it from the rule.
    pub scale: f32,
}

impl Params {
    /// Places of a launch whose experts are given.
    pub fn given(x_stride: u32, x_offset: u32, eps: f32) -> Self {
        Self { x_stride, x_offset, eps, logits_stride: 0, logits_offset: 0, scale: 0.0 }
    }
}

/// Returns the element of the hidden buffer that holds value `column` of slot `slot` of token `t`, for down weights in `format`.
pub fn hidden_index(shape: Shape, format: WeightFormat, t: u32, slot: u32, column: u32) -> usize {
    let values = format.values_per_vector();
    let column = slot * shape.i + column;
    let place = (t * (values / 4) + column % values / 4) * (shape.n_active * shape.i / values) + column / values;
    (4 * place + column % 4) as usize
}

impl GateUp {
    const NAME: &'static str = "moe/gate_up";
    /// Workgroups that stay: four of 256 invocations for each multiprocessor of the largest adapter we know.
    const WORKGROUPS: u32 = 132 * 4;
    const GIVEN: &'static [(&'static str, Binding)] =
        &[("EXPERTS", Binding::read("experts")), ("HIDDEN", Binding::write("hidden"))];
    const CHOOSING: &'static [(&'static str, Binding)] = &[
        ("LOGITS", Binding::read("logits")),
        ("BIAS", Binding::read("bias")),
        ("EXPERTS", Binding::write("experts")),
        ("EXPERT_WEIGHTS", Binding::write("expert_weights")),
        ("HIDDEN", Binding::write("hidden")),
    ];

    /// The best permutation on `device`.
    pub fn best(shape: Shape, format: WeightFormat, down_format: WeightFormat, norm: bool, device: &Capabilities) -> Self {
        let float = Self::float(shape, format, down_format, norm, device);
        let packed = if device.features.dp4a { float.packed(device) } else { None };
        packed.unwrap_or(float)
    }

    /// The best permutation on `device` whose products are taken in f32.
    pub fn float(shape: Shape, format: WeightFormat, down_format: WeightFormat, norm: bool, device: &Capabilities) -> Self {
        let lanes = Lanes::of(device.features);
        // Small teams: the rounds of one overlap with those of the others, and few invocations wait for each other.
        let team = if lanes == Lanes::Subgroup { device.subgroup.max.clamp(32, 256) } else { 32 };
        let mut spec = Self {
            shape,
            format,
            down_format,
            norm,
            packed: false,
            hidden: Hidden::Float,
            lanes,
            team,
            teams: 1,
            rows: 2,
            workgroups: Self::WORKGROUPS,
            route: None,
        };
        while spec.team * spec.teams * 2 <= 256 && (Self { teams: spec.teams * 2, ..spec }.fits(&device.limits)) {
            spec.teams *= 2;
        }
        spec
    }

    /// The same with packed products, where format, subgroups and workgroup memory allow them.
    pub fn packed(self, device: &Capabilities) -> Option<Self> {
        let team = device.subgroup.min.min(32);
        let spec = Self { packed: true, team, teams: 256 / team, ..self };
        let suits = self.format == WeightFormat::Q4 && self.lanes == Lanes::Subgroup && team >= 4;
        (suits && spec.fits(&device.limits)).then_some(spec)
    }

    /// The same that packs the hidden values, where products are packed, the down weights are q4 and workgroup memory allows it.
    pub fn packing(self, device: &Capabilities) -> Option<Self> {
        let group = WeightFormat::GROUP as u32;
        let teams = self.teams.min(group / self.rows);
        let suits = self.packed && self.down_format == WeightFormat::Q4 && group.is_multiple_of(teams * self.rows);
        let spec = Self { hidden: Hidden::Packed, teams, ..self };
        (suits && spec.fits(&device.limits)).then_some(spec)
    }

    /// The same that chooses the experts itself, where products are packed and the adapter's bindings and workgroup memory allow it.
    ///
    /// With a workgroup for each block, which is how f32 products are taken, so many choices would cost more than a launch.
    pub fn choosing(self, route: Route, device: &Capabilities) -> Option<Self> {
        let spec = Self { route: Some(route), ..self };
        let bindings = spec.bindings(Prelude::new()).0.len() as u32 + 1;
        let suits = self.packed && bindings <= device.limits.max_storage_buffers;
        (suits && spec.fits(&device.limits)).then_some(spec)
    }

    fn fits(&self, limits: &Limits) -> bool {
        self.workgroup_bytes() <= limits.max_workgroup_bytes && self.team * self.teams <= limits.max_invocations
    }

    fn workgroup_bytes(&self) -> u32 {
        let values = self.format.values_per_vector();
        if self.packed {
            let choice = self.route.map_or(0, Route::choice_bytes);
            let groups = if self.hidden == Hidden::Packed { 2 * 4 * WeightFormat::GROUP as u32 } else { 0 };
            return packed_q4_bytes(self.shape.d / values) + 4 * self.team * self.teams + choice + groups;
        }
        4 * values * (self.team | 1) + sums_bytes(self.lanes, 2 * self.rows + 1, self.team * self.teams)
    }

    /// The buffers, and their numbers for the WGSL.
    fn bindings(&self, prelude: Prelude) -> (Vec<Binding>, Prelude) {
        let mut bindings = vec![Binding::read("x"), Binding::read("weights")];
        let mut prelude = prelude.weights(self.format, bindings.len() as u32);
        if self.format.has_scales() {
            bindings.push(Binding::read("scales"));
        }
        if self.norm {
            prelude = prelude.constant("GAIN", bindings.len() as u32).fragment(include_str!("gain.wgsl"));
            bindings.push(Binding::read("gain"));
        } else {
            prelude = prelude.fragment(include_str!("no_gain.wgsl"));
        }
        let more = if self.route.is_some() { Self::CHOOSING } else { Self::GIVEN };
        for (name, binding) in more {
            prelude = prelude.constant(name, bindings.len() as u32);
            bindings.push(binding.clone());
        }
        let params = bindings.len() as u32;
        (bindings, prelude.constant("PARAMS", params))
    }

    fn name(&self) -> String {
        let Shape { n_active, d, i, .. } = self.shape;
        format!(
            "{}[{}{},{}{}{}{},a{n_active},d{d},i{i},{}x{}x{}{}]",
            Self::NAME,
            self.format.name(),
            if self.down_format == self.format { String::new() } else { format!(">{}", self.down_format.name()) },
            self.lanes.name(),
            if self.packed { ",packed" } else { "" },
            if self.hidden == Hidden::Packed { ",packing" } else { "" },
            if self.norm { ",norm" } else { "" },
            self.team,
            self.teams,
            self.rows,
            self.route.map_or_else(String::new, |route| format!(",{}", route.choice_name())),
        )
    }

    /// The composed program.
    pub fn program(self) -> Program {
        let Shape { n_active, d, i, .. } = self.shape;
        let values = self.format.values_per_vector();
        let (bindings, prelude) = self.bindings(Prelude::new());
        let wg_size = self.team * self.teams;
        let prelude = prelude
            .constant("WG_SIZE", wg_size)
            .constant("TEAM", self.team)
            .constant("A", n_active)
            .constant("D", d)
            .constant("I", i)
            .constant("HIDDEN_VALUES", self.down_format.values_per_vector())
            .flag("NORM", self.norm);
        let counts = [("ROWS", self.rows), ("PAIRS", 2 * self.rows), ("SUMS", 2 * self.rows + 1), ("QUADS", values / 4)];
        let (prelude, source) = if self.packed {
            let prelude = counts.iter().fold(prelude, |prelude, &(name, count)| prelude.constant(name, count));
            let prelude = prelude.constant("LANES", self.team).constant("CAPACITY", d / values);
            let prelude = prelude.reduce(self.lanes).lanes_sum(self.lanes).packed_q4();
            let prelude = prelude.fragment(match self.hidden {
                Hidden::Float => include_str!("hidden_float.wgsl"),
                Hidden::Packed => include_str!("hidden_packed.wgsl"),
            });
            let source = unrolled(include_str!("gate_up_packed.wgsl"), &counts);
            match self.route {
                Some(route) => route.choice(prelude, &source),
                None => (prelude.fragment(include_str!("given.wgsl")), source),
            }
        } else {
            with_sums(prelude.stepped(self.format), include_str!("gate_up.wgsl"), self.lanes, &counts)
        };
        Program::new(self.name(), &prelude, &source, &bindings, [wg_size, 1, 1])
            .with_workgroup_bytes(self.workgroup_bytes())
            .with_features(self.lanes.features())
    }

    /// Checks the sizes and returns the launch for `tokens`. Buffers: x, weights, scales where the format has them, the gain with `norm`;
    /// experts, or with `route` the logits, the bias, experts and their weights; hidden.
    ///
    /// # Errors
    /// [`KernelError`] for widths that do not suit the formats, x that is not aligned to four, a stack larger than a binding, a choice that does
    /// not suit the stack, or more slots than one dimension of a dispatch.
    pub fn launch(self, params: Params, tokens: u32, device: &Capabilities) -> Result<Launch, KernelError> {
        let Shape { n_active, d, i, .. } = self.shape;
        self.shape.check(Self::NAME, self.format, [2 * i, d], tokens, &device.limits)?;
        self.shape.check(Self::NAME, self.down_format, [d, i], tokens, &device.limits)?;
        for (what, value) in [("x_stride", params.x_stride), ("x_offset", params.x_offset)] {
            if !value.is_multiple_of(4) {
                return Err(KernelError::shape(Self::NAME, what, "a multiple of 4", u64::from(value)));
            }
        }
        if tokens > 1 && params.x_stride < d {
            return Err(KernelError::shape(Self::NAME, "x_stride", format!("at least D = {d}"), u64::from(params.x_stride)));
        }
        let blocks = i.div_ceil(self.rows * self.teams);
        if !self.packed {
            return launch(composed(&self, "", || self.program()), &params, [blocks, tokens.saturating_mul(n_active), 1], device);
        }
        let scale = match self.route {
            Some(route) => self.check_choice(route, params, tokens)?,
            None => 0.0,
        };
        let group = WeightFormat::GROUP as u32;
        let shares = if self.hidden == Hidden::Packed { i / group } else { blocks };
        let workgroups = (self.workgroups / tokens.max(1)).clamp(1, shares * n_active);
        launch(composed(&self, "", || self.program()), &Params { scale, ..params }, [workgroups, tokens, 1], device)
    }

    /// Checks that the choice gives every slot an expert; returns the factor on the weights.
    fn check_choice(&self, route: Route, params: Params, tokens: u32) -> Result<f32, KernelError> {
        route.check(tokens, params.logits_stride)?;
        let (slots, experts) = (route.rule.n_active as u32 + route.n_shared, route.n_experts + route.n_shared);
        for (what, expected, found) in
            [("active experts A", slots, self.shape.n_active), ("experts of the stack", experts, self.shape.n_experts)]
        {
            if expected != found {
                return Err(KernelError::shape(Self::NAME, what, format!("the {expected} of the choice"), found.into()));
            }
        }
        Ok(route.rule.scale as f32)
    }
}
