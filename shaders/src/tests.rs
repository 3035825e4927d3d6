//! The registry against the folders, and the comparison that the tests of all operations use.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::{collections::BTreeSet, fs, path::Path};

/// Asserts that two lists agree to `bound`, element by element.
#[track_caller]
pub(crate) fn assert_close(found: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len(), "lengths");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= bound, "element {i}: expected {expected}, found {found}");
    }
}

#[test]
fn the_registry_lists_every_folder_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
        let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    let mut found = BTreeSet::new();
    for family in folders(&root).into_iter().filter(|family| !["kernel", "shared"].contains(&family.as_str())) {
        for op in folders(&root.join(&family)) {
            let folder = root.join(&family).join(&op);
            for part in ["mod.rs", "oracle.rs", "tests.rs"] {
                assert!(folder.join(part).is_file(), "{family}/{op} has no {part}");
            }
            found.insert(format!("{family}/{op}"));
        }
    }
    let listed: BTreeSet<String> = super::OPERATIONS.iter().map(ToString::to_string).collect();
    assert_eq!(listed, found);
    assert_eq!(listed.len(), super::OPERATIONS.len());
}

#[test]
fn every_wgsl_file_has_a_suite() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for op in super::OPERATIONS {
        let (_, stem) = op.split_once('/').unwrap();
        let has_wgsl = root.join(op).join(format!("{stem}.wgsl")).is_file();
        let has_suite = super::suites::SUITES.iter().any(|suite| suite.kernel == *op);
        assert_eq!(has_wgsl, has_suite, "{op}");
    }
}
