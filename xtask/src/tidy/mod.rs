//! The tidy rules: what the layout, the manifests, the source text and the documents have to look like.
//!
//! Each rule takes the tracked files ([`Tree`]) or cargo's metadata ([`Workspace`]) and returns its [`Finding`]s. A rule that can only be
//! checked by reading is not here; see CONTRIBUTING.md.

mod assets;
mod commits;
mod documents;
mod edges;
mod features;
mod kernels;
mod length;
mod manifests;
mod mask;
mod text;
mod tree;
mod workspace;

use std::fmt;
use std::path::Path;

use anyhow::Result;

pub use assets::{MAX_ASSETS_BYTES, asset_sizes};
pub use commits::{Subject, commit_subjects};
pub use documents::{architecture, crate_documents, document_lengths, missing_docs_denied};
pub use edges::{crate_edges, graphics_crates};
pub use features::one_feature_set;
pub use kernels::{kernel_folders, kernel_sources};
pub use length::{getting_long, lengths};
pub use manifests::{member_dependencies, workspace_dependencies};
pub use text::{conflict_marks, machine_paths, prints_in_libraries, unfinished_marks, whitespace};
pub use tree::{File, Tree};
pub use workspace::{Dependency, DependencyKind, Package, Workspace};

/// One place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path relative to the repository root, `/` between folders.
    pub path: String,
    /// Line, counted from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Finding {
    /// Makes a finding at a line counted from 1.
    pub fn at(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }

    /// Makes a finding about a whole file.
    pub fn of_file(path: &str, message: impl Into<String>) -> Self {
        Self::at(path, 0, message)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.message),
            line => write!(formatter, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Runs every rule, prints the findings and the list of long files; returns whether there was no finding.
pub fn print_report(root: &Path) -> Result<bool> {
    let tree = Tree::read(root)?;
    let workspace = Workspace::read(root)?;
    let mut findings = Vec::new();
    for rule in [
        lengths,
        whitespace,
        unfinished_marks,
        machine_paths,
        conflict_marks,
        kernel_folders,
        kernel_sources,
        asset_sizes,
        document_lengths,
        workspace_dependencies,
        member_dependencies,
    ] {
        findings.extend(rule(&tree));
    }
    for rule in [prints_in_libraries, crate_documents, missing_docs_denied, architecture] {
        findings.extend(rule(&tree, &workspace));
    }
    for rule in [crate_edges, graphics_crates] {
        findings.extend(rule(&workspace));
    }
    findings.extend(one_feature_set(root)?);
    match Subject::read(root) {
        Some(subjects) => findings.extend(commit_subjects(&subjects)),
        None => println!("commit subjects: skipped, no git history here"),
    }
    for finding in &findings {
        println!("{finding}");
    }
    for note in getting_long(&tree) {
        println!("note: {note}");
    }
    println!("{} findings in {} files", findings.len(), tree.files.len());
    Ok(findings.is_empty())
}
