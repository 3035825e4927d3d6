//! `sferic bench attention`: one layer of sparse attention against dense, over the cached length.

mod gate;
mod inputs;
mod launches;
mod layer;
#[cfg(not(target_arch = "wasm32"))]
mod plot;
mod report;
mod shape;

pub use report::{AttentionFigures, AttentionReport, AttentionRow, Crossover, PartFigures};
pub use shape::{AttentionOptions, CacheDtype, Shape};

use layer::{Layer, Part};
use sferic_gpu::{Benches, Device, Doing, GpuError, Row, Sampling, run_benches};
use std::ops::ControlFlow;
use std::time::Duration;

/// Warm-up of a part that follows another one at once.
const GAP: Duration = Duration::from_millis(50);

/// Measures one layer: index scores, selection, sparse attention, the three in a row, and dense attention by the same kernels.
///
/// Each is a sequence of launches, replayed many times in one pass and timed by the clock of the device. A row whose first run differs from the
/// oracles has no times.
///
/// `each` hears what comes next and may end the run; the report then has the rows that there are.
///
/// # Errors
/// [`GpuError`] when the device is lost.
pub async fn attention(
    device: &Device,
    options: &AttentionOptions,
    mut each: impl AsyncFnMut(Doing<'_>) -> ControlFlow<()>,
) -> Result<AttentionReport, GpuError> {
    let lengths = match options.lengths.is_empty() {
        true => AttentionOptions::default_lengths(device.software),
        false => options.lengths.clone(),
    };
    let sizes = |&t: &u32| lengths.iter().filter(move |&&len| len >= t).map(move |&len| [t, len]);
    let sizes: Vec<[u32; 2]> = options.queries.iter().flat_map(sizes).collect();
    let total = sizes.len() + 1 + usize::from(options.prefill);
    let mut goes_on = async |what: &str, done| each(Doing { what, done, total }).await.is_continue();
    let (mut copy, mut rows, mut prefill) = (0.0, Vec::new(), None);
    let mut is_ended = !goes_on("copy", 0).await;
    if !is_ended {
        let benches = Benches { filter: "memory/copy", tier: None, samples: options.samples, short: options.short };
        let copies = run_benches(device, benches, async |_| ControlFlow::Continue(())).await?;
        copy = copies.iter().map(Row::gigabytes_per_second).fold(0.0, f64::max);
    }
    for size @ [t, len] in sizes {
        is_ended = is_ended || !goes_on(&format!("{t} queries, {len} tokens"), rows.len() + 1).await;
        if is_ended {
            break;
        }
        rows.push(measure(device, options, size, false, copy).await?);
    }
    if options.prefill && !is_ended && goes_on("prefill", rows.len() + 1).await {
        let sizes = if device.software { AttentionOptions::SOFTWARE_PREFILL } else { AttentionOptions::PREFILL };
        prefill = Some(measure(device, options, sizes, true, copy).await?);
    }
    Ok(AttentionReport::new(device, options, copy, rows, prefill))
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
    let mut warm_up = if options.short { Duration::ZERO } else { Sampling::WARM_UP };
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
