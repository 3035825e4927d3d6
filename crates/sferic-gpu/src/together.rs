//! Compilation on several threads.

use crate::{Device, GpuError};
use sferic_shaders::kernel::Program;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

/// Programs that are compiled at the same time, at most: drivers hold locks of their own, and other threads have work too.
const MOST_THREADS: usize = 8;

impl Device {
    /// Compiles those of `programs` that are not compiled yet, each on one of a few threads; the calling thread waits. Not in browsers.
    ///
    /// # Errors
    /// [`GpuError::Compile`] with the compiler's message.
    pub fn compile_together(&self, programs: &[Arc<Program>]) -> Result<(), GpuError> {
        let missing: HashSet<&Arc<Program>> = {
            let known = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
            programs.iter().filter(|program| !known.contains_key(*program)).collect()
        };
        let missing: Vec<_> = missing.into_iter().collect();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST_THREADS).min(missing.len());
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(program) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                pollster::block_on(self.pipeline(program))?;
            }
            Ok(())
        };
        if threads <= 1 {
            return work();
        }
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            // Every one is joined: the scope would turn a panic into one of this thread.
            let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            ended.into_iter().try_for_each(|one| one.unwrap_or_else(|_| Err(GpuError::Device("a compilation panicked".into()))))
        })
    }
}
