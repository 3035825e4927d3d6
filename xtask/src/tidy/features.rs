//! One set of features for every dependency, whatever part of the workspace is built.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Finding;
use crate::cargo_program;

/// Finds dependencies that `cargo run` and the tests build with different features: each would be compiled twice, Burn for ten minutes.
pub fn one_feature_set(root: &Path) -> Result<Vec<Finding>> {
    let product = resolved_features(root, &["--edges", "normal,build"])?;
    let everything = resolved_features(root, &["--workspace", "--edges", "all"])?;
    Ok(different_features(&product, &everything))
}

/// Returns one line for each package: name, version and features.
fn resolved_features(root: &Path, selection: &[&str]) -> Result<BTreeSet<String>> {
    let output = Command::new(cargo_program())
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p} [{f}]"])
        .args(selection)
        .current_dir(root)
        .output()
        .context("cargo could not be started")?;
    if !output.status.success() {
        bail!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    // A package that was listed before carries a mark instead of its dependencies.
    let listing = String::from_utf8_lossy(&output.stdout);
    Ok(listing.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect())
}

fn different_features(product: &BTreeSet<String>, everything: &BTreeSet<String>) -> Vec<Finding> {
    let message =
        |line: &String| format!("the product builds {line}, the tests build it otherwise: ask for the same features in both");
    product.difference(everything).map(|line| Finding::of_file("Cargo.toml", message(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_that_only_the_tests_ask_for_is_found() {
        let set = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<BTreeSet<_>>();
        let product = set(&["a v1 [std]", "b v1 []"]);
        assert_eq!(different_features(&product, &set(&["a v1 [std]", "b v1 []", "c v1 []"])), []);
        let found = different_features(&product, &set(&["a v1 [simd,std]", "b v1 []"]));
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("a v1 [std]"));
    }
}
