//! The steps of `cargo xtask test`, in the order in which a mistake shows soonest.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cargo_program;

/// One cargo command that has to succeed.
struct Step {
    name: &'static str,
    /// Arguments for cargo.
    args: &'static [&'static str],
    /// Arguments for cargo that succeed only where the tool of this step is installed; empty for cargo itself.
    probe: &'static [&'static str],
}

/// The tidy tests come before the long builds, and `xtask` is left out of the last step: on Windows a running program cannot be replaced, and
/// this one is running. The package selections build every dependency with the same features, so nothing is compiled twice.
const STEPS: &[Step] = &[
    Step { name: "format", args: &["fmt", "--all", "--", "--check"], probe: &["fmt", "--version"] },
    Step { name: "tidy", args: &["test", "--release", "--no-fail-fast", "--package", "xtask"], probe: &[] },
    Step {
        name: "lint",
        args: &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"],
        probe: &["clippy", "--version"],
    },
    Step { name: "tests", args: &["test", "--release", "--no-fail-fast", "--workspace", "--exclude", "xtask"], probe: &[] },
];

/// How one step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// Runs every step, prints a line before and after each and a summary at the end; returns whether none failed.
///
/// A step that fails does not stop the ones behind it: one run shows all there is to repair.
pub fn run_all(root: &Path) -> Result<bool> {
    println!("== {}", gpu_policy(std::env::var("SFERIC_REQUIRE_GPU").ok().as_deref()));
    let mut results = Vec::new();
    for step in STEPS {
        let start = Instant::now();
        let verdict = run_step(root, step)?;
        println!("== {}", result_line(step, verdict, start.elapsed()));
        results.push((step, verdict, start.elapsed()));
    }
    println!();
    for (step, verdict, elapsed) in &results {
        println!("   {}", result_line(step, *verdict, *elapsed));
    }
    let start = Instant::now();
    let browser = run_browser(root)?;
    let browser_line = match browser {
        Verdict::Skipped => format!("browser: skipped, this machine lacks {}", crate::web::missing().unwrap_or("nothing")),
        verdict => format!(
            "browser: {} {:.1} s",
            if verdict == Verdict::Passed { "passed in" } else { "FAILED after" },
            start.elapsed().as_secs_f64()
        ),
    };
    println!("   {browser_line}");
    let mut failed: Vec<&str> =
        results.iter().filter(|(_, verdict, _)| *verdict == Verdict::Failed).map(|(step, ..)| step.name).collect();
    if browser == Verdict::Failed {
        failed.push("browser");
    }
    if failed.is_empty() {
        println!("== all steps passed");
    } else {
        println!("== failed: {}", failed.join(", "));
    }
    Ok(failed.is_empty())
}

/// Runs the kernel suites and the tests of the page in a browser where one is installed; `SFERIC_REQUIRE_GPU=1` makes its absence a failure too.
fn run_browser(root: &Path) -> Result<Verdict> {
    if crate::web::missing().is_some() {
        let is_required = std::env::var("SFERIC_REQUIRE_GPU").is_ok_and(|value| value == "1");
        return Ok(if is_required { Verdict::Failed } else { Verdict::Skipped });
    }
    println!("\n== browser: cargo xtask browser, cargo xtask web --test");
    let mut verdict = Verdict::Passed;
    for result in [crate::browser::run(root, ""), crate::web::test(root)] {
        if let Err(error) = &result {
            println!("{error:#}");
        }
        if !result.unwrap_or(false) {
            verdict = Verdict::Failed;
        }
    }
    Ok(verdict)
}

/// Says what the GPU suites will do where no adapter is found; `required` is the value of `SFERIC_REQUIRE_GPU`.
fn gpu_policy(required: Option<&str>) -> &'static str {
    match required {
        Some("1") => "GPU suites: an adapter is required (SFERIC_REQUIRE_GPU=1)",
        _ => "GPU suites: reported as skipped where no adapter is found (SFERIC_REQUIRE_GPU=1 makes that a failure)",
    }
}

fn run_step(root: &Path, step: &Step) -> Result<Verdict> {
    if !step.probe.is_empty() && !succeeds(cargo(root, step.probe).stdout(Stdio::null()).stderr(Stdio::null()))? {
        return Ok(Verdict::Skipped);
    }
    println!("\n== {}: cargo {}", step.name, step.args.join(" "));
    Ok(if succeeds(&mut cargo(root, step.args))? { Verdict::Passed } else { Verdict::Failed })
}

fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(cargo_program());
    command.args(args).current_dir(root);
    command
}

fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(command.status().context("cargo could not be started")?.success())
}

fn result_line(step: &Step, verdict: Verdict, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    match verdict {
        Verdict::Passed => format!("{}: passed in {seconds:.1} s", step.name),
        Verdict::Failed => format!("{}: FAILED after {seconds:.1} s (cargo {})", step.name, step.args.join(" ")),
        Verdict::Skipped => format!("{}: skipped, `cargo {}` does not run here", step.name, step.probe.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_missing_tool_is_skipped() {
        let root = crate::repository_root();
        let missing = Step { name: "missing", args: &["--version"], probe: &["no-such-tool", "--version"] };
        assert_eq!(run_step(&root, &missing).unwrap(), Verdict::Skipped);
        let present = Step { name: "present", args: &["--version"], probe: &["--version"] };
        assert_eq!(run_step(&root, &present).unwrap(), Verdict::Passed);
    }

    #[test]
    fn a_command_that_fails_is_no_success() {
        // There is no manifest at the root of the file system.
        let root = Path::new(std::path::Component::RootDir.as_os_str());
        assert!(!succeeds(cargo(root, &["locate-project"]).stderr(Stdio::null())).unwrap());
        assert!(succeeds(cargo(root, &["--version"]).stdout(Stdio::null())).unwrap());
    }

    #[test]
    fn a_result_line_names_the_step_and_the_command_that_failed() {
        let line = result_line(&STEPS[2], Verdict::Failed, Duration::from_millis(1500));
        assert_eq!(line, "lint: FAILED after 1.5 s (cargo clippy --release --workspace --all-targets -- -D warnings)");
        let line = result_line(&STEPS[2], Verdict::Skipped, Duration::ZERO);
        assert_eq!(line, "lint: skipped, `cargo clippy --version` does not run here");
    }

    #[test]
    fn the_gpu_line_tells_required_from_optional() {
        assert!(gpu_policy(Some("1")).contains("is required"));
        assert!(gpu_policy(None).contains("skipped"));
        assert!(gpu_policy(Some("0")).contains("skipped"));
    }
}
