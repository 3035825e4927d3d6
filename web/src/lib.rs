//! Sferic in the browser.
//!
//! So far: every kernel's suite on the browser's own WebGPU. The chat follows.
#![deny(missing_docs)]

#[cfg(target_arch = "wasm32")]
mod page {
    use sferic_gpu::{Device, Outcome, Selection, run_suites};
    use wasm_bindgen::prelude::*;

    /// Runs the suites of the kernels whose folder contains `filter`, and returns one line for each case.
    ///
    /// The first line names the adapter; a line starts with `ok`, `FAILED` or `skipped`.
    ///
    /// `has_subgroups` says that the page has asked the browser's adapter for subgroups and got them.
    ///
    /// # Errors
    /// A message when there is no adapter or the device is lost.
    #[wasm_bindgen]
    pub async fn suites(filter: String, has_subgroups: bool) -> Result<String, String> {
        console_error_panic_hook::set_once();
        let device = Device::open(&Selection::Best).await.map_err(|error| error.to_string())?;
        let device = if has_subgroups { device.with_browser_subgroups() } else { device };
        let mut lines = format!("{} ({}): {}\n", device.name, device.api, device.capabilities.features);
        let each = |report: &sferic_gpu::Report| {
            let case = if report.case.is_empty() { report.kernel } else { &report.case };
            lines += &match &report.outcome {
                Outcome::Passed(worst) => format!("ok {} {case} ({worst:.2} of the bound)\n", report.tier),
                Outcome::Failed(reason) => format!("FAILED {} {case}: {reason}\n", report.tier),
                Outcome::Skipped(feature) => format!("skipped {} {case}: the adapter lacks {feature}\n", report.tier),
            };
        };
        run_suites(&device, &filter, each).await.map_err(|error| error.to_string())?;
        Ok(lines)
    }
}
