//! The tidy rules, one test for each. `cargo xtask tidy` prints the same findings for all of them at once.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use xtask::repository_root;
use xtask::tidy::{self, Finding, Subject, Tree, Workspace};

static TREE: LazyLock<Tree> = LazyLock::new(|| Tree::read(&repository_root()).unwrap());
static WORKSPACE: LazyLock<Workspace> = LazyLock::new(|| Workspace::read(&repository_root()).unwrap());

#[track_caller]
fn assert_none(findings: &[Finding]) {
    if !findings.is_empty() {
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        panic!("{} findings:\n{}\n", lines.len(), lines.join("\n"));
    }
}

#[test]
fn crates_depend_only_along_the_edges_of_the_architecture() {
    assert_none(&tidy::crate_edges(&WORKSPACE));
}

#[test]
fn only_the_ops_crate_names_the_gpu() {
    assert_none(&tidy::graphics_crates(&WORKSPACE));
}

#[test]
fn files_and_functions_are_short() {
    for long in tidy::getting_long(&TREE) {
        println!("note: {long}");
    }
    assert_none(&tidy::lengths(&TREE));
}

#[test]
fn every_crate_has_a_readme_and_a_description() {
    assert_none(&tidy::crate_documents(&TREE, &WORKSPACE));
}

#[test]
fn source_has_no_tabs_and_no_trailing_spaces() {
    assert_none(&tidy::whitespace(&TREE));
}

#[test]
fn source_has_no_unfinished_marks() {
    assert_none(&tidy::unfinished_marks(&TREE));
}

#[test]
fn libraries_do_not_print() {
    assert_none(&tidy::prints_in_libraries(&TREE, &WORKSPACE));
}

#[test]
fn libraries_deny_missing_docs() {
    assert_none(&tidy::missing_docs_denied(&TREE, &WORKSPACE));
}

#[test]
fn the_architecture_names_what_exists() {
    assert_none(&tidy::architecture(&TREE, &WORKSPACE));
}

#[test]
fn documents_keep_their_length() {
    assert_none(&tidy::document_lengths(&TREE));
}

#[test]
fn every_dependency_has_a_reason() {
    assert_none(&tidy::workspace_dependencies(&TREE));
}

#[test]
fn members_take_versions_from_the_workspace() {
    assert_none(&tidy::member_dependencies(&TREE));
}

#[test]
fn the_product_and_the_tests_share_one_feature_set() {
    assert_none(&tidy::one_feature_set(&repository_root()).unwrap());
}

#[test]
fn every_kernel_has_its_four_parts() {
    assert_none(&tidy::kernel_folders(&TREE));
}

#[test]
fn kernels_are_plain_wgsl_with_described_bindings() {
    assert_none(&tidy::kernel_sources(&TREE));
}

#[test]
fn files_name_no_path_of_one_machine() {
    assert_none(&tidy::machine_paths(&TREE));
}

#[test]
fn no_merge_is_left_unfinished() {
    assert_none(&tidy::conflict_marks(&TREE));
}

#[test]
fn assets_are_small() {
    assert_none(&tidy::asset_sizes(&TREE));
}

#[test]
fn commit_subjects_name_their_area() {
    match Subject::read(&repository_root()) {
        Some(subjects) => assert_none(&tidy::commit_subjects(&subjects)),
        None => println!("skipped: no git history here"),
    }
}
