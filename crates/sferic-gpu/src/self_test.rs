//! A short check of the kernels on a device that is new, and what to leave out where some of them fail.

use crate::suite::run_case;
use crate::{Device, Doing, GpuError};
use sferic_shaders::kernel::Features;
use sferic_shaders::suites::{Cases, SUITES};
use std::ops::ControlFlow;
use web_time::Instant;

/// A case that came out wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Kernel folder.
    pub kernel: &'static str,
    /// Permutation and shape; empty where the cases could not be made.
    pub case: String,
    /// What differs, or what the device says.
    pub reason: String,
}

/// The verdict on a device.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfTest {
    /// What came out wrong with all features of the device.
    pub failures: Vec<Failure>,
    /// Features without which nothing comes out wrong, or all where even that does not help.
    pub left_out: Features,
    /// Whether the kernels are right without those features.
    pub usable: bool,
    /// Cases that were run.
    pub n_cases: usize,
    /// How long it took, compilation included.
    pub seconds: f64,
}

/// Runs a few small cases of every kernel that models use, as `device` would choose them. Where some fail, each feature is left out in turn,
/// from the most special one on, until they pass.
///
/// `each` hears what comes next and may end the test, which then has no verdict.
///
/// # Errors
/// Only a lost device; everything else is in the verdict.
pub async fn self_test(
    device: &Device,
    each: impl AsyncFnMut(Doing<'_>) -> ControlFlow<()>,
) -> Result<Option<SelfTest>, GpuError> {
    let kernels: Vec<Kernel> = SUITES.iter().filter_map(|suite| Some((suite.kernel, suite.quick?))).collect();
    let mut test = Test { each, start: Instant::now(), n_cases: 0, done: 0, total: kernels.len() };
    let Some(failures) = test.run(device, &kernels).await? else { return Ok(None) };
    let mut left_out = Features::BASE;
    for kernel in kernels.iter().filter(|(name, _)| failures.iter().any(|failure| failure.kernel == *name)) {
        let Some(cause) = test.cause(device, *kernel).await? else { return Ok(None) };
        left_out = left_out.union(cause);
    }
    let all = device.capabilities.features;
    let mut usable = failures.is_empty();
    // Without a feature other programs run, which have to be right as well.
    while !usable {
        let Some(failures) = test.run(&device.clone().without(left_out), &kernels).await? else { return Ok(None) };
        usable = failures.is_empty();
        if left_out == all {
            break;
        }
        left_out = if usable { left_out } else { all };
    }
    Ok(Some(SelfTest { failures, left_out, usable, n_cases: test.n_cases, seconds: test.start.elapsed().as_secs_f64() }))
}

/// A folder and what makes its cases.
type Kernel = (&'static str, Cases);

struct Test<F> {
    each: F,
    start: Instant,
    n_cases: usize,
    done: usize,
    total: usize,
}

impl<F: AsyncFnMut(Doing<'_>) -> ControlFlow<()>> Test<F> {
    /// What comes out wrong of `kernels`; `None` where the test is ended.
    async fn run(&mut self, device: &Device, kernels: &[Kernel]) -> Result<Option<Vec<Failure>>, GpuError> {
        let mut failures = Vec::new();
        self.total = self.total.max(self.done + kernels.len());
        for &(kernel, make) in kernels {
            let failure = |case: &str, reason| Failure { kernel, case: case.to_owned(), reason };
            let cases = make(&device.capabilities).unwrap_or_else(|error| {
                failures.push(failure("", error.to_string()));
                Vec::new()
            });
            for case in &cases {
                let doing = Doing { what: &case.name, done: self.done, total: self.total };
                if (self.each)(doing).await.is_break() {
                    return Ok(None);
                }
                self.n_cases += 1;
                if let Err(reason) = run_case(device, case).await {
                    failures.push(failure(&case.name, reason));
                }
                device.check_lost()?;
            }
            self.done += 1;
        }
        Ok(Some(failures))
    }

    /// The feature without which a kernel is right; all of them where no single one is.
    async fn cause(&mut self, device: &Device, kernel: Kernel) -> Result<Option<Features>, GpuError> {
        let all = device.capabilities.features;
        for feature in all.single() {
            let Some(failures) = self.run(&device.clone().without(feature), &[kernel]).await? else { return Ok(None) };
            if failures.is_empty() {
                return Ok(Some(feature));
            }
        }
        Ok(Some(all))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

    use super::*;
    use crate::Selection;

    fn device() -> Option<Device> {
        match pollster::block_on(Device::open(&Selection::Best)) {
            Ok(device) => Some(device),
            Err(error) if std::env::var_os("SFERIC_REQUIRE_GPU").is_some() => panic!("{error}"),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    #[test]
    fn a_sound_device_passes() {
        let Some(device) = device() else { return };
        let mut last = 0;
        let verdict = pollster::block_on(self_test(&device, async |doing| {
            assert!(doing.done < doing.total && doing.done >= last, "{doing:?}");
            last = doing.done;
            ControlFlow::Continue(())
        }));
        let verdict = verdict.unwrap().unwrap();
        eprintln!("{} cases in {:.1} s", verdict.n_cases, verdict.seconds);
        assert_eq!((verdict.failures, verdict.left_out, verdict.usable), (Vec::new(), Features::BASE, true));
        assert!(verdict.n_cases > 50);
    }

    #[test]
    fn a_test_that_is_ended_has_no_verdict() {
        let Some(device) = device() else { return };
        let mut n_heard = 0;
        let verdict = pollster::block_on(self_test(&device, async |_| {
            n_heard += 1;
            if n_heard < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }));
        assert_eq!(verdict.unwrap(), None);
        assert_eq!(n_heard, 3);
    }
}
