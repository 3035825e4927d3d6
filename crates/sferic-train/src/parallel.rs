//! Work on all cores.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::TrainError;

/// Returns the results of `work` for all items, in their order.
///
/// # Errors
/// One of those of `work`; [`TrainError::Tokenizer`] when a worker panics.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, TrainError> + Sync,
) -> Result<Vec<R>, TrainError> {
    let n_threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Vec<(usize, R)>, TrainError> {
        let mut done = Vec::new();
        loop {
            let item_idx = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(item_idx) else { return Ok(done) };
            done.push((item_idx, work(item)?));
        }
    };
    let mut results = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..n_threads).map(|_| scope.spawn(worker)).collect();
        let mut results = Vec::with_capacity(items.len());
        for worker in workers {
            let stopped = || TrainError::Tokenizer { message: "a worker stopped".to_owned() };
            results.extend(worker.join().unwrap_or_else(|_| Err(stopped()))?);
        }
        Ok::<_, TrainError>(results)
    })?;
    results.sort_unstable_by_key(|(item_idx, _)| *item_idx);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
