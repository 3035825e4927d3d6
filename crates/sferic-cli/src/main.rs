//! The `sferic` program: arguments, terminal and exit codes around the engine and the training stages.
//!
//! Nothing touches a device or a model before the arguments are parsed, so that `--help` is instant.

mod cli;
mod commands;
mod embedded;
mod failure;
mod interrupt;
mod load;
mod output;
mod progress;
mod reply;
mod text;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use cli::{Cli, Command};
use failure::ExitStatus;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to complain about help that nobody reads.
            let _ = error.print();
            let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if is_help { ExitStatus::Done } else { ExitStatus::Usage }.into();
        }
    };
    disable_device_select_layer();
    silence_panics();
    match std::panic::catch_unwind(|| run(cli)) {
        Ok(Ok(status)) => status.into(),
        Ok(Err(error)) => failure::report(&error).into(),
        Err(_) => {
            let panic = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
            output::note(&format!(
                "error: internal error: {panic}\nthis is a defect of sferic, please report it with this message"
            ));
            ExitStatus::Failed.into()
        }
    }
}

/// Turns Mesa's device-select layer off where there is no desktop session.
///
/// There it prints an error of the window system at every look at the adapters. It only puts adapters in a user's preferred order,
/// and Sferic chooses them by kind.
#[expect(unsafe_code, reason = "the layer is switched by an environment variable alone")]
fn disable_device_select_layer() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: nothing has started a thread yet that could read the environment at the same time.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

fn parse() -> Result<Cli, clap::Error> {
    // The chat's options work without its name as well; the list of commands stays readable without them.
    let command = Cli::command().mut_args(|arg| arg.hide(true));
    let matches = command.try_get_matches()?;
    Cli::from_arg_matches(&matches)
}

fn run(cli: Cli) -> anyhow::Result<ExitStatus> {
    match cli.command {
        None => commands::chat::run(None, cli.chat),
        Some(Command::Chat(args)) => commands::chat::run(args.model.into_folder(), args.options),
        Some(Command::Generate(args)) => commands::generate::run(args),
        Some(Command::Info(args)) => commands::info::run(&args),
        Some(Command::Devices(args)) => commands::devices::run(&args),
        Some(Command::Trace(args)) => commands::trace::run(&args),
        Some(Command::Verify(args)) => commands::verify::run(&args),
        Some(Command::Convert(args)) => commands::convert::run(args),
        Some(Command::Compare(args)) => commands::compare::run(args),
        Some(Command::Xray(args)) => commands::xray::run(&args),
        Some(Command::Bench(args)) => commands::bench::run(&args),
        Some(Command::Prompt(args)) => commands::prompt::run(&args),
        Some(Command::Train(args)) => commands::train::run(args.stage),
    }
}

/// What the last panic said.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Keeps panics of dependencies for the one error line at the end; developers who ask for a backtrace get it.
fn silence_panics() {
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.to_string().replace('\n', " "));
    }));
}
