//! The files of the repository.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Folders that never hold tracked files; used where git cannot be asked.
const SKIPPED_FOLDERS: &[&str] = &[".git", "target", "node_modules"];
/// Files above this size are data: their text is not read.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// The tracked files of the repository, and the new ones that git does not ignore, sorted by path.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The files.
    pub files: Vec<File>,
}

/// One file.
#[derive(Clone, Debug)]
pub struct File {
    /// Path relative to the repository root, `/` between folders.
    pub path: String,
    /// Size on disk.
    pub size_bytes: u64,
    /// The text; `None` for a binary or very large file.
    pub text: Option<String>,
}

impl Tree {
    /// Lists the repository through git, or by walking the folders where git or its history is missing, and reads every text file.
    pub fn read(root: &Path) -> Result<Self> {
        let mut paths = match git_paths(root) {
            Some(paths) => paths,
            None => {
                let mut paths = Vec::new();
                walk(root, "", &mut paths)?;
                paths
            }
        };
        paths.sort();
        paths.dedup();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let full_path = root.join(&path);
            // A tracked file may be deleted in the working tree, and a link is not a file of its own.
            let Ok(metadata) = full_path.symlink_metadata() else {
                continue;
            };
            if !metadata.is_file() {
                continue;
            }
            let size_bytes = metadata.len();
            let text = if size_bytes <= MAX_TEXT_BYTES {
                let bytes = std::fs::read(&full_path).with_context(|| format!("could not read {path}"))?;
                String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
            } else {
                None
            };
            files.push(File { path, size_bytes, text });
        }
        Ok(Self { files })
    }

    /// Makes a tree of text files out of paths and contents.
    pub fn from_texts(texts: &[(&str, &str)]) -> Self {
        let files = texts
            .iter()
            .map(|(path, text)| File { path: (*path).to_owned(), size_bytes: text.len() as u64, text: Some((*text).to_owned()) })
            .collect();
        Self { files }
    }

    /// Returns the text of a file, if it exists and is text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path)?.text.as_deref()
    }

    /// Returns whether a file exists.
    pub fn contains(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
    }

    /// Goes through the text files whose name ends in one of `extensions` (without the dot), as path and text.
    pub fn texts<'a>(&'a self, extensions: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files.iter().filter_map(move |file| {
            let (_, extension) = file.path.rsplit_once('.')?;
            let text = file.text.as_deref()?;
            extensions.contains(&extension).then_some((file.path.as_str(), text))
        })
    }
}

fn git_paths(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let listing = String::from_utf8(output.stdout).ok()?;
    Some(listing.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

fn walk(root: &Path, folder: &str, paths: &mut Vec<String>) -> Result<()> {
    let full_path = root.join(folder);
    for entry in std::fs::read_dir(&full_path).with_context(|| format!("could not list {}", full_path.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let file_type = entry.file_type()?;
        if file_type.is_dir() {
            if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                walk(root, &path, paths)?;
            }
        } else if file_type.is_file() {
            paths.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn walking_and_git_agree_on_this_crate() {
        let root = crate::repository_root();
        let mut walked = Vec::new();
        walk(&root.join("xtask"), "", &mut walked).unwrap();
        assert!(walked.contains(&"src/tidy/tree.rs".to_owned()), "{walked:?}");
        let tree = Tree::read(&root).unwrap();
        for path in &walked {
            assert!(tree.contains(&format!("xtask/{path}")), "{path} is missing from the tree");
        }
    }

    #[test]
    fn texts_are_chosen_by_extension() {
        let tree = Tree::from_texts(&[("a.rs", "1"), ("b.wgsl", "2"), ("rs", "3")]);
        let paths: Vec<&str> = tree.texts(&["rs"]).map(|(path, _)| path).collect();
        assert_eq!(paths, ["a.rs"]);
    }
}
