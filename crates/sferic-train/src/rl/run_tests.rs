#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use sferic_weights::SafeFile;

use super::super::toy::{CONTEXT, config, engine_options, toy_folder};
use super::*;

/// One for a first token with an even id. Notes what was asked.
#[derive(Default)]
struct Even {
    asked: Vec<String>,
}

impl Rewarder for Even {
    fn rewards(&mut self, episodes: &[(&Asked, &Episode)]) -> Result<Vec<f64>, TrainError> {
        self.asked.extend(episodes.iter().map(|(asked, _)| asked.task.id.clone()));
        let first = |episode: &Episode| episode.tokens[episode.draws[0].position];
        Ok(episodes.iter().map(|(_, episode)| f64::from(u8::from(first(episode).is_multiple_of(2)))).collect())
    }
}

fn run_toy(config: &GrpoConfig, folder: &Path, options: RunOptions) -> Result<(Outcome, Vec<StepRow>), TrainError> {
    let (start, output) = (folder.join("start"), folder.join("run"));
    let job = Job { config, seed: 11, start: &start, output: &output };
    let (device, engine) = (Device::flex(), engine_options());
    let (mut rows, mut rewarder) = (Vec::new(), Even::default());
    let outcome = run_with(&job, &Place { device: &device, engine: &engine }, &options, &mut rewarder, &mut |event| {
        if let Event::Stepped(row) = event {
            rows.push(**row);
        }
    })?;
    // A group stands together, and no step asks what another has asked.
    let mut tasks: Vec<&String> = rewarder.asked.iter().step_by(config.group_size).collect();
    let n_asked = tasks.len();
    tasks.sort_unstable();
    tasks.dedup();
    assert_eq!((tasks.len(), n_asked), (rows.len() * config.prompts_per_step, rows.len() * config.prompts_per_step));
    Ok((outcome, rows))
}

/// A folder with a model to start from.
fn started(context: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    toy_folder(&folder.path().join("start"), context);
    folder
}

const MATH: &str = "thinking = 0.0\n[[tasks]]\ngenerators = [\"addition\"]\nlevels = [1]";

#[test]
fn what_is_rewarded_becomes_more_likely() {
    let folder = started(CONTEXT);
    let text = "prompts_per_step = 4\ngroup_size = 8\nmax_tokens = 1\nkl_weight = 0.0";
    let config = GrpoConfig { steps: 32, lr: 3e-3, ..config(&format!("{text}\n{MATH}")) };
    let (outcome, rows) = run_toy(&config, folder.path(), RunOptions::default()).unwrap();
    let mean = |rows: &[StepRow]| rows.iter().map(|row| row.reward).sum::<f64>() / rows.len() as f64;
    let (before, after) = (mean(&rows[..2]), mean(&rows[28..]));
    assert!(after > 0.85 && after > before + 0.2, "{before} {after}");
    let row = rows[0];
    assert!((row.length, row.n_tokens) == (1.0, 32) && row.entropy > 1.0 && row.domains[0] == row.reward, "{row:?}");
    let model = outcome.model.unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"] {
        assert!(model.join(file).exists(), "{file}");
    }
    for file in ["grpo.csv", "grpo.svg", "samples.txt"] {
        assert!(!std::fs::read(folder.path().join("run").join(file)).unwrap().is_empty(), "{file}");
    }
}

/// The curves without their timings.
fn curves(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("run/grpo.csv")).unwrap();
    text.lines().map(|line| line.rsplitn(3, ',').last().unwrap().to_owned()).collect()
}

#[test]
fn a_run_resumed_after_every_step_equals_the_uninterrupted_one() {
    let text =
        "prompts_per_step = 2\ngroup_size = 4\nmax_tokens = 5\ntop_p = 0.9\ntemperature = 0.9\nkl_weight = 0.01\npasses = 2";
    let config = config(&format!("{text}\n{MATH}"));
    let (whole, pieces) = (started(CONTEXT), started(CONTEXT));
    let model = run_toy(&config, whole.path(), RunOptions::default()).unwrap().0.model.unwrap();
    let mut n_calls = 0;
    let resumed = loop {
        n_calls += 1;
        let options = RunOptions { resume: true, stop_after: Some(Duration::ZERO), kernels: None };
        if let Some(model) = run_toy(&config, pieces.path(), options).unwrap().0.model {
            break model;
        }
    };
    assert_eq!(n_calls, 3);
    assert_eq!(curves(pieces.path()), curves(whole.path()));
    assert_eq!(curves(whole.path()).len(), 4);
    let weights = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(&model) == weights(&resumed), "the exported weights differ");
    // A run of other settings is not continued.
    let other = GrpoConfig { group_size: 2, ..config };
    let options = RunOptions { resume: true, ..RunOptions::default() };
    let error = run_toy(&other, pieces.path(), options).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
}

#[test]
fn a_prompt_that_does_not_fit_is_an_error() {
    let folder = started(64);
    let config = config("[[tasks]]\ndomain = \"agent\"");
    match run_toy(&config, folder.path(), RunOptions::default()) {
        Err(TrainError::PromptTooLong { context: 64, task, .. }) => assert!(task.starts_with("agent/"), "{task}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_diverging_run_stops_and_keeps_the_last_good_checkpoint() {
    let folder = started(CONTEXT);
    let text = "prompts_per_step = 2\ngroup_size = 4\nmax_tokens = 3\ncheckpoint_interval = 1";
    let config = config(&format!("{text}\n{MATH}"));
    run_toy(&config, folder.path(), RunOptions::default()).unwrap();
    let wild = GrpoConfig { steps: 20, lr: 1e30, ..config };
    let error = run_toy(&wild, folder.path(), RunOptions { resume: true, ..RunOptions::default() }).unwrap_err();
    let TrainError::Diverged { last_good_step, .. } = error else { panic!("{error}") };
    let newest = checkpoint::latest(&folder.path().join("run/checkpoints")).unwrap().unwrap();
    let state: State = checkpoint::read_json(&newest).unwrap();
    assert!(state.step == last_good_step && last_good_step >= 3, "{state:?}");
    let file = SafeFile::open(newest.join("model.safetensors")).unwrap();
    assert!(file.names().all(|name| file.f32(name).unwrap().iter().all(|value| value.is_finite())));
}

#[test]
fn specialists_start_from_one_model_and_finished_ones_are_left_alone() {
    let folder = started(CONTEXT);
    let text = "prompts_per_step = 1\ngroup_size = 2\nmax_tokens = 3\nkl_weight = 0.0";
    let grpo = GrpoConfig { steps: 1, ..config(&format!("{text}\n{MATH}")) };
    let list = ["one", "two"].map(|name| SpecialistConfig { name: name.to_owned(), sft: None, grpo: grpo.clone() });
    let (device, engine) = (Device::flex(), engine_options());
    let run = |resume: bool| {
        let mut started = Vec::new();
        let (start, output) = (folder.path().join("start"), folder.path().join("specialists"));
        let options = RunOptions { resume, ..RunOptions::default() };
        let place = Place { device: &device, engine: &engine };
        let models = specialists(&list, (1, &[start.clone(), start], &output), &place, &options, &mut |name, event| {
            if matches!(event, Event::Started { .. }) {
                started.push(name.to_owned());
            }
        });
        (models.unwrap(), started)
    };
    let (models, names) = run(false);
    assert_eq!(names, ["one", "two"]);
    assert!(models.iter().all(|model| model.join("model.safetensors").exists()) && models.len() == 2);
    std::fs::remove_dir_all(&models[1]).unwrap();
    assert_eq!(run(true).1, ["two"]);
}
