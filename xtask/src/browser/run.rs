//! Which page runs which kernel, and how it came out.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How one kernel came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The kernel.
    pub kernel: String,
    /// Cases that passed.
    pub n_passed: usize,
    /// Lines that say what is wrong.
    pub failures: Vec<String>,
    /// Tiers that the browser lacks.
    pub n_skipped: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl Judged {
    /// Whether cases ran and none failed.
    pub fn passed(&self) -> bool {
        self.n_passed > 0 && self.failures.is_empty()
    }
}

/// What a page is at.
struct Page {
    kernel: Judged,
    began: Instant,
    /// Its last line, and when it came.
    last: String,
    heard: Instant,
}

/// All kernels and pages of one run.
#[derive(Default)]
pub struct Run {
    /// Part of a kernel folder: what to run.
    filter: String,
    /// Kernels that no page has yet; nothing before the first page names them.
    queue: Option<VecDeque<String>>,
    /// Pages that have a kernel, by number.
    pages: BTreeMap<usize, Page>,
    /// Kernels that are done.
    pub judged: Vec<Judged>,
}

impl Run {
    /// A run of the kernels whose folder contains `filter`.
    pub fn new(filter: &str) -> Self {
        Self { filter: filter.to_owned(), ..Self::default() }
    }

    /// Whether a kernel waits for a page; before the first page has named them, there may be one.
    pub fn waits(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| !queue.is_empty())
    }

    /// Takes the names of all kernels, of which each page tells.
    pub fn name_kernels(&mut self, names: &str) {
        if self.queue.is_some() {
            return;
        }
        let wanted = names.lines().filter(|name| name.contains(&self.filter));
        self.queue = Some(wanted.map(str::to_owned).collect());
    }

    /// Ends the kernel of a page and returns the next one, if any.
    pub fn next(&mut self, page: usize, now: Instant) -> Option<String> {
        self.end(page, now);
        let name = self.queue.as_mut()?.pop_front()?;
        let kernel = Judged { kernel: name.clone(), n_passed: 0, failures: Vec::new(), n_skipped: 0, elapsed: Duration::ZERO };
        self.pages.insert(page, Page { kernel, began: now, last: "starting".into(), heard: now });
        Some(name)
    }

    /// Takes a line of a page and prints it, unless it only says what comes next.
    pub fn hear(&mut self, page: usize, line: &str, now: Instant) {
        let word = line.split(' ').next().unwrap_or_default();
        if word != "running" {
            println!("{line}");
        }
        let Some(page) = self.pages.get_mut(&page) else { return };
        (page.last, page.heard) = (line.to_owned(), now);
        match word {
            "ok" => page.kernel.n_passed += 1,
            "FAILED" => page.kernel.failures.push(line.to_owned()),
            "skipped" => page.kernel.n_skipped += 1,
            _ => {}
        }
    }

    /// Gives up the kernel of a page that will say nothing more, and says where it was; returns whether it had one.
    pub fn give_up(&mut self, page: usize, reason: &str, now: Instant) -> bool {
        let Some(Page { kernel, last, .. }) = self.pages.get(&page) else { return false };
        let line = format!("FAILED {}: {reason}; its last line: {last}", kernel.kernel);
        self.hear(page, &line, now);
        self.end(page, now);
        true
    }

    /// Pages that have said nothing for `limit`.
    pub fn silent(&self, limit: Duration, now: Instant) -> Vec<usize> {
        let silent = self.pages.iter().filter(|(_, page)| now.duration_since(page.heard) > limit);
        silent.map(|(&number, _)| number).collect()
    }

    fn end(&mut self, page: usize, now: Instant) {
        let Some(Page { mut kernel, began, .. }) = self.pages.remove(&page) else { return };
        kernel.elapsed = now.duration_since(began);
        self.judged.push(kernel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    const NAMES: &str = "a/one\na/two\nb/three";

    #[test]
    fn pages_share_the_kernels_and_their_lines_are_counted() {
        let now = Instant::now();
        let mut run = Run::new("a/");
        assert!(run.waits());
        run.name_kernels(NAMES);
        assert_eq!(run.next(0, now).unwrap(), "a/one");
        assert_eq!(run.next(1, now).unwrap(), "a/two");
        for line in ["running base x", "ok base x", "running f16 y", "skipped f16 y", "running base z", "FAILED base z: 3"] {
            run.hear(1, line, now);
        }
        run.hear(0, "ok base x", now);
        assert!(!run.waits());
        assert_eq!((run.next(1, now), run.next(0, now)), (None, None));
        let [two, one] = &run.judged[..] else { panic!("{:?}", run.judged) };
        assert_eq!((two.n_passed, two.failures.len(), two.n_skipped, two.passed()), (1, 1, 1, false));
        assert!(one.passed());
    }

    #[test]
    fn a_kernel_without_cases_has_not_passed() {
        let now = Instant::now();
        let mut run = Run::new("three");
        run.name_kernels(NAMES);
        run.next(0, now).unwrap();
        run.next(0, now);
        assert!(!run.judged[0].passed());
    }

    #[test]
    fn a_silent_page_is_found_and_its_case_named() {
        let (now, limit) = (Instant::now(), Duration::from_secs(60));
        let mut run = Run::new("two");
        run.name_kernels(NAMES);
        run.next(0, now).unwrap();
        run.hear(0, "running base a/two[f32]", now);
        assert!(run.silent(limit, now + limit).is_empty());
        assert_eq!(run.silent(limit, now + 2 * limit), [0]);
        assert!(run.give_up(0, "hung", now));
        assert!(!run.give_up(0, "hung", now), "it has no kernel any more");
        assert_eq!(run.judged[0].failures, ["FAILED a/two: hung; its last line: running base a/two[f32]"]);
        assert!(run.silent(limit, now + 2 * limit).is_empty(), "a page without a kernel is not waited for");
    }
}
