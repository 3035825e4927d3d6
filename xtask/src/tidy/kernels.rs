//! The kernel folders of `shaders/`: complete, and plain WGSL.

use std::collections::BTreeSet;

use super::mask::mask;
use super::{Finding, Tree};

const KERNELS: &str = "shaders/src/";
/// Fragments that several kernels append; they are no kernels.
const SHARED: &str = "shaders/src/shared/";
/// The parts of a kernel beside its WGSL file.
const PARTS: &[&str] = &["mod.rs", "oracle.rs", "tests.rs"];

/// Finds folders with WGSL that lack one of the four parts of a kernel: `<folder>.wgsl`, `mod.rs`, `oracle.rs`, `tests.rs`.
pub fn kernel_folders(tree: &Tree) -> Vec<Finding> {
    let folders: BTreeSet<&str> =
        kernel_files(tree).filter_map(|(path, _)| path.rsplit_once('/')).map(|(folder, _)| folder).collect();
    let mut findings = Vec::new();
    for folder in folders {
        let stem = folder.rsplit('/').next().unwrap_or(folder);
        let source = format!("{folder}/{stem}.wgsl");
        if !tree.contains(&source) {
            findings.push(Finding::of_file(&source, "missing: the kernel and its folder have one name"));
        }
        for part in PARTS.iter().map(|part| format!("{folder}/{part}")).filter(|part| !tree.contains(part)) {
            findings.push(Finding::of_file(&part, "missing: a kernel has four parts"));
        }
    }
    findings
}

/// Finds template marks in WGSL and bindings without a comment that gives shape and type.
pub fn kernel_sources(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts(&["wgsl"]) {
        let masked = mask(text);
        for (line_idx, (code, comment)) in masked.code.lines().zip(masked.comments.lines()).enumerate() {
            if ["{{", "}}", "#ifdef", "#import"].iter().any(|mark| code.contains(mark)) {
                findings.push(Finding::at(path, line_idx + 1, "a template mark: WGSL here is plain, specialise by the prelude"));
            }
            // The parameters are one struct, declared above them in the same file.
            if code.contains("@binding(") && !code.contains("> params: Params") && comment.trim().is_empty() {
                findings.push(Finding::at(path, line_idx + 1, "a binding without a comment: give its shape and type"));
            }
        }
    }
    findings
}

fn kernel_files(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.texts(&["wgsl"]).filter(|(path, _)| path.starts_with(KERNELS) && !path.starts_with(SHARED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_its_oracle_is_found() {
        let complete = ["norm.wgsl", "mod.rs", "oracle.rs", "tests.rs"].map(|part| format!("shaders/src/norm/{part}"));
        let mut texts: Vec<(&str, &str)> = complete.iter().map(|path| (path.as_str(), "")).collect();
        texts.push(("shaders/src/shared/reduce.wgsl", ""));
        assert_eq!(kernel_folders(&Tree::from_texts(&texts)), []);
        texts.remove(2);
        assert_eq!(
            kernel_folders(&Tree::from_texts(&texts)),
            [Finding::of_file("shaders/src/norm/oracle.rs", "missing: a kernel has four parts")]
        );
        texts[0].0 = "shaders/src/norm/other.wgsl";
        assert_eq!(kernel_folders(&Tree::from_texts(&texts)).len(), 2);
    }

    #[test]
    fn template_marks_and_bare_bindings_are_found() {
        let source = "@group(0) @binding(0) var<storage> x: array<f32>; // [T, D] f32\n@group(0) @binding(1) var<storage> y: array<f32>;\nconst A = {{ a }};\n// {{ }}\n";
        let lines: Vec<usize> =
            kernel_sources(&Tree::from_texts(&[("a.wgsl", source)])).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 3]);
    }
}
