//! How dependencies are written down.

use super::{Finding, Tree};

const ROOT_MANIFEST: &str = "Cargo.toml";

/// Finds entries of `[workspace.dependencies]` without a reason: a comment above the group (lines between two blank ones) or behind the entry.
/// Also finds versions that come from a repository or a branch instead of the registry.
pub fn workspace_dependencies(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text(ROOT_MANIFEST) else {
        return vec![Finding::of_file(ROOT_MANIFEST, "missing")];
    };
    let mut findings = Vec::new();
    let mut section = String::new();
    let mut has_reason = false;
    for (line_idx, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line.to_owned();
            has_reason = false;
        } else if line.is_empty() {
            has_reason = false;
        } else if line.starts_with('#') {
            has_reason = true;
        } else if section == "[workspace.dependencies]" {
            let name = line.split(['=', ' ', '.']).next().unwrap_or(line);
            if !has_reason && !line.contains(" # ") {
                findings.push(Finding::at(
                    ROOT_MANIFEST,
                    line_idx + 1,
                    format!("{name} has no reason: write a comment above its group"),
                ));
            }
            if ["git =", "git=", "branch =", "branch="].iter().any(|key| line.contains(key)) {
                findings.push(Finding::at(ROOT_MANIFEST, line_idx + 1, format!("{name} does not come from the registry")));
            }
        }
    }
    findings
}

/// Finds dependencies of a member package that do not take their version from `[workspace.dependencies]`.
pub fn member_dependencies(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts(&["toml"]).filter(|(path, _)| path.ends_with("/Cargo.toml")) {
        let mut in_dependencies = false;
        for (line_idx, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(section) = line.strip_prefix('[') {
                in_dependencies = section.trim_end_matches(']').ends_with("dependencies");
            } else if in_dependencies
                && !line.is_empty()
                && !line.starts_with('#')
                && line.contains('=')
                && !line.contains("workspace = true")
            {
                findings.push(Finding::at(
                    path,
                    line_idx + 1,
                    "write `workspace = true` and put version and reason into the root Cargo.toml",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let text = "[workspace.dependencies]\n# Because.\na = \"1\"\nb = { version = \"1\" }\n\nc = \"1\"\nd = \"1\" # for e\n\n# No.\nf = { git = \"x\" }\n[profile.release]\ndebug = false\n";
        let found: Vec<String> =
            workspace_dependencies(&Tree::from_texts(&[(ROOT_MANIFEST, text)])).iter().map(Finding::to_string).collect();
        assert_eq!(
            found,
            [
                "Cargo.toml:6: c has no reason: write a comment above its group",
                "Cargo.toml:10: f does not come from the registry"
            ]
        );
    }

    #[test]
    fn a_version_in_a_member_is_found() {
        let text = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\nc = { workspace = true, features = [\"d\"] }\ne = \"1\"\n[dev-dependencies]\nf = \"2\"\n[features]\ng = []\n";
        let lines: Vec<usize> =
            member_dependencies(&Tree::from_texts(&[("x/Cargo.toml", text)])).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [6, 8]);
    }
}
