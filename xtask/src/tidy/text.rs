//! What source text may not contain.

use super::mask::{mask, test_lines};
use super::{Finding, Tree, Workspace};

const SOURCE: &[&str] = &["rs", "wgsl"];
/// Words for unfinished work. They are put together here so that a search for them does not find this file.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// Folders of somebody's machine that a path in a tracked file would betray.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/"), concat!(".lib", "rary")];
/// Data made elsewhere, where any byte sequence may occur.
const DATA_FOLDERS: &[&str] = &["tests/fixtures/", "assets/"];
/// Packages with a library that may print: they are not part of the product.
const PRINTING_PACKAGES: &[&str] = &["xtask", "sferic-testkit", "sferic-tests"];

/// Finds tabs and spaces at line ends in Rust and WGSL.
pub fn whitespace(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts(SOURCE) {
        for (line_idx, line) in text.split('\n').enumerate() {
            if line.contains('\t') {
                findings.push(Finding::at(path, line_idx + 1, "a tab: indent with spaces, write \\t in literals"));
            }
            if line.ends_with([' ', '\r']) {
                findings.push(Finding::at(path, line_idx + 1, "white space at the end of the line"));
            }
        }
    }
    findings
}

/// Finds marks of unfinished work: debug prints, switched-off tests, notes to oneself without an issue number, promises to keep two
/// places equal by hand.
pub fn unfinished_marks(tree: &Tree) -> Vec<Finding> {
    let ignored_test = concat!("#[ig", "nore");
    let ignored_example = concat!("```ig", "nore");
    let by_hand = concat!("keep in ", "sync");
    let mut findings = Vec::new();
    for (path, text) in tree.texts(SOURCE) {
        let masked = mask(text);
        for (line_idx, line) in masked.code.lines().enumerate() {
            if contains_word(line, concat!("db", "g!")) {
                findings.push(Finding::at(path, line_idx + 1, "a debug print: remove it"));
            }
            if line.contains(ignored_test) {
                findings.push(Finding::at(
                    path,
                    line_idx + 1,
                    "a test that never runs: repair it, or skip by name where hardware is missing",
                ));
            }
        }
        for (line_idx, line) in masked.comments.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|word| contains_word(line, word) && !line.contains(&format!("{word}(#"))) {
                findings.push(Finding::at(
                    path,
                    line_idx + 1,
                    format!("{word} without an issue number: finish it or write {word}(#N)"),
                ));
            }
            if line.contains(ignored_example) {
                findings.push(Finding::at(
                    path,
                    line_idx + 1,
                    "an example that is never compiled: mark it `text` or make it run",
                ));
            }
            if line.to_lowercase().contains(by_hand) {
                findings.push(Finding::at(path, line_idx + 1, "equality promised by a comment: guard it with a test"));
            }
        }
    }
    findings
}

/// Finds print macros in library crates, outside their tests: a library returns what it has to say.
pub fn prints_in_libraries(tree: &Tree, workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in workspace.packages.iter().filter(|package| !PRINTING_PACKAGES.contains(&package.name.as_str())) {
        let Some(library) = &package.lib_source else {
            continue;
        };
        let folder = library.trim_end_matches("lib.rs");
        for (path, text) in tree.texts(&["rs"]) {
            if !path.starts_with(folder) || path.ends_with("tests.rs") || path.contains("/tests/") || path.ends_with("/main.rs") {
                continue;
            }
            let code = mask(text).code;
            let in_test = test_lines(&code);
            for (line_idx, line) in code.lines().enumerate().filter(|(line_idx, _)| !in_test[*line_idx]) {
                if let Some(name) =
                    ["println!", "print!", "eprintln!", "eprint!"].into_iter().find(|name| contains_word(line, name))
                {
                    findings.push(Finding::at(
                        path,
                        line_idx + 1,
                        format!("{name} in a library: return the text or an event instead"),
                    ));
                }
            }
        }
    }
    findings
}

/// Finds paths of one machine in tracked text files; data under `assets` and `tests/fixtures` is left out, documents there are not.
pub fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let is_data = DATA_FOLDERS.iter().any(|folder| file.path.starts_with(folder)) && !file.path.ends_with(".md");
        let Some(text) = file.text.as_deref().filter(|_| !is_data && file.path != "Cargo.lock") else {
            continue;
        };
        for (line_idx, line) in text.lines().enumerate() {
            for marker in MACHINE_PATHS.iter().filter(|marker| line.contains(**marker)) {
                findings.push(Finding::at(
                    &file.path,
                    line_idx + 1,
                    format!("`{marker}` is a path of one machine: use a relative one"),
                ));
            }
        }
    }
    findings
}

/// Finds what a merge leaves where both sides changed the same lines.
pub fn conflict_marks(tree: &Tree) -> Vec<Finding> {
    let marks = ['<', '>'].map(|sign| format!("{} ", sign.to_string().repeat(7)));
    let mut findings = Vec::new();
    for file in &tree.files {
        let Some(text) = &file.text else { continue };
        for (line_idx, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.starts_with(mark)) {
                findings.push(Finding::at(&file.path, line_idx + 1, "a merge is not finished here: choose a side"));
            }
        }
    }
    findings
}

/// Returns whether `word` stands in `line` with no letter, digit or underscore right before it, nor right after a word that ends in one.
fn contains_word(line: &str, word: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(start, _)| {
        let after = &line[start + word.len()..];
        let continues_a_name = line[..start].ends_with(is_name);
        let is_continued = word.ends_with(is_name) && after.starts_with(is_name);
        !(continues_a_name || is_continued)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::Package;

    fn lines(findings: &[Finding]) -> Vec<usize> {
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn tabs_and_trailing_spaces_are_found() {
        let tree = Tree::from_texts(&[("a.wgsl", "fn a() {\n\tx \n}\n"), ("b.md", "two spaces  \n")]);
        assert_eq!(lines(&whitespace(&tree)), [2, 2]);
        let windows = Tree::from_texts(&[("a.rs", "fn a() {}\r\n")]);
        assert_eq!(lines(&whitespace(&windows)), [1]);
    }

    #[test]
    fn unfinished_marks_are_found_with_their_lines() {
        let source = [
            concat!("fn a() { db", "g!(1); }"),
            concat!("#[ig", "nore = \"slow\"]"),
            concat!("// TO", "DO: later"),
            concat!("// FIX", "ME"),
            concat!("/* XX", "X */"),
            concat!("/// ```ig", "nore"),
            concat!("// Keep in ", "sync with b.rs"),
        ]
        .join("\n");
        let tree = Tree::from_texts(&[("a.rs", &source)]);
        assert_eq!(lines(&unfinished_marks(&tree)), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn marks_in_literals_and_marks_with_an_issue_pass() {
        let source = format!("let a = \"{0}\";\n// {0}(#12): later\nlet {0}S = 1;\n", concat!("TO", "DO"));
        assert_eq!(unfinished_marks(&Tree::from_texts(&[("a.rs", &source)])), []);
    }

    #[test]
    fn a_print_in_a_library_is_found_and_one_in_its_tests_is_not() {
        let library = "fn a() {\n    println!(\"x\");\n    let b = \"print!\";\n}\n#[cfg(test)]\nmod tests {\n    fn c() { println!(); }\n}\n";
        let tree = Tree::from_texts(&[
            ("crates/x/src/a.rs", library),
            ("crates/x/src/k/tests.rs", "fn d() { print!(); }"),
            ("crates/y/src/main.rs", library),
        ]);
        let package = |name: &str, library: Option<&str>| Package {
            name: name.to_owned(),
            lib_source: library.map(str::to_owned),
            ..Package::default()
        };
        let packages = vec![package("x", Some("crates/x/src/lib.rs")), package("y", None)];
        let found = prints_in_libraries(&tree, &Workspace { packages });
        assert_eq!(found, [Finding::at("crates/x/src/a.rs", 2, "println! in a library: return the text or an event instead")]);
    }

    #[test]
    fn a_machine_path_is_found_in_text_but_not_in_data() {
        let text = format!("see {}a\n", MACHINE_PATHS[0]);
        let tree = Tree::from_texts(&[
            ("a.md", &text),
            ("tests/fixtures/a.json", &text),
            ("assets/README.md", &text),
            ("Cargo.lock", &text),
        ]);
        let found: Vec<String> = machine_paths(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["a.md", "assets/README.md"]);
    }

    #[test]
    fn an_unfinished_merge_is_found_in_any_text() {
        let text = format!("a\n{} HEAD\nb\n=======\nc\n{} other\n", "<".repeat(7), ">".repeat(7));
        let tree = Tree::from_texts(&[("CHANGELOG.md", &text), ("b.rs", "// <<< not one\n=======\n")]);
        let found: Vec<usize> = conflict_marks(&tree).into_iter().map(|finding| finding.line).collect();
        assert_eq!(found, [2, 6]);
    }
}
