//! The steps of a batch: their launches, their submission, and what is read of them.

use super::rows::{self, Buffers};
use super::{Ahead, Batch};
use crate::model::{Experts, Model, ModelError};
use crate::record::StepShape;
use crate::workspace::Ports;
use sferic_gpu::{Buffer, Device, GpuError, Graph, ReadBack, Task};
use sferic_shaders::sample::next_token::{NextToken, STATE_HEADER, Shape};
use std::sync::Arc;

/// Steps that are kept.
const MOST_STEPS: usize = 32;

/// What is on its way to the host.
pub(super) struct Reading {
    /// States of the draws or, where the host draws, logits; row by row.
    pub(super) rows: ReadBack,
    /// Experts, where they are read.
    pub(super) experts: Option<ReadBack>,
}

impl Batch {
    /// Submits the next step of every row.
    pub(super) async fn submit(&mut self) -> Result<Ahead, ModelError> {
        if self.n_strayed >= rows::MOST_STRAYED {
            self.n_strayed = 0;
            let free = self.rows.iter().enumerate().filter(|(_, row)| row.is_none());
            free.for_each(|(at, _)| self.buffers.clear(self.model.device(), at));
        }
        self.n_strayed += 1;
        loop {
            let shape = self.shape();
            let graph = self.recorded(shape).await?;
            let state = self.model.state();
            // Another sequence may have made the caches grow meanwhile.
            if state.caches.generation != self.generation {
                continue;
            }
            let mut read = self.model.device().submit(&[&graph], &self.parts(shape.rows)).into_iter();
            drop(state);
            let rows = read.next().ok_or_else(|| GpuError::Device("nothing comes back of a step".into()))?;
            let reading = Reading { rows, experts: read.next() };
            let ids = self.rows.iter_mut().map(|row| {
                let row = row.as_mut()?;
                row.n_under_way += 1;
                Some(row.id)
            });
            return Ok(Ahead { reading, ids: ids.collect() });
        }
    }

    /// What is read of a step of `n` rows, as in [`Reading`].
    fn parts(&self, n: usize) -> Vec<Buffer> {
        let Buffers { ports, state, .. } = &self.buffers;
        let rows = if self.host_draws {
            ports.logits.part(0..4 * n as u64 * u64::from(draw_shape(&self.model, n).stride))
        } else {
            state.part(0..4 * n as u64 * u64::from(STATE_HEADER))
        };
        let experts = self.model.experts_of_step(n).filter(|_| self.settings.experts);
        [rows].into_iter().chain(experts).collect()
    }

    /// Experts of each row of a step; nothing where they are not read.
    pub(super) async fn experts(&self, read: Option<ReadBack>, n: usize) -> Result<Vec<Experts>, ModelError> {
        let all = self.model.experts(read, n).await?;
        let n_active = self.model.architecture().experts.as_ref().map_or(1, |experts| experts.routing.n_active);
        let row = |at: usize| {
            let of_row = |experts: &Vec<i32>| experts.chunks(n_active).nth(at).unwrap_or_default().to_vec();
            all.iter().map(|(&layer_idx, experts)| (layer_idx, of_row(experts))).collect()
        };
        Ok((0..n).map(row).collect())
    }

    /// The step that is good for every row.
    fn shape(&self) -> StepShape {
        let end = self.rows.iter().flatten().map(|row| row.sequence.len() + row.n_under_way + 1).max();
        self.model.shape(end.unwrap_or(1), self.rows.len(), self.settings.dense)
    }

    async fn recorded(&mut self, shape: StepShape) -> Result<Arc<Graph>, ModelError> {
        let mut tasks: Vec<Task> = {
            let state = self.model.state();
            if state.caches.generation != self.generation || self.steps.len() >= MOST_STEPS {
                self.steps.clear();
                self.generation = state.caches.generation;
            }
            if let Some(known) = self.steps.get(&shape) {
                return Ok(known.clone());
            }
            let mut recorder = self.model.recorder(&state, &self.buffers.ports);
            recorder.step(shape)?;
            recorder.head(shape.rows)?;
            recorder.tasks
        };
        if !self.host_draws {
            tasks.extend(self.choice(shape.rows)?);
        }
        let graph = Arc::new(Graph::new(self.model.device(), &tasks).await?);
        self.steps.insert(shape, graph.clone());
        Ok(graph)
    }

    /// The draw of a token for each of the first `n` rows.
    pub(super) fn choice(&self, n: usize) -> Result<[Task; 2], ModelError> {
        let Buffers { ports, partials, state, more, .. } = &self.buffers;
        let Ports { logits, tokens, positions, .. } = ports;
        let capabilities = &self.model.device().capabilities;
        let spec = NextToken::best(capabilities, self.settings.bias.is_some());
        let [chunks, choice] = spec.launch(draw_shape(&self.model, n), self.settings.sampling, capabilities)?;
        let with_more = |buffers: &[&Buffer]| buffers.iter().copied().chain(more).cloned().collect::<Vec<_>>();
        Ok([
            Task { launch: chunks, buffers: with_more(&[logits, partials]) },
            Task { launch: choice, buffers: with_more(&[logits, partials, state, tokens, positions]) },
        ])
    }

    /// Seconds of each launch of the present step, by name; `None` where the adapter has no clock or nothing is computed. What is drawn
    /// afterwards means nothing.
    ///
    /// # Errors
    /// [`ModelError`] when the device is lost.
    pub async fn profile(&mut self) -> Result<Option<Vec<(String, f64)>>, ModelError> {
        if self.n_active() == 0 {
            return Ok(None);
        }
        let graph = self.recorded(self.shape()).await?;
        let device: &Device = self.model.device();
        let seconds = graph.profile(device).await?;
        Ok(seconds.map(|seconds| graph.names().map(str::to_owned).zip(seconds).collect()))
    }
}

/// The logits of `n` rows.
pub(super) fn draw_shape(model: &Model, n: usize) -> Shape {
    let v = model.architecture().vocab as u32;
    Shape { t: n as u32, v, stride: v.next_multiple_of(4), offset: 0, history: 0 }
}
