//! Tasks as lines of JSON.

use std::io::{BufRead, Write};

use crate::error::{Result, TaskError};
use crate::task::Task;

/// Writes tasks, one on a line, and returns how many there were. Files are opened by the caller.
///
/// # Errors
/// [`TaskError::Stream`], and the first error among the tasks.
pub fn write_tasks(mut out: impl Write, tasks: impl IntoIterator<Item = Result<Task>>) -> Result<usize> {
    let mut n_tasks = 0;
    for task in tasks {
        serde_json::to_writer(&mut out, &task?).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
        n_tasks += 1;
    }
    out.flush()?;
    Ok(n_tasks)
}

/// Reads tasks that [`write_tasks`] wrote; empty lines are skipped.
///
/// # Errors
/// [`TaskError::Stream`] and [`TaskError::Line`].
pub fn read_tasks(input: impl BufRead) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for (line_idx, line) in input.lines().enumerate() {
        let line = line?;
        if !line.trim().is_empty() {
            tasks.push(serde_json::from_str(&line).map_err(|source| TaskError::Line { line: line_idx + 1, source })?);
        }
    }
    Ok(tasks)
}
