//! Resumable checkpoints: a folder per step that appears whole or not at all.
//!
//! A checkpoint folder is also a model folder with f32 weights, so that every tool can open it.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sferic_model::Model;
use sferic_weights::{Dtype, write_atomic};

use crate::TrainError;
use crate::config::{RunConfig, Stage, StageConfig};
use crate::export::write_model;
use crate::optimizer::Optimizer;

/// Version of [`State`].
const VERSION: u32 = 1;
/// File of the optimiser's moments.
const OPTIMIZER: &str = "optimizer.safetensors";
/// File of [`State`].
const STATE: &str = "state.json";

/// What a run needs besides weights and moments. Data order and samples follow from seed and step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Format version.
    pub version: u32,
    /// Completed steps.
    pub step: usize,
    /// Lowest mean loss of a log interval so far, in nats.
    pub best_loss: f64,
    /// The run's seed.
    pub seed: u64,
    /// Tokens per row.
    pub seq_len: usize,
    /// Rows per step.
    pub rows_per_step: usize,
}

impl State {
    /// Returns the state of a stage after `step` steps.
    pub fn new(seed: u64, config: &StageConfig, step: usize, best_loss: f64) -> Self {
        let (seq_len, rows_per_step) = (config.seq_len, config.rows_per_step());
        Self { version: VERSION, step, best_loss, seed, seq_len, rows_per_step }
    }

    /// Checks that the stage may continue from here with the settings of `run`.
    fn check(&self, run: &RunConfig, stage: Stage, path: &Path) -> Result<(), TrainError> {
        let expected = Self::new(run.seed, run.stage(stage)?, self.step, self.best_loss);
        let seq_len = format!("{}.seq_len", stage.name());
        let pairs = [
            ("version", u64::from(expected.version), u64::from(self.version)),
            ("seed", expected.seed, self.seed),
            (seq_len.as_str(), expected.seq_len as u64, self.seq_len as u64),
            ("rows per step", expected.rows_per_step as u64, self.rows_per_step as u64),
        ];
        for (what, expected, found) in pairs {
            if expected != found {
                return Err(TrainError::Checkpoint {
                    what: what.to_owned(),
                    expected: expected.to_string(),
                    found: found.to_string(),
                    path: path.to_path_buf(),
                });
            }
        }
        Ok(())
    }
}

/// Writes a checkpoint into `root`, then removes all but the newest `keep`.
///
/// The files go into a folder with a temporary name, each flushed to the disk, and the folder is renamed at the end.
///
/// # Errors
/// [`TrainError::Io`], [`TrainError::Weights`] or [`TrainError::Device`]; older checkpoints stay.
pub fn save(root: &Path, model: &Model, optimizer: &Optimizer, state: &State, keep: usize) -> Result<PathBuf, TrainError> {
    save_as(root, model, optimizer, (state.step, state), keep)
}

/// As [`save`] with a state of another kind, after so many steps.
pub(crate) fn save_as(
    root: &Path,
    model: &Model,
    optimizer: &Optimizer,
    (step, state): (usize, &impl Serialize),
    keep: usize,
) -> Result<PathBuf, TrainError> {
    let path = root.join(folder_name(step));
    let temporary = root.join(format!(".{}.tmp", folder_name(step)));
    for folder in [&temporary, &path] {
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(TrainError::io("remove an old checkpoint", folder))?;
        }
    }
    write_model(model, Dtype::F32, &temporary)?;
    optimizer.save(step, &temporary.join(OPTIMIZER))?;
    let json = serde_json::to_string_pretty(state).unwrap_or_default();
    write_atomic(temporary.join(STATE), json.as_bytes())?;
    std::fs::rename(&temporary, &path).map_err(TrainError::io("rename the checkpoint to", &path))?;
    // The new name must be on the disk before an older checkpoint goes.
    let sync = std::fs::File::open(root).and_then(|folder| folder.sync_all());
    if cfg!(unix) {
        sync.map_err(TrainError::io("write the checkpoint's folder", root))?;
    }
    let steps = list(root)?;
    for step in &steps[..steps.len().saturating_sub(keep)] {
        let old = root.join(folder_name(*step));
        std::fs::remove_dir_all(&old).map_err(TrainError::io("remove an old checkpoint", &old))?;
    }
    Ok(path)
}

/// Returns the newest checkpoint in `root`, if there is one.
///
/// # Errors
/// [`TrainError::Io`] when the folder cannot be listed.
pub fn latest(root: &Path) -> Result<Option<PathBuf>, TrainError> {
    Ok(list(root)?.last().map(|step| root.join(folder_name(*step))))
}

/// Reads the state of the checkpoint at `path` and checks that the stage may continue from it.
///
/// # Errors
/// [`TrainError::Io`] when it cannot be read, [`TrainError::Checkpoint`] when it is damaged or of another run.
pub fn read_state(path: &Path, run: &RunConfig, stage: Stage) -> Result<State, TrainError> {
    let state: State = read_json(path)?;
    state.check(run, stage, path)?;
    Ok(state)
}

/// Reads a state of any kind from the checkpoint at `path`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, TrainError> {
    let file = path.join(STATE);
    let text = std::fs::read_to_string(&file).map_err(TrainError::io("read the checkpoint's state", &file))?;
    serde_json::from_str(&text).map_err(|error| TrainError::Checkpoint {
        what: STATE.to_owned(),
        expected: format!("JSON of version {VERSION}"),
        found: error.to_string(),
        path: path.to_path_buf(),
    })
}

/// Restores the optimiser of the checkpoint at `path`.
///
/// # Errors
/// As [`Optimizer::load`].
pub fn read_optimizer(path: &Path, model: &Model, optimizer: &mut Optimizer) -> Result<(), TrainError> {
    optimizer.load(model, &path.join(OPTIMIZER))
}

fn folder_name(step: usize) -> String {
    format!("step-{step:08}")
}

/// Returns the steps of all complete checkpoints, ascending.
fn list(root: &Path) -> Result<Vec<usize>, TrainError> {
    if !root.exists() {
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(root).map_err(TrainError::io("list the checkpoints", root))? {
        let name = entry.map_err(TrainError::io("list the checkpoints", root))?.file_name();
        steps.extend(name.to_str().and_then(|name| name.strip_prefix("step-")).and_then(|step| step.parse::<usize>().ok()));
    }
    steps.sort_unstable();
    Ok(steps)
}
