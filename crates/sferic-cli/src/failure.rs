//! Exit codes and the way errors are shown.

use crate::output::note;
use sferic_engine::{EngineError, TextError, WeightsError};
use sferic_train::TrainError;
use std::fmt;
use std::process::ExitCode;

/// The table of exit codes in every `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed while running: a device, a full disk, a training run that diverged; for `verify`, a value beyond its bound
  2    the command line was not understood, or an option holds a value out of range
  3    bad input: a model, a device, a prompt or a file that is missing, broken or does not fit
  130  cancelled with Ctrl-C";

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Done = 0,
    Failed = 1,
    Usage = 2,
    BadInput = 3,
    Cancelled = 130,
}

impl ExitStatus {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        status.code().into()
    }
}

/// An error of the command line itself, with the way it ends the program.
#[derive(Debug)]
pub struct Refusal {
    status: ExitStatus,
    message: String,
}

/// An error in what the user gave: a file, a prompt, a message.
pub fn bad_input(message: impl Into<String>) -> anyhow::Error {
    Refusal { status: ExitStatus::BadInput, message: message.into() }.into()
}

/// An error in how the program was called.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    Refusal { status: ExitStatus::Usage, message: message.into() }.into()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// Shows `error` on standard error and returns how the program ends.
///
/// A closed standard output is no error: the reader has seen enough.
pub fn report(error: &anyhow::Error) -> ExitStatus {
    if is_closed_pipe(error) {
        return ExitStatus::Done;
    }
    let mut lines = lines(error).into_iter();
    note(&format!("error: {}", lines.next().unwrap_or_default()));
    for cause in lines {
        note(&format!("  cause: {cause}"));
    }
    status_of(error)
}

/// The error and its causes, each once: some messages quote their cause.
pub fn lines(error: &anyhow::Error) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for cause in error.chain() {
        let line = cause.to_string().trim().replace('\n', " ");
        if !lines.iter().any(|seen| seen.contains(&line)) {
            lines.push(line);
        }
    }
    lines
}

/// Whether standard output was closed by its reader.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe))
}

/// How the program ends after `error`.
pub fn status_of(error: &anyhow::Error) -> ExitStatus {
    for cause in error.chain() {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return refusal.status;
        }
        if let Some(error) = cause.downcast_ref::<EngineError>() {
            return match error {
                EngineError::Device { .. } | EngineError::DeviceStart { .. } => ExitStatus::Failed,
                EngineError::InvalidSampling { .. } | EngineError::InvalidTrace { .. } | EngineError::ContextRange { .. } => {
                    ExitStatus::Usage
                }
                EngineError::Weights(WeightsError::Cancelled) => ExitStatus::Cancelled,
                EngineError::Weights(WeightsError::Io { reason, .. }) if is_out_of_room(reason.kind()) => ExitStatus::Failed,
                _ => ExitStatus::BadInput,
            };
        }
        if cause.is::<TextError>() {
            return ExitStatus::BadInput;
        }
        if let Some(error) = cause.downcast_ref::<TrainError>() {
            return match error {
                TrainError::Device { .. } | TrainError::Diverged { .. } | TrainError::Plot { .. } => ExitStatus::Failed,
                _ => ExitStatus::BadInput,
            };
        }
    }
    ExitStatus::Failed
}

/// Whether there was no room for more: no fault of what was given.
fn is_out_of_room(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, WriteZero};
    matches!(kind, StorageFull | QuotaExceeded | FileTooLarge | WriteZero)
}
