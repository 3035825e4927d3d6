//! What every kernel has in common: programs, launches, capabilities, cases.
//!
//! A *spec* (a small struct in the kernel's folder) names a permutation. Its `launch` checks shapes and limits and returns a [`Launch`]: a
//! [`Program`] (composed WGSL with the list of its bindings), the parameter words and the number of workgroups. Nothing here knows a device:
//! `sferic-gpu` runs launches on wgpu.

mod case;
mod composed;
mod device;
mod error;
mod program;
pub mod random;
mod unroll;
mod weights;

pub use case::{Case, Check, Init, Outputs, Step, Work, Worst, compare, f16_bits, f16_value};
pub use composed::composed;
pub use device::{Capabilities, Features, Limits, SubgroupSizes};
pub use error::KernelError;
pub use program::{Access, Binding, Dialect, Elem, Launch, Prelude, Program};
pub use unroll::unrolled;
pub use weights::{RandomWeights, WeightFormat, Weights, bf16_bits, e4m3_bits, e4m3_value};

use std::sync::Arc;

/// Returns the workgroups of a launch that needs `count` of them, over two dimensions when one is not enough.
///
/// The kernel finds its index as `wid.y * COLUMNS + wid.x` with `COLUMNS` the returned x, which it reads from `@builtin(num_workgroups)`,
/// and returns at once when that index is not below `count`.
pub fn grid(count: u32, limits: &Limits) -> [u32; 3] {
    let most = limits.max_workgroups_per_dimension;
    if count <= most {
        return [count, 1, 1];
    }
    let rows = count.div_ceil(most);
    [count.div_ceil(rows), rows, 1]
}

/// Returns the launch of `program` after checks that hold for every kernel: parameters, workgroups, workgroup memory, features.
///
/// # Errors
/// [`KernelError`] naming the program, the limit and what was found.
pub fn launch<P: bytemuck::Pod>(
    program: impl Into<Arc<Program>>,
    params: &P,
    workgroups: [u32; 3],
    device: &Capabilities,
) -> Result<Launch, KernelError> {
    let program = program.into();
    program.check(device)?;
    for (axis, &n) in workgroups.iter().enumerate() {
        if n == 0 || n > device.limits.max_workgroups_per_dimension {
            let most = device.limits.max_workgroups_per_dimension;
            return Err(KernelError::limit(
                &program.name,
                &format!("workgroups along axis {axis}"),
                u64::from(n),
                u64::from(most),
            ));
        }
    }
    Ok(Launch { params: bytemuck::cast_slice(std::slice::from_ref(params)).to_vec(), program, workgroups })
}

#[cfg(test)]
mod tests;
