//! Progress bars: on a terminal, once something has taken a moment.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// What is over before this needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// A sign of life on a terminal, for work that does not say how far it is. It goes when it is dropped.
pub struct Spinner(Option<ProgressBar>);

impl Spinner {
    /// Says what is being done.
    pub fn new(message: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_message(message);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// A bar on standard error that appears when the work takes longer than a moment, and goes when it is dropped.
pub struct Progress {
    template: &'static str,
    message: String,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar that counts bytes.
    pub fn bytes(message: impl Into<String>) -> Self {
        Self::new("{msg} {wide_bar} {bytes}/{total_bytes} {eta}", message.into())
    }

    /// A bar that counts things.
    pub fn count(message: impl Into<String>) -> Self {
        Self::new("{msg} {wide_bar} {pos}/{len} {eta}", message.into())
    }

    fn new(template: &'static str, message: String) -> Self {
        Self { template, message, started: Instant::now(), bar: None }
    }

    /// Shows that `done` of `total` is done.
    pub fn show(&mut self, done: u64, total: u64) {
        if !std::io::stderr().is_terminal() || (self.bar.is_none() && self.started.elapsed() < PATIENCE) {
            return;
        }
        let (template, message) = (self.template, &self.message);
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_message(message.clone())
        });
        bar.set_length(total);
        bar.set_position(done);
    }

    /// Changes the text before the bar.
    pub fn set_message(&mut self, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.clone());
        }
        self.message = message;
    }

    /// Writes a line above the bar.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| crate::output::note(line)),
            None => crate::output::note(line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
