//! Benchmarks and the self-test as a page's worker sees them: strings of JSON in and out, a call before each measurement.

use std::ops::ControlFlow;

use js_sys::{Function, Promise};
use serde::Deserialize;
use serde_json::json;
use sferic_bench::{AttentionOptions, CacheDtype, Device, Doing, GpuError, KernelOptions, Selection, Shape};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::engine::{Fault, parse};

/// What the page knows of the adapter and wgpu does not.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Adapter {
    /// Names for the report; browsers do not tell drivers, so that the browser itself stands there.
    name: String,
    driver: String,
    /// Whether the page has asked for subgroups and got them.
    subgroups: bool,
}

/// What to measure; what is left out is the native program's default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bench {
    adapter: Adapter,
    /// Features to leave out, `base` for none.
    left_out: String,
    suite: String,
    #[serde(default)]
    filter: String,
    tier: Option<String>,
    samples: Option<usize>,
    #[serde(default)]
    short: bool,
    shape: Option<String>,
    dtype: Option<String>,
    queries: Option<Vec<u32>>,
    #[serde(default)]
    lengths: Vec<u32>,
    #[serde(default)]
    prefill: bool,
}

/// Measures this browser's GPU and returns the report as `sferic bench … --json` writes it. `options` is JSON.
///
/// `on_progress` is called with JSON before each measurement and returns whether to go on, or a promise of it; the report of a run that was
/// ended has the rows that there are.
///
/// # Errors
/// A message that names what is wrong.
#[wasm_bindgen]
pub async fn bench(options: String, on_progress: Function) -> Result<String, Fault> {
    console_error_panic_hook::set_once();
    let options: Bench = parse("options", &options)?;
    let samples = options.samples.unwrap_or(9);
    if !(1..=1000).contains(&samples) {
        return Err(format!("options.samples: {samples} samples, 1 to 1000 are possible").into());
    }
    let each = async |doing: Doing<'_>| tell(&on_progress, doing).await;
    let report = match options.suite.as_str() {
        "kernels" => {
            let Bench { filter, tier, short, .. } = options;
            let device = open(options.adapter, &options.left_out).await?;
            let options = KernelOptions { filter, tier, samples, short };
            serde_json::to_string(&sferic_bench::kernels(&device, &options, each).await.map_err(message)?)
        }
        "attention" => {
            let device = open(options.adapter, &options.left_out).await?;
            let options = AttentionOptions {
                shape: one_of("shape", &Shape::ALL, |shape| shape.name, options.shape.as_deref())?,
                dtype: one_of("dtype", &[CacheDtype::F16, CacheDtype::Fp8], |dtype| dtype.name(), options.dtype.as_deref())?,
                queries: options.queries.unwrap_or_else(|| vec![1, 16]),
                lengths: options.lengths,
                samples,
                prefill: options.prefill,
                short: options.short,
            };
            options.check().map_err(|error| format!("options: {error}"))?;
            serde_json::to_string(&sferic_bench::attention(&device, &options, each).await.map_err(message)?)
        }
        other => return Err(format!("options.suite: `{other}` is no suite; expected kernels or attention").into()),
    };
    Ok(report.map_err(|error| format!("the report: {error}"))?)
}

/// Checks the kernels on this browser's GPU and returns the verdict as JSON, or nothing where `on_progress` has ended the test.
///
/// # Errors
/// A message when there is no adapter or the device is lost.
#[wasm_bindgen]
pub async fn self_test(adapter: String, on_progress: Function) -> Result<Option<String>, Fault> {
    console_error_panic_hook::set_once();
    let device = open(parse("adapter", &adapter)?, "base").await?;
    let test = sferic_gpu::self_test(&device, async |doing| tell(&on_progress, doing).await).await.map_err(message)?;
    Ok(test.map(|test| {
        let failures = test
            .failures
            .iter()
            .map(|failure| json!({ "kernel": failure.kernel, "case": failure.case, "reason": failure.reason }));
        json!({
            "features": device.capabilities.features.to_string(),
            "left_out": test.left_out.to_string(),
            "usable": test.usable,
            "failures": failures.collect::<Vec<_>>(),
            "n_cases": test.n_cases,
            "seconds": test.seconds,
        })
        .to_string()
    }))
}

async fn open(adapter: Adapter, left_out: &str) -> Result<Device, Fault> {
    let left_out = left_out.parse().map_err(|error| format!("options.left_out: {error}"))?;
    let mut device = Device::open(&Selection::Best).await.map_err(message)?;
    if adapter.subgroups {
        device = device.with_browser_subgroups();
    }
    // A browser's adapter mostly has no name of its own.
    if device.name.is_empty() {
        device.name = adapter.name;
    }
    if device.driver.is_empty() {
        device.driver = adapter.driver;
    }
    Ok(device.without(left_out))
}

async fn tell(on_progress: &Function, Doing { what, done, total }: Doing<'_>) -> ControlFlow<()> {
    let line = json!({ "what": what, "done": done, "total": total }).to_string();
    let answer = match on_progress.call1(&JsValue::NULL, &line.into()) {
        Ok(answer) => match answer.dyn_into::<Promise>() {
            Ok(promise) => JsFuture::from(promise).await,
            Err(answer) => Ok(answer),
        },
        thrown => thrown,
    };
    // Who throws wants no more of it either.
    if answer.is_ok_and(|answer| answer.is_truthy()) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// The one of `all` that has the name, the first one without a name.
fn one_of<T: Copy>(what: &str, all: &[T], name_of: impl Fn(&T) -> &'static str, wanted: Option<&str>) -> Result<T, String> {
    let found = all.iter().find(|one| wanted.is_none_or(|wanted| name_of(one) == wanted)).copied();
    let names = || all.iter().map(name_of).collect::<Vec<_>>().join(" or ");
    found.ok_or_else(|| format!("options.{what}: `{}` is not known; expected {}", wanted.unwrap_or_default(), names()))
}

/// A failed device has a name of its own, since a new one may do.
fn message(error: GpuError) -> Fault {
    let name = if matches!(error, GpuError::Device(_)) { "DeviceError" } else { "Error" };
    Fault::new(name, error.to_string())
}
