//! The programs of a model before its weights are there, so that they can be compiled meanwhile.

use crate::architecture::Architecture;
use crate::cache::LayerCache;
use crate::formats::Formats;
use crate::model::{ModelError, Settings};
use crate::pages::PAGE;
use crate::record::{FEW, FIRST_BUCKET, Recorder, StepShape, partial_sizes};
use crate::weights::ModelWeights;
use crate::workspace::Workspace;
use sferic_gpu::Device;
use sferic_shaders::kernel::Program;
use sferic_shaders::sample::next_token::{NextToken, Settings as Sampling, Shape};
use std::collections::HashSet;
use std::sync::Arc;

/// Returns the programs that a model of these sizes will ask for: decode at every size of the context, chunks of a prompt, and the draw of a
/// token. Short rests of prompts and penalties may need others.
///
/// # Errors
/// [`ModelError`] for sizes that the kernels do not take.
pub fn programs(
    device: &Device,
    architecture: &Architecture,
    formats: Formats,
    settings: &Settings,
) -> Result<Vec<Arc<Program>>, ModelError> {
    programs_of(&shapes(architecture, settings), device, architecture, formats, settings)
}

/// Returns those of [`programs`] that a short prompt and the draw after it ask for.
///
/// # Errors
/// [`ModelError`] for sizes that the kernels do not take.
pub fn first_programs(
    device: &Device,
    architecture: &Architecture,
    formats: Formats,
    settings: &Settings,
) -> Result<Vec<Arc<Program>>, ModelError> {
    programs_of(&[SHORT_PROMPT], device, architecture, formats, settings)
}

/// The step of a prompt of a sentence or two.
pub(crate) const SHORT_PROMPT: StepShape = StepShape { rows: 2 * FEW, bucket: FIRST_BUCKET, sparse: false };

fn programs_of(
    shapes: &[StepShape],
    device: &Device,
    architecture: &Architecture,
    formats: Formats,
    settings: &Settings,
) -> Result<Vec<Arc<Program>>, ModelError> {
    let partial = partial_sizes(architecture, settings.caches, settings.context, &device.capabilities);
    let weights = ModelWeights::outline(device, architecture, formats)?;
    let workspace = Workspace::outline(device, architecture, settings.context, settings.chunk, partial)?;
    let cache = LayerCache { latent: workspace.h.clone(), index: workspace.h.clone() };
    let caches = vec![cache; architecture.layers.len()];
    let ports = workspace.ports();
    let mut recorder = Recorder {
        architecture,
        weights: &weights,
        formats: settings.caches,
        hadamard: settings.hadamard,
        caches: &caches,
        workspace: &workspace,
        ports: &ports,
        device: &device.capabilities,
        tasks: Vec::new(),
    };
    for &shape in shapes {
        recorder.step(shape)?;
    }
    recorder.logits(0, 1)?;
    let mut programs: Vec<_> = recorder.tasks.iter().map(|task| task.launch.program.clone()).collect();
    let v = architecture.vocab as u32;
    let shape = Shape { t: 1, v, stride: v.next_multiple_of(4), offset: 0, history: 0 };
    let draw = NextToken::best(&device.capabilities, false).launch(shape, Sampling::GREEDY, &device.capabilities);
    programs.extend(draw.into_iter().flatten().map(|launch| launch.program));
    let mut seen = HashSet::new();
    programs.retain(|program| seen.insert(program.clone()));
    Ok(programs)
}

/// Steps whose programs are worth having early.
fn shapes(architecture: &Architecture, settings: &Settings) -> Vec<StepShape> {
    let longest = settings.context.next_multiple_of(PAGE);
    let top_k = architecture.indexer.as_ref().map(|indexer| indexer.top_k);
    let doubling = |first: usize, last: usize| {
        std::iter::successors(Some(first), |n| Some(2 * n)).take_while(move |&n| n < last).chain([last])
    };
    let mut shapes = Vec::new();
    for bucket in doubling(FIRST_BUCKET.min(longest), longest) {
        let sparse = top_k.is_some_and(|top_k| bucket > top_k);
        shapes.push(StepShape { rows: 1, bucket, sparse });
    }
    for rows in doubling((2 * FEW).min(settings.chunk), settings.chunk) {
        shapes.push(StepShape { rows, bucket: longest, sparse: false });
        shapes.push(StepShape { rows, bucket: longest, sparse: top_k.is_some_and(|top_k| longest > top_k) });
    }
    shapes
}
