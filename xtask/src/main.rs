//! `cargo xtask`: see the README beside this file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{ablation, browser, repository_root, steps, tidy, web};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Automation of Sferic")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run everything that has to pass: formatting, tidy rules, lints, all tests.
    Test,
    /// Run the tidy rules alone and list what is getting long.
    Tidy,
    /// Run the kernel suites in headless Chromium, all of them or those whose folder contains a text.
    Browser {
        /// Part of a kernel folder.
        #[arg(default_value = "")]
        kernel: String,
    },
    /// Build the page and the npm package.
    Web {
        /// Run their tests in headless Chromium too.
        #[arg(long)]
        test: bool,
    },
    /// Run reinforcement learning with each stabiliser off in turn, draw the curves over each other and print a table.
    Ablation {
        /// Folder for what the runs leave; a second call makes what is missing there.
        folder: PathBuf,
        /// The `sferic` program, built for release.
        #[arg(long, default_value = "target/release/sferic")]
        program: PathBuf,
        /// Runs of each variant, with other tasks and draws.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
        seeds: u64,
        /// A line of benches/ablation/grpo.toml to change in all runs, as KEY=VALUE; the folder has to be another one then.
        #[arg(long, value_name = "KEY=VALUE", value_parser = change)]
        set: Vec<(String, String)>,
    },
}

fn main() -> Result<ExitCode> {
    let root = repository_root();
    let passed = match Arguments::parse().task {
        Task::Test => steps::run_all(&root)?,
        Task::Tidy => tidy::print_report(&root)?,
        Task::Web { test: true } => web::test(&root)?,
        Task::Web { test: false } => web::build(&root).map(|_| true)?,
        Task::Browser { kernel } => browser::run(&root, &kernel)?,
        Task::Ablation { folder, program, seeds, set } => {
            ablation::run(&root, &ablation::Plan { folder, program, n_seeds: seeds, changes: set }).map(|()| true)?
        }
    };
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn change(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("expected KEY=VALUE, found `{text}`"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
