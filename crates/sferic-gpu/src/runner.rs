//! Pipelines, buffers and clocks for cases.

use crate::store::Kept;
use crate::{Buffer, Device, GpuError, Sampling, Timing};
use sferic_shaders::kernel::{Access, Case, Dialect, Outputs, Program, Step};
use std::collections::HashMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// A program compiled for a device.
#[derive(Debug, Clone)]
pub struct Pipeline(pub(crate) wgpu::ComputePipeline);

/// Every program compiled so far.
pub(crate) type Pipelines = Arc<Mutex<HashMap<Arc<Program>, Pipeline>>>;

/// Programs whose compilation was begun and not waited for.
#[derive(Clone, Default)]
pub(crate) struct Begun(Arc<Mutex<HashMap<Arc<Program>, Compiling>>>);

/// The end of a compilation.
type Compiling = Pin<Box<dyn Future<Output = Result<Pipeline, GpuError>> + Send>>;

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

/// A case with its pipelines and buffers on the device.
pub struct Prepared<'a> {
    device: &'a Device,
    case: &'a Case,
    pipelines: Vec<Pipeline>,
    /// Copies of the buffers: one for a check, more for a benchmark that must not run out of the cache.
    sets: Vec<Set>,
}

struct Set {
    buffers: Vec<wgpu::Buffer>,
    groups: Vec<wgpu::BindGroup>,
}

impl Device {
    /// Compiles a program.
    ///
    /// # Errors
    /// [`GpuError::Compile`] with the compiler's message.
    pub async fn compile(&self, program: &Program) -> Result<Pipeline, GpuError> {
        self.start_compiling(program).await
    }

    /// Asks for a program, which a browser compiles in another process; the result says how that went.
    fn start_compiling(&self, program: &Program) -> impl Future<Output = Result<Pipeline, GpuError>> + Send + use<> {
        let dialect = if cfg!(target_arch = "wasm32") { Dialect::Browser } else { Dialect::Native };
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let source = wgpu::ShaderSource::Wgsl(program.source(dialect).into());
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(&program.name), source };
        let module = trusted(&self.device, descriptor);
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&program.name),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: self.kept.as_deref().map(Kept::cache),
        });
        let (internal, scope, name) = (internal.pop(), scope.pop(), program.name.clone());
        async move {
            let internal = internal.await;
            match scope.await.or(internal) {
                Some(error) => Err(GpuError::Compile { program: name, reason: error.to_string() }),
                None => Ok(Pipeline(pipeline)),
            }
        }
    }

    /// Begins to compile those of `programs` that are not compiled yet: a browser does so in another process, while the calling thread goes on.
    /// What fails says so when the program is asked for.
    pub fn compile_early(&self, programs: &[Arc<Program>]) {
        for program in programs.iter().filter(|program| !self.is_compiled(program)) {
            let mut begun = self.begun.0.lock().unwrap_or_else(PoisonError::into_inner);
            begun.entry(program.clone()).or_insert_with(|| Box::pin(self.start_compiling(program)));
        }
    }

    /// Whether a program is compiled.
    pub fn is_compiled(&self, program: &Arc<Program>) -> bool {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).contains_key(program)
    }

    /// Returns the compiled program, compiling it at most once for this device.
    ///
    /// # Errors
    /// [`GpuError::Compile`] with the compiler's message.
    pub async fn pipeline(&self, program: &Arc<Program>) -> Result<Pipeline, GpuError> {
        let known = |cache: &Pipelines| cache.lock().unwrap_or_else(PoisonError::into_inner).get(program).cloned();
        if let Some(pipeline) = known(&self.pipelines) {
            return Ok(pipeline);
        }
        let begun = self.begun.0.lock().unwrap_or_else(PoisonError::into_inner).remove(program);
        let pipeline = match begun {
            Some(compiling) => compiling.await?,
            None => self.compile(program).await?,
        };
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).insert(program.clone(), pipeline.clone());
        Ok(pipeline)
    }

    /// Returns the compiled programs in their order. Those that are not compiled yet are compiled several at a time, where there are threads.
    ///
    /// It blocks the calling thread meanwhile: where something else is to be done, give it a thread of its own, with a clone of the device.
    ///
    /// # Errors
    /// [`GpuError::Compile`] with the compiler's message.
    pub async fn pipelines(&self, programs: &[Arc<Program>]) -> Result<Vec<Pipeline>, GpuError> {
        #[cfg(not(target_arch = "wasm32"))]
        self.compile_together(programs)?;
        #[cfg(target_arch = "wasm32")]
        self.compile_early(programs);
        let mut found = Vec::with_capacity(programs.len());
        for program in programs {
            found.push(self.pipeline(program).await?);
        }
        if let Some(kept) = &self.kept {
            kept.save();
        }
        Ok(found)
    }

    /// Number of programs compiled so far.
    pub fn n_compiled(&self) -> usize {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for everything submitted so far.
    pub(crate) fn wait(&self) -> Result<(), GpuError> {
        self.wait_for(wgpu::PollType::wait_indefinitely())
    }

    fn wait_for(&self, what: wgpu::PollType) -> Result<(), GpuError> {
        // A browser waits by itself.
        self.device.poll(what).map(|_| ()).map_err(|error| GpuError::Device(error.to_string()))
    }

    /// Adds to `encoder` the copy of `part` to memory that the host can read.
    pub(crate) fn stage(&self, encoder: &mut wgpu::CommandEncoder, part: &Buffer) -> Staged {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: Some("staging"), size: part.size, usage, mapped_at_creation: false };
        let staging = self.device.create_buffer(&descriptor);
        encoder.copy_buffer_to_buffer(&part.whole, part.start, &staging, 0, part.size);
        Staged(staging)
    }

    pub(crate) async fn read_buffer(&self, buffer: &wgpu::Buffer, range: Range<u64>) -> Result<Vec<u8>, GpuError> {
        let part = Buffer { whole: buffer.clone(), start: range.start, size: range.end - range.start };
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let staged = self.stage(&mut encoder, &part);
        let submission = self.queue.submit([encoder.finish()]);
        ReadBack::start(staged, submission).bytes(self).await
    }
}

/// A copy that is part of a submission to come.
pub(crate) struct Staged(wgpu::Buffer);

/// A part of a buffer on its way to the host.
pub struct ReadBack {
    staging: wgpu::Buffer,
    mapped: Receiver,
    submission: wgpu::SubmissionIndex,
}

impl ReadBack {
    /// Asks for the copy, which is part of `submission`.
    pub(crate) fn start(Staged(staging): Staged, submission: wgpu::SubmissionIndex) -> Self {
        let (sender, mapped) = oneshot();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| sender.send(result));
        Self { staging, mapped, submission }
    }

    /// Waits for the bytes, and for nothing that was submitted after them.
    ///
    /// # Errors
    /// [`GpuError::Device`] when the device is lost.
    pub async fn bytes(self, device: &Device) -> Result<Vec<u8>, GpuError> {
        device.wait_for(wgpu::PollType::Wait { submission_index: Some(self.submission), timeout: None })?;
        self.mapped.await.map_err(|error| GpuError::Device(error.to_string()))?;
        let bytes = self.staging.slice(..).get_mapped_range().map_err(|error| GpuError::Device(error.to_string()))?.to_vec();
        self.staging.unmap();
        Ok(bytes)
    }
}

/// Bounds checks are off, as in every launch of a model: `launch` checks sizes, and the suites the indices.
#[allow(unsafe_code, reason = "wgpu has no other way to leave out bounds checks")]
fn trusted(device: &wgpu::Device, descriptor: wgpu::ShaderModuleDescriptor<'_>) -> wgpu::ShaderModule {
    // SAFETY: the obligation is that shaders stay inside their buffers and end. Their sizes are checked by each kernel's `launch`.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

impl<'a> Prepared<'a> {
    /// Compiles the programs and uploads one set of buffers.
    ///
    /// # Errors
    /// [`GpuError::Compile`], or [`GpuError::Device`] when the buffers do not fit.
    pub async fn new(device: &'a Device, case: &'a Case) -> Result<Self, GpuError> {
        let mut pipelines = Vec::with_capacity(case.steps.len());
        for step in &case.steps {
            pipelines.push(device.pipeline(&step.launch.program).await?);
        }
        let mut prepared = Self { device, case, pipelines, sets: Vec::new() };
        let contents = case.buffers.iter().map(|init| init.bytes()).collect::<Vec<_>>();
        prepared.add_set(&contents).await?;
        Ok(prepared)
    }

    /// Whether a step writes buffer `i`. All sets share such a buffer: runs that write to different ones could overlap, and then the time of
    /// many runs would be less than that of one, many times.
    fn is_written(&self, i: usize) -> bool {
        let writes = |step: &Step| {
            let bindings = step.launch.program.bindings.iter().zip(&step.buffers);
            bindings.into_iter().any(|(binding, &buffer)| buffer == i && binding.access == Access::Write)
        };
        self.case.steps.iter().any(writes)
    }

    async fn add_set(&mut self, contents: &[Vec<u8>]) -> Result<(), GpuError> {
        let scope = self.device.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        // Not `create_buffer_init`: it panics where memory is short or the device is lost.
        let create = |contents: &[u8]| {
            let size = contents.len() as u64;
            let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
            let buffer = self.device.device.create_buffer(&descriptor);
            self.device.queue.write_buffer(&buffer, 0, contents);
            buffer
        };
        let buffers: Vec<_> = contents
            .iter()
            .enumerate()
            .map(|(i, bytes)| match self.sets.first() {
                Some(first) if self.is_written(i) => first.buffers[i].clone(),
                _ => create(bytes),
            })
            .collect();
        let mut groups = Vec::with_capacity(self.case.steps.len());
        for (step, pipeline) in self.case.steps.iter().zip(&self.pipelines) {
            let params = (!step.launch.params.is_empty()).then(|| create(&step.launch.params));
            let bound = step.buffers.iter().map(|&i| &buffers[i]).chain(&params);
            let entries: Vec<_> = bound
                .enumerate()
                .map(|(i, buffer)| wgpu::BindGroupEntry { binding: i as u32, resource: buffer.as_entire_binding() })
                .collect();
            let layout = pipeline.0.get_bind_group_layout(0);
            let descriptor = wgpu::BindGroupDescriptor { label: Some(&self.case.name), layout: &layout, entries: &entries };
            groups.push(self.device.device.create_bind_group(&descriptor));
        }
        let validation = validation.pop().await;
        if let Some(error) = scope.pop().await.or(validation) {
            return Err(GpuError::Device(format!("{}: {error}", self.case.name)));
        }
        self.sets.push(Set { buffers, groups });
        Ok(())
    }

    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, set: &Set) {
        for ((step, pipeline), group) in self.case.steps.iter().zip(&self.pipelines).zip(&set.groups) {
            let [x, y, z] = step.launch.workgroups;
            pass.set_pipeline(&pipeline.0);
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(x, y, z);
        }
    }

    /// Runs the steps once and reads what the check asks for.
    ///
    /// # Errors
    /// [`GpuError::Device`] when the device refuses the work or is lost.
    pub async fn run(&self) -> Result<Outputs, GpuError> {
        let scope = self.device.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.encode(&mut pass, &self.sets[0]);
        drop(pass);
        self.device.queue.submit([encoder.finish()]);
        if let Some(error) = scope.pop().await {
            return Err(GpuError::Device(format!("{}: {error}", self.case.name)));
        }
        let mut outputs = Vec::with_capacity(self.case.buffers.len());
        for (i, buffer) in self.sets[0].buffers.iter().enumerate() {
            let wanted = self.case.reads.contains(&i);
            outputs.push(if wanted { self.device.read_buffer(buffer, 0..buffer.size()).await? } else { Vec::new() });
        }
        Ok(Outputs(outputs))
    }

    /// Times the steps: samples of enough runs each to fill 5 ms, over so many copies of what the steps only read that no run
    /// finds its inputs in a cache of `cache_bytes`. What they write is one buffer for all runs, as a model's scratch is.
    ///
    /// # Errors
    /// [`GpuError::Device`] when memory for the copies is short, or the device is lost.
    pub async fn time(&mut self, sampling: Sampling, cache_bytes: u64) -> Result<Timing, GpuError> {
        let read = self.sets[0].buffers.iter().enumerate().filter(|(i, _)| !self.is_written(*i));
        let bytes: u64 = read.map(|(_, buffer)| buffer.size()).sum();
        let copies = cache_bytes.div_ceil(bytes.max(1)).clamp(1, 64) as usize;
        if self.sets.len() < copies {
            let contents = self.case.buffers.iter().map(|init| init.bytes()).collect::<Vec<_>>();
            while self.sets.len() < copies {
                self.add_set(&contents).await?;
            }
        }
        let sets = &self.sets;
        self.device.clock(sampling, sets.len(), |pass, i| self.encode(pass, &sets[i])).await
    }
}

type Mapped = Result<(), wgpu::BufferAsyncError>;

/// A result that a callback brings later.
struct Sender(Arc<Mutex<Slot>>);

#[derive(Default)]
struct Slot {
    result: Option<Mapped>,
    waker: Option<std::task::Waker>,
}

impl Sender {
    fn send(self, result: Mapped) {
        if let Ok(mut slot) = self.0.lock() {
            slot.result = Some(result);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }
}

/// The other end.
struct Receiver(Arc<Mutex<Slot>>);

impl Future for Receiver {
    type Output = Mapped;

    fn poll(self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Mapped> {
        let Ok(mut slot) = self.0.lock() else { return std::task::Poll::Ready(Err(wgpu::BufferAsyncError)) };
        match slot.result.take() {
            Some(result) => std::task::Poll::Ready(result),
            None => {
                slot.waker = Some(context.waker().clone());
                std::task::Poll::Pending
            }
        }
    }
}

fn oneshot() -> (Sender, Receiver) {
    let slot = Arc::new(Mutex::new(Slot::default()));
    (Sender(slot.clone()), Receiver(slot))
}
