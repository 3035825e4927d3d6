//! Launches ready for a Burn device.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::wgpu::{KernelSource, SourceKernel, SourceTemplate};
use cubecl::server::{KernelArguments, MetadataBindingInfo};
use cubecl::{CubeCount, CubeDim, ExecutionMode, prelude::KernelId};
use sferic_shaders::kernel::{Dialect, Launch, Program};

use super::Array;

/// A launch whose program Burn's runtime knows by a number, so that a launch costs no look at the text of the shader.
#[derive(Clone, Debug)]
pub struct Kernel {
    program: Numbered,
    params: Vec<u64>,
    workgroups: [u32; 3],
}

impl Kernel {
    /// Prepares a launch.
    pub fn new(launch: Launch) -> Self {
        static PROGRAMS: Mutex<Option<HashMap<Arc<Program>, usize>>> = Mutex::new(None);
        let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
        let programs = programs.get_or_insert_default();
        let program = match programs.get_key_value(&launch.program) {
            Some((program, &number)) => Numbered { program: program.clone(), number },
            None => {
                let number = programs.len();
                programs.insert(launch.program.clone(), number);
                Numbered { program: launch.program, number }
            }
        };
        // CubeCL counts in words of 8 bytes; a program reads no further than its own parameters.
        let words = launch.params.chunks(8).map(|chunk| {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(bytes)
        });
        Self { program, params: words.collect(), workgroups: launch.workgroups }
    }

    /// Enqueues the launch on the arrays of its bindings, in their order.
    ///
    /// All arrays are on one device, which orders launches and tensor operations as they were called.
    pub fn run(&self, arrays: &[&Array]) {
        let program = &self.program.program;
        debug_assert_eq!(arrays.len(), program.bindings.len(), "{}", program.name);
        let Some(first) = arrays.first() else { return };
        let [x, y, z] = program.workgroup;
        let kernel = SourceKernel::new(Source(self.program.clone()), CubeDim::new_3d(x, y, z));
        let mut arguments = KernelArguments::new();
        for array in arrays {
            arguments = arguments.with_buffer(array.tensor().handle.clone().binding());
        }
        let arguments = arguments.with_info(MetadataBindingInfo::custom(self.params.clone()));
        let [x, y, z] = self.workgroups;
        first.tensor().client.launch(Box::new(kernel), CubeCount::Static(x, y, z), arguments);
    }
}

/// A program that is compared by its number, and shown by its name in the logs of CubeCL.
#[derive(Clone)]
struct Numbered {
    program: Arc<Program>,
    number: usize,
}

impl PartialEq for Numbered {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Numbered {}

impl Hash for Numbered {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl fmt::Debug for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program.name)
    }
}

/// The text of a program, as CubeCL asks for it when it compiles one.
struct Source(Numbered);

impl KernelSource for Source {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.0.program.source(Dialect::Pooled))
    }

    fn id(&self) -> KernelId {
        let [x, y, z] = self.0.program.workgroup;
        // Unchecked: our loops end without CubeCL counting their turns.
        let id = KernelId::new::<Self>().info(self.0.clone());
        id.mode(ExecutionMode::Unchecked).cube_dim(CubeDim::new_3d(x, y, z).into())
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// What has been made from a key before: the kernels of an operation by its shapes.
#[derive(Debug)]
pub struct Cache<K, V>(Mutex<Option<HashMap<K, Arc<V>>>>);

impl<K: Eq + Hash, V> Cache<K, V> {
    /// An empty one, for a `static`.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Returns the value of `key`, made by `make` the first time.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get<E>(&self, key: K, make: impl FnOnce(&K) -> Result<V, E>) -> Result<Arc<V>, E> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let values = values.get_or_insert_default();
        if let Some(value) = values.get(&key) {
            return Ok(value.clone());
        }
        let value = Arc::new(make(&key)?);
        values.insert(key, value.clone());
        Ok(value)
    }
}

impl<K: Eq + Hash, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self::new()
    }
}
