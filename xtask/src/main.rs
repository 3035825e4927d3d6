//! `cargo xtask`: see the README beside this file.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{browser, repository_root, steps, tidy};

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
}

fn main() -> Result<ExitCode> {
    let root = repository_root();
    let passed = match Arguments::parse().task {
        Task::Test => steps::run_all(&root)?,
        Task::Tidy => tidy::print_report(&root)?,
        Task::Browser { kernel } => browser::run(&root, &kernel)?,
    };
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
