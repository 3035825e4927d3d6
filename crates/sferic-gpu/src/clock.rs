//! Clocks: how long work takes on the device.

use crate::{Device, GpuError, Graph};
use std::time::Duration;

/// What a benchmark measured, in seconds for one run of all steps.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Every sample, sorted.
    pub samples: Vec<f64>,
}

impl Timing {
    /// The middle sample, seconds.
    pub fn median(&self) -> f64 {
        self.samples[self.samples.len() / 2]
    }

    /// Half the distance between the quartiles as a share of the median.
    pub fn spread(&self) -> f64 {
        let n = self.samples.len();
        (self.samples[3 * n / 4] - self.samples[n / 4]) / 2.0 / self.median()
    }
}

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// Samples to take.
    pub samples: usize,
    /// Work before the first sample; software adapters need none.
    pub warm_up: Duration,
}

impl Sampling {
    /// Work after which the clocks of a device that was idle stand where they will stay.
    ///
    /// An H100 that was idle for a second stays at 345 MHz for the first 0.19 s of work and then goes to 1980.
    pub const WARM_UP: Duration = Duration::from_millis(500);
}

/// Seconds after which a slow run gets no more samples than [`FEWEST`].
const PATIENCE: f64 = 3.0;
/// Samples that even a slow run gets, so that there is a spread.
const FEWEST: usize = 3;

impl Device {
    /// Times a run of each of `graphs` in turn, many of them in one pass.
    ///
    /// Graphs that share no buffer that they write may overlap: nothing tells the device to finish one before the next. Share what a model
    /// would share, its scratch.
    ///
    /// # Errors
    /// [`GpuError::Device`] when the device is lost.
    pub async fn time(&self, graphs: &[Graph], sampling: Sampling) -> Result<Timing, GpuError> {
        self.clock(sampling, graphs.len(), |pass, i| graphs[i].record(pass)).await
    }

    /// Samples of enough runs each to fill 5 ms; run `i` records `i` modulo `different`.
    pub(crate) async fn clock(
        &self,
        sampling: Sampling,
        different: usize,
        record: impl Fn(&mut wgpu::ComputePass<'_>, usize),
    ) -> Result<Timing, GpuError> {
        let different = different.max(1);
        let record = |pass: &mut wgpu::ComputePass<'_>, run: usize| record(pass, run % different);
        // A device idles while a check is computed, and lowers its clocks: only work for a while raises them, and shows how long a run takes.
        let start = web_time::Instant::now();
        let mut once = self.sample(2, &record).await?;
        while !self.software && start.elapsed() < sampling.warm_up {
            once = self.sample(runs_of(once), &record).await?;
        }
        let (runs, samples) = (runs_of(once), sampling.samples.max(1));
        let start = web_time::Instant::now();
        let mut found = Vec::with_capacity(samples);
        while found.len() < samples && (found.len() < FEWEST || start.elapsed().as_secs_f64() < PATIENCE) {
            found.push(self.sample(runs, &record).await?);
        }
        found.sort_by(f64::total_cmp);
        Ok(Timing { samples: found })
    }

    /// Seconds of one run, from `runs` of them in one pass.
    async fn sample(&self, runs: usize, record: impl Fn(&mut wgpu::ComputePass<'_>, usize)) -> Result<f64, GpuError> {
        let device = &self.device;
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let queries = self.timestamps.then(|| {
            device.create_query_set(&wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 })
        });
        let timestamp_writes = queries.as_ref().map(|query_set| wgpu::ComputePassTimestampWrites {
            query_set,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        (0..runs).for_each(|run| record(&mut pass, run));
        drop(pass);
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let ticks = device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false });
        if let Some(queries) = &queries {
            encoder.resolve_query_set(queries, 0..2, &ticks, 0);
        }
        let start = web_time::Instant::now();
        self.queue.submit([encoder.finish()]);
        if queries.is_none() {
            self.read_buffer(&ticks, 0..16).await?;
            return Ok(start.elapsed().as_secs_f64() / runs as f64);
        }
        let bytes = self.read_buffer(&ticks, 0..16).await?;
        let ticks: &[u64] =
            &bytes.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap_or_default())).collect::<Vec<_>>();
        let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f64 * f64::from(self.queue.get_timestamp_period());
        Ok(nanoseconds.max(1.0) * 1e-9 / runs as f64)
    }
}

/// Runs that fill a sample of 5 ms when one takes `once` seconds.
fn runs_of(once: f64) -> usize {
    ((5e-3 / once).ceil() as usize).clamp(if once > 0.1 { 1 } else { 3 }, 500)
}
