//! `cargo xtask ablation`: runs of reinforcement learning with each stabiliser of GRPO off in turn, and their curves side by side.
//!
//! The settings are in `benches/ablation/`; what a run leaves stays in the work folder, so that a second call makes only what is missing.

mod curves;
mod plot;
mod table;
mod variant;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use curves::Curves;
use variant::{VARIANTS, Variant};

/// Folder of the settings, from the root of the repository.
const SETTINGS: &str = "benches/ablation";
/// The model that every run starts from, in the work folder.
const START: &str = "base/run/sft/model";

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The work folder.
    pub folder: PathBuf,
    /// The `sferic` program.
    pub program: PathBuf,
    /// Each variant runs once with every seed from 1 to this.
    pub n_seeds: u64,
    /// Lines of the settings to change in all runs, key and value.
    pub changes: Vec<(String, String)>,
}

/// The runs of one variant, a run for each seed.
#[derive(Debug)]
struct Runs {
    variant: &'static Variant,
    curves: Vec<Curves>,
}

/// Makes what is missing in the work folder, draws `grpo.svg` there, and prints the table.
///
/// # Errors
/// A message when the settings cannot be read, the model to start from cannot be made, or a run leaves no curve. A run that diverges is no error:
/// its curve ends early.
pub fn run(root: &Path, plan: &Plan) -> Result<()> {
    let settings = root.join(SETTINGS);
    start(&settings, plan)?;
    let text = read(&settings.join("grpo.toml"))?;
    let text = plan.changes.iter().try_fold(text, |text, (key, value)| variant::with(&text, key, value))?;
    // Seed by seed, so that a call that is cut short leaves whole comparisons.
    for seed in 1..=plan.n_seeds {
        for variant in VARIANTS {
            learn(&variant.settings(&text, seed)?, &plan.folder.join(variant.run(seed)), plan)?;
        }
    }
    let found = VARIANTS.iter().map(|variant| {
        let curves = (1..=plan.n_seeds).map(|seed| Curves::open(&plan.folder.join(variant.run(seed)).join("grpo/grpo.csv")));
        Ok(Runs { variant, curves: curves.collect::<Result<_>>()? })
    });
    let found: Vec<Runs> = found.collect::<Result<_>>()?;
    let path = plan.folder.join("grpo.svg");
    fs::write(&path, plot::draw(&found).map_err(anyhow::Error::msg)?)
        .with_context(|| format!("{} was not written", path.display()))?;
    println!("{}\ndrawn in {}", table::markdown(&found), path.display());
    Ok(())
}

/// Trains the model that every run starts from.
fn start(settings: &Path, plan: &Plan) -> Result<()> {
    if plan.folder.join(START).exists() {
        return Ok(());
    }
    let folder = plan.folder.join("base");
    fs::create_dir_all(&folder).with_context(|| format!("{} was not made", folder.display()))?;
    for name in ["base.toml", "config.json"] {
        fs::copy(settings.join(name), folder.join(name))
            .with_context(|| format!("{name} was not copied from {}", settings.display()))?;
    }
    for step in ["tokenizer", "data", "all"] {
        println!("== base: sferic train {step}");
        // The device counts for the last of them alone; the others do not know the option.
        let device: &[&str] = if step == "all" { &["--device", "cpu"] } else { &[] };
        let mut command = train(plan, &folder, step, "base.toml")?;
        if !command.args(device).status().context("the sferic program did not start")?.success() {
            bail!("sferic train {step} failed in {}", folder.display());
        }
    }
    Ok(())
}

/// Makes one run, unless it is there; its log gets its name when the run is over.
fn learn(settings: &str, folder: &Path, plan: &Plan) -> Result<()> {
    let (log, partial) = (folder.join("log.txt"), folder.join("log.txt.partial"));
    if log.exists() {
        return Ok(());
    }
    println!("== {}", folder.display());
    fs::create_dir_all(folder).with_context(|| format!("{} was not made", folder.display()))?;
    fs::write(folder.join("grpo.toml"), settings).with_context(|| format!("no file was written to {}", folder.display()))?;
    let output = File::create(&partial).with_context(|| format!("{} was not made", partial.display()))?;
    let errors = output.try_clone().context("the log has no second handle")?;
    let mut command = train(plan, folder, "grpo", "grpo.toml")?;
    command.args(["--device", "cpu"]).stdout(output).stderr(errors).stdin(Stdio::null());
    if !command.status().context("the sferic program did not start")?.success() {
        println!("   ended early, see {}", log.display());
    }
    fs::rename(&partial, &log).with_context(|| format!("{} was not renamed", partial.display()))
}

fn train(plan: &Plan, folder: &Path, step: &str, settings: &str) -> Result<Command> {
    let program = plan.program.canonicalize();
    let program =
        program.with_context(|| format!("{} is not there: build it with `cargo build --release`", plan.program.display()))?;
    let mut command = Command::new(program);
    command.args(["train", step, settings]).current_dir(folder);
    Ok(command)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))
}
