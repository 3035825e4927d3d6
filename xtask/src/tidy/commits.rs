//! The form of commit subjects.

use std::path::Path;
use std::process::Command;

use super::Finding;

/// How many commits are looked at, newest first.
const N_COMMITS: &str = "50";
const MAX_SUBJECT_CHARACTERS: usize = 72;

/// The first line of a commit message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Short hash of the commit.
    pub commit: String,
    /// The line.
    pub text: String,
}

impl Subject {
    /// Reads the subjects of the last 50 commits, merges left out; `None` where git or a history is missing.
    pub fn read(root: &Path) -> Option<Vec<Self>> {
        let output = Command::new("git")
            .args(["log", "--no-merges", "-n", N_COMMITS, "--format=%h %s"])
            .current_dir(root)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let log = String::from_utf8_lossy(&output.stdout);
        let subject = |(commit, text): (&str, &str)| Self { commit: commit.to_owned(), text: text.to_owned() };
        Some(log.lines().filter_map(|line| line.split_once(' ')).map(subject).collect())
    }
}

/// Finds subjects that are not `area: what changes` or that are longer than 72 characters.
pub fn commit_subjects(subjects: &[Subject]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for subject in subjects {
        let path = format!("commit {}", subject.commit);
        let n_characters = subject.text.chars().count();
        if n_characters > MAX_SUBJECT_CHARACTERS {
            findings.push(Finding::of_file(
                &path,
                format!("{n_characters} characters, more than {MAX_SUBJECT_CHARACTERS}: {}", subject.text),
            ));
        }
        if !has_area(&subject.text) {
            findings.push(Finding::of_file(&path, format!("not of the form `area: what changes`: {}", subject.text)));
        }
    }
    findings
}

/// An area is a crate, folder or kernel stem; several are separated by a comma.
fn has_area(subject: &str) -> bool {
    let Some((areas, change)) = subject.split_once(": ") else {
        return false;
    };
    let is_area = |area: &str| {
        let area = area.trim_start();
        !area.is_empty()
            && area.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_./".contains(letter))
    };
    areas.split(',').all(is_area) && !change.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_without_an_area_or_too_long_are_found() {
        let good = ["ops: add rms_norm", "sferic-model, weights: read stacked experts", ".ci: install lavapipe"];
        let long = format!("ops: {}", "x".repeat(68));
        let bad = ["Fixes", "Ops: add rms_norm", "fix the thing: now", "ops:", "ops:  ", &long];
        let subject = |text: &&str| Subject { commit: "c".to_owned(), text: (*text).to_owned() };
        assert_eq!(commit_subjects(&good.iter().map(subject).collect::<Vec<_>>()), []);
        assert_eq!(commit_subjects(&bad.iter().map(subject).collect::<Vec<_>>()).len(), bad.len());
    }
}
