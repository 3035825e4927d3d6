//! Ctrl-C: the first one ends the reply, the second one the program.

use crate::failure::ExitStatus;
use crate::output::note;
use anyhow::{Context, Result};
use sferic_engine::CancelToken;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the next Ctrl-C does.
#[derive(Debug)]
enum OnInterrupt {
    /// Ends the program.
    Exit,
    /// Ends the reply.
    Cancel(CancelToken),
    /// Says how to leave; another one leaves.
    Warn,
}

static ON_INTERRUPT: Mutex<OnInterrupt> = Mutex::new(OnInterrupt::Exit);

/// Takes over Ctrl-C. Until something else is asked for it ends the program with its own exit code.
///
/// # Errors
/// When the system refuses the handler.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        let mut on_interrupt = lock();
        match &*on_interrupt {
            OnInterrupt::Exit => std::process::exit(ExitStatus::Cancelled.code().into()),
            OnInterrupt::Cancel(token) => {
                token.cancel();
                // A step that does not end must not keep the user here.
                *on_interrupt = OnInterrupt::Exit;
            }
            OnInterrupt::Warn => {
                note("\npress Ctrl-C again or type /exit to leave");
                *on_interrupt = OnInterrupt::Exit;
            }
        }
    })
    .context("cannot take over Ctrl-C")
}

/// While the guard lives, Ctrl-C ends the reply that `token` belongs to.
pub fn cancels(token: CancelToken) -> Guard {
    *lock() = OnInterrupt::Cancel(token);
    Guard
}

/// While the guard lives, the first Ctrl-C says how to leave.
pub fn warns() -> Guard {
    *lock() = OnInterrupt::Warn;
    Guard
}

/// Gives Ctrl-C back its first meaning, ending the program, when it is dropped.
pub struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        *lock() = OnInterrupt::Exit;
    }
}

fn lock() -> MutexGuard<'static, OnInterrupt> {
    ON_INTERRUPT.lock().unwrap_or_else(PoisonError::into_inner)
}
