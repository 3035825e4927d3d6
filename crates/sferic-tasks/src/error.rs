//! The crate's one error type.

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, TaskError>;

/// What can go wrong with tasks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// Occurs when no generator has the name.
    #[error("no generator is called `{name}`; expected one of {known}")]
    UnknownGenerator {
        /// The name that was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// Occurs when a generator has no such level.
    #[error("generator `{name}` has the levels 1 to {n_levels}, not {level}")]
    UnknownLevel {
        /// The generator.
        name: &'static str,
        /// Its highest level.
        n_levels: u8,
        /// What was asked for.
        level: u8,
    },
    /// Occurs when a stream of tasks cannot be read or written.
    #[error("the stream of tasks broke off: {0}")]
    Stream(#[from] std::io::Error),
    /// Occurs when a line of a file of tasks is no task.
    #[error("line {line} is no task ({source}); write the file again")]
    Line {
        /// The line, counted from 1.
        line: usize,
        /// What the parser stumbled over.
        source: serde_json::Error,
    },
    /// Occurs when an environment is asked for a task that has no tools.
    #[error("task `{id}` has no tools; expected one of the domain `agent`")]
    NoTools {
        /// The task.
        id: String,
    },
}
