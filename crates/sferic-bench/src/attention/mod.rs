//! `sferic bench attention`: one layer of sparse attention against dense, over the cached length.

mod gate;
mod inputs;
mod launches;
mod layer;
mod plot;
mod report;
mod shape;

pub use report::{AttentionFigures, AttentionReport, AttentionRow, Crossover, PartFigures};
pub use shape::{AttentionOptions, CacheDtype, Shape};

use layer::{Layer, Part};
use sferic_gpu::{Device, GpuError, Row, Sampling, Selection, run_benches};
use std::time::Duration;

/// Warm-up of a part that follows another one at once.
const GAP: Duration = Duration::from_millis(50);

/// Measures one layer: index scores, selection, sparse attention, the three in a row, and dense attention by the same kernels.
///
/// Each is a sequence of launches, replayed many times in one pass and timed by the clock of the device. A row whose first run differs from the
/// oracles has no times.
///
/// # Errors
/// [`GpuError`] when no adapter suits or the device is lost.
pub async fn attention(
    selection: &Selection,
    options: &AttentionOptions,
    mut each: impl FnMut(&str),
) -> Result<AttentionReport, GpuError> {
    let device = Device::open(selection).await?;
    each("copy");
    let copies = run_benches(&device, "memory/copy", None, options.samples, |_| {}).await?;
    let copy = copies.iter().map(Row::gigabytes_per_second).fold(0.0, f64::max);
    let lengths = match options.lengths.is_empty() {
        true => AttentionOptions::default_lengths(device.software),
        false => options.lengths.clone(),
    };
    let mut rows = Vec::new();
    for &t in &options.queries {
        for &len in lengths.iter().filter(|&&len| len >= t) {
            each(&format!("{t} queries, {len} tokens"));
            rows.push(measure(&device, options, [t, len], false, copy).await?);
        }
    }
    let prefill = if options.prefill {
        let sizes = if device.software { AttentionOptions::SOFTWARE_PREFILL } else { AttentionOptions::PREFILL };
        each("prefill");
        Some(measure(&device, options, sizes, true, copy).await?)
    } else {
        None
    };
    Ok(AttentionReport::new(&device, options, copy, rows, prefill))
}

/// Builds a layer, holds it to the oracles and times its parts.
async fn measure(
    device: &Device,
    options: &AttentionOptions,
    [t, len]: [u32; 2],
    prefill: bool,
    copy: f64,
) -> Result<AttentionRow, GpuError> {
    let row = |figures, reason| AttentionRow { queries: t, cached: len, figures, reason };
    let layer = match Layer::new(device, options, [t, len], prefill) {
        Ok(layer) => layer,
        Err(error @ (GpuError::Kernel(_) | GpuError::Device(_))) => return Ok(row(None, Some(format!("skipped: {error}")))),
        Err(error) => return Err(error),
    };
    if let Err(reason) = layer.check(device).await? {
        return Ok(row(None, Some(format!("FAIL {reason}"))));
    }
    layer.select(device).await?;
    let mut warm_up = Sampling::WARM_UP;
    let mut found = Vec::new();
    for part in [Part::Scores, Part::TopK, Part::Attention, Part::Sparse, Part::Dense] {
        if part == Part::Dense && prefill {
            continue;
        }
        let graphs = layer.graphs(device, part).await?;
        let timing = device.time(&graphs, Sampling { samples: options.samples, warm_up }).await?;
        found.push(PartFigures::new(&layer, part, &timing, copy));
        warm_up = warm_up.min(GAP);
    }
    let mut found = found.into_iter();
    let figures = match (found.next(), found.next(), found.next(), found.next(), found.next()) {
        (Some(scores), Some(top_k), Some(attention), Some(sparse), dense) => {
            Some(AttentionFigures { scores, top_k, attention, sparse, dense })
        }
        _ => None,
    };
    Ok(row(figures, None))
}

#[cfg(test)]
mod tests;
