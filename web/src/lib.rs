//! Sferic in the browser.
//!
//! The engine, its benchmarks and self-test, and every kernel's suite on the browser's own WebGPU.
#![deny(missing_docs)]
#![cfg_attr(target_arch = "wasm32", deny(unused))]

#[cfg(target_arch = "wasm32")]
mod bench;
#[cfg(target_arch = "wasm32")]
mod engine;
#[cfg(target_arch = "wasm32")]
mod files;
#[cfg(target_arch = "wasm32")]
mod verify;

#[cfg(target_arch = "wasm32")]
mod page {
    use sferic_gpu::{Device, Outcome, Report, Selection, run_suites};
    use sferic_shaders::suites::SUITES;
    use wasm_bindgen::prelude::*;

    #[wasm_bindgen]
    extern "C" {
        /// What the page does with a line; done when whoever it tells has heard it.
        async fn say(line: String);
    }

    /// Names every kernel, one in a line.
    #[wasm_bindgen]
    pub fn kernels() -> String {
        SUITES.iter().map(|suite| suite.kernel).collect::<Vec<_>>().join("\n")
    }

    /// Runs the suites of the kernels whose folder contains `filter` and says one line before and after each case.
    ///
    /// A line starts with `running`, `ok`, `FAILED` or `skipped`.
    ///
    /// `has_subgroups` says that the page has asked the browser's adapter for subgroups and got them.
    ///
    /// # Errors
    /// A message when there is no adapter or the device is lost.
    #[wasm_bindgen]
    pub async fn suites(filter: String, has_subgroups: bool) -> Result<(), String> {
        console_error_panic_hook::set_once();
        let device = Device::open(&Selection::Best).await.map_err(|error| error.to_string())?;
        let device = if has_subgroups { device.with_browser_subgroups() } else { device };
        run_suites(&device, &filter, async |report| say(line(report)).await).await.map_err(|error| error.to_string())?;
        Ok(())
    }

    fn line(report: &Report) -> String {
        let Report { kernel, tier, case, outcome, seconds } = report;
        match outcome {
            Outcome::Started if case.is_empty() => format!("running {tier} {kernel}: making its cases"),
            Outcome::Started => format!("running {tier} {case}"),
            Outcome::Passed(worst) => format!("ok {tier} {case} ({worst:.2} of the bound, {seconds:.2} s)"),
            Outcome::Failed(reason) => {
                format!("FAILED {tier} {}: {reason}", if case.is_empty() { kernel } else { case.as_str() })
            }
            Outcome::Skipped(feature) => format!("skipped {tier} {kernel}: the adapter lacks {feature}"),
        }
    }
}
