//! Automation of Sferic: the steps of `cargo xtask test`, the tidy rules, and the comparison of runs of reinforcement learning.
//!
//! The rules are in [`tidy`]; `tests/tidy.rs` runs each of them as one test, so that `cargo test --workspace` guards them without this
//! program. [`steps`] is the test command of the README.
#![deny(missing_docs)]

pub mod ablation;
pub mod browser;
pub mod steps;
pub mod tidy;
pub mod web;

use std::ffi::OsString;
use std::path::PathBuf;

/// Returns the root of the repository: the folder above this crate.
pub fn repository_root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// Returns the cargo that runs us, or the one on the path.
pub fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}
