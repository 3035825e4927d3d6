//! Time that exists in browsers too.

use std::sync::atomic::{AtomicU64, Ordering};
use web_time::{Instant, SystemTime, UNIX_EPOCH};

/// A stopwatch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn secs(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// A seed for a generation that was given none: different at every call.
pub(crate) fn seed() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos() as u64);
    // A browser's clock ticks coarsely: the count keeps two calls within one tick apart.
    nanos.wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed))
}
