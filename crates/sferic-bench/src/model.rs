//! `sferic bench model`: prefill and decode of a whole model against the depth of its context.

use serde::Serialize;
use sferic_gpu::GpuError;
use sferic_lightning::architecture::Architecture;
use sferic_lightning::{
    CacheFormats, Decoder, Device, Drawing, Draws, Formats, LoadError, Logits, Model, ModelError, ModelWeights, Request,
    Sampling, Sequence, Settings,
};
use std::fmt::Write as _;
use web_time::Instant;

/// What to measure.
#[derive(Debug, Clone)]
pub struct ModelPlan {
    /// Cached tokens before what is measured.
    pub depths: Vec<usize>,
    /// Tokens of a decode sample.
    pub n_decode: usize,
    /// Tokens of a prefill sample; 0 leaves prefill out.
    pub n_prefill: usize,
    /// Samples of which the median is shown.
    pub samples: usize,
    /// Whether every launch of a decode step is timed by itself.
    pub profile: bool,
}

/// A failure of the benchmark.
#[derive(Debug, thiserror::Error)]
pub enum ModelBenchError {
    /// The device has no room for the weights, or fails.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A step fails.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model computes something that is no number.
    #[error("FAIL: at {depth} cached tokens the model's logits are not finite")]
    BadLogits {
        /// Cached tokens.
        depth: usize,
    },
}

/// All rows of one run.
#[derive(Debug, Clone, Serialize)]
pub struct ModelReport {
    /// Adapter.
    pub device: String,
    /// Driver and version.
    pub driver: String,
    /// Graphics interface.
    pub api: String,
    /// Optional features that the adapter offers.
    pub features: String,
    /// What was measured.
    pub model: String,
    /// Parameters, norms and biases left out.
    pub n_parameters: u64,
    /// Formats of weights, latent rows and index keys.
    pub formats: String,
    /// Bytes of the weights on the device.
    pub weight_bytes: u64,
    /// Bytes of the caches at the largest depth.
    pub cache_bytes: u64,
    /// Bytes that steps pass their values through.
    pub workspace_bytes: u64,
    /// The most launches of a layer in a decode step.
    pub launches_per_layer: usize,
    /// Launches of a whole decode step, the draw of the token included.
    pub launches_per_token: usize,
    /// The kernels of the last layer, in order.
    pub kernels: Vec<String>,
    /// The rows.
    pub rows: Vec<ModelRow>,
    /// Microseconds of each kernel in one decode step at the last depth, all layers together, the longest first; empty without a profile.
    pub profile: Vec<(String, f64)>,
}

/// One depth.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ModelRow {
    /// Cached tokens.
    pub depth: usize,
    /// Tokens per second, drawn on the device and read once for each sample.
    pub decode: f64,
    /// Half the distance between the quartiles as a share of the median.
    pub decode_spread: f64,
    /// Tokens per second of a conversation: the host reads each token before it asks for the next.
    pub conversation: f64,
    /// Prompt tokens per second; 0 where that was left out.
    pub prefill: f64,
}

/// Measures a model of random weights.
///
/// # Errors
/// [`ModelBenchError`] when it does not fit or the device fails.
pub async fn synthetic(
    device: Device,
    name: &str,
    architecture: Architecture,
    formats: Formats,
    caches: CacheFormats,
    plan: &ModelPlan,
) -> Result<ModelReport, ModelBenchError> {
    let weights = ModelWeights::random(&device, &architecture, formats).map_err(|error| match error {
        LoadError::Gpu(error) => ModelBenchError::Gpu(error),
        LoadError::Source(never) => match never {},
        LoadError::Unsupported(why) => ModelBenchError::Gpu(GpuError::Device(why.into())),
    })?;
    device.flush()?;
    let deepest = plan.depths.iter().copied().max().unwrap_or(0);
    let context = (deepest + plan.n_prefill.max(plan.n_decode) + 64).next_multiple_of(64);
    let chunk = plan.n_prefill.clamp(1, 512);
    let settings = Settings { caches, hadamard: caches == CacheFormats::FP8, context, chunk, cached_tokens: context };
    measure(&Model::new(device, architecture, weights, settings)?, name, plan).await
}

/// Measures a model whose weights are on a device.
///
/// # Errors
/// [`ModelError`] when the depths do not fit its context or the device fails.
pub async fn measure(model: &Model, name: &str, plan: &ModelPlan) -> Result<ModelReport, ModelBenchError> {
    let mut rows = Vec::new();
    let mut profile = Vec::new();
    for &depth in &plan.depths {
        // One sequence at a time: the caches need to hold the deepest alone.
        let mut sequence = model.sequence();
        sequence.pretend(depth, depth as u64 + 1)?;
        let conversation = converse(model, &mut sequence, depth, plan).await?;
        let (decode, decode_spread) = decode(&mut sequence, depth, plan).await?;
        if plan.profile {
            profile = profile_of(&mut sequence, plan).await?;
        }
        let prefill = if plan.n_prefill > 0 { prefill(&mut sequence, depth, plan).await? } else { 0.0 };
        rows.push(ModelRow { depth, decode, decode_spread, conversation, prefill });
    }
    let [weight_bytes, cache_bytes, workspace_bytes] = model.bytes();
    let launches = model.decode_launches(plan.depths.iter().copied().max().unwrap_or(0)).await?;
    let (around, layers) = launches.split_last().map(|(around, layers)| (around.len(), layers)).unwrap_or_default();
    let device = model.device();
    Ok(ModelReport {
        device: device.name.clone(),
        driver: device.driver.clone(),
        api: device.api.clone(),
        features: device.capabilities.features.to_string(),
        model: name.into(),
        n_parameters: model.architecture().n_parameters(),
        formats: model.describe(),
        weight_bytes,
        cache_bytes,
        workspace_bytes,
        launches_per_layer: layers.iter().map(Vec::len).max().unwrap_or(0),
        launches_per_token: layers.iter().map(Vec::len).sum::<usize>() + around + 2,
        kernels: layers.last().cloned().unwrap_or_default(),
        rows,
        profile,
    })
}

/// Tokens per second and their spread, drawn on the device.
async fn decode(sequence: &mut Sequence, depth: usize, plan: &ModelPlan) -> Result<(f64, f64), ModelBenchError> {
    let mut rates = Vec::new();
    let n = plan.n_decode;
    let mut decoder = Decoder::new(sequence, Sampling::GREEDY, n).await?;
    // The clocks of an idle device take a while to rise.
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < 0.5 {
        // A time of logits that are not numbers is no time of the model.
        if decoder.draw(1, n, 0, 0).await?.has_bad_logits {
            return Err(ModelBenchError::BadLogits { depth });
        }
        decoder.rewind(depth);
    }
    for _ in 0..plan.samples {
        let start = Instant::now();
        decoder.draw(1, n, 0, 0).await?;
        rates.push(n as f64 / start.elapsed().as_secs_f64());
        decoder.rewind(depth);
    }
    rates.sort_by(f64::total_cmp);
    let (at, median) = (rates.len(), rates[rates.len() / 2]);
    Ok((median, (rates[3 * at / 4] - rates[at / 4]) / 2.0 / median))
}

/// Tokens per second where the host reads each token before it asks for the next.
async fn converse(model: &Model, sequence: &mut Sequence, depth: usize, plan: &ModelPlan) -> Result<f64, ModelBenchError> {
    let drawing = Drawing { settings: Sampling::GREEDY, seed: 0, n_draws: 0, adjustments: None, dense: false, experts: false };
    let mut draws = Draws::new(model, drawing).await?;
    let mut rates = Vec::new();
    let n = plan.n_decode;
    for _ in 0..=plan.samples {
        let mut tokens = sequence.tokens()[..depth].to_vec();
        tokens.push(1);
        // A time of logits that are not numbers is no time of the model.
        if draws.next(sequence, &tokens, false).await?.has_bad_logits {
            return Err(ModelBenchError::BadLogits { depth });
        }
        sequence.truncate(depth);
        let start = Instant::now();
        for done in 1..=n {
            tokens.push(draws.next(sequence, &tokens, done < n).await?.token);
        }
        rates.push(n as f64 / start.elapsed().as_secs_f64());
        sequence.truncate(depth);
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[rates.len() / 2])
}

/// Prompt tokens per second.
async fn prefill(sequence: &mut Sequence, depth: usize, plan: &ModelPlan) -> Result<f64, ModelBenchError> {
    let chunk = sequence.longest_step();
    let ids: Vec<u32> = (0..plan.n_prefill as u32).map(|i| i % 97).collect();
    let mut rates = Vec::new();
    for _ in 0..=plan.samples.min(3) {
        let start = Instant::now();
        for ids in ids.chunks(chunk) {
            sequence.advance(ids, Request { logits: Logits::None, ..Request::default() }).await?;
        }
        rates.push(ids.len() as f64 / start.elapsed().as_secs_f64());
        sequence.truncate(depth);
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[rates.len() / 2])
}

/// Microseconds of each kernel of a decode step, all layers together.
async fn profile_of(sequence: &mut Sequence, plan: &ModelPlan) -> Result<Vec<(String, f64)>, ModelBenchError> {
    let device = sequence.device().clone();
    let decoder = Decoder::new(sequence, Sampling::GREEDY, plan.n_decode).await?;
    let mut sums: Vec<(String, f64)> = Vec::new();
    for (name, seconds) in decoder.profile(&device).await?.unwrap_or_default() {
        match sums.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += 1e6 * seconds,
            None => sums.push((name, 1e6 * seconds)),
        }
    }
    sums.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(sums)
}

impl ModelReport {
    /// The report as a page.
    pub fn markdown(&self) -> String {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let mut out = format!(
            "{} ({}, {}), tiers: {}\n\n{}: {:.2} B parameters, {}. On the device: weights {:.2} GiB, caches {:.2} GiB, workspace {:.2} GiB.\n\n",
            self.device,
            self.api,
            self.driver,
            self.features,
            self.model,
            self.n_parameters as f64 / 1e9,
            self.formats,
            gib(self.weight_bytes),
            gib(self.cache_bytes),
            gib(self.workspace_bytes),
        );
        let _ = writeln!(
            out,
            "A decode step is {} launches, at most {} in a layer; a layer of the last kind launches:\n",
            self.launches_per_token, self.launches_per_layer
        );
        for (at, kernel) in self.kernels.iter().enumerate() {
            let _ = writeln!(out, "{}. `{kernel}`", at + 1);
        }
        out += "\n| cached tokens | decode, tokens/s | ± | in a conversation | prefill, tokens/s |\n|---:|---:|---:|---:|---:|\n";
        for row in &self.rows {
            let prefill = if row.prefill > 0.0 { format!("{:.0}", row.prefill) } else { "–".into() };
            let spread = 100.0 * row.decode_spread;
            let _ = writeln!(out, "| {} | {:.1} | {spread:.1} % | {:.1} | {prefill} |", row.depth, row.decode, row.conversation);
        }
        if !self.profile.is_empty() {
            out += "\n| µs in one decode step | kernel |\n|---:|---|\n";
            for (kernel, microseconds) in &self.profile {
                let _ = writeln!(out, "| {microseconds:.1} | `{kernel}` |");
            }
        }
        out
    }
}
