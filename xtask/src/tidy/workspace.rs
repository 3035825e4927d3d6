//! The packages of the workspace, as cargo sees them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo_program;

/// The packages of the workspace.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    /// The member packages.
    pub packages: Vec<Package>,
}

/// One member package.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// Package name.
    pub name: String,
    /// Folder relative to the repository root.
    pub folder: String,
    /// Whether Cargo.toml has a description that is not empty.
    pub has_description: bool,
    /// Source file of the library target relative to the repository root, if there is a library.
    pub lib_source: Option<String>,
    /// Direct dependencies.
    pub dependencies: Vec<Dependency>,
}

/// One direct dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Package name of the dependency.
    pub name: String,
    /// Section it stands in.
    pub kind: DependencyKind,
}

/// The section of Cargo.toml that a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependencyKind {
    /// `[dependencies]`.
    Normal,
    /// `[dev-dependencies]`.
    Dev,
    /// `[build-dependencies]`.
    Build,
}

impl Workspace {
    /// Asks `cargo metadata`; needs no network and no downloaded package.
    pub fn read(root: &Path) -> Result<Self> {
        let output = Command::new(cargo_program())
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
            .current_dir(root)
            .output()
            .context("cargo could not be started")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Self::from_metadata(&serde_json::from_slice(&output.stdout).context("cargo metadata did not print JSON")?)
    }

    /// Returns the package of that name.
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    fn from_metadata(metadata: &Value) -> Result<Self> {
        let root = string(metadata, "workspace_root")?;
        let packages =
            array(metadata, "packages")?.iter().map(|package| Package::from_metadata(package, root)).collect::<Result<_>>()?;
        Ok(Self { packages })
    }
}

impl Package {
    /// Returns the path of Cargo.toml relative to the repository root.
    pub fn manifest(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }

    fn from_metadata(package: &Value, root: &str) -> Result<Self> {
        let manifest = relative(string(package, "manifest_path")?, root);
        let mut lib_source = None;
        for target in array(package, "targets")? {
            if array(target, "kind")?.iter().any(|kind| matches!(kind.as_str(), Some("lib" | "cdylib" | "rlib"))) {
                lib_source = Some(relative(string(target, "src_path")?, root));
            }
        }
        Ok(Self {
            name: string(package, "name")?.to_owned(),
            folder: manifest.trim_end_matches("Cargo.toml").trim_end_matches('/').to_owned(),
            has_description: package["description"].as_str().is_some_and(|text| !text.trim().is_empty()),
            lib_source,
            dependencies: array(package, "dependencies")?.iter().map(Dependency::from_metadata).collect::<Result<_>>()?,
        })
    }
}

impl Dependency {
    fn from_metadata(dependency: &Value) -> Result<Self> {
        let kind = match dependency["kind"].as_str() {
            None => DependencyKind::Normal,
            Some("dev") => DependencyKind::Dev,
            Some("build") => DependencyKind::Build,
            Some(other) => bail!("cargo metadata names an unknown kind of dependency: {other}"),
        };
        Ok(Self { name: string(dependency, "name")?.to_owned(), kind })
    }
}

fn relative(path: &str, root: &str) -> String {
    path.strip_prefix(root).unwrap_or(path).trim_start_matches(['/', '\\']).replace('\\', "/")
}

fn string<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("cargo metadata has no text `{key}`"))
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("cargo metadata has no list `{key}`"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn this_package_is_read_from_cargo() {
        let workspace = Workspace::read(&crate::repository_root()).unwrap();
        let package = workspace.package("xtask").unwrap();
        assert_eq!(package.manifest(), "xtask/Cargo.toml");
        assert_eq!(package.lib_source.as_deref(), Some("xtask/src/lib.rs"));
        assert!(package.has_description);
        assert!(package.dependencies.contains(&Dependency { name: "clap".to_owned(), kind: DependencyKind::Normal }));
    }
}
