//! Sequences of launches that are built once and replayed.

use crate::runner::ReadBack;
use crate::{Device, GpuError};
use sferic_shaders::kernel::Launch;
use std::ops::Range;

/// Memory of a device, whole or a part of it. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Buffer {
    pub(crate) whole: wgpu::Buffer,
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl Buffer {
    fn new(whole: wgpu::Buffer) -> Self {
        Self { start: 0, size: whole.size(), whole }
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.size
    }

    /// The part of `range`, bytes, cut to what there is. Programs can bind parts that start at multiples of [`Buffer::ALIGNMENT`].
    #[must_use]
    pub fn part(&self, range: Range<u64>) -> Self {
        let (start, end) = (range.start.min(self.size), range.end.min(self.size));
        Self { whole: self.whole.clone(), start: self.start + start, size: end.saturating_sub(start) }
    }

    /// Where a part may start, on every adapter.
    pub const ALIGNMENT: u64 = 256;

    fn binding(&self) -> wgpu::BufferBinding<'_> {
        wgpu::BufferBinding { buffer: &self.whole, offset: self.start, size: std::num::NonZero::new(self.size) }
    }
}

/// A launch with the buffers that it binds, in the order of the program's bindings.
#[derive(Debug, Clone)]
pub struct Task {
    /// The launch.
    pub launch: Launch,
    /// Its buffers.
    pub buffers: Vec<Buffer>,
}

impl Task {
    /// Binds `buffers` to `launch`.
    pub fn new(launch: Launch, buffers: &[&Buffer]) -> Self {
        Self { launch, buffers: buffers.iter().map(|&buffer| buffer.clone()).collect() }
    }
}

/// Launches with everything resolved: pipelines compiled, parameters uploaded, buffers bound.
///
/// WebGPU has no command buffers that can be submitted twice, so a replay encodes the dispatches again; nothing else is left to do.
#[derive(Debug)]
pub struct Graph {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    name: String,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    workgroups: [u32; 3],
}

impl Node {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y, z] = self.workgroups;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Parameters of all launches share one buffer; every adapter can bind at multiples of this.
const PARAMS_ALIGNMENT: usize = 256;

impl Graph {
    /// Compiles, uploads and binds.
    ///
    /// # Errors
    /// [`GpuError::Compile`] for a program that the driver refuses, [`GpuError::Device`] for buffers that do not suit.
    pub async fn new(device: &Device, tasks: &[Task]) -> Result<Self, GpuError> {
        let programs: Vec<_> = tasks.iter().map(|task| task.launch.program.clone()).collect();
        let pipelines = device.pipelines(&programs).await?;
        let mut params = Vec::new();
        let mut starts = Vec::with_capacity(tasks.len());
        for task in tasks {
            starts.push(params.len());
            params.extend_from_slice(&task.launch.params);
            params.resize(params.len().next_multiple_of(PARAMS_ALIGNMENT), 0);
        }
        params.resize(params.len().max(PARAMS_ALIGNMENT), 0);
        let params = device.upload("params", &params)?;
        let mut nodes = Vec::with_capacity(tasks.len());
        let scope = device.device.push_error_scope(wgpu::ErrorFilter::Validation);
        for ((task, start), pipeline) in tasks.iter().zip(starts).zip(pipelines) {
            let own = (!task.launch.params.is_empty()).then(|| wgpu::BufferBinding {
                buffer: &params.whole,
                offset: start as u64,
                size: std::num::NonZero::new(task.launch.params.len() as u64),
            });
            let bound = task.buffers.iter().map(Buffer::binding).chain(own);
            let entries: Vec<_> = bound
                .enumerate()
                .map(|(i, binding)| wgpu::BindGroupEntry { binding: i as u32, resource: wgpu::BindingResource::Buffer(binding) })
                .collect();
            let layout = pipeline.0.get_bind_group_layout(0);
            let name = task.launch.program.name.clone();
            let descriptor = wgpu::BindGroupDescriptor { label: Some(&name), layout: &layout, entries: &entries };
            let group = device.device.create_bind_group(&descriptor);
            nodes.push(Node { name, pipeline: pipeline.0, group, workgroups: task.launch.workgroups });
        }
        match scope.pop().await {
            Some(error) => Err(GpuError::Device(error.to_string())),
            None => Ok(Self { nodes }),
        }
    }

    /// Submits every launch, `times` times in a row.
    pub fn replay(&self, device: &Device, times: usize) {
        let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("replay") });
        for _ in 0..times {
            self.encode(&mut encoder, 0..self.nodes.len(), None);
        }
        device.queue.submit([encoder.finish()]);
    }

    /// Submits the launches of `range`.
    pub fn submit(&self, device: &Device, range: Range<usize>) {
        self.submit_and_read(device, range, &[]);
    }

    /// Submits the launches of `range`, and after them the reading of `parts`, which [`ReadBack::bytes`] waits for.
    pub fn submit_and_read(&self, device: &Device, range: Range<usize>, parts: &[Buffer]) -> Vec<ReadBack> {
        let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("submit") });
        self.encode(&mut encoder, range, None);
        let staged: Vec<_> = parts.iter().map(|part| device.stage(&mut encoder, part)).collect();
        let submission = device.queue.submit([encoder.finish()]);
        staged.into_iter().map(|staged| ReadBack::start(staged, submission.clone())).collect()
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        range: Range<usize>,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        self.nodes[range].iter().for_each(|node| node.record(&mut pass));
    }

    /// Adds every launch to a pass.
    pub(crate) fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.nodes.iter().for_each(|node| node.record(pass));
    }

    /// The programs, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.name.as_str())
    }

    /// Number of launches.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing to launch.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Seconds that each launch takes on the device alone, for profiles; `None` where the adapter has no clock.
    ///
    /// Each launch gets a pass of its own, so that the sum is above the time of a replay.
    ///
    /// # Errors
    /// [`GpuError::Device`] when the device is lost.
    pub async fn profile(&self, device: &Device) -> Result<Option<Vec<f64>>, GpuError> {
        if !device.timestamps {
            return Ok(None);
        }
        const PAIRS: usize = 1024;
        let mut seconds = Vec::with_capacity(self.nodes.len());
        for first in (0..self.nodes.len()).step_by(PAIRS) {
            let last = self.nodes.len().min(first + PAIRS);
            let count = 2 * (last - first) as u32;
            let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count };
            let query_set = device.device.create_query_set(&descriptor);
            let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for (i, node) in (first..last).enumerate() {
                let writes = wgpu::ComputePassTimestampWrites {
                    query_set: &query_set,
                    beginning_of_pass_write_index: Some(2 * i as u32),
                    end_of_pass_write_index: Some(2 * i as u32 + 1),
                };
                self.encode(&mut encoder, node..node + 1, Some(writes));
            }
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            let size = 8 * u64::from(count);
            let ticks =
                device.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
            encoder.resolve_query_set(&query_set, 0..count, &ticks, 0);
            device.queue.submit([encoder.finish()]);
            let bytes = device.read_buffer(&ticks, 0..size).await?;
            let period = f64::from(device.queue.get_timestamp_period()) * 1e-9;
            let ticks: Vec<u64> = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
            seconds.extend(ticks.as_chunks().0.iter().map(|[start, end]| end.saturating_sub(*start) as f64 * period));
        }
        Ok(Some(seconds))
    }
}

impl Device {
    /// Submits `graphs` one after the other, and then the reading of `parts`.
    pub fn submit(&self, graphs: &[&Graph], parts: &[Buffer]) -> Vec<ReadBack> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("submit") });
        for graph in graphs {
            graph.encode(&mut encoder, 0..graph.len(), None);
        }
        let staged: Vec<_> = parts.iter().map(|part| self.stage(&mut encoder, part)).collect();
        let submission = self.queue.submit([encoder.finish()]);
        staged.into_iter().map(|staged| ReadBack::start(staged, submission.clone())).collect()
    }

    /// Submits what has been written, and waits for it.
    ///
    /// # Errors
    /// [`GpuError::Device`] when the device is lost.
    pub fn flush(&self) -> Result<(), GpuError> {
        self.queue.submit([]);
        self.wait()
    }

    /// Copies `bytes` to a new buffer.
    ///
    /// # Errors
    /// [`GpuError::Device`] when the buffer is larger than the adapter allows.
    pub fn upload(&self, label: &str, bytes: &[u8]) -> Result<Buffer, GpuError> {
        let buffer = self.allocate(label, bytes.len() as u64)?;
        self.write(&buffer, 0, bytes);
        Ok(buffer)
    }

    /// Makes a buffer of zeros, of at least four bytes.
    ///
    /// # Errors
    /// [`GpuError::Device`] when the buffer is larger than the adapter allows.
    pub fn allocate(&self, label: &str, bytes: u64) -> Result<Buffer, GpuError> {
        let size = bytes.next_multiple_of(4).max(4);
        let most = self.largest_buffer();
        if size > most {
            return Err(GpuError::Device(format!(
                "buffer `{label}` needs {size} bytes, the adapter allows {most} in one buffer"
            )));
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&descriptor);
        // Known at once outside browsers; in a browser the first submission that uses the buffer fails.
        match at_once(scope.pop()).flatten() {
            Some(error) => Err(GpuError::Device(format!("buffer `{label}` of {size} bytes: {error}"))),
            None => Ok(Buffer::new(buffer)),
        }
    }

    /// Bytes that live allocations take on the device, where the back end counts them.
    pub fn allocated_bytes(&self) -> Option<u64> {
        self.device.generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    /// The largest buffer that a program can bind whole, bytes.
    pub fn largest_buffer(&self) -> u64 {
        self.device.limits().max_buffer_size.min(self.capabilities.limits.max_binding_bytes)
    }

    /// Copies a buffer to the beginning of a larger one.
    ///
    /// # Errors
    /// [`GpuError::Device`] when that is larger than the adapter allows.
    pub fn enlarged(&self, label: &str, old: &Buffer, bytes: u64) -> Result<Buffer, GpuError> {
        let new = self.allocate(label, bytes.max(old.bytes()))?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("enlarge") });
        encoder.copy_buffer_to_buffer(&old.whole, old.start, &new.whole, 0, old.bytes());
        self.queue.submit([encoder.finish()]);
        Ok(new)
    }

    /// Copies parts of buffers to parts of the same size, which may be of the same buffers; every part is read before one is written.
    ///
    /// # Errors
    /// [`GpuError::Device`] when there is no room for what is on its way.
    pub fn copy(&self, pairs: &[(Buffer, Buffer)]) -> Result<(), GpuError> {
        // WebGPU copies nothing inside of one buffer.
        let between = self.allocate("copies", pairs.iter().map(|(part, _)| part.size).sum())?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("copy") });
        for reading in [true, false] {
            let mut at = 0;
            for (old, new) in pairs {
                if reading {
                    encoder.copy_buffer_to_buffer(&old.whole, old.start, &between.whole, at, old.size);
                } else {
                    encoder.copy_buffer_to_buffer(&between.whole, at, &new.whole, new.start, old.size);
                }
                at += old.size;
            }
        }
        self.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// Overwrites a part of a buffer before the next submission. `offset` is a multiple of four; the last word is padded with zeros.
    pub fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) {
        let whole = bytes.len() / 4 * 4;
        let offset = buffer.start + offset;
        self.queue.write_buffer(&buffer.whole, offset, &bytes[..whole]);
        if whole < bytes.len() {
            let mut word = [0; 4];
            word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.queue.write_buffer(&buffer.whole, offset + whole as u64, &word);
        }
    }

    /// Has the device read a word of each buffer, after everything submitted so far: memory that is not there shows here.
    ///
    /// # Errors
    /// [`GpuError::Device`] when a buffer could not be made, or the device is lost.
    pub async fn touch(&self, buffers: &[&Buffer]) -> Result<(), GpuError> {
        let mut whole: Vec<&wgpu::Buffer> = buffers.iter().map(|buffer| &buffer.whole).collect();
        whole.sort_unstable();
        whole.dedup();
        let words = self.allocate("first words", 4 * whole.len() as u64)?;
        let scopes =
            [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation].map(|what| self.device.push_error_scope(what));
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("touch") });
        for (i, buffer) in whole.into_iter().enumerate() {
            encoder.copy_buffer_to_buffer(buffer, 0, &words.whole, 4 * i as u64, 4);
        }
        self.queue.submit([encoder.finish()]);
        for scope in scopes.into_iter().rev() {
            if let Some(error) = scope.pop().await {
                return Err(GpuError::Device(error.to_string()));
            }
        }
        self.finish(&words).await
    }

    /// Reads a part of a buffer after everything submitted so far. Both ends are multiples of four.
    ///
    /// # Errors
    /// [`GpuError::Device`] when the device is lost.
    pub async fn read(&self, buffer: &Buffer, range: Range<u64>) -> Result<Vec<u8>, GpuError> {
        self.read_buffer(&buffer.whole, buffer.start + range.start..buffer.start + range.end).await
    }

    /// Waits until everything submitted so far is done.
    ///
    /// # Errors
    /// [`GpuError::Device`] when the device is lost.
    pub async fn finish(&self, any: &Buffer) -> Result<(), GpuError> {
        self.read(any, 0..4).await.map(|_| ())
    }
}

/// The result of a future that needs no waiting, if it is there.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}
