//! What the documents have to contain, and that what they name exists.

use super::mask::mask;
use super::{Finding, Tree, Workspace};

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const README: &str = "README.md";
/// How long a document may be, in lines.
const MAX_LINES: &[(&str, usize)] = &[(ARCHITECTURE, 300), ("CONTRIBUTING.md", 100)];
/// What stands before the name of the test that guards an invariant in ARCHITECTURE.md.
const GUARD: &str = "Guard: ";

/// Finds packages without a README or without a description.
pub fn crate_documents(tree: &Tree, workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let readme = format!("{}/{README}", package.folder);
        if tree.text(&readme).is_none_or(|text| text.trim().is_empty()) {
            findings.push(Finding::of_file(&readme, "missing or empty: say what the crate is for, and when it is the wrong one"));
        }
        if !package.has_description {
            findings.push(Finding::of_file(&package.manifest(), "no description"));
        }
    }
    findings
}

/// Finds libraries that allow a public item without documentation.
pub fn missing_docs_denied(tree: &Tree, workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for library in workspace.packages.iter().filter_map(|package| package.lib_source.as_deref()) {
        let code = tree.text(library).map(|text| mask(text).code).unwrap_or_default();
        if !code.contains("#![deny(missing_docs)]") && !code.contains("#![forbid(missing_docs)]") {
            findings.push(Finding::of_file(library, "write #![deny(missing_docs)] below the crate's documentation"));
        }
    }
    findings
}

/// Finds documents that have grown past their limit, and required ones that are missing.
pub fn document_lengths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, max_lines) in MAX_LINES {
        match tree.text(path) {
            None => findings.push(Finding::of_file(path, "missing")),
            Some(text) if text.lines().count() > *max_lines => {
                findings.push(Finding::of_file(path, format!("{} lines, more than {max_lines}", text.lines().count())));
            }
            Some(_) => {}
        }
    }
    findings
}

/// Finds packages that ARCHITECTURE.md does not name, names of packages there that do not exist, and guards that are no test.
pub fn architecture(tree: &Tree, workspace: &Workspace) -> Vec<Finding> {
    let Some(text) = tree.text(ARCHITECTURE) else {
        return vec![Finding::of_file(ARCHITECTURE, "missing")];
    };
    let mut findings = Vec::new();
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    for package in &workspace.packages {
        if !text.split(|letter: char| !is_name(letter)).any(|word| word == package.name) {
            findings.push(Finding::of_file(ARCHITECTURE, format!("does not name the package {}", package.name)));
        }
    }
    let tests = test_names(tree);
    for (line_idx, line) in text.lines().enumerate() {
        for word in line.split(|letter: char| !is_name(letter)).filter(|word| word.starts_with("sferic-")) {
            if workspace.package(word).is_none() {
                findings.push(Finding::at(
                    ARCHITECTURE,
                    line_idx + 1,
                    format!("names {word}, which is no package of the workspace"),
                ));
            }
        }
        for name in guards(line).filter(|name| !tests.iter().any(|test| test == name)) {
            findings.push(Finding::at(ARCHITECTURE, line_idx + 1, format!("names the guard {name}, which is no test")));
        }
    }
    findings
}

/// Returns the names in backticks behind the guard mark of a line.
fn guards(line: &str) -> impl Iterator<Item = &str> {
    let rest = line.split_once(GUARD).map_or("", |(_, rest)| rest);
    rest.split('`').skip(1).step_by(2)
}

/// Returns the names of all functions that stand right behind a `#[test]` attribute.
fn test_names(tree: &Tree) -> Vec<String> {
    let mut names = Vec::new();
    for (_, text) in tree.texts(&["rs"]) {
        let code = mask(text).code;
        for (start, attribute) in code.match_indices("#[test]") {
            let rest = &code[start + attribute.len()..];
            if let Some((_, rest)) = rest.split_once("fn ") {
                names.push(rest.chars().take_while(|&letter| letter.is_alphanumeric() || letter == '_').collect());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::Package;

    fn workspace() -> Workspace {
        let package = |name: &str, has_description| Package {
            name: name.to_owned(),
            folder: name.to_owned(),
            has_description,
            lib_source: Some(format!("{name}/src/lib.rs")),
            ..Package::default()
        };
        Workspace { packages: vec![package("sferic-a", true), package("sferic-b", false)] }
    }

    #[test]
    fn a_crate_without_readme_or_description_is_found() {
        let tree = Tree::from_texts(&[("sferic-a/README.md", "x"), ("sferic-b/README.md", " \n")]);
        let found: Vec<String> = crate_documents(&tree, &workspace()).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["sferic-b/README.md", "sferic-b/Cargo.toml"]);
    }

    #[test]
    fn a_library_that_allows_missing_docs_is_found() {
        let tree = Tree::from_texts(&[
            ("sferic-a/src/lib.rs", "//! A.\n#![deny(missing_docs)]\n"),
            ("sferic-b/src/lib.rs", "//! #![deny(missing_docs)]\n"),
        ]);
        let found: Vec<String> = missing_docs_denied(&tree, &workspace()).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["sferic-b/src/lib.rs"]);
    }

    #[test]
    fn a_long_document_is_found() {
        let long = "x\n".repeat(301);
        let tree = Tree::from_texts(&[(ARCHITECTURE, &long), ("CONTRIBUTING.md", "x\n")]);
        assert_eq!(document_lengths(&tree), [Finding::of_file(ARCHITECTURE, "301 lines, more than 300")]);
        assert_eq!(document_lengths(&Tree::default()).len(), 2);
    }

    #[test]
    fn names_in_the_architecture_have_to_exist() {
        let text = "`sferic-a` does it.\n`sferic-c` does not.\nIt holds. Guard: `real`, `unreal`.\n";
        let tree = Tree::from_texts(&[(ARCHITECTURE, text), ("a.rs", "#[test]\nfn real() {}\nfn unreal() {}\n")]);
        let found: Vec<String> = architecture(&tree, &workspace()).iter().map(Finding::to_string).collect();
        assert_eq!(
            found,
            [
                "ARCHITECTURE.md: does not name the package sferic-b",
                "ARCHITECTURE.md:2: names sferic-c, which is no package of the workspace",
                "ARCHITECTURE.md:3: names the guard unreal, which is no test",
            ]
        );
    }
}
