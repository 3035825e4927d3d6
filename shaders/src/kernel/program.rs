//! Composed WGSL and its launches.

use super::{Capabilities, Features, KernelError};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// Number format of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit float.
    F32,
    /// 16-bit float; needs [`Features::f16`].
    F16,
}

impl Elem {
    /// Its name in WGSL and in permutation ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// The feature that it needs.
    pub fn features(self) -> Features {
        if self == Self::F16 { Features::F16 } else { Features::BASE }
    }
}

/// How a program uses a storage buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads only.
    Read,
    /// Writes, and perhaps reads.
    Write,
}

/// One storage buffer of a program, in the order of the binding numbers of group 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Its name in the WGSL.
    pub name: &'static str,
    /// What the program does with it.
    pub access: Access,
}

impl Binding {
    /// A buffer that is only read.
    pub const fn read(name: &'static str) -> Self {
        Self { name, access: Access::Read }
    }

    /// A buffer that is written.
    pub const fn write(name: &'static str) -> Self {
        Self { name, access: Access::Write }
    }
}

/// Which rules the text of a program is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// naga: subgroups are a capability of the device and no directive; every buffer has the access that the source says.
    Native,
    /// naga under CubeCL's allocator: buffers may share a page, so that all of them must be declared writable.
    Pooled,
    /// A browser: features are switched on by directives, and every variable has an initial value.
    Browser,
}

/// Constants and aliases that specialise a WGSL file.
#[derive(Debug, Clone, Default)]
pub struct Prelude(String);

impl Prelude {
    /// An empty prelude.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `const name: u32 = value;`.
    #[must_use]
    pub fn constant(mut self, name: &str, value: u32) -> Self {
        let _ = writeln!(self.0, "const {name}: u32 = {value}u;");
        self
    }

    /// Adds `const name: bool = value;`.
    #[must_use]
    pub fn flag(mut self, name: &str, value: bool) -> Self {
        let _ = writeln!(self.0, "const {name}: bool = {value};");
        self
    }

    /// Adds `alias name = ty;`.
    #[must_use]
    pub fn alias(mut self, name: &str, ty: &str) -> Self {
        let _ = writeln!(self.0, "alias {name} = {ty};");
        self
    }

    /// Adds a shared fragment, whole.
    #[must_use]
    pub fn fragment(mut self, source: &str) -> Self {
        self.0.push_str(source);
        self.0.push('\n');
        self
    }
}

/// A compute program: one permutation of one kernel.
///
/// Its entry point is `main`; its buffers are the bindings of group 0 in order, and where it has parameters they are the binding after the
/// last one, `var<storage, read> params: Params`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program {
    /// Permutation id: `family/kernel[values]`.
    pub name: String,
    /// Prelude and WGSL file, without directives.
    pub body: String,
    /// Its buffers, without the parameters.
    pub bindings: Vec<Binding>,
    /// Invocations of a workgroup.
    pub workgroup: [u32; 3],
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// What it needs beyond the base.
    pub features: Features,
}

impl Program {
    /// Composes the prelude with a WGSL file.
    pub fn new(name: String, prelude: &Prelude, source: &str, bindings: &[Binding], workgroup: [u32; 3]) -> Self {
        let body = format!("{}\n{source}", prelude.0);
        Self { name, body, bindings: bindings.to_vec(), workgroup, workgroup_bytes: 0, features: Features::BASE }
    }

    /// States the workgroup memory.
    #[must_use]
    pub fn with_workgroup_bytes(mut self, bytes: u32) -> Self {
        self.workgroup_bytes = bytes;
        self
    }

    /// States what is needed beyond the base.
    #[must_use]
    pub fn with_features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    /// The text for one dialect.
    pub fn source(&self, dialect: Dialect) -> String {
        let mut out = String::new();
        if self.features.f16 {
            out.push_str("enable f16;\n");
        }
        if self.features.subgroups && dialect == Dialect::Browser {
            out.push_str("enable subgroups;\n");
        }
        if self.features.coopmat {
            out.push_str("enable wgpu_cooperative_matrix;\n");
        }
        match dialect {
            Dialect::Native => out.push_str(&self.body),
            Dialect::Pooled => {
                let writable = self.body.replace("var<storage, read>", "var<storage, read_write>");
                out.push_str(&writable.replace("var<storage, read_write> params", "var<storage, read> params"));
            }
            Dialect::Browser => self.body.lines().for_each(|line| {
                out.push_str(&initialised(line));
                out.push('\n');
            }),
        }
        out
    }

    /// Checks features and limits that do not depend on the launch.
    pub(super) fn check(&self, device: &Capabilities) -> Result<(), KernelError> {
        device.require(&self.name, self.features)?;
        let limits = &device.limits;
        let needs = [
            ("storage buffers", self.bindings.len() as u64 + 1, u64::from(limits.max_storage_buffers)),
            ("invocations", self.workgroup.iter().map(|&n| u64::from(n)).product(), u64::from(limits.max_invocations)),
            ("bytes of workgroup memory", u64::from(self.workgroup_bytes), u64::from(limits.max_workgroup_bytes)),
        ];
        match needs.into_iter().find(|(_, needed, allowed)| needed > allowed) {
            Some((what, needed, allowed)) => Err(KernelError::limit(&self.name, what, needed, allowed)),
            None => Ok(()),
        }
    }
}

/// Gives a variable that a line of a function declares without a value its zero.
///
/// WGSL zeroes it each time the declaration is reached. Chromium 156 on Vulkan does so once for each call of the function, so that in a loop
/// the variable keeps the value of the last turn: its SPIR-V states the zero beside `OpVariable` and stores none where the declaration stood.
fn initialised(line: &str) -> Cow<'_, str> {
    let is_local = line.starts_with(' ');
    let declared = line.trim_start().strip_prefix("var ").and_then(|rest| rest.strip_suffix(';'));
    match declared.and_then(|rest| rest.split_once(": ")) {
        Some((_, ty)) if is_local && !ty.contains('=') => format!("{} = {ty}();", line.trim_end_matches(';')).into(),
        _ => line.into(),
    }
}

/// A program with its parameters and its grid; what is missing are the buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program.
    pub program: Arc<Program>,
    /// The words of its `Params`.
    pub params: Vec<u8>,
    /// Workgroups along x, y, z.
    pub workgroups: [u32; 3],
}
