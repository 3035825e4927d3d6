//! Which package may depend on which.

use super::{DependencyKind, Finding, Package, Workspace};

/// Edges among our own packages, as the architecture draws them. A package that is not listed has to be added here first.
const EDGES: &[(&str, &[&str])] = &[
    ("sferic-shaders", &[]),
    ("sferic-gpu", &["sferic-shaders"]),
    ("sferic-lightning", &["sferic-gpu", "sferic-shaders"]),
    ("sferic-ops", &["sferic-shaders"]),
    ("sferic-model", &["sferic-ops"]),
    ("sferic-weights", &["sferic-shaders"]),
    ("sferic-text", &[]),
    ("sferic-tasks", &["sferic-text"]),
    ("sferic-engine", &["sferic-lightning", "sferic-model", "sferic-weights", "sferic-text"]),
    ("sferic-train", &["sferic-engine", "sferic-model", "sferic-weights", "sferic-text", "sferic-tasks"]),
    ("sferic-bench", &["sferic-engine", "sferic-gpu", "sferic-lightning", "sferic-shaders"]),
    ("sferic-server", &["sferic-engine"]),
    // The binary also carries `sferic train` and, when they exist, `sferic bench` and `sferic serve`.
    ("sferic-cli", &["sferic-engine", "sferic-train", "sferic-tasks", "sferic-bench", "sferic-server"]),
    ("sferic-web", &["sferic-bench", "sferic-engine", "sferic-gpu", "sferic-shaders"]),
    ("sferic-desktop", &["sferic-engine"]),
    ("sferic-testkit", &["sferic-engine", "sferic-model", "sferic-weights", "sferic-text"]),
];
/// Packages outside the product: they may depend on anything, and nothing may depend on them.
const FREE: &[&str] = &["sferic-tests", "xtask"];
/// The only package that may be a dev-dependency among ours.
const TEST_SUPPORT: &str = "sferic-testkit";

/// Names the crates of the graphics and compute layer begin with. Only these two packages may name them.
const GRAPHICS_CRATES: &[&str] = &["cubecl", "wgpu", "naga", "cudarc", "ash"];
const GRAPHICS_PACKAGES: [&str; 2] = ["sferic-ops", "sferic-gpu"];
/// Packages that stay free of Burn, so that they build anywhere in seconds.
const BURN_FREE: &[&str] = &[
    "sferic-shaders",
    "sferic-gpu",
    "sferic-lightning",
    "sferic-weights",
    "sferic-text",
    "sferic-tasks",
    "sferic-cli",
    "sferic-server",
    "sferic-web",
    "sferic-desktop",
    "xtask",
];
/// All that the model definition may be written with.
const MODEL_PACKAGE: &str = "sferic-model";
const MODEL_DEPENDENCIES: &[&str] = &["burn", "sferic-ops", "serde", "serde_json", "thiserror"];

/// Finds edges between our packages that the architecture does not have.
pub fn crate_edges(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        if FREE.contains(&package.name.as_str()) {
            continue;
        }
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
            findings.push(finding(
                package,
                format!("package {} has no place in the table of edges: add it there and to ARCHITECTURE.md", package.name),
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| workspace.package(&dependency.name).is_some()) {
            let is_test_support = dependency.kind == DependencyKind::Dev && dependency.name == TEST_SUPPORT;
            if !allowed.contains(&dependency.name.as_str()) && !is_test_support {
                let allowed = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
                findings.push(finding(package, format!("{} depends on {}; allowed: {allowed}", package.name, dependency.name)));
            }
        }
    }
    findings
}

/// Finds graphics crates outside their packages, Burn where it may not be, and foreign crates in the model definition.
pub fn graphics_crates(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if !GRAPHICS_PACKAGES.contains(&package.name.as_str())
                && is_graphics_crate(name)
                && dependency.kind != DependencyKind::Dev
            {
                findings.push(finding(
                    package,
                    format!("{} depends on {name}; only {} may", package.name, GRAPHICS_PACKAGES.join(" and ")),
                ));
            }
            if BURN_FREE.contains(&package.name.as_str()) && (name == "burn" || name.starts_with("burn-")) {
                findings.push(finding(package, format!("{} depends on {name}; it has to stay free of Burn", package.name)));
            }
            if package.name == MODEL_PACKAGE && dependency.kind != DependencyKind::Dev && !MODEL_DEPENDENCIES.contains(&name) {
                findings.push(finding(
                    package,
                    format!("{MODEL_PACKAGE} depends on {name}; allowed: {}", MODEL_DEPENDENCIES.join(", ")),
                ));
            }
        }
    }
    findings
}

fn is_graphics_crate(name: &str) -> bool {
    GRAPHICS_CRATES
        .iter()
        .any(|crate_name| name == *crate_name || name.strip_prefix(crate_name).is_some_and(|rest| rest.starts_with('-')))
}

fn finding(package: &Package, message: String) -> Finding {
    Finding::of_file(&package.manifest(), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::Dependency;

    fn package(name: &str, dependencies: &[(&str, DependencyKind)]) -> Package {
        let dependencies = dependencies.iter().map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: *kind }).collect();
        Package { name: name.to_owned(), folder: format!("crates/{name}"), dependencies, ..Package::default() }
    }

    fn messages(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.message.as_str()).collect()
    }

    #[test]
    fn an_edge_against_the_current_is_found() {
        use DependencyKind::{Dev, Normal};
        let workspace = Workspace {
            packages: vec![
                package("sferic-model", &[("sferic-ops", Normal), ("sferic-testkit", Dev), ("burn", Normal)]),
                package("sferic-ops", &[("sferic-model", Normal), ("sferic-engine", Dev)]),
                package("sferic-engine", &[("sferic-testkit", Normal)]),
                package("sferic-testkit", &[]),
                package("sferic-extra", &[]),
                package("xtask", &[("sferic-ops", Normal)]),
            ],
        };
        let found = crate_edges(&workspace);
        assert_eq!(
            messages(&found),
            [
                "sferic-ops depends on sferic-model; allowed: sferic-shaders",
                "sferic-ops depends on sferic-engine; allowed: sferic-shaders",
                "sferic-engine depends on sferic-testkit; allowed: sferic-lightning, sferic-model, sferic-weights, sferic-text",
                "package sferic-extra has no place in the table of edges: add it there and to ARCHITECTURE.md",
            ]
        );
        assert_eq!(found[0].path, "crates/sferic-ops/Cargo.toml");
    }

    #[test]
    fn graphics_crates_and_burn_are_kept_in_their_place() {
        use DependencyKind::{Dev, Normal};
        let workspace = Workspace {
            packages: vec![
                package("sferic-ops", &[("cubecl", Normal), ("wgpu", Normal), ("burn", Normal)]),
                package("sferic-engine", &[("cubecl-wgpu", Normal), ("burn", Normal), ("ashes", Normal)]),
                package("sferic-model", &[("burn", Normal), ("sferic-ops", Normal), ("rand", Normal), ("proptest", Dev)]),
                package("sferic-text", &[("burn-tensor", Dev)]),
            ],
        };
        assert_eq!(
            messages(&graphics_crates(&workspace)),
            [
                "sferic-engine depends on cubecl-wgpu; only sferic-ops and sferic-gpu may",
                "sferic-model depends on rand; allowed: burn, sferic-ops, serde, serde_json, thiserror",
                "sferic-text depends on burn-tensor; it has to stay free of Burn",
            ]
        );
    }
}
