//! The drawings of the report.
//!
//! A drawing is nothing where there is nothing to show.

mod canvas;
mod heat;
mod lines;
mod shares;

pub(super) use heat::grid;
pub(super) use lines::{likelihood, recall};
pub(super) use shares::tasks;

/// A drawing as SVG, nothing where there is nothing to show, or what the drawing library says.
type Drawing = Result<Option<String>, String>;

#[cfg(test)]
mod tests;
